"""The commands that put the road to work: up, put."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from bytereel.cli import homes
from bytereel.cli.options import STANDARD, Count, Seconds, home_option, json_option
from bytereel.cli.printing.output import pair_lines, print_note, print_result
from bytereel.cli.printing.progress import ProgressBar
from bytereel.conversions.registry import profiles_by_conversion
from bytereel.errors import Permanent
from bytereel.logs import shown
from bytereel.model import ObjectInfo, job_id_of

if TYPE_CHECKING:
    from bytereel.settings import Settings
    from bytereel.wiring import Home

_COPY_BYTES = 1 << 20
_DAY_SECONDS = 86400.0


@click.command()
@home_option
@click.option("--workers", "-w", type=Count(256), metavar="N", help="Worker processes, 1 to 256.")
@click.option("--until-idle", is_flag=True, help="End when nothing is left to do.")
@json_option
def up(*, folder: Path | None, workers: int | None, until_idle: bool, as_json: bool) -> None:
    """Run workers and see to the inbox, until interrupted.

    The first Ctrl-C lets every worker finish its segment, a second one does not; neither loses anything.
    """
    from bytereel.logs import configure_logging
    from bytereel.settings import load_settings
    from bytereel.wiring import open_home
    from bytereel.workers.supervisor import Supervisor

    settings = load_settings(home=folder, workers=workers)
    configure_logging(settings.log_level)
    home = open_home(settings)
    if not as_json:
        print_note(_ready(home, settings))
    Supervisor(home, settings).run(until_idle=until_idle)
    counts = {state.value: count for state, count in home.ports.jobs.count().items() if count}
    print_result({"home": home.name, "jobs": counts}, pair_lines(counts), as_json=as_json)


def _ready(home: "Home", settings: "Settings") -> str:
    """What `up` says once it is there."""
    count = f"{settings.workers} worker{'s' if settings.workers > 1 else ''} for {home.name!r}"
    return f"{count}; files dropped into {str(home.inbox_folder)!r} are taken" if home.inbox_folder else count


@click.command()
@click.argument("file", metavar="FILE", help="A file; - is standard input.")
@click.option(
    "--to",
    default="archive",
    metavar="CONVERSION[/PROFILE]",
    show_default=True,
    help="archive[/PROFILE] or restore.",
)
@home_option
@click.option("--wait", is_flag=True, help="Wait for the job's end; then say where the output is.")
@click.option(
    "--timeout", type=Seconds(), default=_DAY_SECONDS, metavar="SECONDS", help="How long to wait; by default a day."
)
@click.option("--name", metavar="NAME", help="The name to keep; by default FILE's own, or stdin.")
@json_option
def put(
    *, file: str, to: str, folder: Path | None, wait: bool, timeout: float, name: str | None, as_json: bool
) -> None:
    """Queue a file for conversion; prints the job's id.

    The source stays in the inbox until BYTEREEL_KEEP_DONE_DAYS after its job is done.
    """
    from bytereel.operations import receive
    from bytereel.settings import load_settings

    key = _new_key(to, _source_name(file, name), load_settings(home=folder).profiles_file)
    mode = _source_mode(file)
    home, _ = homes.opened(folder)
    with ProgressBar("uploading", hidden=as_json) as progress:
        stored = home.inbox.upload(key, _chunks(file, progress), mode=mode)
    job_id = receive(home.ports, stored, *key.split("/")[:2])
    values = {"job": job_id, "key": key, "bytes": stored.size_bytes, "home": home.name}
    if not wait:
        print_result(values, [job_id], as_json=as_json)
        return
    if not as_json:
        print(job_id, flush=True)
    _wait_for(home, stored, timeout, values, as_json=as_json)


def _wait_for(home: "Home", stored: ObjectInfo, timeout: float, values: dict[str, object], *, as_json: bool) -> None:
    from bytereel.operations import view

    job_id = job_id_of(stored.ref)
    try:
        with ProgressBar("converting", hidden=as_json) as progress:
            job = homes.await_job(home, job_id, timeout, progress, as_json=as_json)
    except KeyboardInterrupt:
        if not as_json:
            print_note(f"the job goes on without you: `bytereel status {job_id} --watch` looks again")
        raise
    path = homes.output_address(home, job)
    ended = {**values, **view(job, home.ports.clock.now()), "path": path}
    print_result(ended, [shown(path)] if path else [], as_json=as_json)
    raise Exit(homes.end_code(job))


def _new_key(to: str, name: str, profiles_file: Path | None) -> str:
    """A key that no other upload has, for what `--to` says."""
    from bytereel.operations import UNKNOWN_CONVERSION, UNKNOWN_PROFILE, new_key

    conversion, _, profile = to.partition("/")
    try:
        return new_key(conversion, profile, name, profiles_by_conversion(profiles_file))
    except Permanent as error:
        if error.error_id not in (UNKNOWN_CONVERSION, UNKNOWN_PROFILE):
            raise
        raise click.BadParameter(error.message, param_hint="--to") from error


def _source_name(file: str, name: str | None) -> str:
    if name is None:
        return "stdin" if file == STANDARD else Path(file).absolute().name
    if name in ("", ".", "..") or "/" in name or "\x00" in name:
        raise click.BadParameter(f"{name!r} is no file name", param_hint="--name")
    return name


def _source_mode(file: str) -> int | None:
    """The file's permission bits; refuses what cannot be uploaded before a home is made for it."""
    if file == STANDARD:
        return None
    from bytereel_codec.files.ranged import FileReader

    if Path(file).is_dir():
        raise Permanent(
            "source.folder",
            f"{file!r} is a folder",
            hint="`bytereel encode` takes folders; or pipe it: tar c FOLDER | bytereel put - --name FOLDER.tar",
            path=file,
        )
    with FileReader(file) as reader:
        return reader.mode


def _chunks(file: str, progress: ProgressBar) -> Iterator[bytes | memoryview]:
    """The source piece by piece. Raises: Integrity `source.changed`, which undoes the upload."""
    from bytereel_codec.files.ranged import FileReader

    done = 0
    if file == STANDARD:
        while part := sys.stdin.buffer.read(_COPY_BYTES):
            done += len(part)
            progress(done, None)
            yield part
        return
    buffer = memoryview(bytearray(_COPY_BYTES))
    with FileReader(file) as reader:
        while done < reader.size_bytes and (count := reader.read_into(done, buffer[: reader.size_bytes - done])):
            done += count
            progress(done, reader.size_bytes)
            yield buffer[:count]
        reader.check_unchanged()

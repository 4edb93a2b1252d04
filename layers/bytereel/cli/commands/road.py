"""The commands that put the road to work: up, put."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bytereel.cli import homes
from bytereel.cli.options import STANDARD, HomeFolder, Json
from bytereel.cli.printing.output import pair_lines, print_result
from bytereel.cli.printing.progress import ProgressBar
from bytereel.conversions.registry import profiles_by_conversion
from bytereel.errors import Permanent
from bytereel.logs import shown
from bytereel.model import ObjectInfo, job_id_of

if TYPE_CHECKING:
    from bytereel.wiring import Home

_COPY_BYTES = 1 << 20
_DAY_SECONDS = 86400.0


def up(
    folder: HomeFolder = None,
    workers: Annotated[int | None, typer.Option("--workers", "-w", min=1, max=256, help="Worker processes.")] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when nothing is left to do.", show_default=False)
    ] = False,
    as_json: Json = False,
) -> None:
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
    Supervisor(home, settings).run(until_idle=until_idle)
    counts = {state.value: count for state, count in home.ports.jobs.count().items() if count}
    print_result({"home": home.name, "jobs": counts}, pair_lines(counts), as_json=as_json)


def put(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file; - is standard input.")],
    to: Annotated[
        str, typer.Option("--to", metavar="CONVERSION[/PROFILE]", help="archive[/PROFILE] or restore.")
    ] = "archive",
    folder: HomeFolder = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the job's end; then say where the output is.", show_default=False)
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait.")] = _DAY_SECONDS,
    name: Annotated[str | None, typer.Option(help="The name to keep.", show_default="FILE's own, or stdin")] = None,
    as_json: Json = False,
) -> None:
    """Queue a file for conversion; prints the job's id."""
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

    with ProgressBar("converting", hidden=as_json) as progress:
        job = homes.await_job(home, job_id_of(stored.ref), timeout, progress, as_json=as_json)
    path = homes.output_address(home, job)
    ended = {**values, **view(job, home.ports.clock.now()), "path": path}
    print_result(ended, [shown(path)] if path else [], as_json=as_json)
    raise typer.Exit(homes.end_code(job))


def _new_key(to: str, name: str, profiles_file: Path | None) -> str:
    """A key that no other upload has, for what `--to` says."""
    from bytereel.operations import UNKNOWN_CONVERSION, UNKNOWN_PROFILE, new_key

    conversion, _, profile = to.partition("/")
    try:
        return new_key(conversion, profile, name, profiles_by_conversion(profiles_file))
    except Permanent as error:
        if error.error_id not in (UNKNOWN_CONVERSION, UNKNOWN_PROFILE):
            raise
        raise typer.BadParameter(error.message, param_hint="--to") from error


def _source_name(file: str, name: str | None) -> str:
    if name is None:
        return "stdin" if file == STANDARD else Path(file).absolute().name
    if name in ("", ".", "..") or "/" in name or "\x00" in name:
        raise typer.BadParameter(f"{name!r} is no file name", param_hint="--name")
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


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (up, put):
        app.command()(command)

"""The commands that put the road to work: up, put."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from bytereel_codec.files.names import source_name

from bytereel.cli import homes
from bytereel.cli.exits import as_failure
from bytereel.cli.options import STANDARD, Count, Seconds, home_option, json_option
from bytereel.cli.printing.each import Said, say_each
from bytereel.cli.printing.output import pair_lines, print_note, print_result
from bytereel.cli.printing.progress import ProgressBar
from bytereel.conversions.registry import profiles_by_conversion
from bytereel.errors import BytereelError, Permanent
from bytereel.logs import shown

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
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    help="Files, and folders, whose files become a job each; - is standard input.",
)
@click.option(
    "--to",
    default="archive",
    metavar="CONVERSION[/PROFILE]",
    show_default=True,
    help="archive[/PROFILE] or restore.",
)
@home_option
@click.option("--wait", is_flag=True, help="Wait for the jobs' end; then say where the outputs are.")
@click.option(
    "--timeout", type=Seconds(), default=_DAY_SECONDS, metavar="SECONDS", help="How long to wait; by default a day."
)
@click.option("--name", metavar="NAME", help="The name to keep; by default FILE's own, or stdin.")
@json_option
def put(
    *, files: Sequence[str], to: str, folder: Path | None, wait: bool, timeout: float, name: str | None, as_json: bool
) -> None:
    """Queue files for conversion; prints the jobs' ids.

    A source stays in the inbox until BYTEREEL_KEEP_DONE_DAYS after its job is done.
    """
    from bytereel.settings import load_settings

    if name is not None and (len(files) > 1 or Path(files[0]).is_dir()):
        raise click.BadParameter("several files cannot have one name", param_hint="--name")
    profiles_file = load_settings(home=folder).profiles_file
    sources, failed = _all_sources(files, name, to, profiles_file)
    if not sources:
        say_each(list(failed), _raising(failed), plural="jobs", as_json=as_json)
    home, _ = homes.opened(folder)
    queued = _queue_all(home, sources, failed, as_json=as_json)
    say_failed = _raising(failed)

    def said(name: str) -> Said:
        if name not in queued:
            return say_failed(name)
        return _awaited(home, queued[name], timeout, hidden=as_json) if wait else Said(queued[name].values, [])

    say_each([*queued, *failed], said, plural="jobs", as_json=as_json)


def _raising(failed: Mapping[str, BytereelError]) -> Callable[[str], Said]:
    def say(name: str) -> Said:
        raise failed[name]

    return say


def _all_sources(
    files: Sequence[str], name: str | None, to: str, profiles_file: Path | None
) -> "tuple[list[_Source], dict[str, BytereelError]]":
    """What is to be queued, and of each that cannot be read why, by its name."""
    sources: list[_Source] = []
    failed: dict[str, BytereelError] = {}
    for file in files:
        try:
            sources += _sources_in(file, name, to, profiles_file)
        except (Permanent, OSError) as error:
            failed[file] = as_failure(error)
    return sources, failed


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to be queued, the key that it gets, and its permission bits."""

    file: str
    key: str
    mode: int | None


def _sources_in(file: str, name: str | None, to: str, profiles_file: Path | None) -> Iterator[_Source]:
    """The file, or each of a folder's below one key. Refuses what cannot be read before a home is made for it."""
    prefix = _new_key(to, "", profiles_file)
    if file == STANDARD or not Path(file).is_dir():
        yield _Source(file, prefix + _source_name(file, name), _source_mode(file))
        return
    top, found = Path(file), False
    for path in sorted(top.rglob("*")):
        if path.is_file() and not path.is_symlink():
            found = True
            yield _Source(str(path), f"{prefix}{top.absolute().name}/{path.relative_to(top)}", _source_mode(str(path)))
        elif not path.is_dir() or path.is_symlink():
            print_note(f"left out, as it is a link or a device and no file: {path}")
    if not found:
        raise Permanent("source.empty_folder", f"there is no file in {file!r}", path=file)


@dataclass(frozen=True, slots=True)
class _Queued:
    """A source in the inbox, and what is said of it."""

    job_id: str
    values: Mapping[str, Any]


def _queue_all(
    home: "Home", sources: Sequence[_Source], failed: dict[str, BytereelError], *, as_json: bool
) -> dict[str, _Queued]:
    """Queue each, printing its job's id; by key, which no two share. Those that cannot be are added to `failed`."""
    queued: dict[str, _Queued] = {}
    for source in sources:
        try:
            queued[source.key] = _queued(home, source, hidden=as_json)
        except (BytereelError, OSError) as error:
            failed[source.file] = as_failure(error)
        else:
            if not as_json:
                print(queued[source.key].job_id, flush=True)
    return queued


def _queued(home: "Home", source: _Source, *, hidden: bool) -> _Queued:
    from bytereel.operations import receive

    with ProgressBar("uploading", hidden=hidden) as progress:
        stored = home.inbox.upload(source.key, _chunks(source.file, progress), mode=source.mode)
    job_id = receive(home.ports, stored, *source.key.split("/")[:2])
    return _Queued(job_id, {"job": job_id, "key": source.key, "bytes": stored.size_bytes, "home": home.name})


def _awaited(home: "Home", queued: _Queued, timeout: float, *, hidden: bool) -> Said:
    from bytereel.operations import view

    job_id = queued.job_id
    try:
        with ProgressBar("converting", hidden=hidden) as progress:
            job = homes.await_job(home, job_id, timeout, progress, as_json=hidden)
    except KeyboardInterrupt:
        if not hidden:
            print_note(f"the job goes on without you: `bytereel status {job_id} --watch` looks again")
        raise
    path = homes.output_address(home, job)
    ended = {**queued.values, **view(job, home.ports.clock.now()), "path": path}
    return Said(ended, [shown(path)] if path else [], code=homes.end_code(job))


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
        return source_name(file)
    if name in ("", ".", "..") or "/" in name or "\x00" in name:
        raise click.BadParameter(f"{name!r} is no file name", param_hint="--name")
    return name


def _source_mode(file: str) -> int | None:
    """The file's permission bits; refuses what cannot be uploaded before a home is made for it."""
    if file == STANDARD:
        return None
    from bytereel_codec.files.ranged import FileReader

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

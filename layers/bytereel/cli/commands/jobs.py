"""The commands about jobs: jobs, status, get, cancel, retry, sweep."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from bytereel.cli import homes
from bytereel.cli.options import Count, Seconds, force_option, home_option, job_argument, jobs_argument, json_option
from bytereel.cli.printing.each import Said, say_each
from bytereel.cli.printing.output import pair_lines, print_result, show_anew, size_text, table_lines
from bytereel.cli.printing.progress import ProgressBar
from bytereel.logs import shown
from bytereel.model import JOB_RUNNING, Job, JobState, ObjectRef

if TYPE_CHECKING:
    from bytereel_codec.files.sink import Target

    from bytereel.settings import Settings
    from bytereel.wiring import Home

_COPY_BYTES = 1 << 20
_WEEK_SECONDS = 7 * 86400.0
_PAGES_MAX = 10_000
_WATCH_SECONDS = 1.0
_ID_SHOWN = 10
"""Digits of an id in a table: enough to be unique, few enough for a line of 80."""


@click.command()
@click.option("--state", type=click.Choice([state.value for state in JobState]), help="Only jobs in this state.")
@click.option("--limit", "-n", type=Count(100_000), default=50, metavar="N", show_default=True, help="At most so many.")
@click.option("--watch", is_flag=True, help="Show them anew every second, until Ctrl-C.")
@home_option
@json_option
def jobs(*, state: str | None, limit: int, watch: bool, folder: Path | None, as_json: bool) -> None:
    """List jobs, the newest first."""
    if watch and as_json:
        raise click.BadParameter("a list that changes is no one JSON object", param_hint="--watch")
    home, _ = homes.opened_existing(folder)
    wanted = JobState(state) if state else None
    if watch:
        show_anew(lambda: _listed(home, wanted, limit)[1], _WATCH_SECONDS)
        return
    values, lines = _listed(home, wanted, limit)
    print_result(values, lines, as_json=as_json)
    if not as_json and any(each.value in values["counts"] for each in JOB_RUNNING):
        homes.note_missing_workers(home)


def _listed(home: "Home", state: JobState | None, limit: int) -> tuple[dict[str, Any], list[str]]:
    from bytereel.operations import dead_letters, view

    now = home.ports.clock.now()
    views = [view(job, now) for job in home.ports.jobs.list(state, limit=limit)]
    counts = {each.value: count for each, count in home.ports.jobs.count().items() if count}
    rows = [_row(each) for each in views]
    lines = table_lines(("JOB", "STATE", "DONE", "SIZE", "CREATED", "SOURCE"), rows) if rows else []
    total = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no jobs"
    letters = dead_letters(home.ports)
    values = {"jobs": views, "counts": counts, "workers": homes.living_workers(home), "dead_letters": letters}
    return values, [*lines, total, *_letter_lines(letters)]


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    name = str(job["source"]).rpartition("/")[2]
    done = f"{job['progress']:.0%}"
    return (
        job["id"][:_ID_SHOWN],
        job["state"],
        done,
        _size_text(job["source_bytes"]),
        _time_text(job["created_at"]),
        name,
    )


def _size_text(source_bytes: int | None) -> str:
    """A source's size, of a sealed job that is done a dash: its table does not know it any more."""
    return "-" if source_bytes is None else size_text(source_bytes)


def _time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


@click.command()
@job_argument
@click.option("--watch", is_flag=True, help="Wait for the job's end, showing how it goes.")
@click.option(
    "--timeout",
    type=Seconds(),
    default=_WEEK_SECONDS,
    metavar="SECONDS",
    help="How long to watch; by default a week.",
)
@home_option
@json_option
def status(*, job_id: str, watch: bool, timeout: float, folder: Path | None, as_json: bool) -> None:
    """Say where a job stands."""
    from bytereel.operations import find_job

    home, _ = homes.opened_existing(folder)
    job = find_job(home.ports.jobs, job_id)
    if watch:
        with ProgressBar("converting", hidden=as_json) as progress:
            job = homes.await_job(home, job.id, timeout, progress, as_json=as_json)
    say_each([job.id], lambda _: _said_of(home, job), plural="jobs", as_json=as_json)
    if watch:
        raise Exit(homes.end_code(job))
    if not as_json and job.state in JOB_RUNNING:
        homes.note_missing_workers(home)


@click.command()
@jobs_argument
@home_option
@json_option
def cancel(*, job_ids: Sequence[str], folder: Path | None, as_json: bool) -> None:
    """End running jobs."""
    from bytereel import operations

    home, _ = homes.opened_existing(folder)
    say_each(
        job_ids, lambda job_id: _said_of(home, operations.cancel(home.ports, job_id)), plural="jobs", as_json=as_json
    )


@click.command()
@jobs_argument
@home_option
@json_option
def retry(*, job_ids: Sequence[str], folder: Path | None, as_json: bool) -> None:
    """Let failed or cancelled jobs go on where they stopped."""
    from bytereel import operations

    home, _ = homes.opened_existing(folder)
    say_each(
        job_ids, lambda job_id: _said_of(home, operations.retry(home.ports, job_id)), plural="jobs", as_json=as_json
    )


def _said_of(home: "Home", job: Job) -> Said:
    from bytereel.operations import view

    path = homes.output_address(home, job)
    values = {**view(job, home.ports.clock.now()), "path": path}
    rate = values["bytes_per_second"]
    lines = pair_lines(
        {
            "job": job.id,
            "state": f"{job.state} ({values['progress']:.0%}, {job.segments_done} of {job.segments_total} segments)",
            "source": f"{job.source.key} ({_size_text(values['source_bytes'])})",
            "to": f"{job.conversion}/{job.profile}",
            "created": _time_text(job.created_at),
            "time": f"{values['seconds']:.2f} s" + (f", {size_text(rate)}/s" if rate else ""),
            "reason": job.reason,
            "output": values["path"],
            "size": size_text(values["output_bytes"]) if values["output_bytes"] is not None else None,
            "sha256": values["output_sha256"],
        }
    )
    return Said(values, lines)


@click.command()
@jobs_argument
@click.option(
    "--output",
    "-o",
    metavar="PATH",
    help="A file or a folder, by default its own name; - is standard output. Of several jobs a folder.",
)
@force_option
@home_option
@json_option
def get(*, job_ids: Sequence[str], output: str | None, force: bool, folder: Path | None, as_json: bool) -> None:
    """Copy the outputs of jobs out of the outbox."""
    home, _ = homes.opened_existing(folder)
    if len(job_ids) > 1 and output is not None and not Path(output).is_dir():
        raise click.BadParameter(f"{output!r} is no folder, which several outputs need", param_hint="-o")
    say_each(
        job_ids,
        lambda job_id: _got(home, job_id, output, force=force, hidden=as_json),
        plural="outputs",
        as_json=as_json,
    )


def _got(home: "Home", job_id: str, output: str | None, *, force: bool, hidden: bool) -> Said:
    from bytereel_codec.files.names import safe_name
    from bytereel_codec.files.targets import is_standard_output, opened_target

    from bytereel.operations import find_job

    job = find_job(home.ports.jobs, job_id)
    found = homes.find_output(home, job)
    name = safe_name(found.ref.key)
    target = name if output is None else output
    if output is not None and Path(target).is_dir():
        target = str(Path(target, name))
    with (
        ProgressBar("copying", hidden=hidden) as progress,
        opened_target(target, replace=force and target == output, mode=found.mode) as out,
    ):
        size, checked = _copy(home, job, found.ref, out, progress)
        out.commit(size)
    values = {"job": job.id, "path": target, "bytes": size, **checked}
    lines = pair_lines({"written": target, "size": size_text(size), **checked})
    return Said(values, lines, on_stderr=is_standard_output(target))


def _copy(
    home: "Home", job: Job, ref: ObjectRef, target: "Target", progress: ProgressBar
) -> tuple[int, dict[str, str]]:
    """Write the job's output to the target, of one version; its size, and the checksums that it was held against.

    Raises: Integrity `output.damaged` where it is not what was made.
    """
    from bytereel.operations import Checksums

    checksums = Checksums(job)
    buffer = memoryview(bytearray(_COPY_BYTES))
    done = 0
    while count := home.ports.objects.read_into(ref, done, buffer):
        target.write_at(done, buffer[:count])
        checksums.update(buffer[:count])
        done += count
        progress(done, job.result.get("output_bytes"))
    return done, checksums.check()


@click.command()
@home_option
@json_option
def sweep(*, folder: Path | None, as_json: bool) -> None:
    """Tidy a home, as `up` does by itself.

    Resumes what stalled, announces what lies in the inbox, clears orphans, lets go of what is old; then says which
    messages were given up that belong to no job.
    """
    from bytereel.operations import dead_letters
    from bytereel.workers.chores import announce_dropped, place_pending

    home, settings = homes.opened_existing(folder)
    counts = Counter({"placed": place_pending(home), "announced": announce_dropped(home, settings).announced})
    counts.update(_tidied(home, settings))
    letters = dead_letters(home.ports)
    lines = pair_lines({name.replace("_", " "): count for name, count in counts.items()})
    print_result({**counts, "dead_letters": letters}, [*lines, *_letter_lines(letters)], as_json=as_json)


def _tidied(home: "Home", settings: "Settings") -> dict[str, int]:
    """Tidy from the work bucket's start to its end; what that did, counted."""
    from bytereel.workers.chores import tidy

    counts: Counter[str] = Counter()
    cursor = ""
    for _ in range(_PAGES_MAX):
        report = tidy(home, settings, cursor)
        swept = asdict(report.swept)
        cursor = swept.pop("cursor")
        counts.update(swept, dead_workers=report.dead_workers, forgotten=report.forgotten)
        if not cursor:
            break
    return dict(counts)


def _letter_lines(letters: Sequence[Mapping[str, Any]]) -> list[str]:
    """The dead letters that no job tells of; what a job failed for, `status` says."""
    return [
        shown(f"dead letter: {each['queue']} {each['body'].get('key', each['body'])}: {each['reason']}")
        for each in letters
        if each["job"] is None
    ]

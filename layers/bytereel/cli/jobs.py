"""The commands about jobs: jobs, status, get, cancel, retry, sweep."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bytereel.cli import homes
from bytereel.cli.options import STANDARD, Force, HomeFolder, JobId, Json
from bytereel.cli.output import pair_lines, print_result, size_text, table_lines
from bytereel.cli.progress import ProgressBar
from bytereel.model import Job, JobState

if TYPE_CHECKING:
    from bytereel.steps.sweep import SweepReport
    from bytereel.wiring import Home

_COPY_BYTES = 1 << 20
_WEEK_SECONDS = 7 * 86400.0
_PAGES_MAX = 10_000


def jobs(
    state: Annotated[JobState | None, typer.Option("--state", help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="At most so many.")] = 50,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    from bytereel.operations import view

    place, _ = homes.opened_existing(home)
    now = place.ports.clock.now()
    views = [view(job, now) for job in place.ports.jobs.list(state, limit=limit)]
    counts = {each.value: count for each, count in place.ports.jobs.count().items() if count}
    rows = [_row(each) for each in views]
    lines = table_lines(("JOB", "STATE", "DONE", "SIZE", "CREATED", "SOURCE"), rows) if rows else []
    total = ", ".join(f"{count} {name}" for name, count in counts.items()) or "no jobs"
    print_result({"jobs": views, "counts": counts}, [*lines, total], as_json=as_json)


def _row(job: Mapping[str, Any]) -> tuple[str, ...]:
    name = str(job["source"]).rpartition("/")[2]
    done = f"{job['progress']:.0%}"
    return job["id"], job["state"], done, size_text(job["source_bytes"]), _time_text(job["created_at"]), name


def _time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def status(
    job_id: JobId,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for the job's end, showing how it goes.", show_default=False)
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to watch.")] = _WEEK_SECONDS,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Say where a job stands."""
    from bytereel.operations import find_job

    place, _ = homes.opened_existing(home)
    job = find_job(place.ports.jobs, job_id)
    if watch:
        with ProgressBar("converting", hidden=as_json) as progress:
            job = homes.await_job(place, job.id, timeout, progress)
    _print_job(place, job, as_json=as_json)
    if watch:
        raise typer.Exit(homes.end_code(job))


def cancel(job_id: JobId, home: HomeFolder = None, as_json: Json = False) -> None:
    """End a running job."""
    from bytereel import operations

    place, _ = homes.opened_existing(home)
    _print_job(place, operations.cancel(place.ports, job_id), as_json=as_json)


def retry(job_id: JobId, home: HomeFolder = None, as_json: Json = False) -> None:
    """Let a failed or cancelled job go on where it stopped."""
    from bytereel import operations

    place, _ = homes.opened_existing(home)
    _print_job(place, operations.retry(place.ports, job_id), as_json=as_json)


def _print_job(place: "Home", job: Job, *, as_json: bool) -> None:
    from bytereel.operations import view

    path = homes.output_path(place, job)
    values = {**view(job, place.ports.clock.now()), "path": str(path) if path else None}
    rate = values["bytes_per_second"]
    lines = pair_lines(
        {
            "job": job.id,
            "state": f"{job.state} ({values['progress']:.0%}, {job.segments_done} of {job.segments_total} segments)",
            "source": f"{job.source.key} ({size_text(job.source_bytes)})",
            "to": f"{job.conversion}/{job.profile}",
            "created": _time_text(job.created_at),
            "time": f"{values['seconds']:.2f} s" + (f", {size_text(rate)}/s" if rate else ""),
            "reason": job.reason,
            "output": values["path"],
            "size": size_text(values["output_bytes"]) if values["output_bytes"] is not None else None,
        }
    )
    print_result(values, lines, as_json=as_json)


def get(
    job_id: JobId,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="- is standard output.", show_default="its own name"),
    ] = None,
    force: Force = False,
    home: HomeFolder = None,
    as_json: Json = False,
) -> None:
    """Copy a job's output out of the outbox."""
    from bytereel_codec.names import safe_name
    from bytereel_codec.sink import StreamTarget, TargetFile

    from bytereel.operations import find_job

    place, _ = homes.opened_existing(home)
    job = find_job(place.ports.jobs, job_id)
    name = safe_name(homes.find_output(place, job).key)
    target = Path(name if output is None else output)
    if output is not None and target.is_dir():
        target /= name
    with ProgressBar("copying", hidden=as_json) as progress:
        if output == STANDARD:
            size = _copy(place, job, StreamTarget(1), progress)
        else:
            with TargetFile(target, replace=force) as file:
                size = _copy(place, job, file, progress)
                file.commit(size)
    values = {"job": job.id, "path": str(target), "bytes": size}
    print_result(
        values, pair_lines({"written": target, "size": size_text(size)}), as_json=as_json, on_stderr=output == STANDARD
    )


def _copy(place: "Home", job: Job, target: Any, progress: ProgressBar) -> int:
    """Write the job's output to a target of the codec's sinks; return its size. One version of it, or an error."""
    objects, ref = place.ports.objects, homes.find_output(place, job)
    buffer = memoryview(bytearray(_COPY_BYTES))
    done = 0
    while count := objects.read_into(ref, done, buffer):
        target.write_at(done, buffer[:count])
        done += count
        progress(done, job.result.get("output_bytes"))
    return done


def sweep(home: HomeFolder = None, as_json: Json = False) -> None:
    """Tidy a home, as `up` does by itself.

    Resumes what stalled, announces what lies in the inbox, clears orphans, lets go of what is old.
    """
    from bytereel.steps.sweep import SweepLimits
    from bytereel.steps.sweep import sweep as sweep_once
    from bytereel.workers.owners import free_the_dead

    place, settings = homes.opened_existing(home)
    limits = SweepLimits(settings.stall_seconds, settings.keep_done_days)
    found = {
        "placed": place.inbox.settle(),
        "dead_workers": free_the_dead(place.ports, place.owners_folder),
        "announced": place.inbox.reconcile(settings.settle_seconds, place.ports.clock.now()),
        "resumed": 0,
        "orphans": 0,
        "orphan_bytes": 0,
        "expired": 0,
    }
    cursor = ""
    for _ in range(_PAGES_MAX):
        report = sweep_once(place.ports, limits, cursor)
        _add(found, report)
        cursor = report.cursor
        if not cursor:
            break
    print_result(found, pair_lines({name.replace("_", " "): count for name, count in found.items()}), as_json=as_json)


def _add(found: dict[str, int], report: "SweepReport") -> None:
    for name, count in asdict(report).items():
        if name in found:
            found[name] += count


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (jobs, status, get, cancel, retry, sweep):
        app.command()(command)

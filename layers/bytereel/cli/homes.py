"""Opening a home for a command, and waiting for one of its jobs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bytereel.cli.exits import ExitCode
from bytereel.cli.printing.output import print_note
from bytereel.errors import Permanent, Temporary
from bytereel.model import JOB_ENDED, OUTBOX, Job, JobState, ObjectInfo, ObjectRef

if TYPE_CHECKING:
    from bytereel.settings import Settings
    from bytereel.wiring import Home


def opened(folder: Path | None) -> "tuple[Home, Settings]":
    """The home that was chosen, made where there is none."""
    from bytereel.settings import load_settings
    from bytereel.wiring import open_home

    settings = load_settings(home=folder)
    return open_home(settings), settings


def opened_existing(folder: Path | None) -> "tuple[Home, Settings]":
    """The home that was chosen. Raises: Permanent `home.absent` where there is none."""
    from bytereel.settings import load_settings
    from bytereel.wiring import open_home

    settings = load_settings(home=folder)
    return open_home(settings, make=False), settings


def output_address(home: "Home", job: Job) -> str | None:
    """Where a done job's output lies, as a path or a URL; else None."""
    output = job.result.get("output") if job.state is JobState.DONE else None
    return home.address_of(ObjectRef(OUTBOX, output)) if output else None


def await_job(
    home: "Home",
    job_id: str,
    timeout_seconds: float,
    progress: Callable[[int, int | None], None],
    *,
    as_json: bool,
) -> Job:
    """The job once it has ended; says where no worker runs. Raises: Temporary `wait.timeout`."""
    from bytereel import operations

    is_said = as_json

    def look(job: Job | None, waited_seconds: float) -> None:
        nonlocal is_said
        if job is not None:
            progress(job.source_bytes * job.segments_done // max(1, job.segments_total), job.source_bytes)
        if not is_said and (job is None or job.state not in JOB_ENDED):
            is_said = True
            note_missing_workers(home)

    return operations.await_job(home.ports, job_id, timeout_seconds, look)


def end_code(job: Job) -> ExitCode:
    """The code of a job's end, saying why it failed."""
    if job.state is JobState.DONE:
        return ExitCode.OK
    print_note(f"job {job.id} {job.state.value}" + (f": {job.reason}" if job.reason != job.state else ""))
    return ExitCode.JOB_FAILED


def find_output(home: "Home", job: Job) -> ObjectInfo:
    """The very version of a job's output that the outbox holds.

    Raises: Permanent `job.failed`, `output.gone`; Temporary `job.running`.
    """
    if job.state not in JOB_ENDED:
        hint = f"wait for it: `bytereel status {job.id} --watch`"
        raise Temporary("job.running", f"job {job.id} has no output yet: it is {job.state}", hint=hint, job=job.id)
    if job.state is not JobState.DONE:
        message = f"job {job.id} has no output: {job.reason or job.state.value}"
        raise Permanent(
            "job.failed", message, hint=f"mend what the reason says, then `bytereel retry {job.id}`", job=job.id
        )
    found = home.ports.objects.stat(ObjectRef(OUTBOX, job.result["output"]))
    if found is None:
        message = f"the output of job {job.id} is no longer in the outbox"
        raise Permanent("output.gone", message, hint="put its source again to have it made anew", job=job.id)
    return found


def living_workers(home: "Home") -> int | None:
    """How many workers run on a home of this machine; None where that is not known here."""
    from bytereel.workers.owners import count_living

    return count_living(home.owners_folder) if home.owners_folder else None


def note_missing_workers(home: "Home") -> None:
    """Say where nothing goes on because no worker runs."""
    if living_workers(home) == 0:
        print_note(f"no worker runs on {home.name!r}: start `bytereel up` to go on")

"""Exit codes: what a script may rely on. The same table stands in `--help` and in docs/cli.md."""

import errno
from enum import IntEnum

from bytereel.errors import BytereelError, Integrity, Permanent, Temporary


class ExitCode(IntEnum):
    """What a command ends with."""

    OK = 0
    BUG = 1
    USAGE = 2
    PERMANENT = 3
    TEMPORARY = 4
    INTEGRITY = 5
    JOB_FAILED = 6
    INCOMPLETE = 7
    HUNG_UP = 129
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141
    TERMINATED = 143


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.BUG: "a bug in bytereel",
    ExitCode.USAGE: "the command was not understood",
    ExitCode.PERMANENT: "it cannot be done: the input or a setting is wrong",
    ExitCode.TEMPORARY: "not now: it may work later",
    ExitCode.INTEGRITY: "bytes are lost, or not what they were",
    ExitCode.JOB_FAILED: "the job failed or was cancelled",
    ExitCode.INCOMPLETE: "`doctor` found something missing",
    ExitCode.HUNG_UP: "the terminal went away",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.OUTPUT_CLOSED: "the reader of the output went away",
    ExitCode.TERMINATED: "terminated",
}

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BY_ERROR_ID = {"job.failed": ExitCode.JOB_FAILED, "target.closed": ExitCode.OUTPUT_CLOSED}
_BY_FAMILY = {
    Permanent.family: ExitCode.PERMANENT,
    Temporary.family: ExitCode.TEMPORARY,
    Integrity.family: ExitCode.INTEGRITY,
}


def exit_code_of(error: BytereelError) -> ExitCode:
    """The exit code for an error: by its id where that has one of its own, else by its family."""
    return _BY_ERROR_ID.get(error.error_id) or _BY_FAMILY[error.family]


def as_failure(error: BytereelError | OSError | MemoryError) -> BytereelError:
    """The error as one of the families."""
    if isinstance(error, BytereelError):
        return error
    if isinstance(error, MemoryError):
        return Temporary("system.memory", "there is not enough memory", hint="fewer --workers take less")
    where = f"{error.filename!r}: " if error.filename else "input or output: "
    message = f"{where}{error.strerror or error}"
    if error.errno in _FULL:
        return Temporary("system.full", message, hint="free some space")
    return Permanent("system.refused", message)

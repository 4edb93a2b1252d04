"""`bytereel`: gathers the commands, and turns every way in which one can end into one line and an exit code.

Nothing slow is imported before a command needs it: `--help` answers at once.
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType, TracebackType

import typer
from typer.exceptions import TyperException

from bytereel.cli.commands import channel, doctor, gateway, jobs, profiles, reels, road, survive
from bytereel.cli.exits import MEANINGS, ExitCode, exit_code_of
from bytereel.cli.printing.output import print_error, print_failure
from bytereel.errors import BytereelError, Permanent, Temporary
from bytereel.logs import escape_before_configured
from bytereel.signals import is_wanted

JSON = "--json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="bytereel",
    help="Turns any file into a video, and gives it back bit for bit.",
    epilog="\b\nExit codes:\n" + "\n".join(f"{code:>5}  {meaning}" for code, meaning in MEANINGS.items()),
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def bytereel(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version.", show_default=False),
) -> None:
    """Turns any file into a video, and gives it back bit for bit."""
    from bytereel_codec.version import __version__

    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


for group in (reels, profiles, channel, survive, road, jobs, gateway, doctor):
    group.register(app)


def main() -> int:
    """Run the command line of this process; return its exit code."""
    sys.excepthook = _report_bug
    escape_before_configured()
    _hold_standard_files()
    for number in (signal.SIGTERM, signal.SIGHUP):  # Ctrl-C raises KeyboardInterrupt by itself
        if is_wanted(number):
            signal.signal(number, _on_terminate)
    code = run(sys.argv[1:])
    _leave(code)
    return code


def _leave(code: int) -> None:
    """End the process at once where numba was loaded: taking its modules apart would keep the user waiting for 0.2 s.

    Every file and thread of a command belongs to a context that is over by now; only buffered text is left.
    """
    if "numba" not in sys.modules:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code, having said why it failed. A bug propagates."""
    as_json = JSON in arguments
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except TyperException as error:
        print_error(
            {"family": "usage", "id": "usage", "message": error.format_message(), "hint": _usage_hint(error)},
            as_json=as_json,
        )
        return ExitCode.USAGE
    except BrokenPipeError:
        _drop_unwritten()
        return ExitCode.OUTPUT_CLOSED
    except KeyboardInterrupt:
        print_error({"family": "interrupted", "id": "interrupted", "message": "interrupted"}, as_json=as_json)
        return ExitCode.INTERRUPTED
    except (BytereelError, OSError, MemoryError) as error:
        failure = _as_failure(error)
        code = exit_code_of(failure)
        if code is not ExitCode.OUTPUT_CLOSED:
            print_failure(failure, as_json=as_json)
        _drop_unwritten()
    return code


def _invoke(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("bytereel", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return int(end.exit_code)
    return ExitCode.OK


def _usage_hint(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'bytereel'} --help` says more"


def _as_failure(error: BytereelError | OSError | MemoryError) -> BytereelError:
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


def _drop_unwritten() -> None:
    """Let go of output that cannot be written, so that the interpreter does not try once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _on_terminate(number: int, frame: FrameType | None) -> None:
    """Leave as if by an error, so that nothing half-written stays behind."""
    raise SystemExit(ExitCode.HUNG_UP if number == signal.SIGHUP else ExitCode.TERMINATED)


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line what nobody foresaw, and where; the interpreter then ends with code 1."""
    if kind is KeyboardInterrupt:
        return
    last = traceback.extract_tb(trace)[-1] if trace else None
    where = f" at {os.path.basename(last.filename)}:{last.lineno}" if last else ""  # noqa: PTH119 - a name, no file
    print_error(
        {
            "family": "bug",
            "id": "bug",
            "message": f"this is a bug: {kind.__name__}{where}: {error}",
            "hint": "please report it, with the command that shows it",
        },
        as_json=JSON in sys.argv,
    )


def _hold_standard_files() -> None:
    """Take the numbers of closed standard files, so that no other file gets them and is written to by mistake.

    What is written to such a file fails: its stand-in is open for reading alone.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115,PTH123
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main())

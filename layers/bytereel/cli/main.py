"""`bytereel`: gathers the commands, and turns every way in which one can end into one line and an exit code.

Nothing slow is imported before a command needs it: `--help` answers at once.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import FrameType, TracebackType

import click
from click.exceptions import Exit
from click.shell_completion import shell_complete

from bytereel.cli.commands.completion import COMPLETE_VARIABLE
from bytereel.cli.exits import MEANINGS, ExitCode, as_failure, exit_code_of
from bytereel.cli.printing.output import print_error, print_failure
from bytereel.errors import BytereelError
from bytereel.logs import escape_before_configured
from bytereel.signals import is_wanted

JSON = "--json"

COMMANDS = {
    "encode": "encode",
    "decode": "reels",
    "inspect": "reels",
    "verify": "reels",
    "profiles": "profiles",
    "estimate": "profiles",
    "channel": "channel",
    "survive": "survive",
    "up": "road",
    "put": "road",
    "jobs": "jobs",
    "status": "jobs",
    "get": "jobs",
    "cancel": "jobs",
    "retry": "jobs",
    "sweep": "jobs",
    "gateway": "gateway",
    "doctor": "doctor",
    "completion": "completion",
}
"""The module of `commands` that each command stands in, in the order of `--help`."""


class _Commands(click.Group):
    """The commands, each loaded when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """All of them."""
        del context
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name."""
        del context
        if name not in COMMANDS:
            return None
        found = getattr(import_module(f"bytereel.cli.commands.{COMMANDS[name]}"), name)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`help CMD` is `CMD --help`. A name that is none is an error that names those near to it."""
        if arguments[0] == "help":
            arguments = [*arguments[1:2], "--help"] if len(arguments) > 1 else ["--help"]
        if len(arguments) == 1 and arguments[0] == "--help":
            print(context.get_help())
            raise Exit(ExitCode.OK)
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS)
            raise click.UsageError(
                f"there is no command {name!r}" + (f": {' or '.join(near)}?" if near else ""), context
            )
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with the whole sentence that says what it does."""
        rows = []
        for name in self.list_commands(context):
            command = self.get_command(context, name)
            assert command is not None
            rows.append((name, command.get_short_help_str(limit=500)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """What a script may rely on."""
        del context
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{code:>3}", meaning) for code, meaning in MEANINGS.items()])


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--version", "-V", is_flag=True, help="Print the version.")
@click.pass_context
def app(context: click.Context, *, version: bool) -> None:
    """Turns any file into a video, and gives it back bit for bit."""
    from bytereel_codec.version import __version__

    if version:
        print(__version__)
        raise Exit(ExitCode.OK)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise Exit(ExitCode.USAGE)


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
    asked = os.environ.get(COMPLETE_VARIABLE)  # noqa: TID251 - no setting, but how click and a shell talk
    if asked:
        return shell_complete(app, {}, "bytereel", COMPLETE_VARIABLE, asked)
    as_json = JSON in arguments
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except click.ClickException as error:
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
        failure = as_failure(error)
        code = exit_code_of(failure)
        if code is not ExitCode.OUTPUT_CLOSED:
            print_failure(failure, as_json=as_json)
        _drop_unwritten()
    return code


def _invoke(arguments: Sequence[str]) -> int:
    try:
        with app.make_context("bytereel", list(arguments)) as context:
            app.invoke(context)
    except Exit as end:
        return int(end.exit_code)
    return ExitCode.OK


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'bytereel'} --help` says more"


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

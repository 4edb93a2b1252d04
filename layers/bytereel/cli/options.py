"""Arguments and options that several commands share, and how their values are read."""

import functools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bytereel.errors import Permanent

if TYPE_CHECKING:
    from bytereel_codec.frame.envelope import Secret

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d{1,19})\s*([a-zA-Z]*)", re.ASCII)
STANDARD = "-"
_PASSPHRASE_READ_MAX = 1 << 17
FILE = click.Path(path_type=Path)
F = TypeVar("F", bound=Callable[..., Any])


class Count(click.ParamType[int]):
    """A whole number from `least` (1) to `most`, said in words where it is none."""

    name = "number"

    def __init__(self, most: int, least: int = 1) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        """The number. Raises: click.BadParameter."""
        text = str(value)
        number = int(text) if re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) else None
        if number is None or not self._least <= number <= self._most:
            self.fail(f"{text!r} is no whole number from {self._least} to {self._most}", param, context)
        return number


class Seconds(click.ParamType[float]):
    """A time in seconds, 0 or more."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """The seconds. Raises: click.BadParameter."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            self.fail(f"{value!r} is no number of seconds such as 90 or 0.5", param, context)
        return seconds


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A half-open range of bytes; `end` None is the end of the original."""

    start: int = 0
    end: int | None = None


def parse_percent(text: str) -> float:
    """`10%`, `10` or `2.5%` as a number between 0 and 100."""
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no percentage such as 10%") from error
    if not 0 <= percent <= 100:
        raise click.BadParameter(f"{text!r} is not between 0% and 100%")
    return percent


def parse_range(text: str) -> ByteRange:
    """`A:B`, `A:` or `:B`, each a number of bytes that may end in KiB, MiB, GiB or TiB."""
    start, colon, end = text.partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is no range such as 0:4096, 1MiB: or :100")
    found = ByteRange(parse_size(start) if start else 0, parse_size(end) if end else None)
    if found.end is not None and found.end < found.start:
        raise click.BadParameter(f"{text!r} ends before it starts")
    return found


def parse_reel_id(text: str) -> bytes:
    """The first digits of a reel's id, an even number of them."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no even number of hexadecimal digits") from error


def parse_size(text: str) -> int:
    """A number of bytes that may end in KiB, MiB, GiB or TiB, or in KB, MB, GB or TB (powers of ten)."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise click.BadParameter(f"{text!r} is no number of bytes such as 4096, 64KiB or 1MiB")
    return int(found[1]) * _UNITS[found[2].upper()]


@dataclass(frozen=True, slots=True)
class SecretChoice:
    """Where the secret comes from, as it was said on the command line."""

    passphrase_file: Path | None
    passphrase_command: str | None
    ask_passphrase: bool
    key_file: Path | None

    def require_input_of_its_own(self, sources: Sequence[str]) -> None:
        """Refuse to read both the secret and an input from standard input. Raises: click.BadParameter."""
        if str(self.passphrase_file) == STANDARD and STANDARD in sources:
            raise click.BadParameter("standard input is IN already", param_hint="--passphrase-file")

    def read(self, *, seals: bool = False) -> "Secret | None":
        """The secret; None where none was given. With `seals` one that is asked for is asked for twice.

        Raises: click.BadParameter where several were given; Permanent as `secret_from_files`, `secret.command`.
        """
        from bytereel_codec.frame.envelope import passphrase_secret, secret_from_files

        given = (self.passphrase_file, self.passphrase_command, self.ask_passphrase or None, self.key_file)
        if sum(each is not None for each in given) > 1:
            raise Permanent("secret.two", "several secrets were given", hint="give one of them")
        if self.ask_passphrase:
            return passphrase_secret(_asked(twice=seals), "what was typed", seals=seals)
        if self.passphrase_command is not None:
            return passphrase_secret(_said_by(self.passphrase_command), "what the program says", seals=seals)
        if str(self.passphrase_file) == STANDARD:
            content = sys.stdin.buffer.read(_PASSPHRASE_READ_MAX)
            return passphrase_secret(content, "standard input", seals=seals)
        return secret_from_files(self.passphrase_file, self.key_file, seals=seals)


def _asked(*, twice: bool) -> bytes:
    """What is typed, unseen. Raises: Permanent `secret.no_terminal`; KeyboardInterrupt."""
    if not sys.stdin.isatty():
        raise Permanent("secret.no_terminal", "there is no terminal to ask on", hint="give --passphrase-file")
    try:
        return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)).encode()
    except click.Abort as error:
        raise KeyboardInterrupt from error


def _said_by(command: str) -> bytes:
    """What a program of the user's says on standard output; standard input is not its own.

    Raises: click.BadParameter for what names no program; Permanent `secret.command`.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.BadParameter(f"{command!r}: {error}", param_hint="--passphrase-command") from error
    if not words:
        raise click.BadParameter("it names no program", param_hint="--passphrase-command")
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)  # noqa: S603
    except OSError as error:
        raise Permanent("secret.command", f"{words[0]!r} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise Permanent("secret.command", f"the program for the passphrase ended with {done.returncode}")
    return done.stdout


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
force_option = click.option("--force", "-f", is_flag=True, help="Replace an output that exists.")
parity_option = click.option(
    "--parity", type=parse_percent, metavar="N%", help="How many lost segments can be brought back."
)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several arguments and options as one decorator, in the order in which `--help` shows them."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def secret_options(command: F) -> F:
    """The ways to give a secret; the command gets one `secret`, a `SecretChoice`."""

    @functools.wraps(command)
    def with_secret(
        *args: Any,
        passphrase_file: Path | None,
        passphrase_command: str | None,
        ask_passphrase: bool,
        key_file: Path | None,
        **named: Any,
    ) -> Any:
        chosen = SecretChoice(passphrase_file, passphrase_command, ask_passphrase, key_file)
        return command(*args, secret=chosen, **named)

    return together(
        click.option(
            "--passphrase-file",
            type=FILE,
            metavar="FILE",
            help="Seal or open with the passphrase on this file's one line; - is standard input.",
        ),
        click.option("--passphrase-command", metavar="COMMAND", help="Seal or open with what this program says."),
        click.option("--ask-passphrase", is_flag=True, help="Ask for the passphrase on the terminal."),
        click.option("--key-file", type=FILE, metavar="FILE", help="Seal or open with this file's key of 32 bytes."),
    )(with_secret)  # type: ignore[return-value]


allow_unsealed_option = click.option(
    "--allow-unsealed", is_flag=True, help="Take a reel that is not sealed, though a secret is given."
)
workers_option = click.option(
    "--workers", "-w", type=Count(256), metavar="N", help="Threads, 1 to 256; by default one a core."
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What draws and reads the pictures of lossy reels.",
)
reel_option = click.option(
    "--reel", "reel_id", type=parse_reel_id, metavar="HEX", help="Which reel, where a file holds several."
)
home_option = click.option(
    "--home",
    "folder",
    type=FILE,
    metavar="DIR",
    help="Folder of inbox, outbox and state; by default BYTEREEL_HOME.",
)
jobs_argument = click.argument(
    "job_ids", nargs=-1, required=True, metavar="JOB...", help="Jobs' ids, or as much of their starts as is unique."
)
job_argument = click.argument("job_id", metavar="JOB", help="A job's id, or as much of its start as is unique.")

"""Arguments and options that several commands share, and how their values are read."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bytereel_codec.frame.envelope import Secret

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"(\d{1,19})\s*([a-zA-Z]*)", re.ASCII)
STANDARD = "-"
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


def read_secret(passphrase_file: Path | None, key_file: Path | None, *, seals: bool = False) -> "Secret | None":
    """The secret in the files that were given. Raises: as `secret_from_files`."""
    from bytereel_codec.frame.envelope import secret_from_files

    return secret_from_files(passphrase_file, key_file, seals=seals)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
force_option = click.option("--force", "-f", is_flag=True, help="Replace an output that exists.")
parity_option = click.option(
    "--parity", type=parse_percent, metavar="N%", help="How many lost segments can be brought back."
)
passphrase_file_option = click.option(
    "--passphrase-file",
    type=FILE,
    metavar="FILE",
    help="Seal or open with the passphrase on this file's one line.",
)
key_file_option = click.option(
    "--key-file", type=FILE, metavar="FILE", help="Seal or open with this file's key of 32 bytes."
)
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


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several arguments and options as one decorator, in the order in which `--help` shows them."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate

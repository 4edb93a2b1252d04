"""Arguments and options that several commands share, and how their values are read."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from bytereel_codec.frame.envelope import Secret

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZE = re.compile(r"(\d{1,19})\s*([a-zA-Z]*)", re.ASCII)
STANDARD = "-"


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
        raise typer.BadParameter(f"{text!r} is no percentage such as 10%") from error
    if not 0 <= percent <= 100:
        raise typer.BadParameter(f"{text!r} is not between 0% and 100%")
    return percent


def parse_range(text: str) -> ByteRange:
    """`A:B`, `A:` or `:B`, each a number of bytes that may end in KiB, MiB, GiB or TiB."""
    start, colon, end = text.partition(":")
    if not colon:
        raise typer.BadParameter(f"{text!r} is no range such as 0:4096, 1MiB: or :100")
    found = ByteRange(parse_size(start) if start else 0, parse_size(end) if end else None)
    if found.end is not None and found.end < found.start:
        raise typer.BadParameter(f"{text!r} ends before it starts")
    return found


def parse_reel_id(text: str) -> bytes:
    """The first digits of a reel's id, an even number of them."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no even number of hexadecimal digits") from error


def parse_size(text: str) -> int:
    """A number of bytes that may end in KiB, MiB, GiB or TiB."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise typer.BadParameter(f"{text!r} is no number of bytes such as 4096, 64KiB or 1MiB")
    return int(found[1]) * _UNITS[found[2].upper()]


def read_secret(passphrase_file: Path | None, key_file: Path | None) -> "Secret | None":
    """The secret in the files that were given. Raises: as `secret_from_files`."""
    from bytereel_codec.frame.envelope import secret_from_files

    return secret_from_files(passphrase_file, key_file)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", show_default=False)]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace an output that exists.", show_default=False)]
Parity = Annotated[
    float | None,
    typer.Option(parser=parse_percent, metavar="N%", help="How many lost segments can be brought back."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="Seal or open with the passphrase on this file's one line."),
]
AllowUnsealed = Annotated[
    bool,
    typer.Option(
        "--allow-unsealed", help="Take a reel that is not sealed, though a secret is given.", show_default=False
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", metavar="FILE", help="Seal or open with this file's key of 32 bytes.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", "-w", min=1, max=256, help="Threads.", show_default="one a core")
]
DeviceChoice = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="What draws and reads the pictures of lossy reels.", show_default=True),
]
ReelId = Annotated[
    bytes | None,
    typer.Option("--reel", parser=parse_reel_id, metavar="HEX", help="Which reel, where a file holds several."),
]
HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Folder of inbox, outbox and state.", show_default="BYTEREEL_HOME"),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or as much of its start as is unique.")]

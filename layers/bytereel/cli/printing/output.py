"""What commands say: a result as text or as one JSON object on standard output, an error on standard error.

Where standard output carries the data itself (`-`), the result goes to standard error too. Names come out of reels and
from other people, so nothing is printed that could move the cursor or break a line: see `shown` of `logs`.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TextIO

from bytereel.cli.printing.hints import hint_for
from bytereel.errors import BytereelError
from bytereel.logs import shown

_UNITS = ("KiB", "MiB", "GiB", "TiB")
_WIDE = 10_000


def size_text(count: int) -> str:
    """A number of bytes for people: `831 B`, `1.50 GiB`."""
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in _UNITS:
        size /= 1024
        if size < 1024 or unit == _UNITS[-1]:
            break
    return f"{size:.{2 if size < 100 else 0}f} {unit}"


def rate_text(count: int, seconds: float) -> str:
    """Bytes in seconds as a time and a rate."""
    return f"{seconds:.2f} s, {size_text(round(count / seconds))}/s" if seconds > 0 else f"{seconds:.2f} s"


def ranges_text(ranges: Sequence[Sequence[int]], limit: int = 8) -> str:
    """Half-open byte ranges for people: `0-512, 1024-2048`."""
    more = f" and {len(ranges) - limit} more" if len(ranges) > limit else ""
    return ", ".join(f"{start}-{end}" for start, end in ranges[:limit]) + more


def print_result(values: Mapping[str, Any], lines: Iterable[str], *, as_json: bool, on_stderr: bool = False) -> None:
    """Print a command's result: `values` as one JSON object, or `lines` as they are."""
    file = sys.stderr if on_stderr else sys.stdout
    if as_json:
        print(json.dumps(values, default=str), file=file)
        return
    for line in lines:
        print(line, file=file)


def print_note(text: str) -> None:
    """Say something that is no result, on standard error."""
    print(f"bytereel: {shown(text)}", file=sys.stderr, flush=True)


def print_error(error: Mapping[str, Any], *, as_json: bool) -> None:
    """Print an error (see `BytereelError.to_dict`) on standard error: a line and perhaps a hint, or one JSON object."""
    if as_json:
        print(json.dumps({"error": error}, default=str), file=sys.stderr)
        return
    print_note(str(error["message"]))
    if error.get("hint"):
        print(f"  hint: {shown(str(error['hint']))}", file=sys.stderr)


def print_failure(error: BytereelError, *, as_json: bool) -> None:
    """Print an error of the families."""
    values = error.to_dict()
    hint = hint_for(values)
    print_error({**values, "hint": hint} if hint else values, as_json=as_json)


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table as lines; cells are shown literally, and cut only where a terminal is too narrow for them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for name in columns:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    is_terminal = _is_terminal(sys.stdout)
    console = Console(file=sys.stdout, width=None if is_terminal else _WIDE)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]


def show_anew(lines: Callable[[], Sequence[str]], seconds: float) -> None:
    """Show lines until Ctrl-C, asked for again every so many seconds: in place on a terminal, else where they changed.

    Raises: KeyboardInterrupt, when the user has seen enough.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    if _is_terminal(sys.stdout):
        with Live(Text("\n".join(lines())), console=Console(file=sys.stdout), auto_refresh=False) as live:
            while True:
                live.update(Text("\n".join(lines())), refresh=True)
                time.sleep(seconds)
    before: Sequence[str] = ()
    while True:
        now = lines()
        if now != before:
            print("\n".join([*([""] if before else []), *now]), flush=True)
        before = now
        time.sleep(seconds)


def pair_lines(pairs: Mapping[str, object]) -> list[str]:
    """Names and values below each other; those without a value are left out."""
    known = {name: shown(str(value)) for name, value in pairs.items() if value not in (None, "")}
    width = max(map(len, known), default=0)
    return [f"{name:<{width}}  {value}" for name, value in known.items()]


def _is_terminal(file: TextIO | None) -> bool:
    return file is not None and file.isatty()

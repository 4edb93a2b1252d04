"""What a measurement is: a figure with its unit, and the bound that it must keep, where there is one."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `at_most`/`at_least` bound it; a figure without a bound is there to compare with."""

    section: str
    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None without one."""
        if self.at_most is None and self.at_least is None:
            return None
        enough = self.at_least is None or self.value >= self.at_least
        return enough and (self.at_most is None or self.value <= self.at_most)

    @property
    def bound(self) -> str:
        """The bound as text."""
        if self.at_least is None:
            return "" if self.at_most is None else f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_most is None else f"{self.at_least:g} to {self.at_most:g}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "met": self.met}


def figure(value: float) -> str:
    """A value with as many digits as matter."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}" if 0.9 < value < 1.1 else f"{value:.3g}"


VERDICTS = {True: "yes", False: "NO", None: ""}


def as_text(row: Row) -> str:
    """The row as a line for a terminal."""
    bound = f"{row.bound:<10} {VERDICTS[row.met]:<3}" if row.bound else " " * 14
    return f"  {row.what:<58} {figure(row.value):>10} {row.unit:<8} {bound} {row.note}".rstrip()

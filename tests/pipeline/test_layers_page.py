"""The tables drawn in `layers/README.md` are the ones of `model.py`; the page's rooms are the ones there are."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

import pytest
from bytereel.model import JOB_TRANSITIONS, SEGMENT_TRANSITIONS, JobState, SegmentState

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "layers" / "README.md").read_text("utf-8")


def drawn(
    transitions: Mapping[str, tuple[frozenset[StrEnum], StrEnum]], states: Iterable[StrEnum], command: Mapping[str, str]
) -> str:
    """The table as Markdown: a row a transition, its starting states in the order of the enumeration."""
    rows = ["| transition | from | to | when |", "|---|---|---|---|"]
    for name, (starts, end) in transitions.items():
        begins = ", ".join(state for state in states if state in starts)
        rows.append(f"| `{name}` | {begins} | {end} | {command[name]} |")
    return "\n".join(rows)


def whens(heading: str) -> dict[str, str]:
    """What the page itself says of each transition's occasion."""
    table = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    return {row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \|.*\| (.+) \|$", table, re.MULTILINE)}


@pytest.mark.parametrize(
    ("heading", "transitions", "states"),
    [("Jobs", JOB_TRANSITIONS, JobState), ("Segments", SEGMENT_TRANSITIONS, SegmentState)],
)
def test_the_page_draws_the_transitions_of_the_model(heading: str, transitions: object, states: object) -> None:
    assert isinstance(transitions, dict)
    assert isinstance(states, type)
    said = whens(heading)
    assert said.keys() == transitions.keys()
    assert drawn(transitions, states, said) in PAGE


def test_the_page_names_every_module_in_the_order_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each.get("containers") == ["bytereel"]]
    rows = re.findall(r"^\| (`[^|]+`) \| ", PAGE.partition("## Rooms\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [layer.split(" | ") for layer in layers]

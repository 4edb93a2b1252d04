"""The list of changes is true and large enough, and what tries them tells a test that bites from one that does not."""

from collections import Counter
from pathlib import Path

import pytest

from tools import changes as kept
from tools import mutants
from tools.changes import Change, load_changes, why_stale

AREAS = {
    "codec/bytereel_codec": 50,
    "layers/bytereel/steps": 15,
    "layers/bytereel/adapters": 30,
    "functions/bytereel_functions": 5,
}
CHANGES_MIN = 120

SOURCE = """
def larger(a, b):
    if a < 0:
        raise ValueError(a)
    return a if a > b else b
"""
TESTS = """
import pytest
from p.x import larger

def test_larger():
    assert (larger(1, 2), larger(2, 1)) == (2, 2)

def test_always_fails():
    assert False
"""
LIST = """
[[file]]
path = "codec/p/x.py"
tests = ["tests/test_x.py::test_larger"]
[[file.change]]
what = "the smaller is given"
old = "if a > b else b"
new = "if a < b else b"
[[file.change]]
what = "nothing is refused"
old = "if a < 0:"
new = "if False:"
[[file.change]]
what = "equals are told apart"
old = "a > b"
new = "a >= b"
survives = "equal numbers are the same"
[[file.change]]
what = "a test that always fails is no killer"
old = "raise ValueError(a)"
new = "raise TypeError(a)"
tests = ["tests/test_x.py::test_always_fails"]
[[file.change]]
what = "a text that is gone"
old = "a <= b"
new = "a == b"
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one module, its tests, and a list of changes."""
    tree = tmp_path / "tree"
    for path, text in {"codec/p/x.py": SOURCE, "tests/test_x.py": TESTS, "list/list.toml": LIST}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for module in (kept, mutants):
        monkeypatch.setattr(module, "ROOT", tree)
    monkeypatch.setattr(mutants, "load_changes", lambda: load_changes(tree / "list"))
    monkeypatch.setattr(mutants, "why_stale", lambda change: why_stale(change, tree))
    return tree


def test_every_change_of_the_list_can_be_made_and_its_tests_are_there() -> None:
    assert {str(change): why for change in load_changes() if (why := why_stale(change))} == {}


def test_the_list_is_large_enough_everywhere_and_names_no_change_twice() -> None:
    changes = load_changes()
    assert len(changes) >= CHANGES_MIN
    for area, least in AREAS.items():
        assert sum(change.file.startswith(area) for change in changes) >= least, area
    assert max(Counter((change.file, change.old, change.new) for change in changes).values()) == 1
    assert max(Counter(map(str, changes)).values()) == 1, "each is called something else"


def test_each_verdict_is_what_the_tests_say_and_the_tree_stays_as_it_was(tree: Path, capsys) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert mutants.main(["--workers", "2"]) == 1
    said = capsys.readouterr().out
    for expected in (
        "killed    codec/x.py: the smaller is given",
        "          tests/test_x.py::test_larger",
        "survived  codec/x.py: nothing is refused",
        "excused   codec/x.py: equals are told apart",
        "          equal numbers are the same",
        "no longer applies codec/x.py: a text that is gone",
        "not proven codec/x.py: a test that always fails is no killer",
    ):
        assert expected in said
    tail = "5 changes: 1 killed, 1 survived, 1 excused, 1 no longer applies, 1 not proven"
    assert said.rstrip().endswith(tail)
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("only", "code"), [("the smaller", 0), ("nothing is", 1)])
def test_a_survivor_without_a_reason_ends_it_with_1_and_none_with_0(tree: Path, only: str, code: int) -> None:
    assert mutants.main(["--only", only]) == code


def test_tests_that_take_too_long_prove_nothing(tree: Path, capsys) -> None:
    (tree / "codec/p/x.py").write_text("while_ = False\nwhile while_:\n    pass\n" + SOURCE)
    (tree / "list/list.toml").write_text(
        '[[file]]\npath = "codec/p/x.py"\ntests = ["tests/test_x.py::test_larger"]\n'
        '[[file.change]]\nwhat = "an end"\nold = "while_ = False"\nnew = "while_ = True"\n'
    )
    assert mutants.main(["--seconds", "8"]) == 1
    assert "0 killed" in capsys.readouterr().out


def test_the_list_is_shown_and_checked_without_trying_anything(tree: Path, capsys, monkeypatch) -> None:
    monkeypatch.delattr(mutants, "try_all")
    assert mutants.main(["--list"]) == 1
    assert "5 changes, 1 of them no longer apply" in capsys.readouterr().out
    assert mutants.main(["--check"]) == 1
    assert (
        capsys.readouterr().out.splitlines()[0]
        == "codec/x.py: a text that is gone: its text stands 0 times in the file"
    )
    assert mutants.main(["--check", "--only", "smaller"]) == 0
    with pytest.raises(SystemExit):
        mutants.main(["--only", "no such thing"])


def change(**values: str) -> Change:
    return Change(
        **{"file": "codec/p/x.py", "what": "w", "old": "a > b", "new": "b", "tests": ("tests/test_x.py",)} | values
    )


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, ""),
        ({"tests": ("tests/test_x.py::test_larger",)}, ""),
        ({"file": "codec/p/gone.py"}, "there is no codec/p/gone.py"),
        ({"old": "a"}, "its text stands"),
        ({"new": "a > b"}, "it changes nothing"),
        ({"tests": ("tests/test_y.py",)}, "there is no tests/test_y.py"),
        ({"tests": ("tests/test_x.py::test_smaller",)}, "there is no tests/test_x.py::test_smaller"),
    ],
)
def test_a_change_says_why_it_no_longer_applies(tree: Path, values: dict, why: str) -> None:
    found = why_stale(change(**values), tree)
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize("text", [LIST.replace("what", "why", 1), LIST.replace('old = "a <= b"', "")])
def test_a_list_with_a_key_that_is_unknown_or_absent_is_refused(tree: Path, text: str) -> None:
    (tree / "list/list.toml").write_text(text)
    with pytest.raises(ValueError, match=r"list\.toml"):
        load_changes(tree / "list")


@pytest.mark.parametrize(
    ("failed", "survives", "verdict"),
    [
        (["tests/test_x.py::test_larger"], "", mutants.Verdict.KILLED),
        ([mutants.TOO_LONG], "", mutants.Verdict.UNPROVEN),
        (["pytest ended with 5: 1 deselected"], "", mutants.Verdict.UNPROVEN),
        (["tests/test_x.py"], "", mutants.Verdict.UNPROVEN),
        ([], "", mutants.Verdict.SURVIVED),
        ([], "equal numbers are the same", mutants.Verdict.EXCUSED),
    ],
)
def test_only_a_test_that_failed_kills(failed: list[str], survives: str, verdict: mutants.Verdict) -> None:
    change = Change("codec/p/x.py", "what", "old", "new", ("tests/test_x.py",), survives)
    assert mutants._verdict(change, failed) is verdict


def test_a_line_of_a_log_is_no_test_that_failed():
    printed = "ERROR    a.b:c.py:96 met an error\nFAILED tests/x.py::t - assert 0\nERROR tests/y.py - no module\n"
    assert mutants.FAILED_LINE.findall(printed) == ["tests/x.py::t", "tests/y.py"]

"""The fuzzing itself: it finds what is there and keeps it small, outlives crashes, is the same by its seed."""

import json
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.toy_target import CORE_SECONDS, GROWTH_BYTES, NAME, Toy
from tools.fuzz import __main__ as fuzz
from tools.fuzz import guided
from tools.fuzz.case import Case
from tools.fuzz.examine import examine
from tools.fuzz.findings import keep, read_findings
from tools.fuzz.minimise import minimised
from tools.fuzz.run import CannotStart, Plan, run_target
from tools.fuzz.tally import Tally, summed, table
from tools.fuzz.target import NAMES, case_of, load_target

MIB = 1 << 20
QUICK_TO_OPEN = ("parsers", "reels", "tar")


def toy(content: bytes, **facts: object) -> Case:
    return Case(NAME, content, facts)


@pytest.mark.parametrize("content", [b"", b"\n", b"short", bytes(100_000), Random(1).randbytes(5000)])
def test_a_case_comes_back_from_its_file(content):
    case = Case("tar", content, {"kind": "members", "cuts": [1, 2]})
    assert Case.from_bytes(case.to_bytes()) == case
    assert len(case.to_bytes()) < len(content) + 200


@pytest.mark.parametrize("stored", [b"", b"no line", b"x" * 70_000 + b"\n", b"no json\n"])
def test_what_is_no_case_is_refused(stored):
    with pytest.raises(ValueError):
        Case.from_bytes(stored)


def test_an_input_is_made_as_small_as_what_fails():
    content = Random(1).randbytes(3000) + b"needle" + Random(2).randbytes(3000)
    assert minimised(content, lambda shorter: b"needle" in shorter, seconds=30) == b"needle"
    assert minimised(content, lambda shorter: shorter == content, seconds=30) == content


def test_whole_blocks_alone_are_left_out_where_they_must_be():
    content = bytes(512) + b"a" * 512 + bytes(512) + b"b" * 512
    assert minimised(content, lambda shorter: b"a" in shorter and b"b" in shorter, seconds=30, step=512) == (
        b"a" * 512 + b"b" * 512
    )


def test_making_smaller_ends_in_time():
    assert minimised(bytes(100), lambda shorter: True, seconds=0) == bytes(100)


def test_a_case_that_holds_is_an_outcome():
    verdict = examine(Toy(), toy(b"fine"))
    assert verdict.failure is None
    assert verdict.outcome is not None and verdict.outcome.label == "fine"


@pytest.mark.parametrize(
    ("content", "kind", "signature"),
    [(b"a bug", "exception", "ZeroDivisionError"), (b"a law", "law", "toy_law")],
)
def test_what_escapes_and_what_breaks_a_law_is_a_failure(content, kind, signature):
    failure = examine(Toy(), toy(content)).failure
    assert failure is not None
    assert failure.kind == kind
    assert signature in failure.signature


@pytest.mark.parametrize(("size", "is_failure"), [(GROWTH_BYTES // 4, False), (2 * GROWTH_BYTES, True)])
def test_memory_is_held_to_its_bound(size, is_failure):
    verdict = examine(Toy(), toy(b"memory", bytes=size))
    assert (verdict.failure is not None and verdict.failure.kind == "memory") == is_failure
    assert verdict.growth_bytes > 0.9 * size


@pytest.mark.parametrize(("seconds", "is_failure"), [(CORE_SECONDS / 10, False), (2 * CORE_SECONDS, True)])
def test_time_is_held_to_its_bound(seconds, is_failure):
    failure = examine(Toy(), toy(b"slow", seconds=seconds)).failure
    assert (failure is not None and failure.kind == "slow") == is_failure


def test_a_finding_is_kept_small_once_with_what_runs_it_again(tmp_path):
    case = toy(b"x" * 500 + b"bug" + b"y" * 500)
    failure = examine(Toy(), case).failure
    assert failure is not None
    keep(tmp_path, Toy(), case, failure, 7)
    keep(tmp_path, Toy(), toy(b"another bug"), failure, 8)
    (finding,) = read_findings(tmp_path, NAME)
    assert finding.number == 7
    assert Case.from_bytes(finding.path.read_bytes()).content == b"bug"
    told = json.loads(finding.path.with_suffix(".json").read_text())
    assert told["replay"] == f"python -m tools.fuzz --replay {finding.path}"
    assert "ZeroDivisionError" in told["message"]


def test_a_case_that_must_stay_whole_is_kept_whole(tmp_path):
    case = toy(b"x" * 500 + b"bug", kind="whole")
    failure = examine(Toy(), case).failure
    assert failure is not None
    keep(tmp_path, Toy(), case, failure, 7)
    (finding,) = read_findings(tmp_path, NAME)
    assert Case.from_bytes(finding.path.read_bytes()) == case


def test_a_run_outlives_crashes_and_hangs_and_keeps_them(tmp_path):
    plan = Plan(1, 12.0, 2, tmp_path, lambda target: 1.5)
    tally, seconds = run_target(NAME, plan)
    found = {finding.failure.kind for finding in read_findings(tmp_path, NAME)}
    assert found == {"exception", "law", "crashed", "hung"}
    assert tally.labels["fine"] > 0
    assert {signature.split()[0] for signature in tally.failures} == {"ZeroDivisionError", "toy_law", "crashed", "hung"}
    assert seconds < 60


def test_a_target_that_cannot_start_says_why(tmp_path):
    with pytest.raises(CannotStart, match=r"tests\.fuzz\.no_such_target"):
        run_target("tests.fuzz.no_such_target", Plan(1, 5.0, 1, tmp_path, lambda target: 60.0))


@pytest.mark.parametrize("name", QUICK_TO_OPEN)
def test_a_seed_always_gives_the_same_cases(name, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = load_target(name, tmp_path / "a"), load_target(name, tmp_path / "b")
    made = [
        [case_of(target, seed, number) for number in range(12)]
        for target, seed in ((first, 1), (second, 1), (first, 2))
    ]
    assert made[0] == made[1] != made[2]


def test_tallies_add_up_and_are_shown():
    one, other = Tally(executions=3, slowest=(1.0, 4)), Tally(executions=4, slowest=(2.0, 9))
    one.labels["whole"] = 3
    other.failures["bug"] = 1
    total = summed([one, other])
    assert (total.executions, total.slowest, total.failures["bug"]) == (7, (2.0, 9), 1)
    assert "whole 3" in table([("reels", total, 2.0)])[1]


def test_a_tally_comes_back_from_its_file(tmp_path):
    tally = Tally()
    tally.note(examine(Toy(), toy(b"fine")), 3)
    tally.note(examine(Toy(), toy(b"bug")), 4)
    tally.write(tmp_path / "tally.json")
    assert Tally.read(tmp_path / "tally.json") == tally
    assert Tally.read(tmp_path / "absent.json") == Tally()


@pytest.mark.parametrize(("content", "code"), [(b"fine", 0), (b"a bug", 1)])
def test_a_replay_says_what_became_of_a_case(content, code, tmp_path, monkeypatch, capsys):
    path = tmp_path / "kept.case"
    path.write_bytes(toy(content).to_bytes())
    monkeypatch.setattr(sys, "argv", ["fuzz", "--replay", str(path)])
    assert fuzz.main() == code
    assert ("ZeroDivisionError" in capsys.readouterr().out) == bool(code)


def test_guidance_by_coverage_says_what_it_lacks(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(sys, "argv", ["guided", "header"])
    assert guided.main() == 2
    assert "pip install atheris" in capsys.readouterr().err


def test_every_target_of_the_help_has_a_module():
    for name in NAMES:
        assert (Path(fuzz.__file__).parent / name / "target.py").exists()

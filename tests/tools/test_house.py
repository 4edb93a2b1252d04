"""The picture of the house: rooms, arrows, floors and circles of packages that are made up, and of our own."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from tools.house import arrows_between, circles_in, files_at, files_here, floors_of, main, modules_in, picture, summary

PACKAGE = {
    "codec/p/__init__.py": "from p.top import run\n",
    "codec/p/top.py": "import os\nfrom p.wing import low\nfrom p.wing.high import thing\n",
    "codec/p/wing/__init__.py": "",
    "codec/p/wing/high.py": "from p.wing.low import thing\n",
    "codec/p/wing/low.py": "def f():\n    import p.base\n",
    "codec/p/base.py": "from typing import TYPE_CHECKING\n",
    "codec/FORMAT.md": "import p.nothing\n",
}


def modules(**changes: str) -> list:
    files = {**PACKAGE, **{f"codec/p/{name}.py": text for name, text in changes.items()}}
    return modules_in({PurePosixPath(path): text for path, text in files.items() if path.endswith(".py")})


def test_a_folder_a_file_and_the_package_itself_are_rooms_and_arrows_lead_between_them() -> None:
    assert arrows_between(modules()) == {
        "p.__init__": {"p.top"},
        "p.top": {"p.wing"},
        "p.wing": {"p.base"},
        "p.base": frozenset(),
    }
    assert arrows_between(modules(), rooms=False)["p.top"] == {"p.wing.low", "p.wing.high"}


def test_a_floor_is_the_longest_chain_of_arrows_down() -> None:
    assert floors_of(arrows_between(modules())) == {"p.base": 1, "p.wing": 2, "p.top": 3, "p.__init__": 4}
    short_cut = arrows_between(modules(top="import p.base\nimport p.wing.low\n"))
    assert short_cut["p.top"] == {"p.base", "p.wing"}
    assert floors_of(short_cut)["p.top"] == 3
    assert summary(modules()) == "4 rooms on 4 floors, 3 arrows, 8 lines in 6 files"


def test_a_circle_is_named_and_shares_a_floor() -> None:
    assert circles_in(arrows_between(modules())) == []
    circled = arrows_between(modules(base="import p.top\n"))
    assert circles_in(circled) == [{"p.base", "p.top", "p.wing"}]
    assert floors_of(circled) == {"p.base": 1, "p.wing": 1, "p.top": 1, "p.__init__": 2}
    within = modules(**{"wing/low": "import p.wing.high\n"})
    assert circles_in(arrows_between(within)) == []
    assert circles_in(arrows_between(within, rooms=False)) == [{"p.wing.low", "p.wing.high"}]
    assert list(picture(within))[-2:] == ["circles of files: 1", "  p.wing.high <-> p.wing.low"]


def test_our_house_has_no_circles_and_every_arrow_leads_down() -> None:
    ours = modules_in(files_here())
    for rooms in (True, False):
        arrows = arrows_between(ours, rooms=rooms)
        floors = floors_of(arrows)
        assert circles_in(arrows) == []
        assert all(floors[here] > floors[there] for here, leads in arrows.items() for there in leads)
    assert {"bytereel_codec.reading", "bytereel.steps", "bytereel_functions.records"} <= set(arrows_between(ours))


def test_another_revision_is_read_from_git(tmp_path: Path) -> None:
    for path, text in PACKAGE.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for folder in ("layers", "functions"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text("")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "codec/p/base.py").write_text("import p.top\n")
    then, now = modules_in(files_at("HEAD", tmp_path)), modules_in(files_here(tmp_path))
    assert then == modules()
    assert now == modules(base="import p.top\n")
    with pytest.raises(subprocess.CalledProcessError):
        files_at("no-such-revision", tmp_path)


@pytest.mark.parametrize("name", ["codec", "bytereel_codec"])
def test_one_wing_is_shown_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.split()[2:3] == ["reading"] for line in shown)
    assert not any("bytereel." in line for line in shown)


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["attic"])
    assert ended.value.code == 2
    assert "no such wing or package: attic" in capsys.readouterr().err

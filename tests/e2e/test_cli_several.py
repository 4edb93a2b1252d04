"""Commands that take several things: each is done, whatever becomes of the others; the code is the first failure's."""

import random
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import SECONDS_MAX, Cli

pytestmark = pytest.mark.e2e

CONTENTS = {name: random.Random(name).randbytes(3000) for name in ("a", "b", "c")}


@pytest.fixture
def files(cli: Cli) -> Cli:
    for name, content in CONTENTS.items():
        (cli.folder / name).write_bytes(content)
    (cli.folder / "out").mkdir()
    return cli


def test_several_inputs_become_reels_in_a_folder(files: Cli) -> None:
    made = files("encode", "a", "b", "out", "--json").json
    assert [Path(reel["target"]).name for reel in made["reels"]] == ["a.mp4", "b.mp4"]
    assert made["failed"] == []
    files("encode", "a", "b", "c", "--to-dir", "new/folder")
    for name, content in CONTENTS.items():
        files("decode", f"new/folder/{name}.mp4", f"back-{name}")
        assert (files.folder / f"back-{name}").read_bytes() == content


def test_one_input_and_a_folder_for_it_is_one_reel(files: Cli) -> None:
    made = files("encode", "a", "--to-dir", "new", "--json").json
    assert made["target"] == "new/a.mp4"


@pytest.mark.parametrize(
    "arguments",
    [
        ("a", "b", "file.mp4"),
        ("a",),
        ("a", "b", "out", "--name", "x"),
        ("a", "b", "--to-dir", ""),
        ("a", "b", "--to-dir", "-"),
    ],
)
def test_several_inputs_that_have_no_places_of_their_own_are_refused_before_any_work(
    files: Cli, arguments: tuple[str, ...]
) -> None:
    (files.folder / "folder").mkdir()
    (files.folder / "folder/a").write_bytes(b"x")
    assert files("encode", *arguments, "--json", code=2).error["id"] == "usage"
    assert list((files.folder / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        (("a", "folder/a", "out"), "target.twice"),
        (("a", "./a", "out"), "target.twice"),
        (("a", "a.mp4", "."), "target.in_source"),
        (("a", "a.mp4", ".", "--force"), "target.in_source"),
        (("a", "link.mp4", "out", "--force"), "target.in_source"),
        (("a.mp4", ".", "--name", "a", "--force"), "target.in_source"),
    ],
)
def test_a_reel_takes_neither_an_inputs_place_nor_another_reels(
    files: Cli, arguments: tuple[str, ...], error_id: str
) -> None:
    (files.folder / "folder").mkdir()
    (files.folder / "folder/a").write_bytes(b"x")
    (files.folder / "a.mp4").write_bytes(b"mine")
    (files.folder / "out/a.mp4").write_bytes(b"mine too")
    (files.folder / "link.mp4").symlink_to("out/a.mp4")
    assert files("encode", *arguments, "--json", code=3).error["id"] == error_id
    assert (files.folder / "a.mp4").read_bytes() == b"mine"
    assert (files.folder / "out/a.mp4").read_bytes() == b"mine too"


def test_one_that_fails_keeps_none_of_the_others_from_being_done(files: Cli) -> None:
    answer = files("encode", "a", "absent", "c", "out", "--json", code=3)
    assert [Path(reel["target"]).name for reel in answer.json["reels"]] == ["a.mp4", "c.mp4"]
    (failed,) = answer.json["failed"]
    assert (failed["name"], failed["id"]) == ("absent", "source.missing")
    said = files("encode", "absent", "b", "out", code=3)
    assert "absent:" in said.err
    assert (files.folder / "out/b.mp4").exists()


def test_several_reels_are_verified_and_the_damaged_one_named(files: Cli) -> None:
    files("encode", "a", "b", "c", "out")
    video = bytearray((files.folder / "out/b.mp4").read_bytes())
    video[len(video) // 2] ^= 1
    (files.folder / "out/b.mp4").write_bytes(video[: len(video) // 2])
    names = [f"out/{name}.mp4" for name in CONTENTS]
    answer = files("verify", *names, "--json", code=5).json
    assert [reel["source"] for reel in answer["reels"] if reel["whole"]] == ["out/a.mp4", "out/c.mp4"]
    said = files("verify", *names, code=5)
    assert said.out.count(b"whole: every byte is proved") == 2
    assert files("verify", names[0], "--json").json["whole"] is True


def test_several_files_and_folders_become_jobs_and_their_outputs_are_had_together(files: Cli) -> None:
    (files.folder / "tree/deep").mkdir(parents=True)
    (files.folder / "tree/one").write_bytes(b"1")
    (files.folder / "tree/deep/two").write_bytes(b"2")
    (files.folder / "tree/link").symlink_to("one")
    put = files("put", "a", "tree", "--json")
    jobs = put.json["jobs"]
    assert [job["key"].split("/", 3)[3] for job in jobs] == ["a", "tree/deep/two", "tree/one"]
    assert jobs[1]["key"].split("/")[2] == jobs[2]["key"].split("/")[2] != jobs[0]["key"].split("/")[2]
    assert "tree/link" in put.err
    files("up", "--until-idle")
    ids = [job["job"] for job in jobs]
    got = files("get", *ids, "-o", "out", "--json").json["outputs"]
    assert [Path(each["path"]).name for each in got] == ["a.mp4", "two.mp4", "one.mp4"]
    assert files("get", ids[0], ids[1], "-o", "file", "--json", code=2).error["id"] == "usage"


def test_what_cannot_be_read_keeps_nothing_else_from_being_queued(files: Cli) -> None:
    assert "absent" in files("put", "absent", code=3).err
    assert files("jobs", "--json", code=3).error["id"] == "home.absent", "no home for nothing"
    put = files("put", "a", "absent", "b", "--json", code=3).json
    assert [job["key"].rsplit("/", 1)[1] for job in put["jobs"]] == ["a", "b"]
    assert [(failed["name"], failed["id"]) for failed in put["failed"]] == [("absent", "source.missing")]


def test_the_same_file_put_twice_is_two_jobs(files: Cli) -> None:
    ids = files("put", "a", "a").out.decode().split()
    assert len(set(ids)) == 2
    jobs = files("put", "a", "a", "--json").json["jobs"]
    assert len({job["job"] for job in jobs}) == len({job["key"] for job in jobs}) == 2


def test_several_jobs_are_waited_for_cancelled_and_retried(files: Cli) -> None:
    ids = files("put", "a", "b").out.decode().split()
    assert len(ids) == 2
    cancelled = files("cancel", *ids, "--json").json
    assert [job["state"] for job in cancelled["jobs"]] == ["cancelled"] * 2
    mixed = files("retry", ids[0], "zz", "--json", code=3).json
    assert ([job["id"] for job in mixed["jobs"]], mixed["failed"][0]["id"]) == ([ids[0]], "job.unknown")


def test_a_list_of_jobs_is_shown_anew_when_it_changes_until_it_was_seen_enough(files: Cli) -> None:
    files("put", "a")
    watching = files.start("jobs", "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None
    assert [watching.stdout.readline().split()[:2] for _ in range(3)][2] == [b"1", b"received"]
    files("put", "b")
    assert [watching.stdout.readline().split()[:2] for _ in range(5)][::4] == [[], [b"2", b"received"]]
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=SECONDS_MAX)
    assert (watching.returncode, said) == (130, b"bytereel: interrupted\n")
    assert files("jobs", "--watch", "--json", code=2).error["id"] == "usage"


def test_several_jobs_run_side_by_side_while_they_are_waited_for(road: Cli) -> None:
    for name, content in CONTENTS.items():
        (road.folder / name).write_bytes(content)
    waited = road("put", "a", "b", "c", "--wait", "--json").json
    assert [job["state"] for job in waited["jobs"]] == ["done"] * 3
    said = road("put", "a", "b", "--wait").out.decode().split()
    assert [Path(path).name for path in said[2:]] == ["a.mp4", "b.mp4"]

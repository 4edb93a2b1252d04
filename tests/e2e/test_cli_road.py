"""The commands on a home: put, jobs, status, get, cancel, retry, sweep, up."""

import hashlib
import json
import random
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bytereel.conversions.registry import profiles_by_conversion
from bytereel.conversions.restore import RestoreConversion
from bytereel.model import Job, JobState, ObjectRef
from bytereel.settings import load_settings
from bytereel.wiring import open_home
from command_line import COMMAND, SECONDS_MAX, Cli

pytestmark = pytest.mark.e2e

CONTENT = random.Random(21).randbytes(1024)
NAMES = ("a b+%41 ünï-日本\ntwo", "x" * 255)


def put(cli: Cli, *arguments: str, stdin: bytes = CONTENT) -> str:
    """Queue standard input; the job's id."""
    return cli("put", "-", *arguments, stdin=stdin).out.decode().strip()


def queued(cli: Cli) -> int:
    """How many uploads the home has, where no worker takes them."""
    return len([path for path in (cli.home / "inbox").rglob("*") if path.is_file()])


def test_a_file_goes_in_comes_out_and_is_restored(road: Cli) -> None:
    (road.folder / "k").write_bytes(CONTENT)
    made = road("put", "k", "--wait", "--json").json
    assert (made["state"], made["source_bytes"], made["job"]) == ("done", 1024, made["id"])
    road("get", made["job"][:12])
    assert (road.folder / "k.mp4").read_bytes() == Path(made["path"]).read_bytes()
    job_id, path = road("put", "k.mp4", "--to", "restore/original", "--wait").out.decode().split()
    assert Path(path).read_bytes() == CONTENT
    assert road("get", job_id, "-o", "-").out == CONTENT
    assert road("get", job_id, "-o", "back", "--json").json["bytes"] == 1024
    assert road("decode", "k.mp4", "-").out == CONTENT


def test_two_uploads_of_one_name_are_two_jobs(road: Cli) -> None:
    ids = {put(road, "--name", "same") for _ in range(2)}
    assert len(ids) == 2
    outputs = {road("status", job_id, "--watch", "--json").json["path"] for job_id in ids}
    assert len(outputs) == 2


def test_any_name_makes_a_job(road: Cli) -> None:
    ids = [put(road, "--name", name) for name in NAMES]
    for job_id, name in zip(ids, NAMES, strict=True):
        shown = road("status", job_id, "--watch", "--json").json
        assert shown["source"].endswith(f"/{name}")
        reel = road("get", job_id, "-o", "-").out
        assert road("decode", "-", "-", stdin=reel).out == CONTENT
    listed = road("jobs").out.decode()
    assert "a b+%41 ünï-日本\\ntwo" in listed


def test_a_job_that_fails_ends_with_6_and_a_reason(road: Cli) -> None:
    answer = road("put", "-", "--to", "restore", "--wait", "--json", stdin=b"no reel", code=6)
    assert (answer.json["state"], answer.json["path"]) == ("failed", None)
    assert "no reel" in answer.json["reason"]
    job_id = answer.json["job"]
    assert road("status", job_id, "--json").json["state"] == "failed"
    assert road("status", job_id, "--watch", code=6).err.startswith(f"bytereel: job {job_id} failed: ")
    assert road("get", job_id, "--json", code=6).error["id"] == "job.failed"
    assert road("retry", job_id, "--json").json["id"] == job_id
    assert road("status", job_id, "--watch", "--json", code=6).json["state"] == "failed"


def test_what_cannot_be_done_to_a_job(road: Cli) -> None:
    job_id = put(road)
    road("status", job_id, "--watch")
    for command, error_id in (("cancel", "job.ended"), ("retry", "job.not_failed")):
        assert road(command, job_id, "--json", code=3).error["id"] == error_id
    assert road("status", "zz", "--json", code=3).error["id"] == "job.unknown"
    assert road("status", "", "--json", code=3).error["id"] == "job.unknown"
    (road.folder / "stdin.mp4").write_bytes(b"precious")
    assert road("get", job_id, "--json", code=3).error["id"] == "target.exists"
    road("get", job_id, "-o", "stdin.mp4", "--force")
    assert (road.folder / "stdin.mp4").read_bytes() != b"precious"


def test_a_copy_is_held_against_what_was_made(road: Cli) -> None:
    job_id = put(road)
    path = Path(road("status", job_id, "--watch", "--json").json["path"])
    manifest = json.loads(path.with_name(path.name + ".manifest.json").read_text())["output"]
    got = road("get", job_id, "-o", "copy.mp4", "--json").json
    assert got["sha256"] == manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    said = subprocess.run(manifest["check"], shell=True, cwd=path.parent, capture_output=True, check=True).stdout
    assert said.split()[0].decode() == manifest["sha256"]
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    error = road("get", job_id, "-o", "other.mp4", "--json", code=5).error
    assert (error["id"], error["facts"]["job"]) == ("output.damaged", job_id)
    assert not (road.folder / "other.mp4").exists()


def test_jobs_can_be_chosen_by_state(road: Cli) -> None:
    road("status", put(road), "--watch")
    listed = road("jobs", "--state", "done", "--limit", "1", "--json").json
    assert [job["state"] for job in listed["jobs"]] == ["done"]
    assert listed["counts"]["done"] >= 1
    assert road("sweep", "--json").json["placed"] == 0
    assert b"resumed" in road("sweep").out


def test_without_workers_a_job_waits_for_the_next_start(cli: Cli) -> None:
    (cli.folder / "k").write_bytes(CONTENT)
    assert cli("put", "k", "--wait", "--timeout", "0.1", "--json", code=4).error["id"] == "wait.timeout"
    cli("sweep")
    job_id = put(cli)
    assert [job["state"] for job in cli("jobs", "--json").json["jobs"]] == ["received", "received"]
    assert cli("status", job_id, "--json").json["state"] == "received"
    cli("up", "--workers", "1", "--until-idle", "--json")
    assert cli("jobs", "--json").json["counts"] == {"done": 2}


def test_a_message_that_belongs_to_no_job_is_shown(cli: Cli) -> None:
    home = open_home(load_settings(home=cli.home))
    home.ports.queue.send("intake", [{"bucket": "inbox", "key": "lost\n", "version": "1"}])
    message = home.ports.queue.lease(["intake"], "worker", 60.0)
    assert message is not None
    home.ports.queue.bury(message, "nobody knows it")
    for command in ("jobs", "sweep"):
        (letter,) = cli(command, "--json").json["dead_letters"]
        assert (letter["queue"], letter["job"], letter["reason"]) == ("intake", None, "nobody knows it")
        assert "dead letter: intake lost\\n: nobody knows it" in cli(command).out.decode()


def test_commands_that_only_look_make_no_home(cli: Cli) -> None:
    for arguments in (("jobs",), ("status", "a"), ("get", "a"), ("cancel", "a"), ("retry", "a"), ("sweep",)):
        assert cli(*arguments, "--json", code=3).error["id"] == "home.absent"
    assert not cli.home.exists()
    cli.home.mkdir()
    (cli.home / "mine").write_bytes(b"x")
    for arguments in (("jobs",), ("status", "a"), ("get", "a"), ("cancel", "a"), ("retry", "a"), ("sweep",)):
        error = cli(*arguments, "--json", code=3).error
        assert (error["id"], "no home" in error["message"]) == ("home.absent", True)
    assert [path.name for path in cli.home.iterdir()] == ["mine"]


def test_a_home_without_its_mark_is_known_by_its_state(cli: Cli) -> None:
    """0.1 marked none."""
    (cli.folder / "k").write_bytes(CONTENT)
    put(cli)
    (cli.home / ".bytereel-home").unlink()
    assert len(cli("jobs", "--json").json["jobs"]) == 1
    put(cli)
    assert (cli.home / ".bytereel-home").is_file()


def test_where_no_worker_runs_that_is_said_at_once(cli: Cli) -> None:
    (cli.folder / "k").write_bytes(CONTENT)
    said = cli("put", "k", "--wait", "--timeout", "0.1", code=4).err
    assert said.splitlines()[0].startswith(f"bytereel: no worker runs on {str(cli.home)!r}")
    job_id = cli("jobs", "--json").json["jobs"][0]["id"]
    assert cli("jobs", "--json").json["workers"] == 0
    for command in (("jobs",), ("status", job_id)):
        assert "no worker runs" in cli(*command).err
    assert "none runs" in cli("doctor").out.decode()
    cli("up", "--until-idle")
    for command in (("jobs",), ("status", job_id)):
        assert "no worker runs" not in cli(*command).err


def test_what_is_no_file_is_refused_before_a_home_is_made(cli: Cli) -> None:
    (cli.folder / "loop").symlink_to("loop")
    (cli.folder / "empty").mkdir()
    for name, error_id in (
        ("empty", "source.empty_folder"),
        ("absent", "source.missing"),
        ("loop", "source.unreadable"),
    ):
        assert cli("put", name, "--json", code=3).error["id"] == error_id
    assert not cli.home.exists()


def test_a_file_that_grows_while_it_is_uploaded_is_not_queued(cli: Cli) -> None:
    growing = cli.folder / "growing"
    with growing.open("wb") as file:
        file.truncate(384 << 20)  # long enough that a busy machine lets the writer in between
    ended = threading.Event()

    def grow() -> None:
        with growing.open("ab", buffering=0) as file:
            while not ended.wait(0.001):
                file.write(b"x")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        answer = cli("put", "growing", "--json", code=5)
    finally:
        ended.set()
        writer.join()
    assert answer.error["id"] == "source.changed"
    assert queued(cli) == 0


def test_a_full_disk_queues_nothing(cli: Cli) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    (cli.folder / "large").write_bytes(bytes(2 << 20))
    cli("put", "large", code=4, before=small_files)
    assert queued(cli) == 0


def test_a_job_id_must_be_unique(cli: Cli) -> None:
    home = open_home(load_settings(home=cli.home))
    source = ObjectRef("inbox", "a", "1")
    for job_id in ("ab" * 13, "ac" * 13):
        assert home.ports.jobs.create(Job(job_id, source, 1, "archive", "archive", JobState.RECEIVED, 1.0, 1.0))
    assert cli("status", "a", "--json", code=3).error["id"] == "job.ambiguous"
    assert cli("status", "ab", "--json").json["id"] == "ab" * 13
    assert cli("get", "ab", "--json", code=4).error["id"] == "job.running"
    assert cli("cancel", "ab", "--json").json["state"] == "cancelled"
    assert cli("jobs", "--json").json["counts"] == {"cancelled": 1, "received": 1}
    assert cli("retry", "ab", "--json").json["state"] == "received"


def test_a_sealed_road_takes_its_secret_from_the_settings(cli: Cli) -> None:
    (cli.folder / "passphrase").write_bytes(b"correct horse\n")
    cli.environment["BYTEREEL_PASSPHRASE_FILE"] = str(cli.folder / "passphrase")
    job_id = put(cli)
    cli("up", "--workers", "1", "--until-idle")
    cli("get", job_id, "-o", "r.mp4")
    assert cli("decode", "r.mp4", "-", code=3).out == b""
    assert cli("decode", "r.mp4", "-", "--passphrase-file", "passphrase").out == CONTENT
    cli.environment["BYTEREEL_PASSPHRASE_FILE"] = str(cli.folder / "absent")
    assert cli("up", "--workers", "1", "--until-idle", code=3).err.rstrip().splitlines()[-1].startswith("  hint: ")


def test_put_imports_no_kernel(cli: Cli) -> None:
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], "put", "-"]
    done = subprocess.run(
        command, input=CONTENT, capture_output=True, env=cli.environment, timeout=SECONDS_MAX, check=True
    )
    imported = {line.rpartition(b"|")[2].strip() for line in done.stderr.splitlines()}
    assert b"bytereel.wiring" in imported
    assert not imported & {b"numpy", b"numba", b"av", b"rich", b"zstandard", b"cryptography"}


def test_the_profiles_that_put_knows_are_those_of_the_conversion() -> None:
    assert tuple(RestoreConversion.profiles) == profiles_by_conversion(None)["restore"]

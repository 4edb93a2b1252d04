"""The emulated cloud: what foreign clients upload comes back as reels, and the command line works on it."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from bytereel.model import INBOX, JOB_ENDED, Job, JobState, ObjectRef, job_id_of
from bytereel.wiring import Home, open_home
from command_line import SECONDS_MAX, Cli, environment

from localstack.emulate import ROOT, Emulation, emulation
from localstack.servers import HOST, SCRIPTS, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.servers]

NAME = "a b+%41 ünï-日本.bin"
INTAKE_SECONDS_MAX = 1.0
SWEEP_SECONDS = "3600"
"""No sweep runs by itself beyond the one at the start: what makes a job of an upload is its event."""
LEASE_SECONDS = "5"
"""So long an event that was heard twice may keep a message waiting."""
Fetch = Callable[[str, Path], None]


class Cloud:
    """A running cloud, seen by a test: the home that it is, its clients, the command line on it."""

    def __init__(self, running: Emulation, folder: Path) -> None:
        self.running = running
        self.home: Home = open_home(running.settings)
        self.cli = Cli(folder, folder / "no home")
        self.cli.environment = environment(**running.environment)
        self.s3 = self.client("s3")
        self.sqs = self.client("sqs")

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.running.server.endpoint_url)

    def run(self, command: str, *arguments: str) -> None:
        """Run a client of the virtual environment to its end."""
        done = subprocess.run(
            [SCRIPTS / command, *arguments],
            env=self.cli.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def upload(self, key: str, content: bytes) -> str:
        """Upload by boto3; the id of the job that this must become."""
        stored = self.s3.put_object(Bucket=self.running.settings.inbox_bucket, Key=key, Body=content)
        return job_id_of(ObjectRef(INBOX, key, stored["VersionId"]))

    def jobs_of(self, key: str) -> Sequence[Job]:
        return [job for job in self.home.ports.jobs.list(limit=1000) if job.source.key == key]

    def ended(self, key: str) -> Job:
        """The one job of a key, once it has ended."""
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if (found := self.jobs_of(key)) and all(job.state in JOB_ENDED for job in found):
                (job,) = found
                return job
            time.sleep(0.05)
        raise AssertionError(f"no job of {key!r} has ended: {self.jobs_of(key)}\n{self.log()}")

    def await_quiet(self) -> None:
        """Return once no message waits or is held."""
        deadline = time.monotonic() + SECONDS_MAX
        while any(self.home.ports.queue.size(queue) for queue in ("intake", "encode", "finalize", "bulk")):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        logs = sorted((self.running.folder / "functions").glob("log"))
        return "\n".join(f"{path.name}: {path.read_text('utf-8', 'replace')[-3000:]}" for path in logs)

    def peek(self, queue: str) -> Sequence[Mapping[str, Any]]:
        """The bodies of the messages that wait in a queue, which stay there."""
        found = self.sqs.receive_message(QueueUrl=self.queue_url(queue), MaxNumberOfMessages=10, VisibilityTimeout=0)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]

    def queue_url(self, queue: str) -> str:
        return self.sqs.get_queue_url(QueueName=f"{self.running.settings.queues}-{queue}")["QueueUrl"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("BYTEREEL_LEASE_SECONDS", LEASE_SECONDS)
        patch.setenv("BYTEREEL_SWEEP_SECONDS", SWEEP_SECONDS)
        cloud = stack.enter_context(emulation(tmp_path_factory.mktemp("cloud")))
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        yield cloud


@pytest.fixture
def cloud(running: Emulation, tmp_path: Path) -> Cloud:
    return Cloud(running, tmp_path)


@pytest.fixture
def quiet(running: Emulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Buckets, queues and a table in the same emulator of which no function hears."""
    name = f"quiet-{os.urandom(4).hex()}"
    named = {"inbox_bucket": f"{name}-in", "work_bucket": f"{name}-work", "outbox_bucket": f"{name}-out"}
    settings = running.settings.model_copy(update={**named, "table": name, "queues": name})
    chosen = {"BYTEREEL_TABLE": name, "BYTEREEL_QUEUES": name, "BYTEREEL_SETTLE_SECONDS": "0"}
    chosen["BYTEREEL_LEASE_SECONDS"] = LEASE_SECONDS
    chosen |= {f"BYTEREEL_{bucket.upper()}": value for bucket, value in named.items()}
    for variable, value in chosen.items():
        monkeypatch.setenv(variable, value)
    bootstrap()
    return Cloud(Emulation(running.folder, running.server, settings, {**running.environment, **chosen}), tmp_path)


def bootstrap() -> None:
    subprocess.run(
        [sys.executable, "-m", "localstack.bootstrap"],
        cwd=ROOT,
        check=True,
        timeout=SECONDS_MAX,
        stdout=subprocess.DEVNULL,
    )


def content_of(seed: int, size: int = 300_000) -> bytes:
    return random.Random(seed).randbytes(size)


def aws(cloud: Cloud) -> tuple[Fetch, Fetch]:
    settings = cloud.running.settings

    def upload(key: str, path: Path) -> None:
        cloud.run("aws", "s3", "cp", str(path), f"s3://{settings.inbox_bucket}/{key}")

    def fetch(key: str, path: Path) -> None:
        cloud.run("aws", "s3", "cp", f"s3://{settings.outbox_bucket}/{key}", str(path))

    return upload, fetch


def rclone(cloud: Cloud) -> tuple[Fetch, Fetch]:
    settings = cloud.running.settings

    def upload(key: str, path: Path) -> None:
        cloud.run("rclone", "copyto", str(path), f"emulation:{settings.inbox_bucket}/{key}")

    def fetch(key: str, path: Path) -> None:
        cloud.run("rclone", "copyto", f"emulation:{settings.outbox_bucket}/{key}", str(path))

    return upload, fetch


@pytest.mark.parametrize("client", [aws, rclone], ids=["aws", "rclone"])
def test_what_a_foreign_client_uploads_comes_back_as_a_reel(
    cloud: Cloud, tmp_path: Path, client: Callable[[Cloud], tuple[Fetch, Fetch]]
) -> None:
    upload, fetch = client(cloud)
    source, reel, back = tmp_path / NAME, tmp_path / "reel.mp4", tmp_path / "back"
    source.write_bytes(content_of(1))
    key = f"archive/{client.__name__} 100%/{NAME}"
    upload(key, source)
    job = cloud.ended(key)
    assert (job.state, job.source_bytes) == (JobState.DONE, source.stat().st_size), job
    fetch(job.result["output"], reel)
    cloud.cli("decode", reel, back)
    assert back.read_bytes() == source.read_bytes()
    manifest = tmp_path / "manifest"
    fetch(job.result["manifest"], manifest)
    assert json.loads(manifest.read_bytes())


def test_an_upload_in_parts_is_one_job(cloud: Cloud, tmp_path: Path) -> None:
    upload, fetch = aws(cloud)
    source, reel = tmp_path / "large", tmp_path / "large.mp4"
    source.write_bytes(content_of(2, 9 << 20))
    upload("archive/large", source)
    job = cloud.ended("archive/large")
    assert job.state is JobState.DONE, job
    fetch(job.result["output"], reel)
    assert cloud.cli("decode", reel, "-").out == source.read_bytes()


def test_the_event_of_an_upload_makes_its_job_long_before_any_sweep(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.upload("archive/warm", b"warm")
    cloud.ended("archive/warm")
    cloud.await_quiet()
    waited = [_seconds_to_job(cloud, f"archive/timed {count}") for count in range(5)]
    with capsys.disabled():
        print(f"\n  upload to job: {', '.join(f'{seconds:.3f}' for seconds in waited)} s")
    assert min(waited) <= INTAKE_SECONDS_MAX, "the fastest: load adds to a time, a timer is in every one"
    assert float(SWEEP_SECONDS) > max(waited), "it was the event that made the jobs"


def _seconds_to_job(cloud: Cloud, key: str) -> float:
    job_id = cloud.upload(key, key.encode())
    started_at = time.monotonic()
    while cloud.home.ports.jobs.get(job_id) is None:
        assert time.monotonic() - started_at < SECONDS_MAX, cloud.log()
        time.sleep(0.01)
    return time.monotonic() - started_at


def test_events_in_any_order_and_ten_times_make_each_job_once(cloud: Cloud) -> None:
    settings, chance = cloud.running.settings, random.Random(3)
    keys = [f"archive/many {count}" for count in range(4)]
    ids = {cloud.upload(key, key.encode()) for key in keys}
    events = [
        {
            "Records": [
                {
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": {"name": settings.inbox_bucket},
                        "object": {
                            "key": key.replace(" ", "+"),
                            "versionId": cloud.s3.head_object(Bucket=settings.inbox_bucket, Key=key)["VersionId"],
                        },
                    },
                }
            ]
        }
        for key in keys * 10
    ]
    chance.shuffle(events)
    for start in range(0, len(events), 10):
        entries = [
            {"Id": str(number), "MessageBody": json.dumps(event)}
            for number, event in enumerate(events[start : start + 10])
        ]
        cloud.sqs.send_message_batch(QueueUrl=cloud.queue_url("intake"), Entries=entries)
    assert {cloud.ended(key).id for key in keys} == ids
    cloud.await_quiet()
    assert {job.state for key in keys for job in cloud.jobs_of(key)} == {JobState.DONE}
    assert sum(len(cloud.jobs_of(key)) for key in keys) == len(keys)


def test_nothing_that_the_road_writes_makes_a_job(cloud: Cloud) -> None:
    settings = cloud.running.settings
    cloud.await_quiet()
    before = {job.id for job in cloud.home.ports.jobs.list(limit=1000)}
    made = cloud.upload("archive/alone", b"alone")
    job = cloud.ended("archive/alone")
    foreign = {
        "Records": [
            {
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": settings.outbox_bucket}, "object": {"key": job.result["output"]}},
            }
        ]
    }
    cloud.sqs.send_message(QueueUrl=cloud.queue_url("intake"), MessageBody=json.dumps(foreign))
    cloud.cli("sweep")
    cloud.await_quiet()
    assert {job.id for job in cloud.home.ports.jobs.list(limit=1000)} - before == {made}
    for bucket in (settings.work_bucket, settings.outbox_bucket):
        told = cloud.s3.get_bucket_notification_configuration(Bucket=bucket)
        assert set(told) == {"ResponseMetadata"}, bucket
    assert cloud.s3.list_objects_v2(Bucket=settings.work_bucket)["KeyCount"] == 0


def test_the_commands_work_on_the_cloud_as_on_a_home(cloud: Cloud, tmp_path: Path) -> None:
    source = content_of(4)
    made = cloud.cli("put", "-", "--name", "k", "--wait", "--json", stdin=source).json
    assert (made["state"], made["source_bytes"]) == ("done", len(source))
    assert made["path"].endswith(".mp4")
    assert made["job"] in {job["id"] for job in cloud.cli("jobs", "--json").json["jobs"]}
    assert cloud.cli("status", made["job"][:12], "--json").json["state"] == "done"
    cloud.cli("get", made["job"], "-o", "k.mp4")
    assert cloud.cli("decode", "k.mp4", "-").out == source
    back = cloud.cli("put", "k.mp4", "--to", "restore", "--wait", "--json").json
    assert cloud.cli("get", back["job"], "-o", "-").out == source
    assert cloud.cli("cancel", made["job"], "--json", code=3).error["id"] == "job.ended"
    failed = cloud.cli("put", "-", "--to", "restore", "--wait", "--json", stdin=b"no reel", code=6).json
    assert failed["state"] == "failed"
    assert failed["reason"]
    assert cloud.cli("get", failed["job"], "--json", code=6).error["id"] == "job.failed"
    cloud.cli("retry", failed["job"])
    assert cloud.cli("status", failed["job"], "--watch", "--json", code=6).json["state"] == "failed"
    assert not (tmp_path / "no home").exists()


def test_doctor_finds_nothing_missing_and_names_what_is(cloud: Cloud, quiet: Cloud) -> None:
    def missing(where: Cloud, code: int = 0) -> list[str]:
        found = where.cli("doctor", "--json", code=code).json["missing"]
        return [each for each in found if where.running.settings.queues in each]

    assert missing(cloud) == []
    assert missing(quiet) == []
    inbox = quiet.running.settings.inbox_bucket
    quiet.s3.put_bucket_notification_configuration(Bucket=inbox, NotificationConfiguration={})
    quiet.sqs.delete_queue(QueueUrl=quiet.queue_url("intake"))
    said = missing(quiet, code=7)
    assert [each for each in said if "tells nobody" in each], said
    assert [each for each in said if "-intake" in each], said


def test_a_waiting_job_is_cancelled_retried_and_done_by_a_worker(quiet: Cloud) -> None:
    job_id = quiet.cli("put", "-", stdin=b"some bytes").out.decode().strip()
    assert quiet.cli("status", job_id, "--json").json["state"] == "received"
    assert quiet.cli("cancel", job_id, "--json").json["state"] == "cancelled"
    assert quiet.cli("retry", job_id, "--json").json["state"] == "received"
    quiet.cli("up", "--workers", "1", "--until-idle")
    assert quiet.cli("get", job_id, "-o", "made.mp4", "--json").json["bytes"]
    assert quiet.cli("decode", "made.mp4", "-").out == b"some bytes"


def test_an_upload_whose_event_was_lost_is_a_job_after_one_sweep(quiet: Cloud) -> None:
    inbox = quiet.running.settings.inbox_bucket
    quiet.s3.put_bucket_notification_configuration(Bucket=inbox, NotificationConfiguration={})
    job_id = quiet.upload(f"archive/{NAME}", b"lost")
    bootstrap()
    time.sleep(1.0)  # stores tell times in whole seconds
    assert not any("Records" in body for body in quiet.peek("intake"))
    assert quiet.cli("sweep", "--json").json["announced"] == 1
    quiet.cli("up", "--workers", "1", "--until-idle")
    job = quiet.home.ports.jobs.get(job_id)
    assert job is not None
    assert job.state is JobState.DONE, job


class Emulator:
    """`make emulate` as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        self.command = [sys.executable, "-m", "localstack.emulate", "--folder", str(folder), "--port"]

    @contextmanager
    def started(self, port: int, number: int) -> Iterator[None]:
        """Run it; end it by the signal, twice, after which nothing that it started runs."""
        self.log.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            started = subprocess.Popen([*self.command, str(port)], cwd=ROOT, env=environment(), stdout=log, stderr=log)
        try:
            self.await_words("as it happens", started)
            yield
            children = psutil.Process(started.pid).children(recursive=True)
            started.send_signal(number)
        finally:
            started.send_signal(signal.SIGTERM)
            assert started.wait(SECONDS_MAX) == 0, self.said()
        assert len(children) >= 2
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        assert not (self.folder / "running.json").exists()

    def refused_second(self) -> str:
        """What one says that is started on the same folder meanwhile."""
        done = subprocess.run(
            [*self.command, str(free_port())],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 3, done.stderr
        return done.stderr

    def await_words(self, words: str, started: "subprocess.Popen[bytes] | None" = None) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while words not in self.said():
            assert time.monotonic() < deadline, self.said()
            assert started is None or started.poll() is None, self.said()
            time.sleep(0.05)

    def said(self) -> str:
        return self.log.read_text("utf-8")

    def environment(self) -> Mapping[str, str]:
        lines = (self.folder / "environment").read_text("utf-8").splitlines()
        pairs = (line.removeprefix("export ").partition("=") for line in lines)
        return {name: value.strip("'") for name, _, value in pairs}


def test_the_emulator_ends_all_it_started_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    emulator, port = Emulator(tmp_path / "state"), free_port()
    cli = Cli(tmp_path, tmp_path / "no home")
    with emulator.started(port, signal.SIGTERM):
        cli.environment = environment(**emulator.environment())
        made = cli("put", "-", "--wait", "--json", stdin=b"kept").json
        emulator.await_words(f"{made['job']}  done")
        refused = emulator.refused_second()
        assert "already works" in refused
        assert refused.count("\n") == 1
    with socket.create_server((HOST, port)), emulator.started(port, signal.SIGINT):
        cli.environment = environment(**emulator.environment())
        assert cli("get", made["job"], "-o", "-").out

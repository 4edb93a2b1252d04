"""The command `bytereel gateway` as a process: what it acknowledged survives kill -9, and it ends in order."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from bytereel.adapters.clock import SystemClock
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.messages import INTAKE
from command_line import SECONDS_MAX, Cli

pytestmark = pytest.mark.e2e

POSTERS = 4
ADDRESS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \d+ (INFO|WARNING) bytereel\.service\.(webhook|server): .+")


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """The command line on buckets of a store that nobody asks for anything here, with the state in the home."""
    cli.environment |= {
        "BYTEREEL_ENDPOINT_URL": "http://127.0.0.1:9",
        "BYTEREEL_REGION": "us-east-1",
        "BYTEREEL_INBOX_BUCKET": "uploads",
        "BYTEREEL_WORK_BUCKET": "fragments",
        "BYTEREEL_OUTBOX_BUCKET": "reels",
    }
    return cli


class Running:
    """A gateway's process, on a port that was free."""

    def __init__(self, cli: Cli, log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = cli.start("gateway", "--listen", "127.0.0.1:0", stderr=file, stdout=subprocess.DEVNULL)
        end = time.monotonic() + SECONDS_MAX
        while not (found := ADDRESS.search(self.lines())):
            assert self.process.poll() is None and time.monotonic() < end, self.lines()
            time.sleep(0.02)
        self.port = int(found[1])

    def lines(self) -> str:
        return self.log.read_text()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS_MAX)


@contextmanager
def running(cli: Cli, tmp_path: Path) -> Iterator[Running]:
    gateway = Running(cli, tmp_path / "gateway.log")
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait(SECONDS_MAX)


def event_of(key: str) -> bytes:
    stored = {"key": quote_plus(key), "eTag": "abc", "size": 3}
    record = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": "uploads"}, "object": stored}}
    return json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"uploads/{key}", "Records": [record]}).encode()


def post(connection: http.client.HTTPConnection, key: str) -> int:
    connection.request("POST", "/events", event_of(key), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def stored_keys(home: Path) -> list[str]:
    queue = SqliteQueue(Database(home / "state.sqlite"), SystemClock())
    found = []
    while message := queue.lease([INTAKE], "test", 60.0):
        found.append(str(message.body["key"]))
        queue.acknowledge(message)
    return found


def test_what_was_answered_200_is_in_the_queue_after_kill_9(cli: Cli, tmp_path: Path) -> None:
    for posts in (1, 25, 60):
        acknowledged: set[str] = set()
        with running(cli, tmp_path) as gateway:
            enough = threading.Event()

            def poster(
                name: int,
                gateway: Running = gateway,
                acknowledged: set[str] = acknowledged,
                posts: int = posts,
                enough: threading.Event = enough,
            ) -> None:
                connection = gateway.connect()
                try:
                    for number in range(10_000):
                        key = f"archive/{name}/{number}"
                        assert post(connection, key) == 200
                        acknowledged.add(key)
                        if len(acknowledged) >= posts:
                            enough.set()
                except (OSError, http.client.HTTPException):
                    return
                finally:
                    connection.close()

            with ThreadPoolExecutor(POSTERS) as pool:
                ends = [pool.submit(poster, name) for name in range(POSTERS)]
                assert enough.wait(SECONDS_MAX)
                gateway.process.kill()
            for end in ends:
                end.result()
        stored = stored_keys(cli.home)
        assert acknowledged <= set(stored)
        assert len(stored) <= len(acknowledged) + POSTERS, "at most what was on its way is there beside"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_once_what_is_under_way_is_answered(
    cli: Cli, tmp_path: Path, number: signal.Signals
) -> None:
    body = event_of("archive/late")
    with running(cli, tmp_path) as gateway, socket.create_connection(("127.0.0.1", gateway.port), SECONDS_MAX) as raw:
        raw.sendall(b"POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10])
        idle = gateway.connect()
        assert post(idle, "archive/early") == 200
        gateway.process.send_signal(number)
        time.sleep(0.3)
        raw.sendall(body[10:])
        assert raw.recv(100).startswith(b"HTTP/1.1 200")
        assert gateway.process.wait(10) == 0
        idle.close()
    assert sorted(stored_keys(cli.home)) == ["archive/early", "archive/late"]


def test_its_log_has_its_own_lines_and_no_others(cli: Cli, tmp_path: Path) -> None:
    with running(cli, tmp_path) as gateway:
        connection = gateway.connect()
        assert post(connection, "archive/a") == 200
        connection.request("POST", "/events", b"nonsense")
        assert connection.getresponse().read()
        connection.close()
        with socket.create_connection(("127.0.0.1", gateway.port), SECONDS_MAX) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            raw.recv(1000)
        gateway.process.terminate()
        assert gateway.process.wait(10) == 0
        lines = [line for line in gateway.lines().splitlines() if "uvicorn.error: Invalid HTTP request" not in line]
    assert all(LINE.fullmatch(line) for line in lines), lines
    said = "\n".join(lines)
    assert "POST '/events' 200 " in said
    assert "POST '/events' 400 " in said
    assert lines[-1].endswith("the gateway has ended")


def test_it_asks_for_the_token_in_the_file(cli: Cli, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-word\n")
    cli.environment["BYTEREEL_GATEWAY_TOKEN_FILE"] = str(token)
    with running(cli, tmp_path) as gateway:
        connection = gateway.connect()
        assert post(connection, "archive/a") == 401
        connection.request("POST", "/events", event_of("archive/b"), {"Authorization": "Bearer secret-word"})
        assert connection.getresponse().status == 200
        connection.close()
        assert "secret-word" not in gateway.lines()
    assert stored_keys(cli.home) == ["archive/b"]


def test_beyond_this_machine_it_wants_a_token(cli: Cli) -> None:
    answer = cli("gateway", "--listen", "0.0.0.0:0", code=3)
    assert "BYTEREEL_GATEWAY_TOKEN_FILE" in answer.err


def test_on_a_folder_there_are_no_events_to_take(cli: Cli) -> None:
    nothing = {name: "" for name in cli.environment if name.startswith("BYTEREEL_") and name != "BYTEREEL_HOME"}
    answer = cli("gateway", code=3, **nothing)
    assert "BYTEREEL_INBOX_BUCKET" in answer.err
    assert not cli.home.exists()


@pytest.mark.parametrize("name", ["uvicorn", "starlette"])
def test_without_the_extra_it_says_what_to_install(cli: Cli, name: str) -> None:
    program = (
        f"import sys; sys.modules[{name!r}] = None; import bytereel.cli.main as cli; sys.exit(cli.run(['gateway']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=cli.environment, check=False
    )
    assert done.returncode == 3
    assert name in done.stderr
    assert "is not installed" in done.stderr
    assert "bytereel[cloud]" in done.stderr


def test_its_help_loads_nothing_of_a_server(cli: Cli) -> None:
    program = (
        "import sys; import bytereel.cli.main as cli; cli.run(['gateway', '--help']);"
        "sys.exit(bool({'uvicorn', 'starlette', 'boto3', 'minio', 'asyncio'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=cli.environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"POST /events" in done.stdout

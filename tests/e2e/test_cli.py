"""The commands on files, and every way in which a command can end."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bytereel_codec.files.names import safe_name
from bytereel_codec.writing.encode import EncodeOptions, encode_file
from command_line import COMMAND, SECONDS_MAX, Answer, Cli, environment

from tests.by_the_clock import fastest

pytestmark = pytest.mark.e2e

SLOW_MODULES = ("numpy", "numba", "av", "pydantic", "sqlite3", "rich", "zstandard", "cryptography")
NAMES = ("-a b+100%41", "ünï-日本\ntwo", "x" * 254 + os.fsdecode(b"\xff"))
NOISE = random.Random(20).randbytes(300_000)


def leftovers(folder: Path) -> list[str]:
    """Files that a command began to write and did not take away."""
    return [path.name for path in folder.iterdir() if "bytereel-part" in path.name]


def damage(path: Path, offset: int, count: int = 64) -> None:
    """Flip bytes of a file."""
    content = bytearray(path.read_bytes())
    for place in range(offset, offset + count):
        content[place] ^= 0x55
    path.write_bytes(content)


@pytest.fixture
def reel(cli: Cli) -> Path:
    """A reel of NOISE, without parity."""
    (cli.folder / "noise").write_bytes(NOISE)
    encode_file(cli.folder / "noise", cli.folder / "noise.mp4")
    return cli.folder / "noise.mp4"


def test_a_file_comes_back_under_its_own_name(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(NOISE)
    made = cli("encode", "noise", "reel.mp4", "--parity", "2.5%", "--workers", "2", "--no-compress")
    assert b"digest" in made.out
    (cli.folder / "noise").unlink()
    cli("decode", "reel.mp4")
    assert (cli.folder / "noise").read_bytes() == NOISE


def test_every_command_on_files_answers_in_json(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(NOISE)
    made = cli("encode", "noise", "r.mp4", "--parity", "50", "--geometry", "144p", "--json").json
    assert made["source_bytes"] == len(NOISE)
    assert made["reel_bytes"] == (cli.folder / "r.mp4").stat().st_size
    assert made["parity_segments"] > 0
    described = cli("inspect", "r.mp4", "--json").json
    assert (described["reel_id"], described["leader"]["name"]) == (made["reel_id"], "noise")
    proved = cli("verify", "r.mp4", "--json").json
    assert proved["whole"] is True
    assert proved["digest"] == made["digest"]
    back = cli("decode", "r.mp4", "back", "--reel", made["reel_id"][:8], "--json").json
    assert (back["target"], back["range"], back["lost"]) == ("back", [0, len(NOISE)], [])


def test_profiles_and_geometries_are_listed(cli: Cli) -> None:
    listed = cli("profiles", "--json").json
    assert "archive" in [profile["name"] for profile in listed["profiles"]]
    assert "1080p" in [geometry["name"] for geometry in listed["geometries"]]


def test_the_doctor_says_what_the_machine_can_do(cli: Cli) -> None:
    found = cli("doctor", "--json").json
    assert found["cores"]["usable"] >= 1
    assert found["rates"]["sha256_bytes_per_second"] > 0
    assert found["settings"]["home"] == str(cli.home)
    assert isinstance(found["missing"], list)
    assert b"kernels" in cli("doctor").out
    assert not cli.home.exists()


def test_bytes_flow_through_pipes(cli: Cli) -> None:
    made = cli("encode", "-", "-", "--parity", "10%", stdin=NOISE)
    assert "digest" in made.err
    assert cli("decode", "-", "-", stdin=made.out).out == NOISE
    assert cli("verify", "-", "--json", stdin=made.out).json["name"] == "stdin"
    assert json.loads(cli("decode", "-", "-", "--json", stdin=made.out).err)["whole"] is True


def test_a_range_is_half_open(cli: Cli, reel: Path) -> None:
    for wanted, start, end in (("2:10", 2, 10), ("200KiB:", 204_800, None), (":7", 0, 7)):
        assert cli("decode", reel, "-", "--range", wanted).out == NOISE[start:end]


def test_a_folder_comes_back_as_a_folder(cli: Cli) -> None:
    (cli.folder / "album" / "inner").mkdir(parents=True)
    (cli.folder / "album" / "inner" / "song").write_bytes(NOISE)
    cli("encode", "album", "album.mp4")
    cli("decode", "album.mp4", "back")
    assert (cli.folder / "back" / "inner" / "song").read_bytes() == NOISE
    assert cli("encode", "album", "album/in.mp4", "--json", code=3).error["id"] == "target.in_source"


def test_any_name_survives_the_way(cli: Cli) -> None:
    for number, name in enumerate(NAMES):
        (cli.folder / name).write_bytes(name.encode("utf-8", "surrogateescape"))
        cli("encode", "--", name, f"{number}.mp4")
        (cli.folder / name).unlink()
        cli("decode", f"{number}.mp4", f"./{name}")
        assert (cli.folder / name).read_bytes() == name.encode("utf-8", "surrogateescape")
        (cli.folder / name).unlink()
        cli("decode", f"{number}.mp4")
        assert (cli.folder / safe_name(name)).read_bytes() == name.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("name", [".bash_profile", "-rf", "~", "x\x1b[2J", "gpj\u202eexe"])
def test_a_name_that_does_harm_is_changed_and_that_is_said(cli: Cli, name: str) -> None:
    (cli.folder / "plain").write_bytes(b"content")
    cli("encode", "plain", "r.mp4", "--name", name)
    (cli.folder / "plain").unlink()
    answer = cli("decode", "r.mp4")
    (written,) = [path.name for path in cli.folder.iterdir() if path.name != "r.mp4"]
    assert written == safe_name(name) != name
    assert "the reel names it" in answer.err
    assert answer.err.strip().isprintable()
    assert "the reel names it" not in cli("decode", "r.mp4", "./-given").err
    assert (cli.folder / "-given").exists()


def test_set_user_id_comes_back_with_preserve_alone(cli: Cli) -> None:
    (cli.folder / "d").mkdir()
    (cli.folder / "d" / "tool").write_bytes(b"#!")
    (cli.folder / "d" / "tool").chmod(0o4775)
    cli("encode", "d", "d.mp4")
    cli("decode", "d.mp4", "plain")
    cli("decode", "d.mp4", "kept", "--preserve")
    modes = [(cli.folder / name / "tool").stat().st_mode & 0o7777 for name in ("plain", "kept")]
    assert modes == [0o775, 0o4775]


def test_no_name_in_a_reel_leaves_the_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bytereel_codec.writing.sources.cut_name", lambda name: name)
    (cli.folder / "plain").write_bytes(b"content")
    for number, name in enumerate(("../../escaped", str(cli.folder.parent / "escaped"), "..")):
        made = cli.folder / f"{number}.mp4"
        encode_file(cli.folder / "plain", made, EncodeOptions(name=name))
        here = cli.folder / f"in-{number}"
        here.mkdir()
        Cli(here, cli.home)("decode", made)
        assert [path.name for path in here.iterdir()] == ["restored" if name == ".." else "escaped"]
    assert not (cli.folder.parent / "escaped").exists()


def test_control_characters_are_never_printed(cli: Cli) -> None:
    (cli.folder / "plain").write_bytes(b"content")
    encode_file(cli.folder / "plain", cli.folder / "r.mp4", EncodeOptions(name="\x1b[31m[bold]red\r\n"))
    for command in ("inspect", "verify"):
        answer = cli(command, "r.mp4")
        assert b"\x1b" not in answer.out
        assert b"\\x1b[31m[bold]red\\r\\n" in answer.out


def test_sealed_reels_open_with_their_secret_alone(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(NOISE)
    for name, content in (("right", b"correct horse\n"), ("wrong", b"battery staple\n"), ("key", bytes(32))):
        (cli.folder / name).write_bytes(content)
    cli("encode", "noise", "r.mp4", "--passphrase-file", "right")
    assert cli("decode", "r.mp4", "-", "--passphrase-file", "right").out == NOISE

    def refused(*secret: str) -> str:
        return str(cli("decode", "r.mp4", "back", *secret, "--json", code=3).error["id"])

    assert refused() == "reel.sealed"
    assert refused("--passphrase-file", "wrong") == "reel.wrong_key"
    assert refused("--key-file", "key") == "secret.wrong_kind"
    assert refused("--key-file", "absent") == "secret.unreadable"
    assert not (cli.folder / "back").exists()


def test_lost_bytes_are_named_and_the_rest_is_salvaged(cli: Cli, reel: Path) -> None:
    damage(reel, 150_000)
    assert cli("verify", reel, "--json", code=5).json["lost"]
    refused = cli("decode", reel, "back", code=5)
    assert "bytes of the original are lost" in refused.err
    assert "--salvage" in refused.err
    assert not (cli.folder / "back").exists()
    lost = cli("decode", reel, "back", "--salvage", "--json", code=5).json["lost"]
    saved = bytearray((cli.folder / "back").read_bytes())
    for start, end in lost:
        saved[start:end] = NOISE[start:end]
    assert saved == NOISE


def test_parity_repairs_damage(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(NOISE)
    encode_file(cli.folder / "noise", cli.folder / "r.mp4", EncodeOptions(parity_percent=100))
    damage(cli.folder / "r.mp4", 150_000)
    assert "parity" in cli("verify", "r.mp4").out.decode()
    assert cli("decode", "r.mp4", "-").out == NOISE


@pytest.mark.parametrize(
    ("arguments", "error_id"),
    [
        (("encode", "absent", "r.mp4"), "source.missing"),
        (("encode", "loop", "r.mp4"), "source.unreadable"),
        (("encode", "plain", "absent/r.mp4"), "target.unwritable"),
        (("encode", "plain", "taken"), "target.exists"),
        (("encode", "plain", "plain", "--force"), "target.in_source"),
        (("encode", "plain", "r.mp4", "--geometry", "9p"), "geometry.unknown"),
        (("decode", "plain", "back"), "reel.none"),
        (("decode", "empty", "back"), "reel.none"),
        (("verify", "absent"), "source.missing"),
        (("inspect", "plain"), "reel.none"),
    ],
)
def test_what_cannot_be_done_ends_with_3(cli: Cli, arguments: tuple[str, ...], error_id: str) -> None:
    for name, content in (("plain", b"text " * 99), ("taken", b"precious"), ("empty", b"")):
        (cli.folder / name).write_bytes(content)
    (cli.folder / "loop").symlink_to("loop")
    before = sorted(cli.folder.iterdir())
    assert cli(*arguments, "--json", code=3).error["id"] == error_id
    assert sorted(cli.folder.iterdir()) == before
    assert (cli.folder / "taken").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("encode",),
        ("encode", "a", "b", "--parity", "lots"),
        ("encode", "a", "b", "--parity", "101%"),
        ("encode", "a", "b", "--workers", "0"),
        ("decode", "a", "--range", "7"),
        ("decode", "a", "--range", "7:3"),
        ("decode", "a", "--range", "1:0.5MiB"),
        ("decode", "a", "--reel", "xyz"),
        ("put", "a", "--to", "nowhere"),
        ("put", "a", "--to", "archive/none"),
        ("put", "-", "--name", "../a"),
    ],
)
def test_what_was_not_understood_ends_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    answer = cli(*arguments, "--json", code=2)
    assert answer.out == b""
    assert "--help" in answer.error["hint"]


def test_force_replaces_an_output(cli: Cli) -> None:
    (cli.folder / "plain").write_bytes(b"text")
    (cli.folder / "r.mp4").write_bytes(b"old")
    cli("encode", "plain", "r.mp4", "--force")
    (cli.folder / "plain").write_bytes(b"other")
    cli("decode", "r.mp4", "plain", "--force")
    assert (cli.folder / "plain").read_bytes() == b"text"


def test_a_full_disk_ends_with_4_and_leaves_nothing(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(NOISE)
    answer = cli("encode", "noise", "r.mp4", "--json", code=4, before=_small_files)
    assert answer.error["id"] == "target.full"
    assert [path.name for path in cli.folder.iterdir()] == ["noise"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "encode", "noise", "-"],
            cwd=cli.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            env=cli.environment,
            check=False,
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (4, 2)


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_an_encode_at_once_and_leaves_nothing(cli: Cli, number: signal.Signals, code: int) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        process = cli.start("encode", "-", "r.mp4", "--workers", "2", stdin=zeros, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + SECONDS_MAX
            while not any(_size(cli.folder / name) > 100_000 for name in leftovers(cli.folder)):
                assert time.monotonic() < deadline
                time.sleep(0.02)  # until it encodes: what numba compiles before that swallows signals
            process.send_signal(number)
            _, said = process.communicate(timeout=SECONDS_MAX)
        finally:
            process.kill()
    assert (process.returncode, b"Traceback" in said) == (code, False)
    assert list(cli.folder.iterdir()) == []


def test_what_a_killed_run_left_is_cleared_by_the_next_one_to_the_same_file(cli: Cli) -> None:
    (cli.folder / "noise").write_bytes(NOISE)
    with Path("/dev/zero").open("rb") as zeros:
        process = cli.start("encode", "-", "r.mp4", stdin=zeros, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + SECONDS_MAX
        while not any(_size(cli.folder / name) > 100_000 for name in leftovers(cli.folder)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        cli("encode", "noise", "r.mp4")  # a living run's is left alone
        assert len(leftovers(cli.folder)) == 1
        process.kill()
        process.wait(SECONDS_MAX)
    assert len(leftovers(cli.folder)) == 1
    cli("encode", "noise", "r.mp4", "--force")
    assert leftovers(cli.folder) == []


def test_nohup_keeps_a_run_from_the_end_of_its_terminal(cli: Cli) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = cli.start("encode", "-", "r.mp4", stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert process.stdin is not None
    process.stdin.write(32 * NOISE)  # more than is looked at before the reel is begun
    deadline = time.monotonic() + SECONDS_MAX
    while not leftovers(cli.folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    process.stdin.close()
    assert process.wait(SECONDS_MAX) == 0
    assert (cli.folder / "r.mp4").exists()


def test_a_reader_that_goes_away_ends_it_quietly(cli: Cli, reel: Path) -> None:
    for command in (("decode", str(reel), "-"), ("profiles",)):
        process = cli.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()
        assert (process.wait(SECONDS_MAX), said) == (141, b"")


def test_a_closed_standard_file_is_an_error(cli: Cli, reel: Path) -> None:
    for command in (f"decode {reel} - >&-", "profiles >&-", "put - <&-"):
        script = f'exec "$0" -P -m bytereel.cli.main {command}'
        done = subprocess.run(
            ["sh", "-c", script, sys.executable], stderr=subprocess.PIPE, env=cli.environment, check=False
        )
        assert done.returncode == 3
        assert done.stderr.startswith(b"bytereel: ")
        assert b"Traceback" not in done.stderr


def test_a_bug_is_said_in_one_line() -> None:
    script = "import sys; from bytereel.cli import main; main.run = lambda _: 1 / 0; sys.exit(main.main())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment(), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"bytereel: this is a bug: ZeroDivisionError at ")
    assert b"Traceback" not in done.stderr


HELP_RATIO_MAX = 3.0  # the least that any command can take is what the library of options takes; 2.0 was measured


@pytest.mark.alone
def test_help_names_the_exit_codes_and_imports_nothing_slow(cli: Cli) -> None:
    assert b"130  interrupted" in cli("--help").out
    script = f"import sys, bytereel.cli.main; print([m for m in {SLOW_MODULES} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment(), check=True)
    assert done.stdout.strip() == b"[]"
    options_alone = [sys.executable, "-P", "-c", "import click"]
    least = fastest(lambda: subprocess.run(options_alone, env=cli.environment, check=True), rounds=8)
    assert fastest(lambda: cli("--help"), rounds=8) <= HELP_RATIO_MAX * least


def test_a_wrong_setting_is_named(cli: Cli) -> None:
    answer: Answer = cli("jobs", "--json", code=3, BYTEREEL_WORKERS="many")
    assert answer.error["id"] == "settings.invalid"
    assert "BYTEREEL_WORKERS" in answer.error["message"]

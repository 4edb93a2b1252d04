"""What commands say to somebody who may have meant something else, and how they can be asked."""

import os
import pty
import random
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest
from bytereel_codec.files.folder.stream import folder_stream, stream_bytes
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.kinds import Kind
from bytereel_codec.reading.scan import find_frames
from command_line import COMMAND, SECONDS_MAX, Cli

pytestmark = pytest.mark.e2e

NOISE = random.Random(22).randbytes(300_000)


@pytest.fixture
def files(cli: Cli) -> Cli:
    """A text, an empty file, a folder, noise and its reel."""
    (cli.folder / "text").write_text("words\n")
    (cli.folder / "empty").touch()
    (cli.folder / "folder").mkdir()
    (cli.folder / "folder/file").write_bytes(NOISE)
    (cli.folder / "noise").write_bytes(NOISE)
    cli("encode", "noise", "noise.mp4")
    return cli


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("decode", "empty", "out"), "it is empty"),
        (("decode", "text", "out"), "was another file meant?"),
        (("decode", "folder", "out"), "`bytereel encode` makes a reel of it"),
        (("verify", "folder"), "a reel is a file"),
        (("inspect", "folder"), "a reel is a file"),
        (("encode", "text", "out", "-p", "balancd"), "did you mean 'balanced'?"),
        (("survive", "text", "-t", "youtube"), "one of x264"),
    ],
)
def test_what_is_wrong_is_said_with_what_may_have_been_meant(files: Cli, command: tuple[str, ...], words: str) -> None:
    assert words in files(*command, code=3).err
    assert not (files.folder / "out").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("decode", "noise.mp4", "out", "--range", "300000:"), "behind the end: the original has 300000 bytes"),
        (("encode", "text", "out.mkv"), "'out.mkv' is an MP4 file"),
        (("encode", "noise", "out", "--parity", "10%"), "at least one segment"),
        (("encode", "-", "out"), "standard input was empty"),
    ],
)
def test_what_may_not_have_been_meant_is_done_and_said(files: Cli, command: tuple[str, ...], words: str) -> None:
    assert words in files(*command, stdin=b"").err


@pytest.mark.parametrize(
    "command",
    [
        ("decode", "noise.mp4", "out", "--range", "299999:"),
        ("encode", "text", "out.mp4"),
        ("encode", "noise", "out", "--parity", "100%"),
        ("encode", "-", "out"),
    ],
)
def test_what_is_usual_is_done_without_a_word(files: Cli, command: tuple[str, ...]) -> None:
    assert files(*command, stdin=b"x").err == ""


def test_sizes_are_understood_in_both_kinds_of_units_and_of_folders(files: Cli) -> None:
    for text, size in (("10GB", 10**10), ("10GiB", 10 << 30), ("3kb", 3000), ("7", 7)):
        assert files("estimate", text, "--json").json["source_bytes"] == size
    assert files("estimate", "folder", "--json").json["source_bytes"] == stream_bytes(files.folder / "folder")


def test_a_folders_estimate_is_near_its_stream(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}").write_bytes(bytes(number * 37))
    with folder_stream(tmp_path) as stream:
        size = 0
        while part := stream.stream.read(1 << 20):
            size += len(part)
        stream.check()
    assert 0.9 * size <= stream_bytes(tmp_path) <= 1.25 * size


def test_a_command_is_asked_for_help_in_any_way_and_a_wrong_name_is_near_a_right_one(cli: Cli) -> None:
    assert cli("help", "jobs").out == cli("jobs", "--help").out == cli("jobs", "-h").out
    assert cli("help").out == cli("--help").out == cli("-h").out
    assert b"..." not in cli("help").out.replace(b"[ARGS]...", b"")
    assert cli("-V").out == cli("--version").out
    assert "there is no command 'decod': decode" in cli("decod", code=2).err
    assert "there is no command 'help me'" in cli("help me", code=2).err
    assert cli("help", "nothing", code=2).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_options(cli: Cli, shell: str) -> None:
    assert f"_BYTEREEL_COMPLETE={shell}_complete".encode() in cli("completion", shell).out
    told = {"_BYTEREEL_COMPLETE": "bash_complete", "COMP_WORDS": "bytereel en", "COMP_CWORD": "1"}
    assert cli(**told).out == b"plain,encode\n"
    options = cli(**{**told, "COMP_WORDS": "bytereel decode --sal", "COMP_CWORD": "2"}).out
    assert options == b"plain,--salvage\n"


def test_a_passphrase_is_one_line_and_a_byte_order_mark_none_of_its_words(files: Cli) -> None:
    for name, content in (("plain", b"words\n"), ("marked", b"\xef\xbb\xbfwords\r\n"), ("lines", b"one\ntwo\n")):
        (files.folder / name).write_bytes(content)
    files("encode", "text", "sealed.mp4", "--passphrase-file", "marked")
    for number, name in enumerate(("plain", "marked")):
        files("decode", "sealed.mp4", f"back{number}", "--passphrase-file", name)
    assert (
        files("encode", "text", "x.mp4", "--passphrase-file", "lines", "--json", code=3).error["id"] == "secret.lines"
    )
    assert not (files.folder / "x.mp4").exists()


def test_a_passphrase_comes_from_a_file_standard_input_or_a_program(files: Cli) -> None:
    (files.folder / "words").write_bytes(b"the words\n")
    files("encode", "text", "sealed.mp4", "--passphrase-command", "cat words")
    files("decode", "sealed.mp4", "one", "--passphrase-file", "words")
    files("decode", "sealed.mp4", "two", "--passphrase-file", "-", stdin=b"the words")
    files("verify", "sealed.mp4", "--passphrase-command", "printf 'the words'")
    assert (files.folder / "one").read_bytes() == (files.folder / "two").read_bytes() == b"words\n"
    for arguments, error_id in (
        (("--passphrase-command", "false"), "secret.command"),
        (("--passphrase-command", "true"), "secret.empty"),
        (("--passphrase-command", "printf other"), "reel.wrong_key"),
        (("--ask-passphrase",), "secret.no_terminal"),
        (("--passphrase-command", "cat words", "--key-file", "words"), "secret.two"),
        (("--passphrase-command", "no-such-program"), "secret.command"),
        (("--passphrase-command", "./words"), "secret.command"),
        (("--passphrase-command", "cat -"), "secret.empty"),
    ):
        assert files("decode", "sealed.mp4", "three", *arguments, "--json", code=3).error["id"] == error_id
    for nothing in ("", " ", "'unended"):
        refused = files("encode", "text", "x.mp4", "--passphrase-command", nothing, "--json", code=2)
        assert refused.error["id"] == "usage"
    assert files("encode", "-", "x.mp4", "--passphrase-file", "-", "--json", code=2).error["id"] == "usage"
    assert not (files.folder / "x.mp4").exists(), "never in the clear"
    assert not (files.folder / "three").exists()


def typed(cli: Cli, *arguments: str, words: bytes) -> bytes:
    """What a terminal shows while these words are typed, each line when it is asked for."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=cli.folder,
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env=cli.environment,
        start_new_session=True,
    )
    os.close(theirs)
    shown, end = b"", time.monotonic() + 30
    waiting = words.splitlines(keepends=True)
    try:
        while time.monotonic() < end:
            if not select.select([ours], [], [], 0.2)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            shown += part
            if waiting and shown.rstrip().endswith(b":"):
                while termios.tcgetattr(ours)[3] & termios.ECHO and time.monotonic() < end:
                    time.sleep(0.01)  # what is typed before the echo is off is thrown away
                os.write(ours, waiting.pop(0))
                shown += b"\n"
        assert process.wait(10) == 0, shown
    finally:
        process.kill()
        os.close(ours)
    return shown


def test_a_passphrase_is_asked_for_unseen_and_twice_where_it_seals(files: Cli) -> None:
    said = typed(files, "encode", "text", "asked.mp4", "--ask-passphrase", words=b"secret words\nsecret words\n")
    assert b"secret words" not in said
    (files.folder / "words").write_bytes(b"secret words")
    files("decode", "asked.mp4", "one", "--passphrase-file", "words")
    typed(files, "decode", "asked.mp4", "two", "--ask-passphrase", words=b"secret words\n")
    assert (files.folder / "two").read_bytes() == b"words\n"


@pytest.mark.parametrize("hurt", [1, 2])
def test_salvaging_is_named_where_something_is_left(files: Cli, hurt: int) -> None:
    (files.folder / "two").write_bytes(random.Random(3).randbytes(60_000))
    files("encode", "two", "two.mp4", "--geometry", "144p")
    video = bytearray((files.folder / "two.mp4").read_bytes())
    data = [place for place, header in find_frames(BytesReader(bytes(video))) if header.kind == Kind.DATA]
    for place in data[:hurt]:
        video[place + 1000] ^= 1
    (files.folder / "two.mp4").write_bytes(video)
    said = files("decode", "two.mp4", "out", code=5).err
    assert ("--salvage" in said, "another copy is needed" in said) == (hurt < len(data), hurt == len(data))


def test_a_bucket_that_is_none_is_said_in_words(cli: Cli) -> None:
    buckets = {f"BYTEREEL_{name}_BUCKET": f"{name.lower()}-b" for name in ("INBOX", "WORK", "OUTBOX")}
    said = cli("jobs", code=3, **{**buckets, "BYTEREEL_INBOX_BUCKET": "My_Bucket"}).err
    assert "BYTEREEL_INBOX_BUCKET: 'My_Bucket' is no bucket: 3 to 63 lower-case letters" in said


def test_who_stops_waiting_is_told_that_the_job_goes_on(files: Cli) -> None:
    process = files.start("put", "text", "--wait", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    job_id = process.stdout.readline().decode().strip()
    end = time.monotonic() + SECONDS_MAX
    while not (files.home / "state.sqlite").exists():
        assert time.monotonic() < end
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 130
    assert f"the job goes on without you: `bytereel status {job_id} --watch`" in said.decode()


def test_up_says_that_it_is_there_and_where_files_are_taken(cli: Cli) -> None:
    assert f"files dropped into {str(cli.home / 'inbox')!r} are taken" in cli("up", "--until-idle", "-w", "1").err


def test_doctor_ends_with_its_own_code_where_something_is_missing(cli: Cli) -> None:
    assert b"nothing is missing" in cli("doctor").out
    environment = {"BYTEREEL_MEMORY_BUDGET_BYTES": str(1 << 50)}
    answer = cli("doctor", "--json", code=7, **environment)
    assert any("memory budgets" in line for line in answer.json["missing"])
    assert os.linesep.join(["settings in force:"]) in cli("doctor").out.decode()

"""The log: one event is one line, whatever its names and errors hold, whichever way it came there."""

import io
import json
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from bytereel.cli.printing import output
from bytereel.logs import FORMAT, OneLine, json_line, shown
from hypothesis import given
from hypothesis import strategies as st

NASTY = [
    "a\nFAKE",
    "a\r\nFAKE",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b2J",
    "\x7f\x08\x00",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    "\u202egnp.exe\u202c\u2066\u2069\u200f\u061c",
    "\ufeff\u200b\u2060\U000e0041",
    "\udcff\ud800",
    "\u00a0\u3000",
]
ANY_TEXT = st.text(st.characters())


def written(call: object) -> str:
    """What the program writes to standard error."""
    done = subprocess.run([sys.executable, "-c", str(call)], capture_output=True, check=False)
    return done.stderr.decode("utf-8")


def formatted(name: str, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(f"logger.{name}", logging.WARNING, "", 1, "said: %s", (name,), info)
    return OneLine(FORMAT).format(record)


def is_harmless(line: str) -> bool:
    """Whether nothing in it is a control, a format mark, a surrogate or another space or line end than a blank."""
    return all(each == " " or unicodedata.category(each)[0] not in "CZ" for each in line)


@pytest.mark.parametrize("name", NASTY, ids=ascii)
def test_no_name_and_no_error_breaks_a_line(name: str) -> None:
    def fail() -> None:
        raise ValueError(name) from KeyError(name)

    with pytest.raises(ValueError) as caught:
        fail()
    line = formatted(name, caught.value)
    assert is_harmless(line)
    assert "Traceback" in line
    line.encode("utf-8")


@given(ANY_TEXT)
def test_whatever_is_logged_is_one_harmless_line(name: str) -> None:
    assert is_harmless(formatted(name))


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="\u00a0")))
def test_what_can_be_read_is_logged_as_it_is(name: str) -> None:
    if all(each.isprintable() for each in name):
        assert shown(name) == name


def test_commands_print_by_the_same_rule() -> None:
    assert output.shown is shown  # type: ignore[attr-defined]


@given(ANY_TEXT)
def test_a_line_of_json_is_ascii_and_says_the_same(name: str) -> None:
    line = json_line({"message": name, "path": Path("a")})
    assert is_harmless(line)
    assert line.isascii()
    assert json.loads(line) == {"message": name, "path": "a"}


PROGRAM = """
import logging, sys, threading, warnings
from bytereel.logs import configure_logging
configure_logging("info")
name = "a\\nFAKE\\x1b[2J\\u202e\\udcff"
"""


@pytest.mark.parametrize(
    "event",
    [
        "logging.getLogger('bytereel.x').warning('%s', name)",
        "logging.getLogger('uvicorn.error').error(name)",
        "logging.getLogger(name).info('one')",
        "warnings.warn(name)",
        "raise ValueError(name)",
        "t = threading.Thread(target=lambda: int(name), name=name); t.start(); t.join()",
        "raise ExceptionGroup(name, [ValueError(name)])",
    ],
)
def test_every_way_into_the_log_is_one_line(event: str) -> None:
    said = written(PROGRAM + event)
    assert said.count("\n") == 1, said
    assert is_harmless(said.rstrip("\n"))
    assert "FAKE" in said
    assert " bytereel." in said or " uvicorn." in said or " py.warnings" in said or " a\\nFAKE" in said


def test_the_end_of_a_thread_on_purpose_is_no_event() -> None:
    assert written(PROGRAM + "t = threading.Thread(target=sys.exit); t.start(); t.join()") == ""


def test_commands_without_a_log_warn_in_one_line_too() -> None:
    program = "import bytereel.cli.main as cli, logging; cli.escape_before_configured(); "
    said = written(program + "logging.getLogger('bytereel.x').warning('%s', 'a\\nFAKE\\x1b[2J')")
    assert said == "bytereel: a\\nFAKE\\x1b[2J\n"


def test_functions_write_json_of_one_line() -> None:
    program = """
import logging, sys
from bytereel_functions.telemetry import configure_logs, logger
configure_logs("info")
logger().logger_handler.setStream(sys.stderr) if hasattr(logger(), "logger_handler") else None
for handler in logging.getLogger("bytereel").handlers: handler.setStream(sys.stderr)
try:
    raise ValueError("a\\nFAKE\\x1b\\u202e\\udcff\\x9b")
except ValueError as error:
    logging.getLogger("bytereel.x").exception("%s", error)
"""
    said = written(program)
    assert said.count("\n") == 1, said
    assert is_harmless(said.rstrip("\n"))
    assert json.loads(said)["message"] == "a\nFAKE\x1b\u202e\udcff\x9b"


def test_a_stream_gets_the_line_as_a_whole() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine("%(message)s"))
    handler.handle(logging.LogRecord("x", logging.INFO, "", 1, "a\nb", (), None))
    assert stream.getvalue() == "a\\nb\n"

"""Where log lines go: to standard error, one line an event, whatever its names and errors hold.

Names come from files, keys, headers and reels, so from other people, and errors repeat them. Nothing that is logged may
break a line, move a cursor or turn the direction of text: every line passes through `shown`, whichever logger it came
from, its traceback and that of an error which nobody caught included. What commands print passes through it too.
"""

import json
import logging
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
NOISY = ("watchfiles", "botocore", "urllib3", "uvicorn")
"""They would tell of every change in the inbox, every client, every start."""

log = logging.getLogger(__name__)


def shown(text: str) -> str:
    """The text on one line, with control characters, invisible ones and undecodable bytes as escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode("ascii") for each in text
    )


def json_line(values: Mapping[str, Any]) -> str:
    """The values as JSON on one line of ASCII: its escapes do what `shown` does, and are undone by who reads JSON."""
    return json.dumps(values, default=str, separators=(",", ":"))


class OneLine(logging.Formatter):
    """Formats an event as one line of printable characters; its traceback, if it has one, is part of the line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return shown(super().format(record))


def configure_logging(level: str) -> None:
    """Set up the process's log; once, at start."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def escape_before_configured() -> None:
    """Have warnings of commands that set up no log pass through `shown` as well."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLine("bytereel: %(message)s"))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As the interpreter does at an error that nobody caught, in one line."""
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("an error that nobody caught", exc_info=(kind, error, trace))


def _log_uncaught_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        _log_uncaught(ended.exc_type, ended.exc_value, ended.exc_traceback)

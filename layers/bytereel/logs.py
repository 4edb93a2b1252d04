"""Where log lines go: to standard error, one line an event."""

import logging

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def configure_logging(level: str) -> None:
    """Set up the process's log; once, at start."""
    logging.basicConfig(level=level.upper(), format=FORMAT)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it would tell of every change in the inbox

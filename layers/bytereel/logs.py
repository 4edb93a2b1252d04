"""Where log lines go: to standard error, one line an event."""

import logging

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


def configure_logging(level: str) -> None:
    """Set up the process's log; once, at start."""
    logging.basicConfig(level=level.upper(), format=FORMAT)
    for noisy in ("watchfiles", "botocore", "urllib3"):  # they would tell of every change in the inbox, every client
        logging.getLogger(noisy).setLevel(logging.WARNING)

"""The program of a worker process: `python -m bytereel.workers.main`, its settings as JSON on standard input.

It drains on SIGTERM, on SIGINT, and when the process that started it is gone.
"""

import gc
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bytereel.conversions.registry import load_conversions
from bytereel.errors import Integrity, Permanent, reason_of
from bytereel.logs import configure_logging
from bytereel.settings import load_settings
from bytereel.signals import on_ending
from bytereel.wiring import Home, open_home
from bytereel.workers.owners import OwnerLock, free_the_dead, new_owner
from bytereel.workers.worker import Worker

EXIT_UNUSABLE = 78
"""Starting again cannot help: what was given is wrong. Source: sysexits.h, EX_CONFIG."""

PARENT = "supervisor_pid"
"""Beside the settings: the process that started this one. Asking the system later would be too late: it may be gone."""
BEGUN = "begun_fd"
"""Beside the settings: a pipe that is closed once all is there to work with, for whoever waits for that."""

log = logging.getLogger(__name__)


def main() -> int:
    """Work until told to stop; return the exit status."""
    try:
        chosen = json.load(sys.stdin)
    except ValueError:
        return 0  # whoever started this was gone before it had said anything
    parent, begun = chosen.pop(PARENT, os.getppid()), chosen.pop(BEGUN, None)
    gc.disable()  # what is loaded now stays for good: a quarter of the start would go into looking for garbage in it
    try:
        settings = load_settings(**chosen)
        configure_logging(settings.log_level)
        home = open_home(settings)
        conversions = load_conversions(settings)
        if begun is not None:
            os.close(begun)
    except (Permanent, Integrity) as error:
        configure_logging("info")
        log.error("the worker cannot start: %s", reason_of(error))  # noqa: TRY400 - one clear line
        return EXIT_UNUSABLE
    gc.freeze()
    gc.enable()
    with owned_name(home) as owner:
        worker = Worker(home.ports, conversions, settings, owner, alive=lambda: os.getppid() == parent)
        log.info("worker %s works on %s", owner, home.name)
        try:
            with on_ending(lambda *_: worker.stop()):
                worker.run()
        except (Permanent, Integrity) as error:
            log.error("the worker cannot go on: %s", reason_of(error))  # noqa: TRY400 - one clear line
            return EXIT_UNUSABLE
    return 0


@contextmanager
def owned_name(home: Home) -> Iterator[str]:
    """This worker's name while the context lasts; where the state lies on this machine, the dead are freed first."""
    if home.owners_folder is None:
        yield new_owner()
        return
    with OwnerLock(home.owners_folder) as lock:
        free_the_dead(home.owned, home.owners_folder)
        yield lock.owner


if __name__ == "__main__":
    sys.exit(main())

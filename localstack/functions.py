"""The four functions on this machine, as Lambda would run them: each behind the Runtime API, called by its queues.

`python -m localstack.functions` takes the `BYTEREEL_*` settings and the `AWS_*` variables, hands them on to the
functions, and runs until SIGTERM or SIGINT; then what runs is finished. Their lines of JSON go to standard output.
"""

import argparse
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bytereel.adapters.aws import make_client
from bytereel.cli.exits import exit_code_of
from bytereel.cores import usable_cores
from bytereel.errors import BytereelError, Permanent, reason_of
from bytereel.logs import configure_logging
from bytereel.messages import BULK, ENCODE, FINALIZE, INTAKE
from bytereel.settings import Settings, load_settings

from localstack.event_sources import BATCH_MAX, PolledQueue, QueueSource, Schedule
from localstack.runtime_api import FunctionConfig, LocalFunction

HANDED_ON = ("BYTEREEL_", "AWS_", "POWERTOOLS_", "NUMBA_")
CHECK_SECONDS = 1.0
ALIVE_SECONDS_MAX = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FunctionShape:
    """What a deployment would say of a function: when it is killed, what it hears, and how much of it at once."""

    timeout_seconds: float
    queues: Sequence[str] = ()
    batch_size: int = 1


SHAPES: Mapping[str, FunctionShape] = {
    "on_upload": FunctionShape(300.0, (INTAKE,), BATCH_MAX),
    "on_segment": FunctionShape(900.0, (ENCODE, BULK)),
    "on_complete": FunctionShape(900.0, (FINALIZE,)),
    "on_schedule": FunctionShape(270.0),
}
"""As `infra/core.yaml` has them; a test compares the two."""


class RunningFunctions:
    """Functions under way, each with who calls it."""

    def __init__(self, functions: Sequence[LocalFunction], runs: "Sequence[Future[None]]") -> None:
        self._functions = functions
        self._runs = runs

    def named(self, name: str) -> Sequence[LocalFunction]:
        """The functions of that name: several of `on_segment`, one of each other."""
        return [function for function in self._functions if function.config.name == name]

    def check(self, seconds: float = 0.0) -> None:
        """Look for so long whether everybody still polls; raises what ended one of them before its time."""
        for run in wait(self._runs, seconds, FIRST_COMPLETED).done:
            run.result()


@contextmanager
def running(
    settings: Settings,
    environment: Mapping[str, str],
    folder: Path | None,
    *,
    workers: int | None = None,
    shapes: Mapping[str, FunctionShape] = SHAPES,
    visibility_seconds: int | None = None,
) -> Iterator[RunningFunctions]:
    """Run the functions while the context lasts, `on_segment` in `workers` children (one a core); then drain.

    `environment` is what the functions see. They work and log in `folder`; where it is None, in a folder that goes
    with the context, and to standard output. `visibility_seconds` replaces what the queues say.
    Raises: Permanent `settings.missing`.
    """
    if settings.queues is None:
        raise Permanent("settings.missing", "BYTEREEL_QUEUES is not set", hint="the functions hear queues alone")
    copies = {"on_segment": workers or usable_cores()}
    client = make_client("sqs", endpoint_url=settings.endpoint_url, region=settings.region)
    with ExitStack() as stack:
        logged = folder is not None
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bytereel-functions-")))
        functions: list[LocalFunction] = []
        sources: list[Callable[[threading.Event], None]] = []
        for name, shape in shapes.items():
            config = FunctionConfig(name, f"bytereel_functions.{name}.handler", environment, shape.timeout_seconds)
            queues = [PolledQueue(f"{settings.queues}-{queue}", visibility_seconds) for queue in shape.queues]
            for _ in range(copies.get(name, 1)):
                function = stack.enter_context(closing(LocalFunction(config, place, logged=logged)))
                functions.append(function)
                if queues:
                    source = QueueSource(client, queues, function.invoke, batch_size=shape.batch_size)
                    sources.append(source.run)
                else:
                    sources.append(Schedule(function.invoke, settings.sweep_seconds).run)
        pool, stopping = stack.enter_context(ThreadPoolExecutor(len(sources), "source")), threading.Event()
        stack.callback(stopping.set)
        yield RunningFunctions(functions, [pool.submit(source, stopping) for source in sources])


def is_alive(settings: Settings) -> bool:
    """Whether functions of this machine that hear the same queues looked after themselves a moment ago."""
    try:
        return time.time() - _alive_path(settings).stat().st_mtime < ALIVE_SECONDS_MAX
    except FileNotFoundError:
        return False


def _alive_path(settings: Settings) -> Path:
    return Path(tempfile.gettempdir()) / f"bytereel-functions-{settings.queues}.alive"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the functions until told to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m localstack.functions", description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, help="children that encode (one a core)")
    parser.add_argument("--health", action="store_true", help="say by the exit status whether they run already")
    chosen = parser.parse_args(arguments)
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    try:
        settings = load_settings()
        if chosen.health:
            return 0 if is_alive(settings) else 1
        configure_logging(settings.log_level)
        environment = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
        with running(settings, environment, None, workers=chosen.workers) as functions:
            log.info("the functions hear %s-*", settings.queues)
            while not told.wait(CHECK_SECONDS):
                functions.check()
                _alive_path(settings).touch()
            log.info("told to stop: what runs is finished")
            _alive_path(settings).unlink(missing_ok=True)
    except BytereelError as error:
        print(f"functions: {reason_of(error)}", file=sys.stderr)
        return exit_code_of(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())

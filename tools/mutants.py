"""Do the tests bite? Single changes to the code, each of which some test must fail for: `make mutants`.

`tools/changes/*.toml` keeps the changes: what is no longer done, the text to be replaced (it stands once in its
file), and the narrowest tests that ought to notice. Each is made in a copy of the tree, never in the tree itself, and
its tests (but the slow ones) run there until the first one fails. That one killed the change, provided that it passes
without it.

Ends with 1 where a change survives for which the list states no reason (`survives`), where a text is no longer found,
or where a killer fails without the change too. Takes about a quarter of an hour on two cores; not part of CI.
"""

import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from tools.changes import ROOT, Change, load_changes, why_stale

LEFT_OUT = (".git", ".venv", ".hypothesis", ".*_cache", "build", "dist", "home")
SECONDS_MAX = 300.0
PASSED = 0
TOO_LONG = "in time"
FAILED_LINE = re.compile(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", re.MULTILINE)  # a line of a log has more blanks


class Verdict(StrEnum):
    """What became of a change."""

    KILLED = "killed"
    SURVIVED = "survived"
    EXCUSED = "excused"
    STALE = "no longer applies"
    UNPROVEN = "not proven"


BAD = frozenset({Verdict.SURVIVED, Verdict.STALE, Verdict.UNPROVEN})


@dataclass(frozen=True, slots=True)
class Outcome:
    """A change and its verdict; `by` is the test that killed it, or why it was not tried."""

    change: Change
    verdict: Verdict
    by: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        by = f"\n          {self.by}" if self.by else ""
        return f"{self.verdict:9} {self.change} ({self.seconds:.0f} s){by}"


class Scratch:
    """A copy of the tree in which one change at a time is made. For one thread."""

    def __init__(self, folder: Path, seconds_max: float) -> None:
        self.tree = folder / "tree"
        self._folder = folder
        self._seconds_max = seconds_max
        self._running: subprocess.Popen[bytes] | None = None
        # Times are kept, and with them what numba and Python compiled already.
        shutil.copytree(ROOT, self.tree, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))

    @contextmanager
    def changed(self, change: Change) -> Iterator[None]:
        """Have the change in the copy while the context lasts."""
        path = self.tree / change.file
        kept = path.with_name(path.name + ".kept")
        path.rename(kept)
        try:
            path.write_text(kept.read_text("utf-8").replace(change.old, change.new, 1), "utf-8")
            yield
        finally:
            kept.replace(path)

    def failing(self, tests: Sequence[str], *, compiled: bool = False, at_once: bool = False) -> list[str]:
        """The first of the tests that fails, `at_once` all that fail; `TOO_LONG` for tests that take too long.

        With `compiled` the change is in a kernel: what numba keeps of the others may hold it, so nothing is kept.
        """
        shutil.rmtree(self._folder / "temporary", ignore_errors=True)
        kernels = {"NUMBA_CACHE_DIR": str(self._folder / "temporary-kernels")} if compiled else {}
        command = [sys.executable, "-m", "pytest", "--tb=line", "-rfE", "-p", "no:cacheprovider", "-m", "not slow"]
        options = ["--hypothesis-seed=0", f"--basetemp={self._folder / 'temporary'}"]
        try:
            seconds = self._seconds_max * (len(tests) if at_once else 1)
            code, said = self._run(seconds, [*command, *options, *([] if at_once else ["-x"]), *tests], kernels)
        finally:
            shutil.rmtree(self._folder / "temporary-kernels", ignore_errors=True)
        if code == PASSED:
            return []
        return FAILED_LINE.findall(said) or [f"pytest ended with {code}: {said.strip()[-300:]}"]

    def _run(self, seconds: float, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        path = os.pathsep.join(str(self.tree / wing) for wing in ("codec", "layers", "functions"))
        known = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
            subprocess.Popen(
                command, cwd=self.tree, env=known, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            ) as process,
        ):
            self._running = process
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return -1, f"FAILED {TOO_LONG}"
            finally:
                self.end()
            said.seek(0)
            return process.returncode, said.read()

    def end(self) -> None:
        """End the tests' processes, also those that a killed test left behind."""
        if self._running is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)


class Trial:
    """Tries changes, several at once, each in a scratch copy that nobody else uses meanwhile."""

    def __init__(self, scratches: Sequence[Scratch]) -> None:
        self._free: queue.SimpleQueue[Scratch] = queue.SimpleQueue()
        for scratch in scratches:
            self._free.put(scratch)

    def judge(self, change: Change) -> Outcome:
        """Make the change, and run its tests until one fails."""
        if why := why_stale(change):
            return Outcome(change, Verdict.STALE, why)
        scratch, started = self._free.get(), time.monotonic()
        try:
            with scratch.changed(change):
                killers = scratch.failing(change.tests, compiled=change.is_compiled)
        finally:
            self._free.put(scratch)
        return Outcome(change, _verdict(change, killers), (*killers, change.survives)[0], time.monotonic() - started)

    def unproven(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Those that were killed by a test that fails without the change too: all killers are run once more."""
        scratch = self._free.get()
        wanted = list(dict.fromkeys(each.by for each in outcomes))
        failing = scratch.failing(wanted, at_once=True) if wanted else []
        self._free.put(scratch)
        if not all(map(_is_test, failing)):  # the run did not come to its end: it proves nothing
            return [replace(each, verdict=Verdict.UNPROVEN) for each in outcomes]
        return [
            replace(each, verdict=Verdict.UNPROVEN)
            for each in outcomes
            if any(failed.startswith(each.by) for failed in failing)
        ]


def _verdict(change: Change, failed: Sequence[str]) -> Verdict:
    """What failing tests say of a change; a run that took too long, or tried no test, says nothing."""
    if failed:
        return Verdict.KILLED if _is_test(failed[0]) else Verdict.UNPROVEN
    return Verdict.EXCUSED if change.survives else Verdict.SURVIVED


def _is_test(failed: str) -> bool:
    return "::" in failed


def try_all(changes: Sequence[Change], workers: int, seconds_max: float) -> Iterator[Outcome]:
    """The outcome of each change, as they come; at the end once more those that prove nothing."""
    with tempfile.TemporaryDirectory(prefix="bytereel-mutants-") as folder, ThreadPoolExecutor(workers) as pool:
        scratches = [Scratch(Path(folder, str(number)), seconds_max) for number in range(workers)]
        trial = Trial(scratches)
        killed = []
        try:
            for future in as_completed([pool.submit(trial.judge, change) for change in changes]):
                outcome = future.result()
                killed += [outcome] if outcome.verdict is Verdict.KILLED else []
                yield outcome
            yield from trial.unproven(killed)
        finally:  # where it was interrupted, what runs ends now and the rest is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            for scratch in scratches:
                scratch.end()


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the changes that were chosen; 1 where one survives, or no longer applies."""
    parser = argparse.ArgumentParser(prog="make mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="changes whose file or words hold it: codec/reading")
    parser.add_argument("--list", action="store_true", help="name the changes, and try none")
    parser.add_argument("--check", action="store_true", help="see that every text is still found, and try none")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many are tried at once")
    parser.add_argument("--seconds", type=float, default=SECONDS_MAX, help="how long the tests of one change may take")
    chosen = parser.parse_args(arguments)
    changes = [change for change in load_changes() if chosen.only in str(change)]
    if not changes:
        parser.error(f"no change is about {chosen.only!r}")
    if chosen.list or chosen.check:
        return _show(changes, stale_only=chosen.check)
    last: dict[Change, Verdict] = {}
    for outcome in try_all(changes, max(1, min(chosen.workers, len(changes))), chosen.seconds):
        last[outcome.change] = outcome.verdict
        print(outcome, flush=True)
    counts = Counter(last.values())
    print(f"{len(changes)} changes: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict))
    return int(any(counts[verdict] for verdict in BAD))


def _show(changes: Sequence[Change], *, stale_only: bool) -> int:
    stale = {change: why for change in changes if (why := why_stale(change))}
    for change in changes:
        if not stale_only or change in stale:
            print(f"{change}: {stale[change]}" if change in stale else change)
    print(f"{len(changes)} changes, {len(stale)} of them no longer apply")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())

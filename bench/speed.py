"""Speed and memory of `encode` and `decode` as real processes, in turns with `openssl dgst -sha256` and `cp`.

Every round runs each once, so that what disturbs a machine disturbs all alike; the best of the rounds counts, and the
middle of the rounds' own ratios stands beside it. Nothing slow is imported here: see `run_process`.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import COMMAND, MEBIBYTE, Scratch, Timed, median, random_file, run_process
from bench.rows import Row

RATIOS_MIN = {"encode": 0.50, "decode": 0.48}
TWO_WORKERS_MIN = 1.65
MEMORY_MIB_MAX = 300
NAMES = ("encode, 1 worker", "encode, 2 workers", "decode, 1 worker", "decode, 2 workers")

Runs = dict[str, list[float]]


def digest_command(source: Path) -> list[str]:
    """What the SHA-256 of a file is measured with."""
    if shutil.which("openssl"):
        return ["openssl", "dgst", "-sha256", str(source)]
    code = "import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256').hexdigest())"
    return [sys.executable, "-c", code, str(source)]


def encode_command(source: Path, reel: Path, workers: int) -> list[str]:
    """`bytereel encode` as a user types it."""
    return [COMMAND, "encode", str(source), str(reel), "--workers", str(workers), "--json"]


def measure(scratch: Scratch, size: int, rounds: int) -> Iterator[Row]:
    """The rows of a source of `size` random bytes."""
    source = random_file(scratch.fresh("source"), size)
    run_process(encode_command(random_file(scratch.fresh("small"), 1024), scratch.fresh("small.mp4"), 1))
    runs, peaks = _processes(scratch, source, rounds)
    where = f"{size // MEBIBYTE} MiB, the whole process"
    yield from rate_rows(where, size, runs)
    yield from _memory_rows(peaks, where)
    yield from _memory_rows(_small_peaks(scratch), "16 MiB")
    inside = [sys.executable, "-m", "bench.in_process", str(source), str(scratch.path)]
    inside += ["ram" if scratch.on_ram else "disk", str(rounds)]
    found: Runs = json.loads(run_process(inside).output)
    yield from rate_rows(f"{size // MEBIBYTE} MiB, as a library", size, found)
    scratch.fresh("source")


def _processes(scratch: Scratch, source: Path, rounds: int) -> tuple[Runs, dict[str, int]]:
    commands = [*_commands(source, scratch.path / "reel.mp4", scratch.path / "back"), digest_command(source)]
    names = [*NAMES, "openssl dgst -sha256"]
    runs: Runs = {name: [] for name in [*names, "cp"]}
    peaks = dict.fromkeys(names, 0)
    size = source.stat().st_size + 32 * MEBIBYTE
    for _ in range(rounds):
        for name, command in zip(names, commands, strict=True):
            scratch.fresh("back")
            if name.startswith("encode"):
                scratch.fresh("reel.mp4")
            scratch.warm(size)
            timed = run_process(command)
            runs[name].append(timed.seconds)
            peaks[name] = max(peaks[name], timed.peak_bytes)
        scratch.fresh("back")
        scratch.warm(size)
        runs["cp"].append(run_process(["cp", source, scratch.path / "back"]).seconds)
    for name in ("back", "reel.mp4"):
        scratch.fresh(name)
    return runs, peaks


def _commands(source: Path, reel: Path, back: Path) -> list[list[str]]:
    decodes = [[COMMAND, "decode", str(reel), str(back), "--workers", str(workers), "--json"] for workers in (1, 2)]
    return [encode_command(source, reel, 1), encode_command(source, reel, 2), *decodes]


def _small_peaks(scratch: Scratch) -> dict[str, int]:
    source = random_file(scratch.fresh("small"), 16 * MEBIBYTE)
    commands = _commands(source, scratch.fresh("small.mp4"), scratch.fresh("back"))
    run: Callable[[list[str]], Timed] = run_process
    peaks = {NAMES[0]: run(commands[0]).peak_bytes, NAMES[2]: run(commands[2]).peak_bytes}
    for name in ("small", "small.mp4", "back"):
        scratch.fresh(name)
    return peaks


def rate_rows(where: str, size: int, runs: Runs) -> Iterator[Row]:
    """Rates, and ratios to the digest and of two workers to one: of the best runs, with the middle ratio noted."""
    section = f"Speed, {where}"
    best = {name: min(seconds) for name, seconds in runs.items()}
    digest = "openssl dgst -sha256"
    for name in (digest, *(name for name in runs if name != digest)):
        rates = [size / seconds / 1e6 for seconds in runs[name]]
        yield Row(section, name, max(rates), "MB/s", note=f"middle {median(rates):,.0f}, worst {min(rates):,.0f}")
    for name in (NAMES[0], NAMES[2]):
        yield _ratio(section, f"{name} / {digest}", runs[digest], runs[name], RATIOS_MIN[name.partition(",")[0]])
    for one, two in (NAMES[:2], NAMES[2:]):
        yield _ratio(section, f"{two} / one", runs[one], runs[two], TWO_WORKERS_MIN)
    for name in (NAMES[0], NAMES[2]):
        if "cp" in best:
            yield Row(section, f"{name} / cp", best["cp"] / best[name], "x")


def _ratio(section: str, what: str, base: list[float], seconds: list[float], at_least: float) -> Row:
    middle = median([left / right for left, right in zip(base, seconds, strict=True)])
    return Row(
        section, what, min(base) / min(seconds), "x", at_least=at_least, note=f"middle of the rounds {middle:.2f}"
    )


def _memory_rows(peaks: dict[str, int], where: str) -> Iterator[Row]:
    for name, peak in peaks.items():
        workers = 2 if "2" in name and name in NAMES else 1
        if name in NAMES:
            yield Row("Memory", f"{name}, {where.partition(',')[0]}", peak / MEBIBYTE, "MiB", MEMORY_MIB_MAX * workers)

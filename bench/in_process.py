"""Speed of the library's own calls, kernels compiled: a program of its own, so that its memory is its own.

`python -m bench.in_process SOURCE FOLDER ram|disk ROUNDS` prints the seconds of every run as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bytereel_codec import DecodeOptions, EncodeOptions, decode_file, encode_file

from bench.measure import MEBIBYTE, Scratch, run_process
from bench.speed import NAMES, digest_command


def main(source: Path, scratch: Scratch, rounds: int) -> None:
    """Run each in turns and print."""
    reel, back = scratch.path / "reel.mp4", scratch.path / "back"
    runs: dict[str, list[float]] = {name: [] for name in ("openssl dgst -sha256", *NAMES)}
    works: list[tuple[str, Path | None, Callable[[], object]]] = [
        ("openssl dgst -sha256", None, lambda: run_process(digest_command(source))),
        (NAMES[0], reel, lambda: encode_file(source, reel, EncodeOptions(workers=1))),
        (NAMES[1], reel, lambda: encode_file(source, reel, EncodeOptions(workers=2))),
        (NAMES[2], back, lambda: decode_file(reel, back, DecodeOptions(workers=1))),
        (NAMES[3], back, lambda: decode_file(reel, back, DecodeOptions(workers=2))),
    ]
    for number in range(rounds + 1):
        for name, target, work in works:
            if target is not None:
                scratch.fresh(target.name)
                scratch.warm(source.stat().st_size + 32 * MEBIBYTE)
            started_at = time.perf_counter()
            work()
            if number > 0:  # the first round loads the kernels
                runs[name].append(time.perf_counter() - started_at)
    scratch.fresh(reel.name)
    scratch.fresh(back.name)
    print(json.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Scratch(Path(sys.argv[2]), on_ram=sys.argv[3] == "ram"), int(sys.argv[4]))

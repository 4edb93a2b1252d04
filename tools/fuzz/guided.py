"""Fuzzing of one parser that is guided by coverage: libFuzzer chooses bytes by the branches that they reach.

Needs `pip install atheris`, which the project does not. Starts from the inputs that `parsers` makes; what breaks a law
is kept as every finding is, and ends the run.
"""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tools.fuzz.case import Case
from tools.fuzz.examine import examine
from tools.fuzz.findings import keep, path_of
from tools.fuzz.place import working_folder
from tools.fuzz.target import Target, case_of

_SEEDS = 2000
_BYTES_MAX = 1 << 16
_PARSERS = "tools.fuzz.parsers.target"
_FOLDER = Path("build/fuzz/guided")
# What is watched. The kernels are compiled: nothing in them can be.
_WATCHED = ("bytereel", "bytereel_codec", "bytereel_functions", "json", "tomllib")
_UNWATCHED = ["bytereel_codec.video.macroblocks", "bytereel_codec.channel.strip_kernels"]


def main() -> int:
    """Parse what was asked for and run it; return 2 where atheris is not there."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz.guided", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parser", help="its name, such as header, leader, webhook")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=_FOLDER)
    chosen = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 2
    with working_folder() as folder:
        child = os.fork()  # libFuzzer ends its process without leaving any context
        if child == 0:
            _run(atheris, chosen, folder)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _fill(corpus: Path, target: Target, parser: str, seed: int) -> None:
    """Write the inputs to start from. Raises: SystemExit for a parser that there is not."""
    made = [case_of(target, seed, number) for number in range(_SEEDS)]
    contents = [case.content for case in made if case.facts["kind"] == parser]
    if not contents:
        kinds = sorted({str(case.facts["kind"]) for case in made})
        raise SystemExit(f"there is no parser {parser!r}: one of {', '.join(kinds)}")
    for number, content in enumerate(contents):
        (corpus / str(number)).write_bytes(content[:_BYTES_MAX])


def _run(atheris: Any, chosen: argparse.Namespace, folder: Path) -> None:
    """Run until the time is over or something is found; libFuzzer ends the process itself."""
    with atheris.instrument_imports(include=list(_WATCHED), exclude=_UNWATCHED):
        target: Target = import_module(_PARSERS).open_target(folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    _fill(corpus, target, chosen.parser, chosen.seed)

    def one(content: bytes) -> None:
        case = Case(target.name, content, {"kind": chosen.parser})
        failure = examine(target, case).failure
        if failure is not None:
            keep(chosen.findings, target, case, failure, -1)
            raise AssertionError(f"{failure.signature}: {path_of(chosen.findings, target.name, failure.signature)}")

    options = [f"-max_total_time={chosen.seconds}", f"-seed={chosen.seed}", f"-max_len={_BYTES_MAX}"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

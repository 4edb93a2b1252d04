"""`make fuzz`: hostile input for a while, then a table of what happened; or cases run again.

Ends with 0 when nothing was found, 1 when something was, 2 when it could not be tried.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.fuzz.case import Case
from tools.fuzz.examine import examine
from tools.fuzz.findings import read_findings
from tools.fuzz.place import working_folder
from tools.fuzz.run import CannotStart, Plan, run_all
from tools.fuzz.tally import Tally, label_lines, table
from tools.fuzz.target import CLOCK_SECONDS, NAMES, load_target

_FOLDER = Path("build/fuzz")


def main() -> int:
    """Parse what was asked for and do it."""
    chosen = _parser().parse_args()
    if chosen.replay:
        return replay(chosen.replay)
    folder = chosen.findings or _FOLDER / time.strftime("%Y%m%d-%H%M%S")
    targets = chosen.target or NAMES
    plan = Plan(
        chosen.seed, chosen.seconds / len(targets), chosen.processes, folder.absolute(), CLOCK_SECONDS.__getitem__
    )
    try:
        rows = run_all(targets, plan, lambda line: print(line, file=sys.stderr, flush=True))
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 2
    return _report(rows, chosen.seed, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="of all targets together (300)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases (1)")
    parser.add_argument("--target", action="append", choices=NAMES, help="only this one; may be repeated")
    parser.add_argument("--processes", type=int, default=2, help="side by side (2)")
    parser.add_argument("--findings", type=Path, help=f"where failing inputs are kept ({_FOLDER}/DATE)")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="CASE", help="run kept inputs again instead")
    return parser


def _report(rows: Sequence[tuple[str, Tally, float]], seed: int, folder: Path) -> int:
    for name, tally, _ in rows:
        print("\n".join(label_lines(name, tally)))
    print("\n" + "\n".join(table(rows)))
    found = [finding for name, _, _ in rows for finding in read_findings(folder, name)]
    for finding in found:
        print(f"\nFOUND {finding.target}: {finding.failure.signature}")
        print(f"  {finding.failure.message.strip().splitlines()[-1][:300]}")
        print(f"  case {finding.number} of seed {seed}; again: {finding.command}")
    failures = sum(tally.failures.total() for _, tally, _ in rows)
    print(f"\nseed {seed}: {len(found)} findings in {folder}" if found else f"\nseed {seed}: nothing found")
    return 1 if found or failures else 0


def replay(paths: Sequence[Path]) -> int:
    """Run cases again, one line each; what one broke is shown in full."""
    failed = 0
    for path in paths:
        case = Case.from_bytes(path.read_bytes())
        with working_folder() as folder:
            target = load_target(case.target, folder)
            try:
                verdict = examine(target, case)
            finally:
                target.close()
        took = f"{verdict.core_seconds:.2f} s, {verdict.growth_bytes >> 20} MiB"
        if verdict.failure is None:
            print(f"{path}: {verdict.outcome.label if verdict.outcome else ''} ({took})")
        else:
            failed += 1
            print(f"{path}: FOUND {verdict.failure.signature} ({took})\n{verdict.failure.message}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

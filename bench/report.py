"""Results as they are kept: JSON for programs, Markdown for people, both without the name or the paths of a machine."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.rows import VERDICTS, Row, figure

TITLES = {
    "archive": "The profile `archive`",
    "cloud": "The road on S3, DynamoDB and SQS",
    "channel": "The profiles that survive another encoder",
}

PACKAGES = ("numpy", "numba", "crc32c", "zstandard", "av")


def machine_facts(*, on_ram: bool) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "measured": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "files_on": "a RAM disk" if on_ram else "the disk of temporary files",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(folder: Path, suite: str, facts: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write `<suite>.json` and `<suite>.md` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": facts, "rows": [row.to_dict() for row in rows]}
    (folder / f"{suite}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / f"{suite}.md").write_text("\n".join(_markdown(suite, facts, rows)) + "\n")


def _markdown(suite: str, facts: dict[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    missed = sum(row.met is False for row in rows)
    bound = sum(row.met is not None for row in rows)
    yield f"# {TITLES[suite]}, measured"
    yield ""
    target = "bench" if suite == "archive" else f"bench-{suite}"
    yield f"Written by `make {target}`. Rates are of the original's bytes, 1 MB = 1,000,000 bytes; of several"
    yield "rounds the best counts. What a figure is compared with ran in the same run, in turns with it."
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    yield f"- Machine: {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}"
    yield f"- Files on {facts['files_on']}; Python {facts['python']}, {versions}; {facts['measured']}"
    yield f"- Bounds kept: {bound - missed} of {bound}"
    for section, group in groupby(rows, key=lambda row: row.section):
        yield ""
        yield f"## {section}"
        yield ""
        yield "| | figure | must be | kept | |"
        yield "|---|---:|---|---|---|"
        for row in group:
            value = f"{figure(row.value)} {row.unit}".strip()
            yield f"| {row.what} | {value} | {row.bound} | {VERDICTS[row.met]} | {row.note} |"

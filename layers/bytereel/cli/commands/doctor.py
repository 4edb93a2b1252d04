"""The command `doctor`: what this machine can do, which settings are in force, what is missing."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from bytereel.cli.exits import ExitCode
from bytereel.cli.options import home_option, json_option
from bytereel.cli.printing.output import pair_lines, print_result, size_text
from bytereel.errors import Permanent, reason_of

if TYPE_CHECKING:
    from bytereel.settings import Settings


@click.command()
@home_option
@json_option
def doctor(*, folder: Path | None, as_json: bool) -> None:
    """Say what this machine can do, and what it lacks."""
    from bytereel import machine
    from bytereel.settings import load_settings

    chosen = load_settings(home=folder)
    settings = chosen.model_dump(mode="json")
    cards = machine.gpus()
    found: dict[str, Any] = {
        "cores": machine.cores(),
        "memory": machine.memory(),
        "limits": machine.limits(),
        "gpus": cards,
        "encoders": machine.encoders(cards),
        "disk": _disk(Path(settings["home"])),
        "rates": machine.rates(),
        "kernels": machine.kernels(),
        "versions": machine.versions(),
    }
    found["workers"] = _workers(chosen)
    values = {**found, "settings": settings, "missing": [*machine.missing(found, settings), *_services(chosen)]}
    print_result(values, _lines(values), as_json=as_json)
    if values["missing"]:
        raise Exit(ExitCode.INCOMPLETE)


def _workers(settings: "Settings") -> int | None:
    """How many workers run on the home; None where there is no home, or none of this machine."""
    from bytereel.wiring import is_home, owners_folder_of
    from bytereel.workers.owners import count_living

    return count_living(owners_folder_of(settings.home)) if is_home(settings.home) else None


def _services(settings: "Settings") -> list[str]:
    """What the live services that the settings name lack."""
    from bytereel.wiring import missing_services

    try:
        return missing_services(settings)
    except Permanent as error:
        return [reason_of(error)]


def _disk(home: Path) -> dict[str, Any]:
    from bytereel import machine

    try:
        return machine.disk(home)
    except OSError as error:
        return {"folder": str(home), "error": error.strerror}


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = pair_lines(
        {
            "cores": _cores_text(found["cores"]),
            "memory": _memory_text(found["memory"]),
            "limits": ", ".join(
                f"{name} {value if value is not None else 'unlimited'}" for name, value in found["limits"].items()
            ),
            "gpu": "; ".join(found["gpus"]) or "none",
            "encoders": "; ".join(f"{kind}: {', '.join(names) or 'none'}" for kind, names in found["encoders"].items()),
            "home": _disk_text(found["disk"]),
            "workers": _workers_text(found["workers"]),
            "hashing": ", ".join(
                f"{name.partition('_')[0]} {size_text(rate)}/s" for name, rate in found["rates"].items()
            ),
            "kernels": _kernels_text(found["kernels"]),
            "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        }
    )
    chosen = {name: value for name, value in found["settings"].items() if value is not None}
    lines += ["", "settings in force:", *(f"  {line}" for line in pair_lines(chosen))]
    return [*lines, "", *([f"missing: {each}" for each in found["missing"]] or ["nothing is missing"])]


def _cores_text(cores: Mapping[str, Any]) -> str:
    quota = f", quota {cores['cgroup_quota']}" if cores["cgroup_quota"] else ""
    sha = {True: "has", False: "no", None: "unknown:"}[cores["sha_instructions"]]
    return f"{cores['usable']} of {cores['machine']} usable{quota}; {sha} SHA-256 instructions"


def _memory_text(memory: Mapping[str, Any]) -> str:
    limit = f", limited to {size_text(memory['cgroup_limit'])}" if memory["cgroup_limit"] else ""
    return f"{size_text(memory['available'])} of {size_text(memory['total'])} available{limit}"


def _disk_text(disk: Mapping[str, Any]) -> str:
    if "error" in disk:
        return f"{disk['folder']}: {disk['error']}"
    rate = disk["write_bytes_per_second"]
    written = f", writes {size_text(rate)}/s" if rate else ""
    return f"{disk['folder']}: {size_text(disk['free'])} free, a sync takes {disk['sync_milliseconds']} ms{written}"


def _workers_text(workers: int | None) -> str | None:
    return "none runs: `bytereel up` starts some" if workers == 0 else None if workers is None else f"{workers} run"


def _kernels_text(kernels: Mapping[str, Any]) -> str:
    state = "is compiled already" if kernels["compiled"] else "is compiled at its first use"
    return f"that of parity {state}; archive needs none: 1 KiB there and back in {kernels['round_trip_seconds']} s"

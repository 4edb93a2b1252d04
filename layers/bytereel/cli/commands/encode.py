"""The command that makes reels: encode."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from bytereel_codec.files.names import source_name
from bytereel_codec.files.targets import is_standard_output

from bytereel.cli.commands.profiles import (
    best_coded,
    chosen_profile,
    classic_options,
    geometry_option,
    note_compiling,
    profile_option,
    profiles_file_option,
    rehearsed,
)
from bytereel.cli.options import (
    STANDARD,
    SecretChoice,
    device_option,
    force_option,
    json_option,
    parity_option,
    secret_options,
    workers_option,
)
from bytereel.cli.printing.each import Said, say_each
from bytereel.cli.printing.progress import ProgressBar
from bytereel.cli.printing.reel_lines import encoded_lines
from bytereel.cores import usable_cores
from bytereel.errors import Permanent

if TYPE_CHECKING:
    from bytereel_codec import EncodeOptions, EncodeSummary

_OTHER_CONTAINERS = frozenset({".mkv", ".webm", ".avi", ".mov", ".ts", ".mpg", ".flv", ".ogv"})


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="IN... OUT",
    help="Files or folders, then the reel, or a folder for reels; - is standard input and output.",
)
@click.option("--to-dir", metavar="DIR", help="A folder for the reels, made where there is none; every path is an IN.")
@profile_option
@parity_option
@secret_options
@workers_option
@device_option
@geometry_option
@profiles_file_option
@click.option(
    "--rehearse/--no-rehearse", default=True, help="Try what a profile of your own claims, first (the default)."
)
@classic_options
@click.option("--compress/--no-compress", default=True, help="Compress with zstd where that helps (the default).")
@click.option("--sha256", is_flag=True, help="Keep the plain SHA-256 of the whole too.")
@click.option("--name", metavar="NAME", help="The name to keep in the reel; by default IN's own.")
@force_option
@json_option
def encode(
    *,
    paths: Sequence[str],
    to_dir: str | None,
    profile: str,
    parity: float | None,
    secret: SecretChoice,
    workers: int | None,
    device: str,
    geometry: str | None,
    profiles_file: Path | None,
    rehearse: bool,
    compress: bool,
    sha256: bool,
    name: str | None,
    force: bool,
    as_json: bool,
    **family: Any,
) -> None:
    """Turn a file or a folder into a video, or each of several into one."""
    sources, target = _sources_and_target(paths, to_dir, name)
    secret.require_input_of_its_own(sources)
    for source in sources:
        _check_places(source, target)
    _require_places_of_their_own(sources, target, name)
    from bytereel_codec.channel.device import Device
    from bytereel_codec.profiles.profiles import PROFILES
    from bytereel_codec.writing.encode import EncodeOptions

    threads = workers or usable_cores()
    chosen = chosen_profile(profile, profiles_file, family)
    if profiles_file and rehearse and profile not in PROFILES:
        rehearsed(chosen, threads, geometry, hidden=as_json)
    options = EncodeOptions(
        profile=chosen,
        parity_percent=parity or 0.0,
        secret=secret.read(seals=True),
        workers=threads,
        device=Device(device),
        compress=compress,
        sha256=sha256,
        geometry=geometry,
        name=name,
        replace=force,
    )
    say_each(sources, lambda source: _encoded(source, target, options, hidden=as_json), plural="reels", as_json=as_json)


def _sources_and_target(paths: Sequence[str], to_dir: str | None, name: str | None) -> tuple[Sequence[str], str]:
    """What goes in, and where to: the last path is where to, unless there is a folder for it."""
    if to_dir in ("", STANDARD):
        raise click.BadParameter("it names no folder", param_hint="--to-dir")
    if to_dir is not None:
        sources, target = paths, to_dir
        Path(to_dir).mkdir(parents=True, exist_ok=True)
    elif len(paths) == 1:
        raise click.UsageError("Missing argument 'OUT'.")
    else:
        sources, target = paths[:-1], paths[-1]
    if len(sources) > 1 and not Path(target).is_dir():
        raise click.BadParameter(f"{target!r} is no folder, which several inputs need", param_hint="OUT")
    if len(sources) > 1 and name is not None:
        raise click.BadParameter("several inputs cannot have one name", param_hint="--name")
    return sources, target


def _encoded(source: str, target: str, options: "EncodeOptions", *, hidden: bool) -> Said:
    from bytereel_codec.profiles.profiles import Profile
    from bytereel_codec.writing.encode import encode_file

    assert isinstance(options.profile, Profile)
    size = options.geometry if isinstance(options.geometry, str) else None
    chosen = best_coded(options.profile, source, options.device.value, options.workers, size, hidden=hidden)
    if chosen.channel and not hidden:
        note_compiling()
    started_at = time.monotonic()
    with ProgressBar("encoding", hidden=hidden) as progress:
        summary = encode_file(source, target, replace(options, profile=chosen, progress=progress))
    values = {**asdict(summary), "seconds": round(time.monotonic() - started_at, 3)}
    values["expansion"] = round(summary.expansion, 6) if summary.source_bytes else None
    values["encoder"] = chosen.channel.encoder if chosen.channel else None
    notes = _oddities(source, summary, options.parity_percent)
    return Said(values, encoded_lines(summary, values), notes, on_stderr=is_standard_output(target))


def _require_places_of_their_own(sources: Sequence[str], target: str, name: str | None) -> None:
    """Refuse reels in a folder that would take an input's place, or each other's. Raises: Permanent."""
    from bytereel_codec.writing.encode import reel_name

    if not Path(target).is_dir():
        return
    inputs = {os.path.realpath(source) for source in sources if source != STANDARD}
    made = [os.path.realpath(Path(target, reel_name(name or source_name(source)))) for source in sources]
    for path in made:
        if path in inputs:
            raise Permanent("target.in_source", f"the reel {path!r} would take an input's place", hint="another folder")
        if made.count(path) > 1:
            raise Permanent("target.twice", f"two inputs would become {path!r}", hint="encode them one by one")


def _check_places(source: str, target: str) -> None:
    if is_standard_output(target) and sys.stdout.isatty():
        raise click.BadParameter("a reel is not written to a terminal: give a file, or pipe it", param_hint="OUT.mp4")
    if STANDARD in (source, target):
        return
    here, there = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    if here == there or here in there.parents:
        raise Permanent(
            "target.in_source", f"{target!r} is {source!r} or lies in it", hint="write the reel somewhere else"
        )


def _oddities(source: str, summary: "EncodeSummary", parity: float) -> list[str]:
    """What somebody may not have meant, and what did not go in."""
    notes = list(summary.notes)
    if source == STANDARD and not summary.source_bytes:
        notes.append("standard input was empty, and so is what the reel holds")
    if Path(summary.target).suffix.lower() in _OTHER_CONTAINERS:
        notes.append(f"{summary.target!r} is an MP4 file, whatever its name says")
    added = 100 * summary.parity_segments / max(1, summary.segments)
    if parity and added > 1.5 * parity:
        notes.append(
            f"parity of {parity:g}% is at least one segment: of the {summary.segments} here that is {added:.0f}% more"
        )
    return notes

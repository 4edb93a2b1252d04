"""The commands that work on reels directly: encode, decode, inspect, verify."""

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
from click.exceptions import Exit

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
from bytereel.cli.exits import ExitCode
from bytereel.cli.options import (
    FILE,
    STANDARD,
    ByteRange,
    Count,
    SecretChoice,
    allow_unsealed_option,
    device_option,
    force_option,
    json_option,
    parity_option,
    parse_range,
    reel_option,
    secret_options,
    workers_option,
)
from bytereel.cli.printing.each import Said, say_each
from bytereel.cli.printing.output import pair_lines, print_note, print_result, ranges_text
from bytereel.cli.printing.progress import ProgressBar
from bytereel.cli.printing.reel_lines import decoded_lines, encoded_lines, inspected_lines, verified_lines
from bytereel.cores import usable_cores
from bytereel.errors import Permanent
from bytereel.logs import shown

if TYPE_CHECKING:
    from bytereel_codec import DecodeOptions, DecodeReport, EncodeOptions, EncodeSummary

_MEMBERS_SHOWN = 20
_OTHER_CONTAINERS = frozenset({".mkv", ".webm", ".avi", ".mov", ".ts", ".mpg", ".flv", ".ogv"})
source_argument = click.argument("source", metavar="IN", help="A file; - is standard input.")


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


@click.command()
@source_argument
@click.argument(
    "target",
    required=False,
    metavar="[OUT]",
    help="The file or folder, by default of the name in the reel; - is standard output.",
)
@click.option(
    "--range", "byte_range", type=parse_range, metavar="A:B", help="Only bytes A to B (without B), e.g. 1MiB:."
)
@click.option("--salvage", is_flag=True, help="Write what is left, with zeros for what is lost.")
@click.option(
    "--preserve", is_flag=True, help="Keep a file's permissions whatever the umask; in a folder set-user-id too."
)
@reel_option
@secret_options
@allow_unsealed_option
@workers_option
@device_option
@force_option
@json_option
def decode(
    *,
    source: str,
    target: str | None,
    byte_range: ByteRange | None,
    salvage: bool,
    preserve: bool,
    reel_id: bytes | None,
    secret: SecretChoice,
    allow_unsealed: bool,
    workers: int | None,
    device: str,
    force: bool,
    as_json: bool,
) -> None:
    """Give back what a reel holds, proved bit for bit."""
    from bytereel_codec.channel.device import Device
    from bytereel_codec.reading.decode import DecodeOptions, decode_file

    _require_file(source)
    secret.require_input_of_its_own([source])
    wanted = byte_range or ByteRange()
    started_at = time.monotonic()
    with ProgressBar("decoding", hidden=as_json or (target == STANDARD and sys.stdout.isatty())) as progress:
        options = DecodeOptions(
            secret=secret.read(),
            allow_unsealed=allow_unsealed,
            workers=workers or usable_cores(),
            device=Device(device),
            salvage=salvage,
            reel_id=reel_id,
            start=wanted.start,
            end=wanted.end,
            replace=force,
            preserve=preserve,
            progress=progress,
        )
        report = decode_file(source, target, options)
    seconds = time.monotonic() - started_at
    if Path(report.target).name != report.name and report.target != target:
        print_note(f"the reel names it {report.name!r}; written as {report.target!r}")
    if wanted.start and wanted.start >= report.source_bytes:
        print_note(
            f"the range begins behind the end: the original has {report.source_bytes} bytes, and none was written"
        )
    values = {**_read_back(report, seconds), "range": _clipped(wanted, report.source_bytes)}
    on_stderr = target is not None and is_standard_output(target)
    print_result(values, decoded_lines(report, values), as_json=as_json, on_stderr=on_stderr)
    notes, code = _end_of(report)
    for note in notes:
        print_note(note)
    if code:
        raise Exit(code)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="IN...", help="Files; - is standard input.")
@reel_option
@secret_options
@allow_unsealed_option
@workers_option
@device_option
@json_option
def verify(
    *,
    sources: Sequence[str],
    reel_id: bytes | None,
    secret: SecretChoice,
    allow_unsealed: bool,
    workers: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Read whole reels and prove every byte, writing nothing."""
    from bytereel_codec.channel.device import Device
    from bytereel_codec.reading.decode import DecodeOptions

    secret.require_input_of_its_own(sources)
    options = DecodeOptions(
        secret=secret.read(),
        allow_unsealed=allow_unsealed,
        workers=workers or usable_cores(),
        device=Device(device),
        reel_id=reel_id,
    )
    say_each(sources, lambda source: _verified(source, options, hidden=as_json), plural="reels", as_json=as_json)


def _verified(source: str, options: "DecodeOptions", *, hidden: bool) -> Said:
    from bytereel_codec.reading import decode as codec

    _require_file(source)
    started_at = time.monotonic()
    with ProgressBar("verifying", hidden=hidden) as progress:
        report = codec.verify(source, replace(options, progress=progress))
    values = {"source": source, **_read_back(report, time.monotonic() - started_at)}
    del values["target"]
    notes, code = _end_of(report)
    return Said(values, [f"reel      {shown(source)}", *verified_lines(report, values)], notes, code)


def _require_file(source: str) -> None:
    if source != STANDARD and Path(source).is_dir():
        raise Permanent(
            "source.folder",
            f"{source!r} is a folder, and a reel is a file",
            hint="`bytereel encode` makes a reel of it",
        )


def _read_back(report: "DecodeReport", seconds: float) -> dict[str, Any]:
    return {**asdict(report), "whole": report.whole, "seconds": round(seconds, 3)}


def _clipped(wanted: ByteRange, size: int) -> tuple[int, int]:
    return min(wanted.start, size), size if wanted.end is None else min(wanted.end, size)


def _end_of(report: "DecodeReport") -> tuple[list[str], ExitCode]:
    """What did not come back, and the code to end with: that for damage where bytes or members are lost."""
    notes = [*report.notes, *(f"not made: {member}" for member in report.left_out[:_MEMBERS_SHOWN])]
    if report.lost:
        why = report.reasons[0] if report.reasons else "its end is not known"
        count = sum(end - start for start, end in report.lost)
        if count:
            notes.append(f"{count} bytes of the original are lost: {ranges_text(report.lost)} ({why})")
        else:
            notes.append(f"nothing proves that this is all of the original: {why}")
    return notes, ExitCode.INTEGRITY if report.lost or report.left_out else ExitCode.OK


@click.command()
@source_argument
@reel_option
@click.option(
    "--frame",
    type=Count(2**31 - 1, least=0),
    metavar="N",
    help="Write picture N of the video as a PNG instead.",
)
@click.option("--output", "-o", type=FILE, metavar="X.png", help="Where to write it.")
@click.option("--outline", is_flag=True, help="Outline data area and strips in it (lossy reels).")
@secret_options
@allow_unsealed_option
@force_option
@json_option
def inspect(
    *,
    source: str,
    reel_id: bytes | None,
    frame: int | None,
    output: Path | None,
    outline: bool,
    secret: SecretChoice,
    allow_unsealed: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Say what a reel says of itself, or show one of its pictures.

    Its payload is not read.
    """
    _require_file(source)
    if frame is None and output is None and not outline:
        from bytereel_codec.reading.inspect import inspect as describe

        found = describe(source, secret.read(), reel_id, allow_unsealed=allow_unsealed)
        print_result(asdict(found), inspected_lines(found), as_json=as_json)
        return
    if frame is None or output is None:
        raise click.BadParameter("--frame N and -o X.png go together", param_hint="--frame")
    if source == STANDARD:
        raise click.BadParameter("a picture is taken from a file", param_hint="IN")
    from bytereel_codec.files.targets import opened_target
    from bytereel_codec.libav.images import outlined, picture_at, png_of

    with opened_target(str(output), replace=force) as file:
        shown = picture_at(Path(source), frame)
        content = png_of(outlined(shown) if outline else shown.rgb)
        file.write_at(0, content)
        file.commit(len(content))
    height, width = shown.rgb.shape[:2]
    values = {"picture": str(output), "frame": frame, "width": width, "height": height}
    lines = pair_lines({"picture": output, "frame": frame, "size": f"{width} x {height}"})
    print_result(values, lines, as_json=as_json, on_stderr=is_standard_output(str(output)))

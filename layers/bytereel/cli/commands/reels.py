"""The commands that work on reels directly: encode, decode, inspect, verify."""

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from bytereel_codec.files.targets import is_standard_output

from bytereel.cli.commands.profiles import (
    Colours,
    GeometryName,
    Interleaver,
    Palette,
    Pixels,
    ProfileName,
    ProfilesFile,
    best_coded,
    chosen_profile,
    rehearsed,
)
from bytereel.cli.exits import ExitCode
from bytereel.cli.options import (
    STANDARD,
    AllowUnsealed,
    ByteRange,
    DeviceChoice,
    Force,
    Json,
    KeyFile,
    Parity,
    PassphraseFile,
    ReelId,
    Workers,
    parse_range,
    read_secret,
)
from bytereel.cli.printing.output import pair_lines, print_note, print_result, ranges_text
from bytereel.cli.printing.progress import ProgressBar
from bytereel.cli.printing.reel_lines import decoded_lines, encoded_lines, inspected_lines, verified_lines
from bytereel.cores import usable_cores
from bytereel.errors import Permanent

if TYPE_CHECKING:
    from bytereel_codec import DecodeReport, EncodeSummary

Preserve = Annotated[
    bool,
    typer.Option(
        "--preserve",
        help="Keep permissions whatever the umask; in a folder set-user-id and its like too.",
        show_default=False,
    ),
]
Source = Annotated[str, typer.Argument(metavar="IN", help="A file; - is standard input.")]


def encode(
    source: Annotated[str, typer.Argument(metavar="IN", help="A file or a folder; - is standard input.")],
    target: Annotated[str, typer.Argument(metavar="OUT.mp4", help="The reel; - is standard output.")],
    profile: ProfileName = "archive",
    parity: Parity = None,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    workers: Workers = None,
    device: DeviceChoice = "auto",
    geometry: GeometryName = None,
    profiles_file: ProfilesFile = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse/--no-rehearse", help="Try what a profile of your own claims, first.")
    ] = True,
    colours: Colours = None,
    pixels: Pixels = None,
    palette: Palette = None,
    interleaver: Interleaver = None,
    compress: Annotated[bool, typer.Option("--compress/--no-compress", help="zstd, where it helps.")] = True,
    sha256: Annotated[bool, typer.Option("--sha256", help="Keep the plain SHA-256 of the whole too.")] = False,
    name: Annotated[str | None, typer.Option(help="The name to keep in the reel.", show_default="IN's own")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn a file or a folder into a video."""
    _check_places(source, target)
    from bytereel_codec.channel.device import Device
    from bytereel_codec.profiles.profiles import PROFILES
    from bytereel_codec.writing.encode import EncodeOptions, encode_file

    family = {"colours": colours, "pixels": pixels, "palette": palette, "interleaver": interleaver}
    chosen = chosen_profile(profile, profiles_file, family)
    if profiles_file and rehearse and profile not in PROFILES:
        rehearsed(chosen, workers or usable_cores(), geometry, hidden=as_json)
    chosen = best_coded(chosen, source, device, workers or usable_cores(), geometry, hidden=as_json)
    started_at = time.monotonic()
    with ProgressBar("encoding", hidden=as_json) as progress:
        options = EncodeOptions(
            profile=chosen,
            parity_percent=parity or 0.0,
            secret=read_secret(passphrase_file, key_file),
            workers=workers or usable_cores(),
            device=Device(device),
            compress=compress,
            sha256=sha256,
            geometry=geometry,
            name=name,
            replace=force,
            progress=progress,
        )
        summary = encode_file(source, target, options)
    values = _encoded(summary, time.monotonic() - started_at)
    values["encoder"] = chosen.channel.encoder if chosen.channel else None
    print_result(values, encoded_lines(summary, values), as_json=as_json, on_stderr=is_standard_output(target))


def _check_places(source: str, target: str) -> None:
    if is_standard_output(target) and sys.stdout.isatty():
        raise typer.BadParameter("a reel is not written to a terminal: give a file, or pipe it", param_hint="OUT.mp4")
    if STANDARD in (source, target):
        return
    here, there = Path(os.path.realpath(source)), Path(os.path.realpath(target))
    if here == there or here in there.parents:
        raise Permanent(
            "target.in_source", f"{target!r} is {source!r} or lies in it", hint="write the reel somewhere else"
        )


def _encoded(summary: "EncodeSummary", seconds: float) -> dict[str, Any]:
    values = {**asdict(summary), "seconds": round(seconds, 3)}
    values["expansion"] = round(summary.expansion, 6) if summary.source_bytes else None
    return values


def decode(
    source: Source,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[OUT]", help="The file or folder; - is standard output.", show_default="the reel's"),
    ] = None,
    byte_range: Annotated[
        ByteRange | None,
        typer.Option("--range", parser=parse_range, metavar="A:B", help="Only bytes A to B (without B), e.g. 1MiB:."),
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Write what is left, with zeros for what is lost.", show_default=False)
    ] = False,
    preserve: Preserve = False,
    reel_id: ReelId = None,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    allow_unsealed: AllowUnsealed = False,
    workers: Workers = None,
    device: DeviceChoice = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Give back what a reel holds, proved bit for bit."""
    from bytereel_codec.channel.device import Device
    from bytereel_codec.reading.decode import DecodeOptions, decode_file

    wanted = byte_range or ByteRange()
    started_at = time.monotonic()
    with ProgressBar("decoding", hidden=as_json or (target == STANDARD and sys.stdout.isatty())) as progress:
        options = DecodeOptions(
            secret=read_secret(passphrase_file, key_file),
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
    values = {**_read_back(report, seconds), "range": _clipped(wanted, report.source_bytes)}
    on_stderr = target is not None and is_standard_output(target)
    print_result(values, decoded_lines(report, values), as_json=as_json, on_stderr=on_stderr)
    _end_by_loss(report)


def verify(
    source: Source,
    reel_id: ReelId = None,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    allow_unsealed: AllowUnsealed = False,
    workers: Workers = None,
    device: DeviceChoice = "auto",
    as_json: Json = False,
) -> None:
    """Read a whole reel and prove every byte, writing nothing."""
    from bytereel_codec.channel.device import Device
    from bytereel_codec.reading import decode as codec

    started_at = time.monotonic()
    with ProgressBar("verifying", hidden=as_json) as progress:
        options = codec.DecodeOptions(
            secret=read_secret(passphrase_file, key_file),
            allow_unsealed=allow_unsealed,
            workers=workers or usable_cores(),
            device=Device(device),
            reel_id=reel_id,
            progress=progress,
        )
        report = codec.verify(source, options)
    values = _read_back(report, time.monotonic() - started_at)
    del values["target"]
    print_result(values, verified_lines(report, values), as_json=as_json)
    _end_by_loss(report)


def _read_back(report: "DecodeReport", seconds: float) -> dict[str, Any]:
    return {**asdict(report), "whole": report.whole, "seconds": round(seconds, 3)}


def _clipped(wanted: ByteRange, size: int) -> tuple[int, int]:
    return min(wanted.start, size), size if wanted.end is None else min(wanted.end, size)


def _end_by_loss(report: "DecodeReport") -> None:
    """End with the code for damage where bytes are lost."""
    if not report.lost:
        return
    count = sum(end - start for start, end in report.lost)
    why = report.reasons[0] if report.reasons else "its end is not known"
    if count:
        print_note(f"{count} bytes of the original are lost: {ranges_text(report.lost)} ({why})")
    else:
        print_note(f"nothing proves that this is all of the original: {why}")
    raise typer.Exit(ExitCode.INTEGRITY)


def inspect(
    source: Source,
    reel_id: ReelId = None,
    frame: Annotated[
        int | None, typer.Option("--frame", min=0, metavar="N", help="Write picture N of the video as a PNG instead.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="X.png", help="Where to write it.")] = None,
    outline: Annotated[
        bool, typer.Option("--outline", help="Outline data area and strips in it (lossy reels).", show_default=False)
    ] = False,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    allow_unsealed: AllowUnsealed = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what a reel says of itself, without reading its payload; or show one of its pictures."""
    if frame is None and output is None and not outline:
        from bytereel_codec.reading.inspect import inspect as describe

        secret = read_secret(passphrase_file, key_file)
        found = describe(source, secret, reel_id, allow_unsealed=allow_unsealed)
        print_result(asdict(found), inspected_lines(found), as_json=as_json)
        return
    if frame is None or output is None:
        raise typer.BadParameter("--frame N and -o X.png go together", param_hint="--frame")
    if source == STANDARD:
        raise typer.BadParameter("a picture is taken from a file", param_hint="IN")
    from bytereel_codec.files.targets import opened_target
    from bytereel_codec.libav.images import outlined, picture_at, png_of

    with opened_target(str(output), replace=force) as file:
        shown = picture_at(Path(source), frame)
        content = png_of(outlined(shown) if outline else shown.rgb)
        file.write_at(0, content)
        file.commit(len(content))
    height, width = shown.rgb.shape[:2]
    values = {"picture": str(output), "frame": frame, "width": width, "height": height}
    print_result(
        values, pair_lines({"picture": output, "frame": frame, "size": f"{width} x {height}"}), as_json=as_json
    )


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (encode, decode, inspect, verify):
        app.command()(command)

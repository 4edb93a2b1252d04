"""The commands that read reels: decode, inspect, verify."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from bytereel_codec.files.targets import is_standard_output
from click.exceptions import Exit

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
    parse_range,
    reel_option,
    secret_options,
    workers_option,
)
from bytereel.cli.printing.each import Said, say_each
from bytereel.cli.printing.output import pair_lines, print_note, print_result, ranges_text
from bytereel.cli.printing.progress import ProgressBar
from bytereel.cli.printing.reel_lines import decoded_lines, inspected_lines, verified_lines
from bytereel.cores import usable_cores
from bytereel.errors import Permanent
from bytereel.logs import shown

if TYPE_CHECKING:
    from bytereel_codec import DecodeOptions, DecodeReport

_MEMBERS_SHOWN = 20
source_argument = click.argument("source", metavar="IN", help="A file; - is standard input.")


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

"""The law of reels, whichever way one is read.

All of the original, or an error of the families, or a report that says what is missing; with the key of a sealed reel,
nothing that the key did not seal.
"""

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bytereel.conversions.protocol import FinishedSegment
from bytereel.conversions.restore import RestoreConversion
from bytereel_codec import DecodeOptions, decode_file, inspect, open_reel, verify
from bytereel_codec.errors import BytereelError
from bytereel_codec.files.ranged import BytesReader

from tools.fuzz.reels.bases import Base, base_titled, files_of, laid_out, titles
from tools.fuzz.reels.forgery import MARK
from tools.fuzz.target import LawBroken, Outcome, refusal

_LEFT_OUT = "reel.mp4"


@dataclass(frozen=True, slots=True)
class Reading:
    """One reel to be read: what it was made from, how, and whether it must be the original where it is whole.

    `must_be_whole`: nothing was taken away from it.
    """

    base: Base
    path: Path
    exact: bool
    must_be_whole: bool
    range: tuple[int, int]

    @property
    def options(self) -> DecodeOptions:
        """How it is opened."""
        return DecodeOptions(secret=self.base.secret, reel_id=self.base.reel_id)


def read_whole(reading: Reading) -> Outcome:
    """`decode_file` of all of it. Raises: LawBroken."""
    target = reading.path.parent / "whole"
    try:
        report = decode_file(reading.path, target, reading.options)
    except BytereelError as error:
        left = [path.name for path in reading.path.parent.iterdir() if path != reading.path]
        _require(not left, "left_behind", f"{left} after {error.error_id}")
        _require(not reading.must_be_whole, f"good_reel_refused {error.error_id}", error.message)
        return refusal(error)
    _require(report.whole, "silent_loss", f"{report.lost} without an error")
    if reading.exact:
        _check_content(reading, target)
        _require(report.name in (reading.base.name, ""), "forged_name", repr(report.name))
    return Outcome("whole" if report.recovered_frames == 0 else "recovered")


def _check_content(reading: Reading, target: Path) -> None:
    if reading.base.is_folder and target.is_dir():
        _require(laid_out(target) == files_of(reading.base.title), "wrong_bytes", "another folder is called whole")
    else:
        _require(target.is_file(), "wrong_kind", "a file comes back as a folder")
        _same(reading, target.read_bytes(), reading.base.original)


def _is_foreign(found: bytes, span: tuple[int, int]) -> bool:
    """Whether bytes are those of another base, which may stand whole in the file: not every way chooses by the id."""
    originals = [base_titled(title).original for title in titles()]
    return found != b"" and any(found in (original, original[slice(*span)]) for original in originals)


def _same(reading: Reading, found: bytes, truth: bytes, *, foreign: bool = False) -> None:
    if found == truth or not reading.exact or (foreign and _is_foreign(found, reading.range)):
        return
    place = next((n for n, (a, b) in enumerate(zip(found, truth, strict=False)) if a != b), min(len(found), len(truth)))
    forged = " and holds forged bytes" if reading.base.secret and MARK in found else ""
    raise LawBroken("wrong_bytes", f"{len(found)} bytes for {len(truth)}, other from byte {place} on{forged}")


def _require(holds: bool, law: str, message: str) -> None:
    if not holds:
        raise LawBroken(law, message)


def read_salvaged(reading: Reading) -> None:
    """`--salvage`: every byte outside the lost ranges is the original's, those inside are zeros."""
    target = reading.path.parent / "saved"
    options = DecodeOptions(secret=reading.base.secret, reel_id=reading.base.reel_id, salvage=True)
    report = decode_file(reading.path, target, options)
    if target.is_dir() or not reading.exact:
        return
    saved = bytearray(target.read_bytes())
    truth = bytearray(reading.base.original.ljust(len(saved), b"\x00"))
    for start, end in report.lost:
        saved[start:end] = bytes(len(saved[start:end]))
        truth[start:end] = bytes(len(truth[start:end]))
    _require(bool(report.lost) or len(saved) == len(reading.base.original), "silent_loss", "a salvage lost its end")
    shown = f"wrong bytes outside of the lost {report.lost[:5]}"
    _require(saved == truth[: len(saved)], "dishonest_salvage", shown)


def read_range(reading: Reading) -> None:
    """`--range`: exactly those bytes."""
    start, end = reading.range
    target = reading.path.parent / "part"
    options = DecodeOptions(secret=reading.base.secret, reel_id=reading.base.reel_id, start=start, end=end)
    decode_file(reading.path, target, options)
    if not target.is_dir():
        _same(reading, target.read_bytes(), reading.base.original[start:end])


def read_as_file(reading: Reading) -> None:
    """`open_reel`: whatever can be read at a place is the original's, and all of it is all of it."""
    start, end = reading.range
    with open_reel(reading.path, reading.base.secret) as file:
        size = file.seek(0, io.SEEK_END)
        if size == len(reading.base.original):  # else it is another reel, or all of it tells
            file.seek(start)
            _same(reading, file.read(end - start), reading.base.original[start:end], foreign=True)
        file.seek(0)
        _same(reading, file.read(), reading.base.original, foreign=True)


def read_verified(reading: Reading) -> None:
    """`verify`: says whole of nothing that `decode` refuses."""
    report = verify(reading.path, reading.options)
    if report.whole:
        target = reading.path.parent / "verified"
        try:
            decode_file(reading.path, target, reading.options)
        except BytereelError as error:
            folder = error.error_id.startswith("folder.")  # what a stream holds is no matter of the reel's bytes
            _require(folder, "verify_disagrees", f"verify says whole, decode {error.error_id}: {error.message}")


def read_described(reading: Reading) -> None:
    """`inspect`: with the key of a sealed reel, the name it was given or none."""
    found = inspect(reading.path, reading.base.secret, reading.base.reel_id)
    if reading.exact and found.leader is not None:
        _require(found.leader.name == reading.base.name, "forged_name", repr(found.leader.name))


def read_restored(reading: Reading) -> None:
    """The road's `restore`, every segment of its plan."""
    source = BytesReader(reading.path.read_bytes())
    conversion = RestoreConversion(reading.base.secret)
    plan = conversion.plan(source, "reel.mp4", "original")
    finished, content = [], b""
    for index, segment in enumerate(plan.segments):
        fragment = conversion.convert(plan.parameters, segment, index, source, [])
        parts, result = _drained(fragment)
        finished.append(FinishedSegment(index, 0, len(parts), result, BytesReader(parts)))
        content += parts
    conversion.assemble(plan.parameters, finished)
    _same(reading, content, reading.base.original, foreign=True)


def _drained(fragment: object) -> tuple[bytes, Mapping[str, object]]:
    """All that a generator gives, and what it returns."""
    parts = bytearray()
    while True:
        try:
            parts += next(fragment)  # type: ignore[call-overload]
        except StopIteration as end:
            return bytes(parts), end.value


def read_without_key(reading: Reading) -> None:
    """A sealed reel without its key: never whole, unless nothing sealed is left of it."""
    target = reading.path.parent / "open"
    decode_file(reading.path, target, DecodeOptions(reel_id=reading.base.reel_id))
    if reading.base.secret and reading.base.original and target.is_file():
        _require(reading.base.original[:64] not in target.read_bytes(), "sealed_bytes_open", "without the key")


def read_by_two(reading: Reading) -> None:
    """`decode_file` by two threads."""
    target = reading.path.parent / "two"
    options = DecodeOptions(secret=reading.base.secret, reel_id=reading.base.reel_id, workers=2)
    decode_file(reading.path, target, options)
    if not target.is_dir():
        _same(reading, target.read_bytes(), reading.base.original)


WAYS: Mapping[str, Callable[[Reading], None]] = {
    "salvage": read_salvaged,
    "range": read_range,
    "file": read_as_file,
    "verify": read_verified,
    "inspect": read_described,
    "restore": read_restored,
    "no key": read_without_key,
    "two threads": read_by_two,
}


def judged(reel: bytes, way: str, make: Callable[[Path], Reading]) -> Outcome:
    """Read a reel whole, and another way too. Raises: LawBroken."""
    with tempfile.TemporaryDirectory(prefix="reel-") as folder:
        path = Path(folder, _LEFT_OUT)
        path.write_bytes(reel)
        reading = make(path)
        outcome = read_whole(reading)
        try:
            WAYS[way](reading)
        except BytereelError as error:
            return Outcome(outcome.label, f"{outcome.detail} {way}: {error.error_id}")
    return Outcome(outcome.label, f"{outcome.detail} {way}: read")


def ways() -> Sequence[str]:
    """The names of the ways."""
    return tuple(WAYS)

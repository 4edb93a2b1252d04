"""The target `tar`: a stream laid out as a folder. Law: nothing outside of the folder is made or changed; the
folder is there whole or nothing is left of it; memory is bounded whatever the stream says.
"""

import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

from bytereel_codec.errors import BytereelError
from bytereel_codec.files.folder.target import FolderTarget

from tools.fuzz.case import Case
from tools.fuzz.mutate import mutated
from tools.fuzz.tar.members import BLOCK_BYTES, ESCAPED, stream, summed
from tools.fuzz.target import LawBroken, Limits, Outcome, refusal

NAME = "tar"
_MEMBERS, _BYTES = "members", "bytes"
_WRITE_BYTES = 1 << 16
_SECRET = b"a file beside the folder\n"


class Tar:
    """Tar streams. `facts`: `kind`: members as they were made, or bytes of them changed as well; `preserve` modes."""

    name = NAME
    limits = Limits(core_seconds=10.0, growth_bytes=64 << 20)

    def make(self, random: Random) -> Case:
        """A stream."""
        content, kind = stream(random), _MEMBERS
        if random.random() < 0.25 and len(content) <= 1 << 20:
            content, kind = _mended(random, mutated(random, content)), _BYTES
        return Case(NAME, content, {"kind": kind, "preserve": random.random() < 0.2})

    def run(self, case: Case) -> Outcome:
        """Lay it out beside files that must stay as they are."""
        with tempfile.TemporaryDirectory(prefix="tar-") as folder:
            inner, outside = Path(folder, "inner"), Path(folder, "outside")
            inner.mkdir()
            outside.mkdir()
            (outside / "kept").write_bytes(_SECRET)
            before = _seen(Path(folder))
            try:
                outcome = _laid_out(inner / "out", case.content, preserve=case.facts["preserve"])
                _check_inside(inner / "out", preserve=case.facts["preserve"])
            finally:
                _give_back(inner / "out")
            _check_outside(Path(folder), before)
        return outcome

    def shrinks(self, case: Case) -> bool:
        """Streams of up to a megabyte."""
        return len(case.content) <= 1 << 20

    def close(self) -> None:
        """Nothing is open."""


def _mended(random: Random, content: bytes) -> bytes:
    """The stream with the checksums of most blocks that could be headers mended, so that what is behind them is met."""
    if random.random() < 0.3:
        return content
    blocks = [content[at : at + BLOCK_BYTES] for at in range(0, len(content), BLOCK_BYTES)]
    return b"".join(
        summed(block) if block[257:262] == b"ustar" and len(block) == BLOCK_BYTES else block for block in blocks
    )


def _laid_out(path: Path, content: bytes, *, preserve: bool) -> Outcome:
    try:
        with FolderTarget(path, preserve=preserve) as target:
            for at in range(0, len(content), _WRITE_BYTES):
                target.write_at(at, content[at : at + _WRITE_BYTES])
            target.commit(len(content))
    except BytereelError as error:
        left = [each.name for each in path.parent.iterdir()]
        if left:
            raise LawBroken("left_behind", f"{left} after {error.error_id}") from error
        return refusal(error)
    kinds = sorted({stat.S_IFMT(each.lstat().st_mode) for each in path.rglob("*")})
    return Outcome("laid out", f"{kinds} {sum(1 for _ in path.rglob('*')).bit_length()}")


def _check_inside(target: Path, *, preserve: bool) -> None:
    """Nothing in the folder leads out of it, is a device, or has set-user-id that was not asked for."""
    root = Path(os.path.realpath(target))
    for parent, folders, files in os.walk(target):
        for name in [*folders, *files]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise LawBroken("odd_file", f"{path.relative_to(target)} has the mode {mode:o}")
            if mode & (stat.S_ISUID | stat.S_ISGID) and not (preserve or stat.S_ISLNK(mode)):
                raise LawBroken("set_id", f"{path.relative_to(target)} has the mode {mode:o}")
            leads_to = Path(os.path.realpath(path))  # of links in a circle too
            if stat.S_ISLNK(mode) and not leads_to.is_relative_to(root):
                raise LawBroken("link_out", f"{path.relative_to(target)} leads to {leads_to}")


def _seen(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """What lies in a folder but for the one that is laid out, as it can be told apart."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        name = str(path.relative_to(folder))
        if name.startswith("inner/out"):
            continue
        facts = path.lstat()
        changed = () if name == "inner" else (facts.st_mtime_ns,)
        found[name] = (
            facts.st_mode,
            facts.st_nlink if path.is_file() else 0,
            facts.st_size if path.is_file() else 0,
            *changed,
        )
    return found


def _check_outside(folder: Path, before: Mapping[str, tuple[int, ...]]) -> None:
    after = _seen(folder)
    if after != before or (folder / "outside" / "kept").read_bytes() != _SECRET:
        raise LawBroken("outside_changed", f"{sorted(set(after.items()) ^ set(before.items()))}")
    if os.path.lexists(ESCAPED):
        if Path(ESCAPED).is_dir() and not Path(ESCAPED).is_symlink():
            shutil.rmtree(ESCAPED)
        else:
            Path(ESCAPED).unlink()
        raise LawBroken("escaped", f"{ESCAPED} was made")


def _give_back(target: Path) -> None:
    """Let the folder be removed, whatever modes it has."""
    for parent, folders, _ in os.walk(target):
        for name in folders:
            if not Path(parent, name).is_symlink():
                Path(parent, name).chmod(0o700)


def open_target(folder: Path) -> Tar:
    """The target."""
    del folder
    logging.disable(logging.WARNING)
    return Tar()

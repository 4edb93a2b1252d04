"""The target `media`: a mutated container through `decode`, `verify`, `inspect` or `channel`.

Law: the command ends with a code and an error that its families have, within time and memory, of its children too; what
it decodes whole is the original.
"""

import logging
import re
import tempfile
from pathlib import Path
from random import Random

from bytereel_codec import inspect, verify
from bytereel_codec.libav.images import picture_at
from bytereel_codec.trials.survey import survey_channel

from tools.fuzz.case import Case
from tools.fuzz.media.bases import LARGE, media_bases
from tools.fuzz.media.command import Answer, command
from tools.fuzz.mutate import NUMBERS, mutated
from tools.fuzz.reels.bases import VECTORS, Base, base_titled
from tools.fuzz.target import LawBroken, Limits, Outcome

NAME = "media"
_COMMANDS = ("decode", "decode", "decode", "range", "verify", "inspect", "inspect", "channel", "picture")
_CODES = (0, 3, 4, 5)
_MARK = re.compile(rb"[A-Za-z][A-Za-z0-9]{3}|\x00\x00\x01|[\x1a\x42-\x7f][\x80-\xff]|\x47")
_NEAR_BYTES = 48
_LYING_SHARE = 0.02


class MediaTarget:
    """Containers. `facts`: `kind` the command, `base` what was mutated, `reel` the title of the reel in it."""

    name = NAME
    limits = Limits(core_seconds=30.0, growth_bytes=512 << 20)

    def make(self, random: Random) -> Case:
        """A file that something was done to, seldom nothing."""
        lying = random.random() < _LYING_SHARE
        base = random.choice([each for each in media_bases().values() if each.title.startswith(LARGE) == lying])
        content = _changed(random, base.content) if random.random() < 0.97 else base.content
        return Case(NAME, content, {"kind": random.choice(_COMMANDS), "base": base.title, "reel": base.reel})

    def run(self, case: Case) -> Outcome:
        """Give it to the command."""
        kind = case.facts["kind"]
        base = base_titled(case.facts["reel"]) if case.facts["reel"] else None
        with tempfile.TemporaryDirectory(prefix="media-") as name:
            folder = Path(name)
            (folder / "in").write_bytes(case.content)
            answer = command(folder, [*_words(kind), *_secret(folder, base, kind)])
            _check_answer(answer)
            if kind == "decode" and answer.code == 0 and base is not None:
                _check_content(folder / "out", base)
        label = answer.error.get("id", "done")
        detail = f"{kind} {case.facts['base']} {label}"
        return Outcome(label, detail, answer.children_bytes, answer.children_seconds)

    def shrinks(self, case: Case) -> bool:
        """Small files, of which many tries can be made."""
        return len(case.content) < 200_000

    def close(self) -> None:
        """Nothing is open."""


def _words(kind: str) -> list[str]:
    return {
        "decode": ["decode", "in", "out", "--json"],
        "range": ["decode", "in", "out", "--range", "10:300", "--json"],
        "verify": ["verify", "in", "--json"],
        "inspect": ["inspect", "in", "--json"],
        "channel": ["channel", "in", "--json"],
        "picture": ["inspect", "in", "--frame", "1", "-o", "out.png", "--json"],
    }[kind]


def _secret(folder: Path, base: Base | None, kind: str) -> list[str]:
    key = base.secret.key if base and base.secret else None
    if key is None or kind == "channel":
        return []
    (folder / "key").write_bytes(key)
    return ["--key-file", "key"]


def _check_answer(answer: Answer) -> None:
    if answer.code not in _CODES:
        raise LawBroken(f"exit code {answer.code}", answer.err[-1000:])
    error = answer.error
    if answer.code != 0 and not error and not answer.out:
        raise LawBroken("no error told", f"code {answer.code}: {answer.err[-1000:]}")


def _check_content(target: Path, base: Base) -> None:
    """What was decoded whole is the base's, whatever became of the container around it."""
    if target.is_file() and target.read_bytes() != base.original:
        raise LawBroken("wrong_bytes", f"{target.stat().st_size} bytes for {len(base.original)}")


def _changed(random: Random, content: bytes) -> bytes:
    """The file mutated: near what looks like the mark of a box, an element, a chunk or a packet, or anywhere."""
    if random.random() < 0.3:
        return mutated(random, content)
    changed = bytearray(content)
    head = 4096 if random.random() < 0.7 else len(content)
    marks = [found.start() for found in _MARK.finditer(content, 0, head)]
    for _ in range(random.randint(1, 4) if marks else 0):
        place = random.choice(marks) + random.randint(-8, _NEAR_BYTES)
        size = random.choice((1, 2, 4, 8))
        number = random.choice((*NUMBERS, 9000, 16384, 3840, 2160)) & (1 << 8 * size) - 1
        if 0 <= place <= len(changed) - size:
            changed[place : place + size] = number.to_bytes(size, random.choice(("big", "little")))
    return bytes(changed)


def open_target(folder: Path) -> MediaTarget:
    """The target, with all imported and compiled that commands need."""
    del folder
    logging.disable(logging.WARNING)
    verify(VECTORS / "noise-1k.mp4")
    inspect(VECTORS / "bursts-rugged.mp4")
    survey_channel(VECTORS / "bursts-stream.mp4")
    picture_at(VECTORS / "noise-1k.mp4", 0)
    return MediaTarget()

"""File names: as a leader keeps them, as they are harmless to write, and made to fit a file system.

A name is bytes; as text, those that are no UTF-8 stand as lone surrogates U+DC80 to U+DCFF (`surrogateescape`), and
come back as the bytes they were. Names are never normalized: two that look alike may be two files.
"""

import hashlib
import unicodedata
from pathlib import Path

LEADER_NAME_BYTES_MAX = 1024
FILE_NAME_BYTES_MAX = 255
REEL_SUFFIX = ".mp4"
_MARK = "_"
# Control and format characters (among them those that turn the direction of writing or have no width), line and
# paragraph separators, and surrogates that stand for no byte.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})
# Letters and signs that show nothing: fillers of Hangul, the blank of Braille, the joiner of graphemes, vowels of Khmer
# that are inherent; and what is not assigned but set aside for such. Source: Unicode, Default_Ignorable_Code_Point.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0") | {
    chr(number) for first, last in ((0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)) for number in range(first, last + 1)
}
# They choose how the character before them is drawn (an emoji in colour), and show nothing by themselves.
_SELECTORS = frozenset(
    chr(number)
    for first, last in ((0x180B, 0x180D), (0x180F, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for number in range(first, last + 1)
)
_ESCAPED = range(0xDC80, 0xDD00)
# All of category Zs.
_SPACES = " \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_ENDS = _SPACES + "."
# What another system takes for a device, whatever ends the name has.
_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"}
)


def source_name(source: str) -> str:
    """What the source at a path is called: its last component, `stdin` for standard input (`-`)."""
    return "stdin" if source == "-" else Path(source).absolute().name


def cut_name(name: str) -> str:
    """The name as a leader keeps it: at most `LEADER_NAME_BYTES_MAX` bytes of its last component."""
    return _cut(name.replace("\x00", "").rsplit("/", 1)[-1], LEADER_NAME_BYTES_MAX) or "unnamed"


def safe_name(name: str, fallback: str = "restored", *, suffix: str = "") -> str:
    """The name of a file that somebody else chose, with `suffix`, as it does no harm in any folder.

    The last component of it; what cannot be seen is `_`; a dot, dash or tilde in front (a file that is hidden or runs
    at login, an option, a home) and the name of a device get one before them; white space around it and dots behind
    it go. Everything else stays, a backslash too. 255 bytes with the suffix at most. `fallback` where nothing is left,
    itself made harmless. Idempotent. Source: POSIX 3.170 (filename), NAME_MAX on Linux.
    """
    for candidate in (name, fallback, "restored"):
        harmless = _harmless(candidate.rsplit("/", 1)[-1], FILE_NAME_BYTES_MAX - len(suffix.encode()))
        if harmless:
            return harmless + suffix
    raise AssertionError("the last candidate is harmless")


def _harmless(name: str, bytes_max: int) -> str:
    """The name made harmless; empty where nothing in it can be seen."""
    seen = "".join(
        _MARK if _is_unseen(each, before) else each for each, before in zip(name, _SPACES[:1] + name, strict=False)
    )
    if all(each in _ENDS or shown != each for each, shown in zip(name, seen, strict=True)):
        return ""
    kept = _cut(seen.lstrip(_SPACES), bytes_max).rstrip(_ENDS)
    if kept[:1] in (".", "-", "~", "") or kept.split(".", 1)[0].rstrip(_ENDS).upper() in _DEVICES:
        kept = _MARK + _cut(kept, bytes_max - len(_MARK)).rstrip(_ENDS)
    return kept


def _is_unseen(character: str, before: str) -> bool:
    """Whether a character shows nothing behind that one."""
    if ord(character) in _ESCAPED:
        return False
    if character in _SELECTORS:
        return before in _SPACES or before in _SELECTORS or _is_unseen(before, _SPACES[0])
    return unicodedata.category(character) in _UNSEEN or character in _BLANK


def fitted_name(name: str, suffix: str) -> str:
    """The name with a suffix; one too long for a file system is cut, and told from its like by its own digest."""
    encoded = name.encode("utf-8", "surrogateescape")
    room = FILE_NAME_BYTES_MAX - len(suffix.encode("utf-8", "surrogateescape"))
    if len(encoded) > room:
        mark = "~" + hashlib.sha256(encoded).hexdigest()[:8]
        assert room > len(mark), "the caller's suffix is short"
        name = _cut(name, room - len(mark)) + mark
    return name + suffix


def _cut(name: str, bytes_max: int) -> str:
    """The start of the name, no longer than that many bytes, no character cut in two."""
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= bytes_max:
        return name
    end = bytes_max
    while end > max(0, bytes_max - 3) and encoded[end] & 0xC0 == 0x80:  # in the middle of a character
        end -= 1
    return encoded[:end].decode("utf-8", "surrogateescape")

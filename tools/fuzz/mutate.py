"""Changes to bytes and to JSON values that know nothing of what they change. Deterministic by the randomness given."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 127, 128, 255, 256, 511, 512, 1023, 4095, 4096, 32767, 32768, 65535, 65536,
           (1 << 24) - 1, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 53) + 1, (1 << 63) - 1,
           1 << 63, (1 << 64) - 1)  # fmt: skip
TEXTS = ("", ".", "..", "/", "../x", "a/../b", "//", "\x00", "\n", "\x1b[2J", "\ud800", "\udcff", "\u202egpj.exe",
         "a" * 256, "\u00e9" * 128, "%2e%2e%2f", "%00", "%", "%zz", "+", "con", "-rf", "null", "\ufeff", "1e999", " ",
         "\t", "\\..\\x", "x" * 5000)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (None, True, False, -1, 0, 1.5, -0.0, 1e308, 10**30, [], {}, [[]], [None], "0")
_CHANGES_MAX = 6
_PIECE_MAX = 4096
_DEPTHS = (10, 100, 300, 900, 960, 980, 990, 995, 1000, 5000, 100_000)


def mutated(random: Random, content: bytes, *, others: Sequence[bytes] = (), tokens: Sequence[bytes] = ()) -> bytes:
    """The content with one to six changes; `others` are spliced in, `tokens` inserted."""
    changed = bytearray(content)
    for _ in range(random.randint(1, _CHANGES_MAX)):
        change = random.choice(_CHANGES)
        if tokens and random.random() < 0.2:
            place = random.randint(0, len(changed))
            changed[place:place] = random.choice(tokens)
        elif others and random.random() < 0.1:
            _spliced(random, changed, random.choice(others))
        else:
            change(random, changed)
    return bytes(changed)


def _slice(random: Random, content: bytearray) -> slice:
    """A part of it, more often a short one."""
    if not content:
        return slice(0, 0)
    start = random.randrange(len(content))
    longest = random.choice((1, 2, 4, 8, 64, 512, _PIECE_MAX, len(content)))
    return slice(start, start + random.randint(1, longest))


def _spliced(random: Random, content: bytearray, other: bytes) -> None:
    content[_slice(random, content)] = other[_slice(random, bytearray(other))]


def _flip_bit(random: Random, content: bytearray) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _set_byte(random: Random, content: bytearray) -> None:
    if content:
        content[random.randrange(len(content))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _set_number(random: Random, content: bytearray) -> None:
    size = random.choice((1, 2, 4, 8))
    if len(content) >= size:
        place = random.randrange(len(content) - size + 1)
        number = random.choice(NUMBERS) & (1 << 8 * size) - 1
        content[place : place + size] = number.to_bytes(size, random.choice(("big", "little")))


def _delete(random: Random, content: bytearray) -> None:
    del content[_slice(random, content)]


def _insert(random: Random, content: bytearray) -> None:
    place = random.randint(0, len(content))
    content[place:place] = random.randbytes(random.choice((1, 2, 8, 64)))


def _double(random: Random, content: bytearray) -> None:
    part = bytes(content[_slice(random, content)])[:_PIECE_MAX]
    place = random.randint(0, len(content))
    content[place:place] = part * random.choice((1, 1, 1, 2, 50))


def _copy_over(random: Random, content: bytearray) -> None:
    part = bytes(content[_slice(random, content)])
    if len(content) > len(part):
        place = random.randrange(len(content) - len(part))
        content[place : place + len(part)] = part


def _fill(random: Random, content: bytearray) -> None:
    if content:
        place = _slice(random, content)
        content[place] = bytes([random.choice((0, 0xFF, 0x20, 0x30))]) * len(content[place])


def _cut_end(random: Random, content: bytearray) -> None:
    if content:
        del content[random.randrange(len(content)) :]


_CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip_bit, _flip_bit, _set_byte, _set_number, _set_number, _delete, _insert, _double, _copy_over, _fill),
    _cut_end,
)


def mutated_json(random: Random, value: Any) -> bytes:
    """A JSON text of the value with one to six of its parts changed; rarely changed once more as bytes."""
    for _ in range(random.randint(1, _CHANGES_MAX)):
        value = _changed(random, value)
    text = json.dumps(value, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.1:
        text = text.replace('"', '"' + random.choice(("\\u0000", "\\ud800", "\\ud83d\\ude00", "\\")), 1)
    content = text.encode("utf-8", "surrogatepass")
    return mutated(random, content) if random.random() < 0.15 else content


def _changed(random: Random, value: Any) -> Any:
    """The value with one part of it changed, however deep it lies."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        rest = {name: each for name, each in value.items() if name != key}
        if random.random() < 0.1:
            return rest
        if random.random() < 0.1:
            return {**rest, random.choice((*TEXTS, key.upper(), key + " ")): value[key]}
        return {**value, key: _changed(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], *[_changed(random, value[place])] * random.choice((0, 1, 1, 1, 2)), *value[place + 1 :]]
    return odd_value(random, value)


def odd_value(random: Random, value: Any) -> Any:
    """Something else in the value's place: odd, of another type, or the value inside of something."""
    choice = random.random()
    if choice < 0.3:
        return random.choice(ODD_VALUES)
    if choice < 0.6:
        return random.choice(TEXTS)
    if choice < 0.75:
        return random.choice(NUMBERS)
    if choice < 0.9 and isinstance(value, str):
        place = random.randint(0, len(value))
        return value[:place] + random.choice(TEXTS) + value[place:]
    return nested(random, value)


def nested(random: Random, value: Any) -> Any:
    """The value in lists or objects, sometimes deep ones."""
    depth = random.choice((1, 2, 3)) if random.random() < 0.9 else random.choice((10, 100))
    for _ in range(depth):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def deep_json(random: Random) -> bytes:
    """A JSON text of nothing but depth, around what recursion reaches."""
    depth = random.choice(_DEPTHS) + random.randint(-9, 9)
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"Records":[', b"]}"), (b'{"detail":', b"}")))
    return opening * depth + b"1" + closing * (depth if random.random() < 0.8 else 0)

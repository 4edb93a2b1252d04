"""Between bytes and I_PCM macroblocks: whitening, samples, emulation prevention, and back.

A picture's bytes (its *image*: frame header, then payload) fill macroblocks in decoding order, 384 bytes each: 256
luma, 64 Cb, 64 Cr samples. In the stream a macroblock is `0D 00` (mb_type ue(25) and alignment) and its samples; the
first one's type ends the slice header, which the caller writes. `00 00 0x` (x <= 3) takes an emulation prevention
byte. The image's first `HEADER_BYTES` are not whitened here: the header carries a fixed mask of its own.

Numpy does it, `GROUP_MACROBLOCKS` at a time, as many as a core's cache holds: 5 GB/s and more, where hashing the same
bytes takes longest, and nothing has to be compiled or loaded before the first. What takes prevention bytes is rare in
whitened pictures, and looked at more closely where it is found.

Source: ITU-T H.264 (08/2021) 7.3.5 macroblock layer, 7.4.1 emulation prevention; FORMAT.md sections 3 to 5.
"""

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bytereel_codec.frame.sizes import (
    GROUP_MACROBLOCKS,
    HEADER_BYTES,
    MACROBLOCK_BYTES,
    MACROBLOCK_CODED_BYTES,
    WHITENING_BYTES,
)

Bytes = npt.NDArray[np.uint8]

_TYPE_BYTES = MACROBLOCK_CODED_BYTES - MACROBLOCK_BYTES
_MB_TYPE = np.array([0x0D, 0x00], np.uint8)
_PREVENTION = b"\x03"
_PREVENTED = b"\x00\x00\x03"
_VALUE_BITS_OF_NO_ESCAPE = np.uint8(0xFC)  # a byte behind two zeros takes a prevention byte where it has none of them
_GROUP_BYTES = GROUP_MACROBLOCKS * MACROBLOCK_CODED_BYTES


def new_scratch() -> Bytes:
    """Memory that the functions of this module work in, for one thread: uint8[2, a group as coded and two bytes]."""
    return np.empty((2, _GROUP_BYTES + 2), np.uint8)


def write_macroblocks(
    image: Bytes, length: int, table: Bytes, shift: int, stream: Bytes, position: int, scratch: Bytes
) -> int:
    """Write `image[:length]` as I_PCM macroblocks at `stream[position:]`; return the end position.

    Shapes: `image` uint8[>= length rounded up to 384], zero behind `length`; `table` as `whitening_table` gives it,
    `shift` the table index for image byte 0; `stream` uint8[position + 579 a macroblock], holding the slice header with
    the first macroblock's type just before `position` (two bytes at least); `scratch` as `new_scratch` gives it.
    """
    count = -(-length // MACROBLOCK_BYTES)
    for block in range(0, count, GROUP_MACROBLOCKS):
        group = range(block, min(block + GROUP_MACROBLOCKS, count))
        start = position if block else position - _TYPE_BYTES
        end = start + len(group) * MACROBLOCK_CODED_BYTES
        coded = stream[start:end].reshape(len(group), MACROBLOCK_CODED_BYTES)
        coded[0 if block else 1 :, :_TYPE_BYTES] = _MB_TYPE
        np.bitwise_xor(_samples(image, group), _mask(table, shift, group), out=coded[:, _TYPE_BYTES:])
        if not block:
            coded[0, _TYPE_BYTES : _TYPE_BYTES + HEADER_BYTES] = image[:HEADER_BYTES]
        position = _escaped(stream, position, end, scratch)
    return position


def _samples(image: Bytes, group: range) -> Bytes:
    return image[group.start * MACROBLOCK_BYTES : group.stop * MACROBLOCK_BYTES].reshape(len(group), MACROBLOCK_BYTES)


def _mask(table: Bytes, shift: int, group: range) -> Bytes:
    first = (shift + group.start * MACROBLOCK_BYTES) % WHITENING_BYTES
    return table[first : first + len(group) * MACROBLOCK_BYTES].reshape(len(group), MACROBLOCK_BYTES)


def _escaped(stream: Bytes, position: int, end: int, scratch: Bytes) -> int:
    """Put the prevention bytes into `stream[position:end]`, which moves what is behind each; return the new end."""
    behind_zeros = stream[position:end]
    found = np.bitwise_and(behind_zeros, _VALUE_BITS_OF_NO_ESCAPE, out=scratch[1, : end - position])
    places = _zero_pairs_and_none_of(found, stream, position, scratch)
    if not len(places):
        return end
    # Of neighbours in a run of zeros every second one takes a byte: counting starts again behind each.
    begins = np.flatnonzero(np.diff(places, prepend=places[0] - 2) != 1)
    in_run = np.arange(len(places)) - np.repeat(begins, np.diff(begins, append=len(places)))
    cuts = [0, *places[in_run % 2 == 0].tolist(), end - position]
    content = behind_zeros.tobytes()
    joined = _PREVENTION.join([content[a:b] for a, b in pairwise(cuts)])
    stream[position : position + len(joined)] = np.frombuffer(joined, np.uint8)
    return position + len(joined)


def _zero_pairs_and_none_of(bits: Bytes, stream: Bytes, position: int, scratch: Bytes) -> npt.NDArray[np.intp]:
    """The places in `bits`, which stands for `stream[position:]`, that are 0 behind two zeros of the stream.

    `bits` is overwritten. The two bytes before `position` count where they are there.
    """
    lead = min(2, position)
    bits = bits[2 - lead :]
    before = stream[position - lead : position - lead + len(bits) + 1]
    pairs = np.bitwise_or(before[:-1], before[1:], out=scratch[0, : len(bits)])
    np.bitwise_or(bits, pairs, out=bits)
    if not len(bits) or bits.min():
        return np.empty(0, np.intp)
    return np.flatnonzero(bits == 0) + (2 - lead)


def read_header(stream: Bytes, position: int, end: int, raw: Bytes) -> int:
    """Read the masked frame header at `stream[position:end]` into `raw` uint8[>= 128]; return the end, or -1."""
    found = _unescaped(stream, position, end, HEADER_BYTES)
    if found is None:
        return -1
    raw[:HEADER_BYTES] = np.frombuffer(found[0], np.uint8)
    return found[1]


def _unescaped(stream: Bytes, position: int, end: int, count: int) -> tuple[bytes, int] | None:
    """`count` bytes from `stream[position:end]` on without prevention bytes, and where they end; None: it ends early.

    A 3 behind two zeros is one, of which the two bytes before `position` count.
    """
    lead = min(2, position)
    window = count + lead
    while True:
        coded = stream[position - lead : min(position - lead + window, end)].tobytes()
        plain = lead + count
        bare = coded.replace(_PREVENTED, _PREVENTED[:2])
        if len(bare) >= plain:
            break
        if len(coded) < window:
            return None
        window += plain - len(bare)
    return bare[lead:plain], position + count + _prevented_within(coded, plain)


def _prevented_within(coded: bytes, plain: int) -> int:
    """How many prevention bytes stand before the end of the first `plain` bytes that are none."""
    count, at = 0, coded.find(_PREVENTED)
    while at >= 0 and at + 2 < plain + count:
        count += 1
        at = coded.find(_PREVENTED, at + 3)
    return count


def read_macroblocks(
    stream: Bytes, position: int, end: int, length: int, table: Bytes, shift: int, image: Bytes, scratch: Bytes
) -> int:
    """Undo `write_macroblocks`: fill `image[:length]`, return the end position in `stream[:end]`, or -1.

    -1: the stream ends early, or something other than an I_PCM macroblock stands where one must. Shapes as there;
    `image` has room for whole macroblocks. The first 128 bytes stay masked.
    """
    count = -(-length // MACROBLOCK_BYTES)
    for block in range(0, count, GROUP_MACROBLOCKS):
        group = range(block, min(block + GROUP_MACROBLOCKS, count))
        lead = 0 if block else _TYPE_BYTES  # the first one's type stands in the slice header
        size = len(group) * MACROBLOCK_CODED_BYTES - lead
        if position + size > end:
            return -1
        coded = stream[position : position + size]
        found = np.bitwise_xor(coded, _PREVENTION[0], out=scratch[1, :size])
        if len(_zero_pairs_and_none_of(found, stream, position, scratch)):
            bare = _unescaped(stream, position, end, size)
            if bare is None:
                return -1
            coded, position = np.frombuffer(bare[0], np.uint8), bare[1]
        else:
            position += size
        samples = _samples(image, group)
        mask = _mask(table, shift, group)
        if lead:
            np.bitwise_xor(coded[:MACROBLOCK_BYTES], mask[0], out=samples[0])
            samples[0, :HEADER_BYTES] = coded[:HEADER_BYTES]
            coded, samples, mask = coded[MACROBLOCK_BYTES:], samples[1:], mask[1:]
        rows = coded.reshape(len(samples), MACROBLOCK_CODED_BYTES)
        if (rows[:, :_TYPE_BYTES] != _MB_TYPE).any():
            return -1
        np.bitwise_xor(rows[:, _TYPE_BYTES:], mask, out=samples)
    return position

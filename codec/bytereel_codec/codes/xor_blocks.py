"""The XOR interleaver: blocks with checksums, and one XOR block for every group, which brings one wrong block back.

A buffer is cut into slots of 1028 bytes: a block of 1024 bytes and its CRC32C, low byte first. What is left behind the
last slot is zero. The slots first hold the data blocks, in order, then one XOR block for each group; slot s belongs to
group s modulo the number of groups, data and XOR blocks alike. So the members of a group lie as far apart as there are
groups, and damage that touches no more neighbouring slots than that costs each group one block at most.

A group has `group_blocks` data blocks or fewer. A wrong block is known by its checksum and rebuilt from the rest of its
group if it is the only one there. Two wrong blocks in a group stay as they are, and are named.

Source: FORMAT.md section 17.
"""

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from bytereel_codec.errors import Permanent

Bytes = npt.NDArray[np.uint8]
Item = TypeVar("Item", bound=np.generic)
BLOCK_BYTES = 1024
SLOT_BYTES = BLOCK_BYTES + 4


class Recovered(NamedTuple):
    """What was read: `content` uint8[data_bytes], the data blocks that stay `wrong`, and how many were `rebuilt`."""

    content: Bytes
    wrong: npt.NDArray[np.intp]
    rebuilt: int


class _Layout(NamedTuple):
    data: int
    groups: int

    @property
    def slots(self) -> int:
        return self.data + self.groups


def fits(total_bytes: int, group_blocks: int) -> bool:
    """Whether a buffer of `total_bytes` holds a group at all: a block, and the XOR of it."""
    return group_blocks > 0 and total_bytes >= 2 * SLOT_BYTES


def capacity(total_bytes: int, group_blocks: int) -> int:
    """The bytes of content, a multiple of 1024, that a buffer of `total_bytes` holds.

    Raises: Permanent `xor.capacity` if no group fits, or a group would have no block.
    """
    return _layout(total_bytes, group_blocks).data * BLOCK_BYTES


def encode(content: Bytes, total_bytes: int, group_blocks: int) -> Bytes:
    """The buffer uint8[total_bytes] that holds `content` uint8[capacity(total_bytes, group_blocks)].

    Raises: Permanent `xor.capacity`.
    """
    layout = _layout(total_bytes, group_blocks)
    assert content.size == layout.data * BLOCK_BYTES, (content.size, layout)
    stored = np.zeros(total_bytes, np.uint8)
    slots = _slots(stored, layout)
    slots[: layout.data, :BLOCK_BYTES] = content.reshape(layout.data, BLOCK_BYTES)
    sums = np.zeros((layout.groups, BLOCK_BYTES), np.uint8)
    for first in range(0, layout.data, layout.groups):
        members = slots[first : min(first + layout.groups, layout.data), :BLOCK_BYTES]
        sums[: len(members)] ^= members
    slots[layout.data :, :BLOCK_BYTES] = np.roll(sums, -(layout.data % layout.groups), axis=0)
    slots[:, BLOCK_BYTES:] = _checksums(slots)
    return stored


def correct(stored: Bytes, group_blocks: int, lost: npt.NDArray[np.bool_] | None = None) -> Recovered:
    """The content of a buffer, with every block rebuilt that is alone in its group in being wrong.

    A block is wrong if its checksum says so or one of its bytes is `lost` bool[total_bytes]. `stored`, of as many
    bytes, is not changed; blocks that stay wrong are given as they were read.

    Raises: Permanent `xor.capacity`.
    """
    layout = _layout(stored.size, group_blocks)
    slots = _slots(stored, layout)
    wrong = (slots[:, BLOCK_BYTES:] != _checksums(slots)).any(axis=1)
    if lost is not None:
        assert lost.shape == stored.shape, (lost.shape, stored.shape)
        wrong |= _slots(lost, layout).any(axis=1)
    content = slots[: layout.data, :BLOCK_BYTES].copy()
    bad = np.flatnonzero(wrong)
    alone = np.bincount(bad % layout.groups, minlength=layout.groups)[bad % layout.groups] == 1
    rebuilt = bad[alone & (bad < layout.data)]
    for block in rebuilt:
        group = slots[block % layout.groups :: layout.groups, :BLOCK_BYTES]
        content[block] ^= np.bitwise_xor.reduce(group, axis=0)
    return Recovered(content.reshape(-1), bad[~alone & (bad < layout.data)], len(rebuilt))


def _layout(total_bytes: int, group_blocks: int) -> _Layout:
    slots = total_bytes // SLOT_BYTES
    data = slots * group_blocks // (group_blocks + 1) if group_blocks > 0 else 0
    if data <= 0:
        raise Permanent(
            "xor.capacity",
            f"{total_bytes} bytes hold no group of {group_blocks} blocks and their XOR",
            hint=f"take at least {2 * SLOT_BYTES} bytes and one block a group",
            total_bytes=total_bytes,
            group_blocks=group_blocks,
        )
    return _Layout(data, slots - data)


def _slots(stored: npt.NDArray[Item], layout: _Layout) -> npt.NDArray[Item]:
    return stored[: layout.slots * SLOT_BYTES].reshape(layout.slots, SLOT_BYTES)


def _checksums(slots: Bytes) -> Bytes:
    """uint8[slots, 4]: the CRC32C of each slot's block, as it is stored."""
    sums = np.fromiter((crc32c(slot[:BLOCK_BYTES].data) for slot in slots), np.dtype("<u4"), len(slots))
    return sums.view(np.uint8).reshape(-1, 4)

"""The XOR interleaver: one wrong block a group comes back, more are named, whatever the capacity."""

import numpy as np
import pytest
from bytereel_codec.codes.xor_blocks import BLOCK_BYTES, SLOT_BYTES, capacity, correct, encode
from bytereel_codec.errors import Permanent
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

GROUP_BLOCKS = 4
TOTAL_BYTES = 23 * SLOT_BYTES + 100
DATA_BLOCKS, GROUPS = 18, 5


def random_content(total_bytes: int, group_blocks: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, capacity(total_bytes, group_blocks), dtype=np.uint8)


def damage(stored: np.ndarray, slot: int, at: int) -> None:
    stored[slot * SLOT_BYTES + at] ^= 0x40


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.integers(0, SLOT_BYTES - 1), st.integers(1, 70), st.integers(0, 2**32), st.data())
def test_a_run_of_damage_no_longer_than_the_groups_are_many_leaves_no_trace(slots, rest, group_blocks, seed, data):
    total_bytes = slots * SLOT_BYTES + rest
    content = random_content(total_bytes, group_blocks, seed)
    stored = encode(content, total_bytes, group_blocks)
    assert stored.shape == (total_bytes,)
    groups = slots - content.size // BLOCK_BYTES
    first = data.draw(st.integers(0, slots - 1))
    hit = range(first, min(first + data.draw(st.integers(0, groups)), slots))
    stored[first * SLOT_BYTES : hit.stop * SLOT_BYTES] ^= 0xFF
    recovered = correct(stored, group_blocks)
    assert np.array_equal(recovered.content, content)
    assert len(recovered.wrong) == 0
    assert recovered.rebuilt == len([slot for slot in hit if slot < content.size // BLOCK_BYTES])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000_000), st.integers(1, 300))
def test_capacity_is_the_most_for_which_every_group_has_its_xor_block(total_bytes, group_blocks):
    slots = total_bytes // SLOT_BYTES
    most = max(data for data in range(slots - slots // (group_blocks + 1) - 1, slots + 1)
               if data + -(-data // group_blocks) <= slots) if slots > 1 else 0  # fmt: skip
    if most <= 0:
        with pytest.raises(Permanent) as caught:
            capacity(total_bytes, group_blocks)
        assert caught.value.error_id == "xor.capacity"
    else:
        assert capacity(total_bytes, group_blocks) == most * BLOCK_BYTES


def test_the_buffer_is_laid_out_as_written():
    content = random_content(TOTAL_BYTES, GROUP_BLOCKS)
    assert content.size == DATA_BLOCKS * BLOCK_BYTES
    stored = encode(content, TOTAL_BYTES, GROUP_BLOCKS)
    slots = [stored[i * SLOT_BYTES : (i + 1) * SLOT_BYTES].tobytes() for i in range(DATA_BLOCKS + GROUPS)]
    for slot in slots:
        assert int.from_bytes(slot[BLOCK_BYTES:], "little") == crc32c(slot[:BLOCK_BYTES])
    assert b"".join(slot[:BLOCK_BYTES] for slot in slots[:DATA_BLOCKS]) == content.tobytes()
    for group in range(GROUPS):
        members = slots[group::GROUPS]
        assert 2 <= len(members) <= GROUP_BLOCKS + 1
        total = 0
        for member in members:
            total ^= int.from_bytes(member[:BLOCK_BYTES], "little")
        assert total == 0
    assert not stored[len(slots) * SLOT_BYTES :].any()


@pytest.mark.parametrize("at", [0, BLOCK_BYTES - 1, BLOCK_BYTES, SLOT_BYTES - 1])
def test_any_single_wrong_block_or_checksum_is_rebuilt(at):
    content = random_content(TOTAL_BYTES, GROUP_BLOCKS)
    whole = encode(content, TOTAL_BYTES, GROUP_BLOCKS)
    for slot in range(DATA_BLOCKS + GROUPS):
        stored = whole.copy()
        damage(stored, slot, at)
        recovered = correct(stored, GROUP_BLOCKS)
        assert np.array_equal(recovered.content, content), slot
        assert len(recovered.wrong) == 0
        assert recovered.rebuilt == (1 if slot < DATA_BLOCKS else 0)


def test_every_pair_in_a_group_stays_wrong_and_is_named():
    content = random_content(TOTAL_BYTES, GROUP_BLOCKS)
    whole = encode(content, TOTAL_BYTES, GROUP_BLOCKS)
    slots = DATA_BLOCKS + GROUPS
    for one, other in [(i, j) for i in range(slots) for j in range(i + GROUPS, slots, GROUPS)]:
        stored = whole.copy()
        damage(stored, one, 7)
        damage(stored, other, 9)
        damage(stored, (one + 1) % GROUPS, 11)
        recovered = correct(stored, GROUP_BLOCKS)
        named = [slot for slot in (one, other) if slot < DATA_BLOCKS]
        assert recovered.wrong.tolist() == named
        assert recovered.rebuilt == 1
        differs = (recovered.content != content).reshape(-1, BLOCK_BYTES).any(axis=1)
        assert np.flatnonzero(differs).tolist() == named


def test_lost_bytes_make_a_block_wrong_though_its_checksum_agrees():
    content = random_content(TOTAL_BYTES, GROUP_BLOCKS)
    stored = encode(content, TOTAL_BYTES, GROUP_BLOCKS)
    stored[3 * SLOT_BYTES : 4 * SLOT_BYTES] = stored[9 * SLOT_BYTES : 10 * SLOT_BYTES]
    lost = np.zeros(TOTAL_BYTES, bool)
    assert not np.array_equal(correct(stored, GROUP_BLOCKS).content, content)
    lost[4 * SLOT_BYTES - 1] = True
    recovered = correct(stored, GROUP_BLOCKS, lost)
    assert np.array_equal(recovered.content, content)
    assert recovered.rebuilt == 1


def test_reading_changes_nothing_in_the_buffer():
    stored = encode(random_content(TOTAL_BYTES, GROUP_BLOCKS), TOTAL_BYTES, GROUP_BLOCKS)
    damage(stored, 2, 5)
    before = stored.copy()
    correct(stored, GROUP_BLOCKS)
    assert np.array_equal(stored, before)


@pytest.mark.parametrize(("total_bytes", "group_blocks"), [(0, 4), (2 * SLOT_BYTES - 1, 1), (10 * SLOT_BYTES, 0)])
def test_a_buffer_too_small_for_a_group_is_refused(total_bytes, group_blocks):
    with pytest.raises(Permanent) as caught:
        correct(np.zeros(total_bytes, np.uint8), group_blocks)
    assert caught.value.error_id == "xor.capacity"

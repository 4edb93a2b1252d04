"""What closes a frame's payload, at its bounds: sizes that are stated and kept, nonces, the two kinds of secret."""

import os
import tracemalloc

import pytest
import zstandard
from bytereel_codec import Integrity, Permanent, Secret
from bytereel_codec.frame.envelope import NONCE_BYTES, TAG_BYTES, Envelope
from bytereel_codec.frame.header import Flag
from reels import forged_header

LIMIT = 1000
KEY = os.urandom(32)
OPEN = forged_header(flags=Flag.SEGMENT_END)
COMPRESSED = OPEN.with_flag(Flag.COMPRESSED)
SEALED = OPEN.with_flag(Flag.SEALED)
REEL_ID = b"sixteen bytes id"


def compressed(size: int, *, stated: bool = True) -> memoryview:
    return memoryview(zstandard.ZstdCompressor(write_content_size=stated).compress(bytes(size)))


def error_of(payload: memoryview, envelope: Envelope, header: object = OPEN) -> str:
    with pytest.raises((Integrity, Permanent)) as raised:
        envelope.open(payload, header, LIMIT)
    return raised.value.error_id


def test_an_open_block_may_fill_its_frame_and_no_more() -> None:
    assert len(Envelope(None).open(memoryview(bytes(LIMIT)), OPEN, LIMIT)) == LIMIT
    assert error_of(memoryview(bytes(LIMIT + 1)), Envelope(None)) == "reel.bad_block"


def test_a_compressed_block_may_state_what_fills_its_frame_and_no_more() -> None:
    assert len(Envelope(None).open(compressed(LIMIT), COMPRESSED, LIMIT)) == LIMIT
    assert error_of(compressed(LIMIT + 1), Envelope(None), COMPRESSED) == "reel.bad_block"


def test_a_compressed_block_that_states_no_size_is_refused_however_small() -> None:
    assert error_of(compressed(10, stated=False), Envelope(None), COMPRESSED) == "reel.bad_block"


def test_a_block_that_states_a_size_beyond_its_frame_takes_no_memory_for_it() -> None:
    bomb = compressed(64 << 20)
    tracemalloc.start()
    assert error_of(bomb, Envelope(None), COMPRESSED) == "reel.bad_block"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_sealed_block_comes_back_and_a_second_seal_of_it_is_another() -> None:
    envelope = Envelope(KEY)
    seals = [envelope.seal(b"block", SEALED) for _ in range(50)]
    assert {bytes(envelope.open(memoryview(seal), SEALED, LIMIT)) for seal in seals} == {b"block"}
    assert len({seal[:NONCE_BYTES] for seal in seals}) == len(seals), "a nonce is never used twice"


def test_a_payload_shorter_than_nonce_and_tag_is_a_bad_block_and_not_a_wrong_key() -> None:
    envelope = Envelope(KEY)
    assert error_of(memoryview(bytes(NONCE_BYTES + TAG_BYTES - 1)), envelope, SEALED) == "reel.bad_block"
    assert error_of(memoryview(bytes(NONCE_BYTES + TAG_BYTES)), envelope, SEALED) == "reel.wrong_key"
    assert bytes(envelope.open(memoryview(envelope.seal(b"", SEALED)), SEALED, LIMIT)) == b""


@pytest.mark.parametrize(("secret", "log2_n"), [(Secret(key=KEY), 10), (Secret(passphrase=b"p"), 0)])
def test_a_secret_of_the_other_kind_is_refused(secret: Secret, log2_n: int) -> None:
    with pytest.raises(Permanent) as raised:
        secret.reel_key(REEL_ID, log2_n)
    assert raised.value.error_id == "secret.wrong_kind"


@pytest.mark.parametrize(("secret", "log2_n"), [(Secret(key=KEY), 0), (Secret(passphrase=b"p"), 10)])
def test_every_reel_has_a_key_of_its_own(secret: Secret, log2_n: int) -> None:
    key = secret.reel_key(REEL_ID, log2_n)
    assert len(key) == 32
    assert key == secret.reel_key(REEL_ID, log2_n)
    assert key != secret.reel_key(REEL_ID[::-1], log2_n)

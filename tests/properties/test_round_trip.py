"""Whatever goes in comes back, for any size, content and setting; seeking, verifying and ranges agree with it."""

import random
import tempfile
from pathlib import Path

import pytest
from bytereel_codec import (
    DecodeOptions,
    EncodeOptions,
    Permanent,
    Secret,
    decode_file,
    encode_file,
    inspect,
    open_reel,
    verify,
)
from bytereel_codec.frame.whitening import HEADER_MASK, whitening_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reels import SMALL, SPAN

SEGMENT = 8 * SPAN
REEL_ID = random.Random(0).randbytes(16)
SECRETS = [None, Secret(key=bytes(range(32)))]
FILLS = {
    "zeros": b"\x00",
    "prevention": b"\x00\x00\x03",
    "start codes": b"\x00\x00\x01",
    "ones": b"\xff",
    "text": b"the quick brown fox jumps over the lazy dog\n",
    "marks": b"\x3b\xbe\x86\x79\xf4\x04\x24\x0e",
    "whitening table": whitening_table(REEL_ID).tobytes(),
    "header mask": HEADER_MASK,
}

sizes = st.one_of(
    st.sampled_from([0, 1, 2, 255, 256, 383, 384, 385]),
    st.builds(lambda base, by: max(0, base + by), st.sampled_from([SPAN, 2 * SPAN, SEGMENT]), st.integers(-33, 33)),
    st.integers(0, 3 * SPAN),
)


def content_of(kind: str, size: int, seed: int, shift: int) -> bytes:
    if kind == "random":
        return random.Random(seed).randbytes(size)
    fill = FILLS[kind]
    return (fill * (-(-(size + shift) // len(fill))))[shift : shift + size]


contents = st.builds(
    content_of,
    st.sampled_from([*FILLS, "random"]),
    sizes,
    st.integers(0, 2**32),
    st.integers(0, 400),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    content=contents,
    parity=st.sampled_from([0.0, 0.1, 10.0, 33.0, 100.0]),
    secret=st.sampled_from(SECRETS),
    compress=st.booleans(),
    workers=st.integers(1, 3),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.sampled_from([0, 1]),
)
def test_any_bytes_come_back_under_any_settings(content, parity, secret, compress, workers, ends, seed):
    with tempfile.TemporaryDirectory() as folder:
        source, reel, target = (Path(folder, name) for name in ("source", "reel.mp4", "restored"))
        source.write_bytes(content)
        options = EncodeOptions(
            geometry=SMALL,
            parity_percent=parity,
            secret=secret,
            compress=compress,
            workers=workers,
            random=random.Random(seed).randbytes,
        )
        summary = encode_file(source, reel, options)
        report = decode_file(reel, target, DecodeOptions(secret=secret, workers=workers))
        assert target.read_bytes() == content
        assert (report.whole, report.digest, report.source_bytes) == (True, summary.digest, len(content))
        assert verify(reel, DecodeOptions(secret=secret, workers=workers)).whole
        assert inspect(reel, secret).frames_missing == 0
        start, end = sorted(int(part * (len(content) + 1)) for part in ends)
        decode_file(reel, target, DecodeOptions(secret=secret, start=start, end=end, workers=workers))
        assert target.read_bytes() == content[start:end]
        with open_reel(reel, secret) as file:
            file.seek(start)
            assert file.read(end - start) == content[start:end]
            file.seek(0)
            assert file.read() == content


@pytest.mark.parametrize("size", [SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + SPAN + 1])
@pytest.mark.parametrize("parity", [0.0, 20.0])
def test_several_segments_come_back(tmp_path, size, parity):
    content = random.Random(size).randbytes(size)
    (tmp_path / "source").write_bytes(content)
    encode_file(tmp_path / "source", tmp_path / "reel", EncodeOptions(geometry=SMALL, parity_percent=parity, workers=2))
    decode_file(tmp_path / "reel", tmp_path / "restored", DecodeOptions(workers=2))
    assert (tmp_path / "restored").read_bytes() == content


def test_a_passphrase_opens_what_it_sealed_and_another_does_not(tmp_path):
    secret = Secret(passphrase=b"correct horse")
    (tmp_path / "source").write_bytes(b"secret" * 1000)
    encode_file(tmp_path / "source", tmp_path / "reel", EncodeOptions(geometry=SMALL, secret=secret))
    decode_file(tmp_path / "reel", tmp_path / "restored", DecodeOptions(secret=secret))
    assert (tmp_path / "restored").read_bytes() == b"secret" * 1000
    for other, error_id in (
        (Secret(passphrase=b"battery staple"), "reel.wrong_key"),
        (Secret(key=bytes(32)), "secret.wrong_kind"),
        (None, "reel.sealed"),
    ):
        with pytest.raises(Permanent) as raised:
            decode_file(tmp_path / "reel", tmp_path / "other", DecodeOptions(secret=other))
        assert raised.value.error_id == error_id
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(("start", "end"), [(-5, 10), (10, 5), (5, 10**30), (10**30, None), (0, 0)])
def test_a_range_out_of_bounds_is_clipped(tmp_path, start, end):
    content = random.Random(0).randbytes(3 * SPAN)
    (tmp_path / "source").write_bytes(content)
    encode_file(tmp_path / "source", tmp_path / "reel", EncodeOptions(geometry=SMALL))
    decode_file(tmp_path / "reel", tmp_path / "part", DecodeOptions(start=start, end=end))
    start = max(0, start)
    assert (tmp_path / "part").read_bytes() == content[start : max(start, len(content) if end is None else end)]

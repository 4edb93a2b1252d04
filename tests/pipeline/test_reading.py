"""Reading ahead in a source: the same bytes, in fewer and larger reads, never outside the range."""

from bytereel.reading import AheadReader
from bytereel_codec.files.ranged import BytesReader
from hypothesis import given
from hypothesis import strategies as st

CONTENT = bytes(range(256)) * 4


class Noted(BytesReader):
    """Notes every read."""

    def __init__(self) -> None:
        super().__init__(CONTENT)
        self.reads: list[tuple[int, int]] = []

    def read_into(self, offset: int, buffer: memoryview) -> int:
        count = super().read_into(offset, buffer)
        self.reads.append((offset, offset + len(buffer)))
        return count


@given(
    st.integers(0, 1024),
    st.integers(0, 1024),
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 400)), max_size=20),
)
def test_whatever_is_read_in_whatever_order_is_what_the_source_holds(start, length, piece_bytes, reads):
    reader = AheadReader(Noted(), start, start + length, piece_bytes)
    for offset, size in reads:
        buffer = bytearray(size)
        count = reader.read_into(offset, memoryview(buffer))
        assert bytes(buffer[:count]) == CONTENT[offset : offset + size]


@given(st.integers(0, 1000), st.integers(1, 500), st.integers(1, 300), st.integers(1, 90))
def test_a_range_read_in_order_is_asked_for_once_in_pieces_and_nothing_else_is(start, length, piece_bytes, size):
    source = Noted()
    end = min(start + length, len(CONTENT))
    reader = AheadReader(source, start, end, piece_bytes)
    for offset in range(start, end, size):
        reader.read_into(offset, memoryview(bytearray(min(size, end - offset))))
    assert source.reads == [(at, min(at + piece_bytes, end)) for at in range(start, end, piece_bytes)]

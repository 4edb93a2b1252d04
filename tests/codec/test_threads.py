"""Work in several threads: what is made ahead comes in order, and ends with who asks for it."""

import threading
from collections.abc import Iterator
from itertools import count, islice

import pytest
from bytereel_codec.files.threads import ahead


def test_items_come_in_order_and_none_is_missing() -> None:
    assert list(ahead(iter(range(1000)), 4)) == list(range(1000))
    assert list(ahead(iter([]), 4)) == []


def test_an_error_comes_where_the_item_would_have_come() -> None:
    def broken() -> Iterator[int]:
        yield from (1, 2)
        raise OSError("gone")

    found = ahead(broken(), 4)
    assert list(islice(found, 2)) == [1, 2]
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_who_stops_early_leaves_no_thread_and_few_items_made() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            made.append(number)
            yield number

    before = threading.active_count()
    found = ahead(items(), 4)
    assert list(islice(found, 3)) == [0, 1, 2]
    found.close()
    assert threading.active_count() == before
    assert len(made) <= 3 + 4

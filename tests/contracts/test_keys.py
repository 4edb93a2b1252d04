"""Which keys the stores of this machine take, each bound on both sides."""

import pytest
from bytereel.adapters.keys import check_key
from bytereel.errors import Permanent
from bytereel.model import ObjectRef

LONGEST = "/".join(["k" * 255] * 4) + "k"  # 1024 bytes would be 4 parts of 255, 3 slashes and one more
LONGEST = LONGEST[:1020] + "/abc"


@pytest.mark.parametrize("key", ["a", "a/b", "...", ".a", "a..", "ü" * 127, "k" * 255, LONGEST, "a\nb", "\udcff"])
def test_a_key_that_is_a_relative_path_is_taken(key: str) -> None:
    check_key(ObjectRef("inbox", key))


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\x00", "ü" * 128, "k" * 256, f"{LONGEST}d", "\ud800"],
)
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(Permanent) as raised:
        check_key(ObjectRef("inbox", key))
    assert raised.value.error_id == "object.bad_key"


def test_the_longest_key_has_1024_bytes() -> None:
    assert len(LONGEST.encode()) == 1024

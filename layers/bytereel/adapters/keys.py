"""Which object keys the stores of this machine take: those that are also a relative path below a folder."""

import os

from bytereel.adapters.object_errors import bad_key
from bytereel.model import ObjectRef

COMPONENT_BYTES_MAX = 255
KEY_BYTES_MAX = 1024


def check_key(ref: ObjectRef) -> None:
    """Refuse a key that is no relative path: an empty component, `.`, `..`, NUL, or one that is too long.

    Raises: Permanent `object.bad_key`.
    """
    problem = _problem_of(ref.key)
    if problem:
        raise bad_key(ref, problem)


def _problem_of(key: str) -> str:
    try:
        encoded = os.fsencode(key)
    except UnicodeEncodeError:
        return "it holds characters that no file name can"
    if b"\x00" in encoded:
        return "it holds a NUL"
    if len(encoded) > KEY_BYTES_MAX:
        return f"it is longer than {KEY_BYTES_MAX} bytes"
    for component in encoded.split(b"/"):
        if component in (b"", b".", b".."):
            return "a part of it is empty, '.' or '..'"
        if len(component) > COMPONENT_BYTES_MAX:
            return f"a part of it is longer than {COMPONENT_BYTES_MAX} bytes"
    return ""

"""Makes a failing input smaller: delta debugging on bytes. Pure but for the clock that ends it.

Source: Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input (2002), algorithm ddmin, here with
removal of parts alone.
"""

import time
from collections.abc import Callable

_TRIES_MAX = 20_000


def minimised(content: bytes, fails: Callable[[bytes], bool], *, seconds: float, step: int = 1) -> bytes:
    """The content with as many parts left out as `fails` still holds for, as far as `seconds` reach.

    Only multiples of `step` bytes are left out. The content itself must fail.
    """
    end = time.monotonic() + seconds
    tries = 0
    part = max(step, len(content) // 2 // step * step)
    while content:
        position = 0
        while position < len(content):
            if time.monotonic() > end or tries >= _TRIES_MAX:
                return content
            tries += 1
            shorter = content[:position] + content[position + part :]
            if len(shorter) < len(content) and fails(shorter):
                content = shorter
            else:
                position += part
        if part == step:
            return content
        part = max(step, part // 2 // step * step)
    return content

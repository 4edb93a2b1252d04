"""A case: one input of a target, with all that is needed to run it again. Pure.

A case file is one line of JSON (target, facts, how the content is packed) and the content behind it.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SUFFIX = ".case"
_HEAD_BYTES_MAX = 1 << 16
CONTENT_BYTES_MAX = 256 << 20
_PLAIN, _PACKED = "plain", "zlib"


@dataclass(frozen=True, slots=True)
class Case:
    """An input. `facts` are JSON-able: which reader it is for, what it was made from, how it is read."""

    target: str
    content: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)

    def with_content(self, content: bytes) -> "Case":
        """The same case with other bytes."""
        return replace(self, content=content)

    def to_bytes(self) -> bytes:
        """The case as a file; packed where that makes it much smaller."""
        packed = zlib.compress(self.content, 9)
        small = 2 * len(packed) < len(self.content)
        head = {"target": self.target, "facts": dict(self.facts), "content": _PACKED if small else _PLAIN}
        return json.dumps(head).encode("ascii") + b"\n" + (packed if small else self.content)

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Case":
        """The inverse of `to_bytes`. Raises: ValueError for what is no case."""
        line, newline, content = stored.partition(b"\n")
        if not newline or len(line) > _HEAD_BYTES_MAX:
            raise ValueError("no case: its first line is no head")
        head = json.loads(line)
        if head["content"] == _PACKED:
            content = zlib.decompressobj().decompress(content, CONTENT_BYTES_MAX)
        return cls(head["target"], content, head["facts"])

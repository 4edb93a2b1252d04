"""The leader: the reel's description as JSON, in a picture at either end.

What it says is shown and checked, never trusted: the data frames' headers alone decide how a reel is read.
Source: FORMAT.md section 10.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bytereel_codec.errors import Integrity

LEADER_BYTES_MAX = 16 << 10
MODE_MAX = 0o777
_PRIVATE = 0o600
KINDS = ("file", "folder")
_HEX_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Leader:
    """What a leader says. `size_bytes` and `digest` are None in the front leader of a stream that was still running.

    `digest` is the tree digest of the whole (hex): SHA-256 of the segments' SHA-256 in order. `sha256` is the plain
    SHA-256 of the whole, where the encoder took it. `kind` is `file`, or `folder` for a tar stream. `mode`: the 9
    permission bits of a single file; None for a folder or a stream, and from an encoder that kept none.
    """

    name: str
    kind: str = "file"
    profile: str = "archive"
    size_bytes: int | None = None
    segments: int | None = None
    digest: str | None = None
    sha256: str | None = None
    parity_percent: float = 0.0
    parity_segments: int = 0
    created: str = ""
    software: str = ""
    mode: int | None = None

    @property
    def stream_mode(self) -> int | None:
        """The permission bits of a file with the source's bytes: the file's own; a folder's tar stream is private, as
        it may hold files that nobody else may read."""
        return self.mode if self.kind == "file" else _PRIVATE

    def to_bytes(self, size: int = 0) -> bytes:
        """The JSON, padded with spaces to at least `size` bytes."""
        text = json.dumps(
            {key: value for key, value in asdict(self).items() if value is not None}, separators=(",", ":")
        )
        return text.encode("ascii").ljust(size)

    @classmethod
    def parsed(cls, content: bytes | bytearray | memoryview) -> "Leader | None":
        """As `from_bytes`, None for one that cannot be used: a reader passes it over."""
        try:
            return cls.from_bytes(content)
        except Integrity:
            return None

    @classmethod
    def from_bytes(cls, content: bytes | bytearray | memoryview) -> "Leader":
        """Parse strictly; unknown names are passed over. Raises: Integrity `reel.bad_leader`."""
        if len(content) > LEADER_BYTES_MAX:
            raise _bad_leader("it is too long")
        try:
            values = json.loads(bytes(content).decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise _bad_leader("it is no JSON") from error
        if not isinstance(values, dict):
            raise _bad_leader("it is no object")
        return _checked(values)


def _checked(values: Mapping[str, Any]) -> Leader:
    kept = {}
    for name, kinds in _FIELDS.items():
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise _bad_leader(f"{name} is of the wrong type")
        if isinstance(value, int | float) and not 0 <= value < 2**63:
            raise _bad_leader(f"{name} is out of bounds")
        kept[name] = value
    for name in ("digest", "sha256"):
        if name in kept and not _HEX_DIGEST.fullmatch(kept[name]):
            raise _bad_leader(f"{name} is no SHA-256 in lower-case hexadecimal digits")
    if "name" not in kept or kept.get("kind", "file") not in KINDS:
        raise _bad_leader("it has no name, or a kind that is not known")
    if kept.get("mode", 0) > MODE_MAX:
        raise _bad_leader("its mode is more than nine permission bits")
    try:
        for value in kept.values():
            str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _bad_leader("a value in it is no text") from error
    return Leader(**kept)


_FIELDS: Mapping[str, Any] = {
    "name": str,
    "kind": str,
    "profile": str,
    "size_bytes": int,
    "segments": int,
    "digest": str,
    "sha256": str,
    "parity_percent": int | float,
    "parity_segments": int,
    "created": str,
    "software": str,
    "mode": int,
}


def _bad_leader(why: str) -> Integrity:
    return Integrity("reel.bad_leader", f"the reel's leader cannot be read: {why}", hint="salvaging passes it over")


def tree_digest(segment_digests: Iterable[bytes]) -> str:
    """SHA-256 (hex) of the segments' SHA-256 digests in order; for one segment or none it is defined the same way."""
    whole = hashlib.sha256()
    for digest in segment_digests:
        whole.update(digest)
    return whole.hexdigest()

"""Whole objects in named buckets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bytereel.model import ObjectInfo, ObjectRef

Buffer = bytes | bytearray | memoryview


class ObjectStore(Protocol):
    """Whole objects in named buckets, readable by range. An object appears complete or not at all."""

    def stat(self, ref: ObjectRef) -> ObjectInfo | None:
        """What is stored under the key now, or None; with `ref.version`, None also when it was replaced."""

    def read_into(self, ref: ObjectRef, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return the bytes read, fewer only at the end of the object.

        Raises: Permanent `object.missing` when there is no such object, `object.changed` when `ref.version`
        is named and is not what the store holds now (checked at every call); Temporary `object.broken_off`.
        """

    def put(
        self, ref: ObjectRef, chunks: Iterable[Buffer], *, if_absent: bool = False, mode: int | None = None
    ) -> ObjectInfo:
        """Store the chunks as one object, durable on return; replaces whole, never mixes.

        `mode`: the permission bits that it has at most, from its first byte on, where the store keeps any.
        Chunks are consumed one by one; nothing is visible before the last is durable, and nothing is left
        behind when the iterator raises. Raises: Permanent `object.exists` with `if_absent` and a present key
        (one winner under a race), `object.bad_key` for a key the store cannot hold, `object.too_large`;
        Temporary `store.full` when space ran out, `object.not_stored` when the store has something else.
        """

    def compose(
        self,
        ref: ObjectRef,
        head: Buffer,
        parts: Sequence["Part"],
        tail: Buffer,
        *,
        mode: int | None = None,
        sha256: bool = False,
    ) -> ObjectInfo:
        """Store head, then the parts' objects, then tail as one object, durable on return; replaces whole.

        `mode`: as in `put`. With `sha256`, a store through whose hands the bytes pass says their SHA-256.
        A store that can copy inside itself moves no part through the caller. Raises: Integrity
        `object.damaged` when a part's size or CRC32C is not the one expected, Permanent `object.missing` when
        a part is absent.
        """

    def list(self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 1000) -> Sequence[ObjectInfo]:
        """Up to `limit` objects whose key starts with `prefix`, behind the listed key `after` in the store's order.

        The order is that of the keys where the store has one; it is the same at every call.
        """

    def delete(self, ref: ObjectRef) -> None:
        """Remove the object; no error when it is already gone."""

    def delete_all(self, refs: Sequence[ObjectRef]) -> None:
        """Remove the objects, as `delete` does each; in few requests where the store can. A failure may leave some."""


@dataclass(frozen=True, slots=True)
class Part:
    """An object to take into a composed one, with the size and CRC32C it must have."""

    ref: ObjectRef
    size_bytes: int
    crc32c: int

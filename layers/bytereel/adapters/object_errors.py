"""What the object stores raise, made in one place: the same ids, words and facts whatever the store."""

from bytereel.errors import Integrity, Permanent
from bytereel.model import ObjectRef
from bytereel.ports.objects import Part


def missing(ref: ObjectRef) -> Permanent:
    """`object.missing`: there is no such object."""
    return Permanent("object.missing", f"{ref.bucket}/{ref.key} does not exist", bucket=ref.bucket, key=ref.key)


def exists(ref: ObjectRef) -> Permanent:
    """`object.exists`: the key was to be absent, and is not."""
    return Permanent("object.exists", f"{ref.bucket}/{ref.key} exists already", bucket=ref.bucket, key=ref.key)


def changed(ref: ObjectRef, actual: str) -> Permanent:
    """`object.changed`: the store holds the version `actual`, not the one that `ref` names."""
    return Permanent(
        "object.changed",
        f"{ref.bucket}/{ref.key} was replaced or changed",
        hint="put it again when nothing writes to it",
        bucket=ref.bucket,
        key=ref.key,
        expected=ref.version,
        actual=actual,
    )


def damaged(part: Part, **actual: int | None) -> Integrity:
    """`object.damaged`: the stored bytes are not those that were written."""
    return Integrity(
        "object.damaged",
        f"{part.ref.bucket}/{part.ref.key} is not what was written",
        bucket=part.ref.bucket,
        key=part.ref.key,
        actual=actual,
        expected={"size_bytes": part.size_bytes, "crc32c": part.crc32c},
    )


def bad_key(ref: ObjectRef, problem: str) -> Permanent:
    """`object.bad_key`: the store cannot hold such a key."""
    return Permanent(
        "object.bad_key",
        f"{ref.key!r} cannot be an object's key: {problem}",
        hint="choose another name for the file",
        bucket=ref.bucket,
        key=ref.key,
    )

"""CRC32C as S3 writes it."""

import base64


def header_of(crc: int) -> str:
    """A CRC32C as `x-amz-checksum-crc32c` has it: base64 of four bytes, big-endian."""
    return base64.b64encode(crc.to_bytes(4, "big")).decode("ascii")


def crc_in(header: str | None) -> int | None:
    """The CRC32C in such a header; None where there is none, or one of another kind (`...-3`: of the parts' CRCs)."""
    try:
        found = base64.b64decode(header or "", validate=True)
    except ValueError:
        return None
    return int.from_bytes(found, "big") if len(found) == 4 else None

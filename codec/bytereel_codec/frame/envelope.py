"""What is done to the bytes of one frame before they become a picture: zstd where it helps, then AES-256-GCM.

Each frame is a block of its own, so a range of the source needs only its own frames. Nonces are random, 96 bits a
frame under a key that only this reel has. Decompression never makes more than the block's bound.

Source: FORMAT.md section 7; RFC 8878 (zstd), RFC 7914 (scrypt), RFC 5869 (HKDF), NIST SP 800-38D (GCM).
"""

import codecs
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from bytereel_codec.errors import Integrity, Permanent
from bytereel_codec.files.ranged import Buffer
from bytereel_codec.frame.header import Flag, FrameHeader

if TYPE_CHECKING:
    from bytereel_codec.frame.ciphers import Cipher

NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
SCRYPT_LOG2_N = 16
PASSPHRASE_BYTES_MAX = 1 << 16
_SAMPLES = 4
_SAMPLE_BYTES = 4096
_WORTHWHILE = 0.95
_ZSTD_LEVEL = 3
_CHECK_BYTES = 8
_deriving = threading.Lock()
_HINT = "give the passphrase or key it was sealed with"


@dataclass(frozen=True, slots=True)
class Secret:
    """What opens a sealed reel: a passphrase, or a key of 32 bytes. Never shown."""

    passphrase: bytes | None = None
    key: bytes | None = None

    def __repr__(self) -> str:
        return "Secret(passphrase)" if self.key is None else "Secret(key)"

    @property
    def scrypt_log2_n(self) -> int:
        """The scrypt cost that a new reel under this secret states; 0 for a key."""
        return 0 if self.passphrase is None else SCRYPT_LOG2_N

    def reel_key(self, reel_id: bytes, scrypt_log2_n: int) -> bytes:
        """The reel's own 32-byte key. Raises: Permanent `secret.wrong_kind` when the reel wants the other kind."""
        if (self.passphrase is not None) != (scrypt_log2_n > 0):
            wanted = "a passphrase" if scrypt_log2_n else "a key file"
            raise Permanent(
                "secret.wrong_kind", "the reel was sealed with the other kind of secret", hint=f"it wants {wanted}"
            )
        return _derived(self, reel_id, scrypt_log2_n)

    def check(self, reel_id: bytes, scrypt_log2_n: int) -> str:
        """A value (hex) by which workers see that they hold the same secret; it says nothing about the key."""
        from bytereel_codec.frame.ciphers import derived

        key = self.reel_key(reel_id, scrypt_log2_n)
        return derived(key, reel_id, b"bytereel key check", _CHECK_BYTES).hex()


def _derived(secret: Secret, reel_id: bytes, scrypt_log2_n: int) -> bytes:
    """The reel's key; threads that ask for one at the same time wait for the first, as each takes a lot of memory."""
    with _deriving:
        return _derived_once(secret, reel_id, scrypt_log2_n)


@lru_cache(maxsize=16)
def _derived_once(secret: Secret, reel_id: bytes, scrypt_log2_n: int) -> bytes:
    if secret.passphrase is not None:
        return hashlib.scrypt(
            secret.passphrase,
            salt=reel_id,
            n=1 << scrypt_log2_n,
            r=8,
            p=1,
            dklen=KEY_BYTES,
            maxmem=(1 << scrypt_log2_n) * 1024 + (1 << 20),
        )
    from bytereel_codec.frame.ciphers import derived

    assert secret.key is not None
    return derived(secret.key, reel_id, b"bytereel frame key", KEY_BYTES)


def secret_from_files(passphrase_file: Path | None, key_file: Path | None, *, seals: bool = False) -> Secret | None:
    """The secret that the files hold, None without files; a passphrase loses one line end at its end.

    A byte order mark of UTF-8 in front of a passphrase is none of its words. With `seals` a passphrase of several lines
    is refused: it opens what 0.1 sealed with it, and nothing new gets such a one. Raises: Permanent
    `secret.unreadable`, `secret.bad_key`, `secret.empty`, `secret.lines`, `secret.two`.
    """
    if passphrase_file is not None and key_file is not None:
        raise Permanent("secret.two", "a passphrase file and a key file were both given", hint="give one of them")
    path = passphrase_file or key_file
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(PASSPHRASE_BYTES_MAX + 1)
    except OSError as error:
        raise Permanent(
            "secret.unreadable", f"{str(path)!r} cannot be read: {error.strerror}", path=str(path)
        ) from error
    if key_file is not None:
        if len(content) != KEY_BYTES:
            raise Permanent(
                "secret.bad_key",
                f"{str(path)!r} is not a key of {KEY_BYTES} bytes",
                hint="make one with: head -c 32 /dev/urandom > key",
                expected=KEY_BYTES,
                actual=len(content),
            )
        return Secret(key=content)
    return passphrase_secret(content, repr(str(path)), seals=seals)


def passphrase_secret(content: bytes, where: str, *, seals: bool = False) -> Secret:
    """The secret that a passphrase is, as it was read from `where`; see `secret_from_files`.

    Raises: Permanent `secret.empty`, `secret.lines`.
    """
    passphrase = content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")
    if seals and b"\n" in passphrase:
        raise Permanent("secret.lines", f"{where} has several lines", hint="put the passphrase on one line")
    if not passphrase or len(content) > PASSPHRASE_BYTES_MAX:
        raise Permanent("secret.empty", f"{where} holds no usable passphrase", hint="put it on one line")
    return Secret(passphrase=passphrase)


def is_compressible(block: memoryview) -> bool:
    """Whether zstd saves 5 % or more on samples from the block (16 KiB of it)."""
    if len(block) <= _SAMPLES * _SAMPLE_BYTES:
        sample = bytes(block)
    else:
        step = (len(block) - _SAMPLE_BYTES) // (_SAMPLES - 1)
        sample = b"".join(block[i * step : i * step + _SAMPLE_BYTES] for i in range(_SAMPLES))
    return len(zstandard.ZstdCompressor(level=1).compress(sample)) < _WORTHWHILE * len(sample)


class Envelope:
    """Closes and opens the blocks of one reel, with the reel's key where it is sealed. One thread at a time."""

    def __init__(self, reel_key: bytes | None, nonce: Callable[[int], bytes] = os.urandom) -> None:
        self._cipher = None if reel_key is None else _cipher(reel_key)
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()
        self._nonce = nonce

    @property
    def sealed(self) -> bool:
        """Whether blocks are sealed."""
        return self._cipher is not None

    def compressed(self, block: memoryview) -> bytes | None:
        """The block as one zstd frame, or None where that would not help."""
        if not is_compressible(block):
            return None
        smaller = self._compressor.compress(block)
        return smaller if len(smaller) < len(block) else None

    def seal(self, block: Buffer, header: FrameHeader) -> bytes:
        """Nonce, ciphertext and tag, bound to the header."""
        assert self._cipher is not None
        nonce = self._nonce(NONCE_BYTES)
        return nonce + self._cipher.seal(nonce, block, header.bound_part())

    def open(self, payload: memoryview, header: FrameHeader, limit_bytes: int) -> Buffer:
        """The block in an intact payload, of at most `limit_bytes`.

        Raises: Permanent `reel.sealed` without a key, `reel.wrong_key`; Integrity `reel.bad_block`.
        """
        block: Buffer = payload
        if header.flags & Flag.SEALED:
            block = self._unsealed(payload, header)
        if header.flags & Flag.COMPRESSED:
            block = self._decompressed(block, limit_bytes)
        if len(block) > limit_bytes:
            raise _bad_block("is larger than its frame allows", header)
        return block

    def _unsealed(self, payload: memoryview, header: FrameHeader) -> bytes:
        if self._cipher is None:
            raise Permanent("reel.sealed", "the reel is sealed", hint=_HINT)
        if len(payload) < NONCE_BYTES + TAG_BYTES:
            raise _bad_block("is too short to be sealed", header)
        block = self._cipher.open(bytes(payload[:NONCE_BYTES]), payload[NONCE_BYTES:], header.bound_part())
        if block is None:
            raise wrong_key()
        return block

    def _decompressed(self, block: Buffer, limit_bytes: int) -> bytes:
        try:
            # Without a stated size the library would trust the stream; every block states its own.
            size = zstandard.frame_content_size(bytes(block[:18]))
            if not 0 <= size <= limit_bytes:
                raise Integrity(
                    "reel.bad_block",
                    "a compressed block states a size out of its bounds",
                    expected=limit_bytes,
                    actual=size,
                )
            return self._decompressor.decompress(block, max_output_size=limit_bytes)
        except zstandard.ZstdError as error:
            raise Integrity("reel.bad_block", f"a compressed block cannot be read: {error}") from error


def _cipher(reel_key: bytes) -> "Cipher":
    from bytereel_codec.frame.ciphers import Cipher

    return Cipher(reel_key)


def _bad_block(what: str, header: FrameHeader) -> Integrity:
    return Integrity("reel.bad_block", f"a block {what}", segment=header.segment, frame=header.frame)


def wrong_key() -> Permanent:
    """The error for a frame whose tag the reel's key does not prove."""
    return Permanent(
        "reel.wrong_key",
        "the passphrase or key does not open this reel",
        hint="the bytes are as they were written: it is the secret that is wrong",
    )

"""What seals: AES-256-GCM, and keys out of keys. Loaded where something is sealed, and nowhere else.

Source: NIST SP 800-38D (GCM), RFC 5869 (HKDF).
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bytereel_codec.files.ranged import Buffer


class Cipher:
    """Seals and opens blocks with one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._gcm = AESGCM(key)

    def seal(self, nonce: bytes, block: Buffer, bound: bytes) -> bytes:
        """Ciphertext and tag of a block, bound to `bound`. A nonce (12 bytes) is used once under a key."""
        return self._gcm.encrypt(nonce, block, bound)

    def open(self, nonce: bytes, sealed: Buffer, bound: bytes) -> bytes | None:
        """The block; None where the tag does not prove it, as with another key."""
        try:
            return self._gcm.decrypt(nonce, sealed, bound)
        except InvalidTag:
            return None


def derived(key: bytes, salt: bytes, purpose: bytes, size: int) -> bytes:
    """Another key of that many bytes, by HKDF-SHA256."""
    return HKDF(SHA256(), size, salt, purpose).derive(key)

"""Bytes to video and back; knows no cloud and no settings.

The library's face. Names are imported when first used, so that asking for one does not pay for all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bytereel_codec.errors import BytereelError, Integrity, Permanent, Temporary
    from bytereel_codec.frame.envelope import Secret, secret_from_files
    from bytereel_codec.reading.decode import DecodeOptions, DecodeReport, decode_file, verify
    from bytereel_codec.reading.inspect import ReelDescription, inspect
    from bytereel_codec.reading.reel_file import open_reel
    from bytereel_codec.writing.encode import EncodeOptions, EncodeSummary, encode_file

_HOMES = {
    "writing.encode": ("EncodeOptions", "EncodeSummary", "encode_file"),
    "reading.decode": ("DecodeOptions", "DecodeReport", "decode_file", "verify"),
    "reading.inspect": ("ReelDescription", "inspect"),
    "reading.reel_file": ("open_reel",),
    "frame.envelope": ("Secret", "secret_from_files"),
    "errors": ("BytereelError", "Integrity", "Permanent", "Temporary"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BytereelError",
    "DecodeOptions",
    "DecodeReport",
    "EncodeOptions",
    "EncodeSummary",
    "Integrity",
    "Permanent",
    "ReelDescription",
    "Secret",
    "Temporary",
    "decode_file",
    "encode_file",
    "inspect",
    "open_reel",
    "secret_from_files",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)

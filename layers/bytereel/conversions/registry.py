"""Which conversions there are, and which profiles they have; made ready by the settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bytereel_codec.profiles.profiles import Profile

    from bytereel.conversions.protocol import Conversion
    from bytereel.settings import Settings

ARCHIVE, RESTORE = "archive", "restore"
NAMES = (ARCHIVE, RESTORE)
_RESTORE_PROFILES = ("original",)


def known_profiles(profiles_file: Path | None) -> "dict[str, Profile]":
    """The codec's profiles by name, the file's among them. Raises: as `load_profiles`."""
    from bytereel_codec.profiles.profiles import PROFILES

    if profiles_file is None:
        return dict(PROFILES)
    from bytereel_codec.profiles.files import load_profiles

    return {**PROFILES, **load_profiles(profiles_file)}


def profiles_by_conversion(profiles_file: Path | None) -> Mapping[str, Sequence[str]]:
    """The names of every conversion's profiles, the default first. Raises: as `load_profiles`."""
    return {ARCHIVE: tuple(known_profiles(profiles_file)), RESTORE: _RESTORE_PROFILES}


def load_conversions(settings: "Settings") -> "Mapping[str, Conversion]":
    """Every conversion by its name, ready to work; takes a second, as it imports the codec.

    Raises: Permanent for a passphrase or key that cannot be used.
    """
    from bytereel_codec.frame.envelope import secret_from_files

    from bytereel.conversions.archive import ArchiveConversion
    from bytereel.conversions.restore import RestoreConversion

    secret = secret_from_files(settings.passphrase_file, settings.key_file)
    profiles = known_profiles(settings.profiles_file)
    found: tuple[Conversion, ...] = (
        ArchiveConversion(
            settings.parity_percent, secret, profiles=profiles, named_by_job=settings.sealed_names == "job"
        ),
        RestoreConversion(secret, allow_unsealed=settings.allow_unsealed),
    )
    return {conversion.name: conversion for conversion in found}

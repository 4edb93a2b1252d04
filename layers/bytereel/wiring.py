"""Which adapters stand behind the ports of a home. Imports nothing slow: conversions come when asked for."""

from dataclasses import dataclass
from pathlib import Path

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.folder_objects import FolderObjects
from bytereel.adapters.inbox import EmbeddedInbox
from bytereel.adapters.sqlite_database import Database
from bytereel.adapters.sqlite_jobs import SqliteJobs
from bytereel.adapters.sqlite_queue import SqliteQueue
from bytereel.conversions import Conversion
from bytereel.errors import Permanent
from bytereel.model import BUCKETS, INBOX
from bytereel.ports import Ports
from bytereel.routing import Conversions
from bytereel.settings import Settings

DROP_FOLDERS = ("archive", "restore")
"""Made in every inbox, so that a file can be dropped there."""


@dataclass(frozen=True, slots=True)
class Home:
    """One folder with buckets and state, open for any number of threads, beside any number of processes."""

    path: Path
    ports: Ports
    inbox: EmbeddedInbox

    @property
    def inbox_folder(self) -> Path:
        """Where files are dropped."""
        return self.path / INBOX

    @property
    def owners_folder(self) -> Path:
        """Where every worker holds its lock."""
        return self.path / ".workers"


def open_home(settings: Settings) -> Home:
    """Open the home, making it where there is none. Raises: Permanent `home.unusable`; as the adapters do."""
    path = settings.home
    try:
        for bucket in BUCKETS:
            (path / bucket).mkdir(parents=True, exist_ok=True)
        for conversion in DROP_FOLDERS:
            (path / INBOX / conversion).mkdir(exist_ok=True)
    except OSError as error:
        raise Permanent(
            "home.unusable",
            f"{str(path)!r} cannot be the home: {error.strerror}",
            hint="choose another folder with --home or BYTEREEL_HOME",
            path=str(path),
        ) from error
    objects, database, clock = FolderObjects(path), Database(path / "state.sqlite"), SystemClock()
    queue = SqliteQueue(database, clock)
    ports = Ports(objects, SqliteJobs(database), queue, clock)
    return Home(path, ports, EmbeddedInbox(objects, queue, clock))


def load_conversions(settings: Settings) -> Conversions:
    """Every conversion, ready to work; takes a second, as it imports the codec.

    Raises: Permanent for a passphrase or key that cannot be used.
    """
    from bytereel_codec.envelope import secret_from_files

    from bytereel.conversions.archive import ArchiveConversion
    from bytereel.conversions.restore import RestoreConversion

    secret = secret_from_files(settings.passphrase_file, settings.key_file)
    found: tuple[Conversion, ...] = (ArchiveConversion(settings.parity_percent, secret), RestoreConversion(secret))
    return {conversion.name: conversion for conversion in found}

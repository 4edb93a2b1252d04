"""Which adapters stand behind the ports. Imports nothing slow: clients and conversions come when asked for.

Three ways to live: a folder with everything in it; buckets of an S3 store, with the state in a folder of this
machine; buckets, a DynamoDB table and SQS queues, with nothing on this machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.folder.inbox import EmbeddedInbox
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.s3.inbox import BucketInbox
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.conversions import Conversion
from bytereel.errors import Permanent
from bytereel.model import BUCKETS, INBOX, ObjectRef
from bytereel.ports import EventSource, Inbox, JobTable, OwnerLeases, Ports, Queue
from bytereel.routing import Conversions
from bytereel.settings import Settings

if TYPE_CHECKING:
    from bytereel.adapters.aws import Clients
    from bytereel.adapters.dynamodb.jobs import DynamoJobs
    from bytereel.adapters.s3.objects import S3Objects
    from bytereel.adapters.sqs.queue import SqsQueue

DROP_FOLDERS = ("archive", "restore")
"""Made in every inbox folder, so that a file can be dropped there."""

DAY_SECONDS = 86400.0
READ_BYTES = 16 << 20
"""What one request to a store asks for of a source."""


@dataclass(frozen=True, slots=True)
class Home:
    """Buckets and state, open for any number of threads, beside any number of processes."""

    name: str
    """What messages call it: its folder, or its inbox and table."""
    ports: Ports
    inbox: Inbox
    address_of: Callable[[ObjectRef], str]
    """Where a user finds an object: a path or a URL."""
    path: Path | None = None
    """The folder of this machine that keeps the state, where one does."""
    owned: Sequence[OwnerLeases] = ()
    """The leases that are freed when a process of this machine is found dead."""
    dropped: EmbeddedInbox | None = None
    """The inbox as a folder where files are dropped, where it is one."""

    @property
    def inbox_folder(self) -> Path | None:
        """Where files are dropped."""
        return self.path / INBOX if self.dropped and self.path else None

    @property
    def owners_folder(self) -> Path | None:
        """Where every worker of this machine holds its lock."""
        return self.path / ".workers" if self.path else None


def open_home(settings: Settings) -> Home:
    """Open what the settings name; a home folder is made where there is none.

    Raises: Permanent `home.unusable`, `cloud.not_installed`; as the adapters do.
    """
    if not settings.places:
        return _folder_home(settings.home)
    return _cloud_home(settings) if settings.table else _bucket_home(settings)


def _folder_home(path: Path) -> Home:
    _make_folders([path / bucket for bucket in BUCKETS] + [path / INBOX / name for name in DROP_FOLDERS])
    objects, clock = FolderObjects(path), SystemClock()
    jobs, queue = _local_state(path, clock)
    inbox = EmbeddedInbox(objects, queue, clock)
    ports = Ports(objects, jobs, queue, clock)
    return Home(str(path), ports, inbox, lambda ref: str(objects.path_of(ref)), path, (jobs, queue), inbox)


def _bucket_home(settings: Settings) -> Home:
    path = settings.home
    _make_folders([path])
    objects, (jobs, queue) = open_objects(settings), _local_state(path, SystemClock())
    name = f"{settings.inbox_bucket} with its state in {path}"
    ports = _on_buckets(settings, objects, jobs, queue)
    return Home(name, ports, BucketInbox(objects, queue), objects.url_of, path, (jobs, queue))


def _cloud_home(settings: Settings) -> Home:
    clients = clients_of(settings)
    objects, queue = open_objects(settings, clients), open_queue(settings, clients)
    name = f"{settings.inbox_bucket} with the table {settings.table}"
    ports = _on_buckets(settings, objects, open_jobs(settings, clients), queue)
    return Home(name, ports, BucketInbox(objects, queue), objects.url_of)


def _on_buckets(settings: Settings, objects: "S3Objects", jobs: JobTable, queue: Queue) -> Ports:
    return Ports(
        objects,
        jobs,
        queue,
        SystemClock(),
        settings.places[INBOX],
        object_bytes_max=objects.object_bytes_max,
        put_bytes_max=objects.put_bytes_max,
        read_bytes=READ_BYTES,
    )


def _local_state(path: Path, clock: SystemClock) -> tuple[SqliteJobs, SqliteQueue]:
    database = Database(path / "state.sqlite")
    return SqliteJobs(database), SqliteQueue(database, clock)


def _make_folders(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Permanent(
                "home.unusable",
                f"{str(path)!r} cannot be the home, or a folder in it: {error.strerror}",
                hint="choose another folder with --home or BYTEREEL_HOME",
                path=str(path),
            ) from error


def open_objects(settings: Settings, clients: "Clients | None" = None) -> "S3Objects":
    """The S3 store that the settings name. Raises: Permanent `cloud.not_installed`; as `make_client`."""
    client = (clients or clients_of(settings))("s3")
    from bytereel.adapters.s3.objects import S3Objects

    return S3Objects(client, settings.places)


def open_jobs(settings: Settings, clients: "Clients | None" = None) -> "DynamoJobs":
    """The table that the settings name. Raises: as `open_objects`."""
    client = (clients or clients_of(settings))("dynamodb")
    from bytereel.adapters.dynamodb.jobs import DynamoJobs

    assert settings.table is not None
    return DynamoJobs(client, settings.table, keep_seconds=2 * settings.keep_done_days * DAY_SECONDS)


def open_queue(settings: Settings, clients: "Clients | None" = None) -> "SqsQueue":
    """The queues that the settings name. Raises: as `open_objects`."""
    client = (clients or clients_of(settings))("sqs")
    from bytereel.adapters.sqs.queue import SqsQueue

    assert settings.queues is not None
    return SqsQueue(client, settings.queues)


def clients_of(settings: Settings) -> "Clients":
    """Makes clients of the services that the settings name. Raises: Permanent `cloud.not_installed`."""
    try:
        from bytereel.adapters.aws import make_client, new_session
    except ImportError as error:
        raise _not_installed(error) from error
    return partial(make_client, endpoint_url=settings.endpoint_url, region=settings.region, session=new_session())


def open_event_source(settings: Settings) -> EventSource | None:
    """What the settings say to listen to, if anything. Raises: Permanent `settings.invalid`, `cloud.not_installed`."""
    if not settings.listen:
        return None
    try:
        from bytereel.adapters.aws import new_session
        from bytereel.adapters.minio import MinioEvents
    except ImportError as error:
        raise _not_installed(error) from error
    return MinioEvents(settings.endpoint_url, settings.places[INBOX], new_session(), region=settings.region)


def missing_services(settings: Settings) -> list[str]:
    """What the services that the settings name lack, one sentence each. Raises: Permanent `cloud.not_installed`."""
    if not settings.places:
        return []
    client = clients_of(settings)
    from bytereel.adapters import checkup

    said = list(checkup.missing_in_buckets(client("s3"), settings.places, notified=not settings.listen))
    if settings.table and settings.queues:
        said += checkup.missing_in_queues(client("sqs"), settings.queues)
        said += checkup.missing_in_table(client("dynamodb"), settings.table)
    return said


def _not_installed(error: ImportError) -> Permanent:
    return Permanent(
        "cloud.not_installed",
        f"{error.name} is not installed: the settings name an S3 store",
        hint="pip install 'bytereel[cloud]'",
    )


def load_conversions(settings: Settings) -> Conversions:
    """Every conversion, ready to work; takes a second, as it imports the codec.

    Raises: Permanent for a passphrase or key that cannot be used.
    """
    from bytereel_codec.frame.envelope import secret_from_files
    from bytereel_codec.profiles.profiles import PROFILES

    from bytereel.conversions.archive import ArchiveConversion
    from bytereel.conversions.restore import RestoreConversion

    secret = secret_from_files(settings.passphrase_file, settings.key_file)
    profiles = dict(PROFILES)
    if settings.profiles_file:
        from bytereel_codec.profiles.files import load_profiles

        profiles |= load_profiles(settings.profiles_file)
    found: tuple[Conversion, ...] = (
        ArchiveConversion(settings.parity_percent, secret, profiles=profiles),
        RestoreConversion(secret),
    )
    return {conversion.name: conversion for conversion in found}

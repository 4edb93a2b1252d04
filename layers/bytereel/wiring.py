"""Which adapters stand behind the ports. Imports nothing slow: clients and conversions come when asked for.

Three ways to live: a folder with everything in it; buckets of an S3 store, with the state in a folder of this
machine; buckets, a DynamoDB table and SQS queues, with nothing on this machine.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bytereel.adapters.clock import SystemClock
from bytereel.adapters.folder.beneath import LinkInTheWayError, opened_folder
from bytereel.adapters.folder.files import link_in_the_way
from bytereel.adapters.folder.inbox import EmbeddedInbox
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.s3.inbox import BucketInbox
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.jobs import SqliteJobs
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.conversions.registry import NAMES
from bytereel.errors import Permanent, reason_of
from bytereel.model import BUCKETS, INBOX, ObjectRef
from bytereel.ports.doors import EventSource, Inbox
from bytereel.ports.jobs import JobTable
from bytereel.ports.ports import Ports
from bytereel.ports.queues import OwnerLeases, Queue
from bytereel.settings import Settings

if TYPE_CHECKING:
    from bytereel.adapters.aws import Clients
    from bytereel.adapters.dynamodb.jobs import DynamoJobs
    from bytereel.adapters.s3.objects import S3Objects
    from bytereel.adapters.sqs.queue import SqsQueue

log = logging.getLogger(__name__)

STATE = "state.sqlite"
HOME_MARK = ".bytereel-home"
_MARK_TEXT = "A home of bytereel: its inbox, its work and its outbox. See `bytereel jobs --home FOLDER`.\n"
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
    check_state: Callable[[], None] = lambda: None
    """Make sure that the state on this machine is still the one that was opened; raises what `is_state_lost`."""

    @property
    def inbox_folder(self) -> Path | None:
        """Where files are dropped."""
        return self.path / INBOX if self.dropped and self.path else None

    @property
    def owners_folder(self) -> Path | None:
        """Where every worker of this machine holds its lock."""
        return owners_folder_of(self.path) if self.path else None


def open_home(settings: Settings, *, make: bool = True) -> Home:
    """Open what the settings name; with `make`, a home folder is made where there is none.

    Raises: Permanent `home.absent` (unless `make`), `home.unusable`, `cloud.not_installed`; as the adapters do.
    """
    if settings.table:
        return _cloud_home(settings)
    if make:
        _make_root(settings.home)
    elif not is_home(settings.home):
        raise _absent(settings.home)
    return _bucket_home(settings) if settings.locations else _folder_home(settings)


def owners_folder_of(path: Path) -> Path:
    """Where every worker on the home of that folder holds its lock."""
    return path / ".workers"


def is_home(path: Path) -> bool:
    """Whether the folder is a home: it is marked as one, or has the state of one that 0.1 made."""
    return any((path / name).is_file() for name in (HOME_MARK, STATE))


def _names_by_job(settings: Settings) -> bool:
    seals = settings.passphrase_file is not None or settings.key_file is not None
    return seals and settings.sealed_names == "job"


def _folder_home(settings: Settings) -> Home:
    """Outputs have their SHA-256: their bytes pass through our hands anyway."""
    path = settings.home
    for bucket in BUCKETS:
        _make_folder(path, bucket)
    _make_drop_folders(path)
    objects, clock = FolderObjects(path), SystemClock()
    database = _local_state(path, clock)
    jobs, queue = SqliteJobs(database), SqliteQueue(database, clock)
    inbox = EmbeddedInbox(objects, queue)
    ports = Ports(objects, jobs, queue, clock, sha256=True, names_by_job=_names_by_job(settings))
    return Home(
        str(path), ports, inbox, lambda ref: str(objects.path_of(ref)), path, (jobs, queue), inbox, database.check
    )


def _bucket_home(settings: Settings) -> Home:
    path = settings.home
    objects, clock = open_objects(settings), SystemClock()
    database = _local_state(path, clock)
    jobs, queue = SqliteJobs(database), SqliteQueue(database, clock)
    name = f"{settings.inbox_bucket} with its state in {path}"
    ports = _on_buckets(settings, objects, jobs, queue)
    inbox = BucketInbox(objects, queue)
    return Home(name, ports, inbox, objects.url_of, path, (jobs, queue), check_state=database.check)


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
        settings.locations[INBOX],
        object_bytes_max=objects.object_bytes_max,
        put_bytes_max=objects.put_bytes_max,
        sha256=settings.sha256,
        names_by_job=_names_by_job(settings),
        read_bytes=READ_BYTES,
    )


def _local_state(path: Path, clock: SystemClock) -> Database:
    if (path / STATE).is_symlink():
        raise link_in_the_way(str(path / STATE))
    return Database(path / STATE, clock=clock)


def _make_root(path: Path) -> None:
    """The home itself may be a link, or lie behind one; what is below it may not."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not (path / HOME_MARK).exists():
            (path / HOME_MARK).write_text(_MARK_TEXT, "utf-8")
    except OSError as error:
        raise _unusable(path, error) from error


def _make_folder(path: Path, *names: str) -> None:
    try:
        with opened_folder(path, names, make=True):
            pass
    except LinkInTheWayError as error:
        raise link_in_the_way(error.filename) from error
    except OSError as error:
        raise _unusable(Path(path, *names), error) from error


def _make_drop_folders(path: Path) -> None:
    """What others put into the inbox keeps no home from opening."""
    for name in NAMES:
        try:
            _make_folder(path, INBOX, name)
        except Permanent as error:
            log.warning("nothing is taken from there: %s", reason_of(error))


def _absent(path: Path) -> Permanent:
    what = f"{str(path)!r} is a folder, but no home" if path.is_dir() else f"there is no home at {str(path)!r}"
    return Permanent(
        "home.absent",
        what,
        hint="--home or BYTEREEL_HOME says where it is; `bytereel put` and `bytereel up` make one",
        path=str(path),
    )


def _unusable(path: Path, error: OSError) -> Permanent:
    return Permanent(
        "home.unusable",
        f"{str(path)!r} cannot be the home, or a folder in it: {error.strerror}",
        hint="choose another folder with --home or BYTEREEL_HOME",
        path=str(path),
    )


def open_objects(settings: Settings, clients: "Clients | None" = None) -> "S3Objects":
    """The S3 store that the settings name. Raises: Permanent `cloud.not_installed`; as `make_client`."""
    client = (clients or clients_of(settings))("s3")
    from bytereel.adapters.s3.objects import S3Objects

    return S3Objects(client, settings.locations)


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
    return MinioEvents(settings.endpoint_url, settings.locations[INBOX], new_session(), region=settings.region)


def missing_services(settings: Settings) -> list[str]:
    """What the services that the settings name lack, one sentence each. Raises: Permanent `cloud.not_installed`."""
    if not settings.locations:
        return []
    client = clients_of(settings)
    from bytereel.adapters import checkup

    said = list(checkup.missing_in_buckets(client("s3"), settings.locations, notified=not settings.listen))
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

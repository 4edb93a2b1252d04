"""The inbox of one machine: how a source and the event about it become durable together.

An upload is written aside and synced; then one transaction names the staged file. That commit is the moment of
truth: before it nothing happened, after it the file is renamed into the inbox, by `place_pending` if a crash came
between. The transaction that forgets the staged file sends the intake message: an event is never earlier than its
object. A file dropped into the inbox is announced once for each identity (key and version).
"""

import errno
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from bytereel.adapters.folder.files import StagedFile, make_folders, move, sync_folder, translated, version_of
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import BytereelError, Temporary
from bytereel.messages import INTAKE, event_of
from bytereel.model import INBOX, ObjectInfo, ObjectRef
from bytereel.ports import Buffer, Clock
from bytereel.reading import every_object

STAGED_SECONDS_MAX = 3600.0
PAGE_OBJECTS = 1000

INSERT_UPLOAD = "INSERT INTO uploads (staged, key, version) VALUES (?, ?, ?)"
SELECT_UPLOADS = "SELECT number, staged, key, version FROM uploads ORDER BY number"
SELECT_UPLOADS_OF = "SELECT number, staged, key, version FROM uploads WHERE key = ? ORDER BY number"
DELETE_UPLOAD = "DELETE FROM uploads WHERE number = ?"
INSERT_SEEN = "INSERT INTO seen (key, version) VALUES (?, ?) ON CONFLICT DO NOTHING"
SELECT_SEEN_BETWEEN = "SELECT key, version FROM seen WHERE key BETWEEN ? AND ?"
SELECT_SEEN_PLACED = """SELECT key, version FROM seen WHERE (key, version) > (?, ?) AND NOT EXISTS
    (SELECT 1 FROM uploads WHERE uploads.key = seen.key AND uploads.version = seen.version)
    ORDER BY key, version LIMIT ?"""
DELETE_SEEN = "DELETE FROM seen WHERE key = ? AND version = ?"

_Identity = tuple[bytes, str]
_Pending = tuple[int, str, bytes, str]


class EmbeddedInbox:
    """Takes sources in, for any number of threads and processes of one machine."""

    def __init__(self, objects: FolderObjects, queue: SqliteQueue, clock: Clock) -> None:
        self._objects = objects
        self._queue = queue
        self._clock = clock
        self._database = queue.database

    def upload(self, key: str, chunks: Iterable[Buffer]) -> ObjectInfo:
        """Store the chunks as `key` of the inbox and send the intake message; both are durable on return.

        When this raises, the upload happened as a whole or not at all. Raises: Permanent `object.bad_key`;
        Temporary `store.full`, `state.busy`, `upload.lost`.
        """
        ref = ObjectRef(INBOX, key)
        path = self._objects.path_of(ref)
        with StagedFile(self._objects.staging) as staged:
            for chunk in chunks:
                staged.write(chunk)
            stat = staged.sync()
            info = ObjectInfo(ObjectRef(INBOX, key, version_of(stat)), stat.st_size, stat.st_mtime)
            self._make_way(path)
            # An upload of the same key that a crash left behind must not be placed after this one.
            self._roll_forward(self._pending(SELECT_UPLOADS_OF, os.fsencode(key)))
            # Also when the commit fails: it may have happened, and `place_pending` clears a file that no row names.
            staged.keep()
            number = self._commit(staged, info)
        self._place(number, staged.path, info.ref)
        return info

    def place_pending(self) -> int:
        """Carry out the renames that crashes left undone, and clear abandoned staged files; idempotent.

        Returns how many uploads were placed. Raises: the first error of an upload that cannot be placed, after
        the others were.
        """
        placed = self._roll_forward(self._pending(SELECT_UPLOADS))
        self._clear_abandoned()
        return placed

    def reconcile(self, settle_seconds: float, now: float) -> int:
        """Announce every file of the inbox that is not announced yet and unchanged for `settle_seconds`.

        A name with a part that starts with a dot is hidden: such files are the temporaries of other programs.
        Returns how many. Costs one query for 1000 files, and a transaction only where one is new.
        """
        announced = 0
        page: list[ObjectInfo] = []
        for info in every_object(self._objects, INBOX):
            if not now - settle_seconds < info.modified_at <= now:  # a time to come says nothing: take it as settled
                page.append(info)
            if len(page) == PAGE_OBJECTS:
                announced += self._announce_page(page)
                page = []
        return announced + self._announce_page(page)

    def forget_gone(self) -> int:
        """Forget the identities whose file is no longer in the inbox; return how many.

        Costs one query for 1000 identities, a look at each file, and a transaction where one is gone. An upload
        on its way to its place is left alone.
        """
        forgotten, after = 0, (b"", "")
        while page := self._seen_after(after):
            gone = [identity for identity in page if self._is_gone(*identity)]
            if gone:
                with self._database.writing() as connection:
                    connection.executemany(DELETE_SEEN, gone)
            forgotten += len(gone)
            after = page[-1]
        return forgotten

    def _make_way(self, path: Path) -> None:
        """Make sure, before anything is promised, that the staged file can be renamed to its place."""
        with translated(path):
            sync_folder(self._objects.staging)
            make_folders(path.parent)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder is in the way", str(path))

    def _commit(self, staged: StagedFile, info: ObjectInfo) -> int:
        """The moment of truth: the staged file and its identity in one transaction."""
        key = os.fsencode(info.ref.key)
        with self._database.writing() as connection:
            if staged.stat().st_nlink == 0:
                raise Temporary(
                    "upload.lost",
                    "the upload paused for too long and was cleared away",
                    hint="upload it again",
                    key=info.ref.key,
                )
            values = (staged.path.name, key, info.ref.version)
            number = connection.execute(INSERT_UPLOAD, values).lastrowid
            assert number is not None
            connection.execute(INSERT_SEEN, (key, info.ref.version))
        return number

    def _pending(self, statement: str, *values: bytes) -> Sequence[_Pending]:
        with self._database.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def _roll_forward(self, rows: Sequence[_Pending]) -> int:
        failures: list[BytereelError] = []
        for number, staged, key, version in rows:
            try:
                self._place(number, self._objects.staging / staged, ObjectRef(INBOX, os.fsdecode(key), version))
            except BytereelError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return len(rows)

    def _place(self, number: int, staged: Path, ref: ObjectRef) -> None:
        """Rename a committed upload into the inbox, then forget its row and announce it, unless somebody else did."""
        path = self._objects.path_of(ref)
        with translated(path):
            try:
                move(staged, path)
            except FileNotFoundError:
                with suppress(FileNotFoundError):  # moved by another process, and perhaps removed since
                    sync_folder(path.parent)
        with self._database.writing() as connection:
            if connection.execute(DELETE_UPLOAD, (number,)).rowcount == 1:
                self._queue.send_within(connection, INTAKE, [event_of(ref)])

    def _clear_abandoned(self) -> None:
        """Remove staged files that no row names and that nobody wrote to for an hour.

        Under the write lock, so that no upload can name a file while it is being removed.
        """
        if not self._abandoned():
            return
        with self._database.writing() as connection:
            named = {staged for _, staged, _, _ in connection.execute(SELECT_UPLOADS)}
            for path in self._abandoned():
                if path.name not in named:
                    path.unlink(missing_ok=True)

    def _abandoned(self) -> Sequence[Path]:
        oldest = self._clock.now() - STAGED_SECONDS_MAX
        with (
            translated(self._objects.staging),
            suppress(FileNotFoundError),
            os.scandir(self._objects.staging) as entries,
        ):
            return [Path(each.path) for each in entries if _modified_at(each, default=oldest) < oldest]
        return []

    def _announce_page(self, page: Sequence[ObjectInfo]) -> int:
        with self._database.reading() as connection:
            unseen = _unseen(connection, [info for info in page if not _is_hidden(info.ref.key)])
        if not unseen:
            return 0
        with self._database.writing() as connection:
            fresh = [info for info in unseen if connection.execute(INSERT_SEEN, _identity(info)).rowcount == 1]
            self._queue.send_within(connection, INTAKE, [event_of(info.ref) for info in fresh])
        return len(fresh)

    def _seen_after(self, identity: _Identity) -> Sequence[_Identity]:
        with self._database.reading() as connection:
            return connection.execute(SELECT_SEEN_PLACED, (*identity, PAGE_OBJECTS)).fetchall()

    def _is_gone(self, key: bytes, version: str) -> bool:
        try:
            return self._objects.stat(ObjectRef(INBOX, os.fsdecode(key), version)) is None
        except BytereelError:  # what cannot be looked at may be there
            return False


def _unseen(connection: sqlite3.Connection, page: Sequence[ObjectInfo]) -> Sequence[ObjectInfo]:
    """Those of the page that were never announced, by one range query over their keys."""
    unseen = {_identity(info): info for info in page}
    if unseen:
        keys = [key for key, _ in unseen]
        for identity in connection.execute(SELECT_SEEN_BETWEEN, (min(keys), max(keys))):
            unseen.pop(identity, None)
    return list(unseen.values())


def _identity(info: ObjectInfo) -> _Identity:
    return os.fsencode(info.ref.key), info.ref.version


def _is_hidden(key: str) -> bool:
    return any(component.startswith(".") for component in key.split("/"))


def _modified_at(entry: os.DirEntry[str], default: float) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return default

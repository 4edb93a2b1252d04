"""The inbox of one machine: how a source and the event about it become durable together.

An upload is written aside and synced; then one transaction names the staged file. That commit is the moment of
truth: before it nothing happened, after it the file is renamed into the inbox, by `place_pending` if a crash came
between. The transaction that forgets the staged file sends the intake message: an event is never earlier than its
object. Renaming moves a file's change time, so that transaction also names the version that the file has in its place;
before it, the table holds what a rename leaves as it is (`versions`). A file dropped into the inbox is announced once
for each key and version; what version 0.1 announced, or an upload under way did, is given its whole version when it is
seen.
"""

import errno
import logging
import os
import sqlite3
import stat as modes
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bytereel.adapters.folder.beneath import PathBelow, opened_folder, stat_in, sync_folder
from bytereel.adapters.folder.files import move, translated
from bytereel.adapters.folder.objects import STAGING, FolderObjects, info_of
from bytereel.adapters.folder.staging import StagedFile, abandoned
from bytereel.adapters.folder.versions import identity_in, identity_of
from bytereel.adapters.folder.walk import walk
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import BytereelError, Temporary
from bytereel.logs import shown
from bytereel.messages import INTAKE, event_of
from bytereel.model import INBOX, ObjectInfo, ObjectRef
from bytereel.ports.objects import Buffer

log = logging.getLogger(__name__)

PAGE_OBJECTS = 1000
ODD_MAX = 1000
"""Of so many things that are no files it is said that they are left out."""

INSERT_UPLOAD = "INSERT INTO uploads (staged, key, version) VALUES (?, ?, ?)"
SELECT_UPLOADS = "SELECT number, staged, key, version FROM uploads ORDER BY number"
SELECT_UPLOADS_OF = "SELECT number, staged, key, version FROM uploads WHERE key = ? ORDER BY number"
SELECT_UPLOAD_STAGED = "SELECT 1 FROM uploads WHERE staged = ?"
DELETE_UPLOAD = "DELETE FROM uploads WHERE number = ?"
INSERT_SEEN = "INSERT INTO seen (key, version) VALUES (?, ?) ON CONFLICT DO NOTHING"
UPDATE_SEEN = "UPDATE OR REPLACE seen SET version = ? WHERE key = ? AND version = ?"
SELECT_SEEN_OF = "SELECT version FROM seen WHERE key = ? AND version >= ? AND version < ? ORDER BY version LIMIT 1"
SELECT_SEEN_BETWEEN = "SELECT key, version FROM seen WHERE key BETWEEN ? AND ?"
SELECT_SEEN_PLACED = """SELECT key, version FROM seen WHERE (key, version) > (?, ?) AND NOT EXISTS
    (SELECT 1 FROM uploads WHERE uploads.key = seen.key AND uploads.version = seen.version)
    ORDER BY key, version LIMIT ?"""
DELETE_SEEN = "DELETE FROM seen WHERE key = ? AND version = ?"

BEHIND_VERSIONS = "."
"""Sorts behind the hyphen that a version goes on with after its identity, and before every digit."""

_Identity = tuple[bytes, str]
_Pending = tuple[int, str, bytes, str]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """How many files were announced; and in how many seconds the next one has settled, None where none is new."""

    announced: int
    settles_in_seconds: float | None


class EmbeddedInbox:
    """Takes sources in, for any number of threads and processes of one machine."""

    def __init__(self, objects: FolderObjects, queue: SqliteQueue) -> None:
        self._objects = objects
        self._queue = queue
        self._database = queue.database
        self._left_out: set[str] = set()

    def upload(self, key: str, chunks: Iterable[Buffer], *, mode: int | None = None) -> ObjectInfo:
        """Store the chunks as `key` of the inbox and send the intake message; both are durable on return.

        When this raises, the upload happened as a whole or not at all. Raises: Permanent `object.bad_key`;
        Temporary `store.full`, `state.busy`, `upload.lost`.
        """
        path = self._objects.path_of(ObjectRef(INBOX, key))
        with self._objects.staged(mode) as staged:
            for chunk in chunks:
                staged.write(chunk)
            ref = ObjectRef(INBOX, key, identity_of(staged.sync()))
            _make_way(staged, path)
            # An upload of the same key that a crash left behind must not be placed after this one.
            self._roll_forward(self._pending(SELECT_UPLOADS_OF, os.fsencode(key)))
            # Also when the commit fails: it may have happened, and `place_pending` clears a file that no row names.
            staged.keep()
            number = self._commit(staged, ref)
            return info_of(self._place(number, staged.name, ref), staged.stat())

    def place_pending(self) -> int:
        """Carry out the renames that crashes left undone, and clear abandoned staged files; idempotent.

        Returns how many uploads were placed. Raises: the first error of an upload that cannot be placed, after
        the others were.
        """
        placed = self._roll_forward(self._pending(SELECT_UPLOADS))
        self._clear_abandoned()
        return placed

    def reconcile(self, settle_seconds: float, now: float) -> Reconciled:
        """Announce every file of the inbox that is not announced yet and unchanged for `settle_seconds`.

        As in a bucket, names that start with a dot are names like others. Links and what else is no file are left out,
        and logged once. Costs one query for 1000 files, and a transaction only where one is new.
        """
        announced, settling = 0, []
        page: list[ObjectInfo] = []
        with translated(PathBelow(self._objects.root, (INBOX,))):
            for key, stat in walk(self._objects.root, INBOX, "", "", on_odd=self._leave_out):
                info = info_of(ObjectRef(INBOX, key), stat)
                if now - settle_seconds < info.modified_at <= now:  # a time to come says nothing: take it as settled
                    settling.append(info.modified_at + settle_seconds - now)
                    continue
                page.append(info)
                if len(page) == PAGE_OBJECTS:
                    announced += self._announce_page(page)
                    page = []
        return Reconciled(announced + self._announce_page(page), min(settling, default=None))

    def _leave_out(self, key: str) -> None:
        if key not in self._left_out and len(self._left_out) < ODD_MAX:
            self._left_out.add(key)
            log.warning("left out of the inbox, as it is a link or a device and no file: %s", shown(key))

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

    def _commit(self, staged: StagedFile, ref: ObjectRef) -> int:
        """The moment of truth: the staged file and its identity in one transaction."""
        key = os.fsencode(ref.key)
        with self._database.writing() as connection:
            if staged.stat().st_nlink == 0:
                raise Temporary(
                    "upload.lost",
                    "the upload was cleared away before it was whole",
                    hint="upload it again",
                    key=ref.key,
                )
            number = connection.execute(INSERT_UPLOAD, (staged.name, key, ref.version)).lastrowid
            assert number is not None
            connection.execute(INSERT_SEEN, (key, ref.version))
        return number

    def _pending(self, statement: str, *values: bytes) -> Sequence[_Pending]:
        with self._database.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def _roll_forward(self, rows: Sequence[_Pending]) -> int:
        failures: list[BytereelError] = []
        for number, staged, key, version in rows:
            try:
                self._place(number, staged, ObjectRef(INBOX, os.fsdecode(key), version))
            except BytereelError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return len(rows)

    def _place(self, number: int, staged: str, ref: ObjectRef) -> ObjectRef:
        """Rename a committed upload into the inbox, then forget its row and announce it, unless somebody else did.

        `ref` has the identity for its version; what is announced, and returned, has the version in its place.
        """
        path = self._objects.path_of(ref)
        with translated(path):
            self._move(staged, path)
        found = self._objects.stat(replace(ref, version=""))
        is_there = found is not None and identity_in(found.ref.version) == ref.version
        placed = found.ref if found is not None and is_there else ref
        with self._database.writing() as connection:
            if connection.execute(DELETE_UPLOAD, (number,)).rowcount != 1:
                return _announced_as(connection, ref) or placed
            placed = _seen_as(connection, ref, placed)
            self._queue.send_within(connection, INTAKE, [event_of(placed)])
        return placed

    def _move(self, staged: str, path: PathBelow) -> None:
        try:
            with opened_folder(self._objects.root, (STAGING,)) as folder:
                move(folder, staged, path)
        except FileNotFoundError:
            # Moved by another process, and perhaps removed since.
            with suppress(FileNotFoundError), path.parent() as folder:
                sync_folder(folder)

    def _clear_abandoned(self) -> None:
        """Remove staged files that no row names and no living process writes.

        Their lock is held meanwhile, and who commits a row holds it: none can be named once it was found unnamed.
        """
        with (
            translated(PathBelow(self._objects.root, (STAGING,))),
            suppress(FileNotFoundError),
            opened_folder(self._objects.root, (STAGING,)) as folder,
        ):
            for name in abandoned(folder):
                if not self._is_named(name):
                    log.info("staged file %s is cleared: whoever wrote it is dead", name)
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)

    def _is_named(self, staged: str) -> bool:
        with self._database.reading() as connection:
            return connection.execute(SELECT_UPLOAD_STAGED, (staged,)).fetchone() is not None

    def _announce_page(self, page: Sequence[ObjectInfo]) -> int:
        with self._database.reading() as connection:
            news = _news_of(connection, page)
        if not news.unseen and not news.renamed:
            return 0
        with self._database.writing() as connection:
            connection.executemany(UPDATE_SEEN, news.renamed)
            fresh = [info for info in news.unseen if connection.execute(INSERT_SEEN, _identity(info)).rowcount == 1]
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


def _make_way(staged: StagedFile, path: PathBelow) -> None:
    """Make sure, before anything is promised, that the staged file can be renamed to its place."""
    with translated(path):
        staged.sync_name()
        with path.parent(make=True) as folder, suppress(FileNotFoundError):
            if not staged.can_be_moved_to(folder):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
            if modes.S_ISDIR(stat_in(folder, path.name).st_mode):
                raise IsADirectoryError(errno.EISDIR, "a folder is in the way", str(path))


def _seen_as(connection: sqlite3.Connection, ref: ObjectRef, placed: ObjectRef) -> ObjectRef:
    """The upload as it was seen first in its place; if nobody saw it yet, as `placed`, from now on."""
    announced = _announced_as(connection, ref)
    if announced is None or announced == ref:
        connection.execute(UPDATE_SEEN, (placed.version, os.fsencode(ref.key), ref.version))
        return placed
    return announced


def _announced_as(connection: sqlite3.Connection, ref: ObjectRef) -> ObjectRef | None:
    """The upload with the version that others know it by; with its identity where nobody saw it in its place."""
    key, identity = os.fsencode(ref.key), ref.version
    row = connection.execute(SELECT_SEEN_OF, (key, identity, identity + BEHIND_VERSIONS)).fetchone()
    return None if row is None else replace(ref, version=row[0])


@dataclass(frozen=True, slots=True)
class _News:
    """What of a page was never announced; and versions to be, keys, and identities that stand for them still."""

    unseen: Sequence[ObjectInfo]
    renamed: Sequence[tuple[str, bytes, str]]


def _news_of(connection: sqlite3.Connection, page: Sequence[ObjectInfo]) -> _News:
    """Compare a page with what was announced, by one range query over its keys."""
    if not page:
        return _News([], [])
    unseen = {_identity(info): info for info in page}
    versions = {(key, identity_in(version)): version for key, version in unseen}
    keys = [key for key, _ in unseen]
    renamed = []
    for key, seen in connection.execute(SELECT_SEEN_BETWEEN, (min(keys), max(keys))):
        version = versions.get((key, seen), seen)
        unseen.pop((key, version), None)
        if version != seen:
            renamed.append((version, key, seen))
    return _News(list(unseen.values()), renamed)


def _identity(info: ObjectInfo) -> _Identity:
    return os.fsencode(info.ref.key), info.ref.version

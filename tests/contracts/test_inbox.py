"""The inbox of one machine: source and event are durable together, and every source is announced once."""

import os
import time
from pathlib import Path

import pytest
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.folder.inbox import EmbeddedInbox
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import Permanent, Temporary
from bytereel.messages import INTAKE
from bytereel.model import ObjectRef


class Home:
    """An inbox with all that stands behind it; opened again, it is another process on the same home."""

    def __init__(self, root):
        self.root = root
        self.clock = ManualClock(time.time())
        self.objects = FolderObjects(root)
        self.queue = SqliteQueue(Database(root / "state.db"), self.clock)
        self.inbox = EmbeddedInbox(self.objects, self.queue, self.clock)

    def announced(self):
        bodies = []
        while message := self.queue.lease([INTAKE], "test", 1e9):
            bodies.append(message.body)
        return bodies

    def drop(self, key, content=b"dropped", age=0.0):
        path = self.root / "inbox" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (self.clock.now() - age, self.clock.now() - age))
        return path

    def staged(self):
        return sorted((self.root / ".staging").iterdir())


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


class Killed(BaseException):
    """Stands for kill -9 at the call that raises it."""


@pytest.fixture
def killed_at(monkeypatch):
    """Makes a call of os raise, as if the process ended there; `undo` is the restart."""

    def arm(name):
        def killed(*_, **__):
            raise Killed

        monkeypatch.setattr(os, name, killed)

    arm.undo = monkeypatch.undo
    return arm


def body_of(info):
    return {"bucket": info.ref.bucket, "key": info.ref.key, "version": info.ref.version}


def test_an_upload_is_stored_and_announced_once(home):
    info = home.inbox.upload("archive/näme \udcff.zip", [b"one", b"two"])
    assert home.objects.stat(info.ref) == info
    assert (home.root / "inbox/archive/näme \udcff.zip").read_bytes() == b"onetwo"
    assert home.announced() == [body_of(info)]
    assert home.staged() == []
    assert home.inbox.reconcile(0, home.clock.now() + 1) == 0
    assert home.inbox.place_pending() == 0


def test_a_source_that_raises_leaves_nothing(home):
    def chunks():
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        home.inbox.upload("a", chunks())
    assert (home.announced(), home.staged(), home.objects.list("inbox")) == ([], [], [])


def test_a_key_that_cannot_be_placed_is_refused_before_anything_is_promised(home):
    home.inbox.upload("a/b", [b""])
    home.announced()
    for key in ("../x", "a", "a/b/c"):
        with pytest.raises(Permanent) as caught:
            home.inbox.upload(key, [b"x"])
        assert caught.value.error_id == "object.bad_key"
    assert (home.announced(), home.staged()) == ([], [])


def test_a_crash_before_the_commit_is_no_upload(home, killed_at):
    with pytest.raises(Killed):
        killed_at("fsync")
        home.inbox.upload("a", [b"x"])
    killed_at.undo()
    again = Home(home.root)
    assert again.inbox.place_pending() == 0
    assert (again.announced(), again.objects.list("inbox")) == ([], [])


def test_a_crash_between_commit_and_rename_is_rolled_forward(home, killed_at):
    killed_at("replace")
    with pytest.raises(Killed):
        home.inbox.upload("a/b", [b"content"])
    killed_at.undo()
    again = Home(home.root)
    assert (again.announced(), again.inbox.forget_gone()) == ([], 0)
    assert again.inbox.place_pending() == 1
    (body,) = again.announced()
    assert again.objects.stat(ObjectRef(**body)).size_bytes == 7
    assert again.inbox.place_pending() == 0
    assert again.staged() == []
    assert again.inbox.reconcile(0, again.clock.now() + 10) == 0


def test_a_crash_between_rename_and_forgetting_is_harmless(home, monkeypatch):
    replace = os.replace

    def replace_and_die(*arguments):
        replace(*arguments)
        raise Killed

    monkeypatch.setattr(os, "replace", replace_and_die)
    with pytest.raises(Killed):
        home.inbox.upload("a", [b"content"])
    monkeypatch.undo()
    again = Home(home.root)
    again.objects.delete(ObjectRef("inbox", "a"))
    assert again.inbox.place_pending() == 1
    assert again.objects.list("inbox") == []
    assert len(again.announced()) == 1


def test_an_upload_left_by_a_crash_does_not_come_after_a_later_one(home, killed_at):
    killed_at("replace")
    with pytest.raises(Killed):
        home.inbox.upload("a", [b"first"])
    killed_at.undo()
    again = Home(home.root)
    latest = again.inbox.upload("a", [b"second"])
    again.inbox.place_pending()
    assert again.objects.stat(ObjectRef("inbox", "a")) == latest


def test_one_upload_that_cannot_be_placed_does_not_hold_up_the_others(home, killed_at):
    killed_at("replace")
    for key in ("a", "b"):
        with pytest.raises(Killed):
            home.inbox.upload(key, [b"x"])
    killed_at.undo()
    (home.root / "inbox/a").mkdir()
    with pytest.raises(Permanent):
        home.inbox.place_pending()
    assert [info.ref.key for info in home.objects.list("inbox")] == ["b"]
    (home.root / "inbox/a").rmdir()
    assert home.inbox.place_pending() == 1


def test_abandoned_staged_files_are_cleared_after_an_hour(home, killed_at):
    killed_at("replace")
    with pytest.raises(Killed):
        home.inbox.upload("committed", [b"x"])
    killed_at.undo()
    abandoned = home.root / ".staging/abandoned"
    abandoned.write_bytes(b"x")
    home.inbox._clear_abandoned()
    assert abandoned.exists()
    home.clock.advance(3700)
    home.inbox._clear_abandoned()
    assert len(home.staged()) == 1
    assert home.inbox.place_pending() == 1


def test_an_upload_that_was_cleared_while_it_paused_is_refused(home):
    def chunks():
        yield b"x"
        home.clock.advance(3700)
        home.inbox.place_pending()

    with pytest.raises(Temporary) as caught:
        home.inbox.upload("a", chunks())
    assert caught.value.error_id == "upload.lost"
    assert home.announced() == []


def test_racing_uploads_of_one_key_are_each_announced_and_one_stays(home, race):
    infos = race([lambda number=number: home.inbox.upload("a/k", [b"%d" % number]) for number in range(8)])
    assert sorted(body["version"] for body in home.announced()) == sorted(info.ref.version for info in infos)
    assert home.objects.stat(ObjectRef("inbox", "a/k")) in infos
    assert home.inbox.place_pending() == 0
    assert home.staged() == []


def test_a_dropped_file_is_announced_once_and_again_when_it_changed(home):
    home.drop("archive/a.bin")
    info = home.objects.stat(ObjectRef("inbox", "archive/a.bin"))
    assert [home.inbox.reconcile(0, home.clock.now()) for _ in range(2)] == [1, 0]
    assert home.announced() == [body_of(info)]
    home.drop("archive/a.bin", b"changed since")
    assert home.inbox.reconcile(0, home.clock.now()) == 1


def test_announcing_has_one_winner(home, race):
    home.drop("a")
    info = home.objects.stat(ObjectRef("inbox", "a"))
    assert sorted(race([lambda: home.inbox.reconcile(0, home.clock.now())] * 8)) == [0] * 7 + [1]
    assert home.announced() == [body_of(info)]


def test_reconcile_announces_what_has_settled_and_is_not_hidden(home):
    home.drop("old", age=10)
    home.drop("fresh", age=1)
    home.drop(".a.zip.Xy12", age=10)
    home.drop(".cache/x", age=10)
    assert home.inbox.reconcile(5, home.clock.now()) == 1
    assert [body["key"] for body in home.announced()] == ["old"]
    home.clock.advance(10)
    assert home.inbox.reconcile(5, home.clock.now()) == 1
    assert home.inbox.reconcile(5, home.clock.now()) == 0


def test_what_was_announced_is_forgotten_when_its_file_is_gone(home):
    kept, gone = home.inbox.upload("kept \udcff", [b"x"]), home.inbox.upload("gone", [b"x"])
    home.drop("dropped")
    assert home.inbox.reconcile(0, home.clock.now() + 1) == 1
    assert home.inbox.forget_gone() == 0
    home.objects.delete(gone.ref)
    home.inbox.upload("dropped", [b"replaced"])
    assert home.inbox.forget_gone() == 2
    assert home.inbox.reconcile(0, home.clock.now() + 1) == 0
    assert home.objects.stat(kept.ref) == kept


def test_a_file_that_cannot_be_looked_at_is_not_forgotten(home, monkeypatch):
    home.inbox.upload("a", [b"x"])

    def refused(_):
        raise Permanent("object.unreadable", "it cannot be used")

    monkeypatch.setattr(home.objects, "stat", refused)
    assert home.inbox.forget_gone() == 0


def test_reconcile_is_cheap_where_all_is_announced(home):
    for number in range(2500):
        home.drop(f"{number % 3}/{number}", age=10)
    assert home.inbox.reconcile(5, home.clock.now()) == 2500
    assert len(home.announced()) == 2500
    writes = home.queue.database.writing
    home.queue.database.writing = None
    assert home.inbox.reconcile(5, home.clock.now()) == 0
    home.queue.database.writing = writes


def test_a_file_that_vanishes_between_listing_and_stat_is_left_out(home, monkeypatch):
    kept, gone = home.drop("kept"), home.drop("gone")
    lstat = Path.lstat

    def vanishing(path):
        if path == gone:
            raise FileNotFoundError
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", vanishing)
    assert [info.ref.key for info in home.objects.list("inbox")] == [kept.name]

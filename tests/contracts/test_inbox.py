"""The inbox of one machine: source and event are durable together, and every source is announced once."""

import fcntl
import multiprocessing
import os
import time

import pytest
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.folder import walk
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
        self.inbox = EmbeddedInbox(self.objects, self.queue)

    def announced(self):
        bodies = []
        while message := self.queue.lease([INTAKE], "test", 1e9):
            bodies.append(message.body)
        return bodies

    def drop(self, key, content=b"dropped"):
        path = self.root / "inbox" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def reconcile(self):
        """Announce what is there, settled or not."""
        return self.inbox.reconcile(0, time.time() + 1).announced

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
    assert home.reconcile() == 0
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
    assert again.reconcile() == 0


def test_a_crash_between_rename_and_forgetting_is_harmless(home, monkeypatch):
    replace = os.replace

    def replace_and_die(*arguments, **options):
        replace(*arguments, **options)
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


def test_what_a_dead_process_left_aside_is_cleared_at_once_and_what_was_committed_is_not(home, killed_at):
    killed_at("replace")
    with pytest.raises(Killed):
        home.inbox.upload("committed", [b"x"])
    killed_at.undo()
    abandoned = home.root / ".staging/abandoned"
    abandoned.write_bytes(b"x")
    home.inbox._clear_abandoned()
    assert len(home.staged()) == 1
    assert not abandoned.exists()
    assert home.inbox.place_pending() == 1


def test_what_a_living_process_writes_aside_is_not_cleared_however_long_it_takes(home):
    def chunks():
        yield b"x"
        (staged,) = home.staged()
        os.utime(staged, (0, 0))
        assert Home(home.root).inbox.place_pending() == 0
        yield b"y"

    info = home.inbox.upload("a", chunks())
    assert home.objects.stat(ObjectRef("inbox", "a")) == info
    assert home.staged() == []


def test_the_file_of_a_worker_that_is_killed_while_it_writes_is_cleared_by_the_next_look(home):
    context = multiprocessing.get_context("fork")
    writing = context.Event()

    def chunks():
        yield b"x"
        writing.set()
        time.sleep(60)

    def compose():
        FolderObjects(home.root).put(ObjectRef("outbox", "a"), chunks())

    worker = context.Process(target=compose)
    worker.start()
    assert writing.wait(30)
    home.inbox.place_pending()
    assert len(home.staged()) == 1
    worker.kill()
    worker.join()
    home.inbox.place_pending()
    assert home.staged() == []


def test_what_is_no_file_in_the_folder_of_staged_files_is_left_alone(home):
    home.inbox.upload("a", [b"x"])
    os.mkfifo(home.root / ".staging/pipe")
    (home.root / ".staging/folder").mkdir()
    (home.root / ".staging/link").symlink_to(home.root / "inbox/a")
    home.inbox.place_pending()
    assert [path.name for path in home.staged()] == ["folder", "link", "pipe"]
    assert (home.root / "inbox/a").read_bytes() == b"x"


def test_a_staged_file_that_was_taken_for_abandoned_before_its_lock_was_held_is_made_again(home, monkeypatch):
    lock, looked = fcntl.flock, []

    def cleared_first(descriptor, operation):
        looked.append(descriptor)
        if len(looked) == 1:
            home.staged()[0].unlink()
        return lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", cleared_first)
    home.inbox.upload("a", [b"x"])
    assert len(looked) == 2
    assert (home.root / "inbox/a").read_bytes() == b"x"


def test_an_upload_that_was_cleared_while_it_paused_is_refused(home):
    def chunks():
        yield b"x"
        home.staged()[0].unlink()

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


def test_an_upload_that_another_announced_is_returned_as_it_was_announced(home, monkeypatch):
    move, stat = home.inbox._move, FolderObjects.stat

    def moved_and_announced_by_another(staged, path):
        move(staged, path)
        monkeypatch.setattr(home.inbox, "_move", move)
        monkeypatch.setattr(FolderObjects, "stat", lambda objects, ref: None)  # replaced at the moment of its look
        assert home.inbox.place_pending() == 1
        monkeypatch.setattr(FolderObjects, "stat", stat)

    monkeypatch.setattr(home.inbox, "_move", moved_and_announced_by_another)
    info = home.inbox.upload("a/k", [b"1"])
    assert [body["version"] for body in home.announced()] == [info.ref.version]


def test_a_dropped_file_is_announced_once_and_again_when_it_changed(home):
    home.drop("archive/a.bin")
    info = home.objects.stat(ObjectRef("inbox", "archive/a.bin"))
    assert [home.reconcile() for _ in range(2)] == [1, 0]
    assert home.announced() == [body_of(info)]
    home.drop("archive/a.bin", b"changed since")
    assert home.reconcile() == 1


def test_announcing_has_one_winner(home, race):
    home.drop("a")
    info = home.objects.stat(ObjectRef("inbox", "a"))
    assert sorted(race([home.reconcile] * 8)) == [0] * 7 + [1]
    assert home.announced() == [body_of(info)]


def test_reconcile_announces_what_has_settled_and_says_when_more_will_have(home):
    home.drop("a")
    changed_at = home.objects.stat(ObjectRef("inbox", "a")).modified_at
    before = home.inbox.reconcile(5, changed_at + 4.75)
    assert (before.announced, round(before.settles_in_seconds, 3)) == (0, 0.25)
    after = home.inbox.reconcile(5, changed_at + 5.001)
    assert (after.announced, after.settles_in_seconds) == (1, None)
    assert [body["key"] for body in home.announced()] == ["a"]
    assert home.inbox.reconcile(5, changed_at + 5.001).announced == 0


def test_names_with_a_dot_in_front_are_taken_as_a_bucket_takes_them(home):
    for key in (".env", "a/.git/config"):
        home.drop(key)
    assert home.reconcile() == 2
    assert [body["key"] for body in home.announced()] == [".env", "a/.git/config"]


def test_what_is_no_file_is_left_out_and_said_once(home, caplog):
    home.drop("a/file")
    folder = home.root / "inbox" / "a"
    (folder / "link\n").symlink_to("file")
    (folder / "folder").symlink_to("/etc")
    os.mkfifo(folder / "pipe")
    assert [home.reconcile(), home.reconcile()] == [1, 0]
    assert [body["key"] for body in home.announced()] == ["a/file"]
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert sorted(line.rpartition(": ")[2] for line in said) == ["a/folder", r"a/link\n", "a/pipe"]


def test_a_file_whose_times_are_copied_with_it_settles_like_any_other(home):
    path = home.drop("a")
    os.utime(path, (1, 1))
    assert home.inbox.reconcile(5, time.time()).announced == 0
    assert home.inbox.reconcile(5, time.time() + 6).announced == 1


def test_a_file_of_a_time_to_come_counts_as_settled(home):
    home.drop("a")
    assert home.inbox.reconcile(5, time.time() - 60).announced == 1


def test_what_was_announced_is_forgotten_when_its_file_is_gone(home):
    kept, gone = home.inbox.upload("kept \udcff", [b"x"]), home.inbox.upload("gone", [b"x"])
    home.drop("dropped")
    assert home.reconcile() == 1
    assert home.inbox.forget_gone() == 0
    home.objects.delete(gone.ref)
    home.inbox.upload("dropped", [b"replaced"])
    assert home.inbox.forget_gone() == 2
    assert home.reconcile() == 0
    assert home.objects.stat(kept.ref) == kept


def test_a_file_that_cannot_be_looked_at_is_not_forgotten(home, monkeypatch):
    home.inbox.upload("a", [b"x"])

    def refused(_):
        raise Permanent("object.unreadable", "it cannot be used")

    monkeypatch.setattr(home.objects, "stat", refused)
    assert home.inbox.forget_gone() == 0


def test_reconcile_is_cheap_where_all_is_announced(home):
    for number in range(2500):
        home.drop(f"{number % 3}/{number}")
    assert home.reconcile() == 2500
    assert len(home.announced()) == 2500
    writes = home.queue.database.writing
    home.queue.database.writing = None
    assert home.reconcile() == 0
    home.queue.database.writing = writes


def test_a_file_that_vanishes_between_listing_and_stat_is_left_out(home, monkeypatch):
    kept, gone = home.drop("kept"), home.drop("gone")
    stat_in = walk.stat_in

    def vanishing(folder, name):
        if name == gone.name:
            raise FileNotFoundError
        return stat_in(folder, name)

    monkeypatch.setattr(walk, "stat_in", vanishing)
    assert [info.ref.key for info in home.objects.list("inbox")] == [kept.name]


def change_unseen(path):
    """Other bytes of the same size, and the modification time as before."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"CHANGED")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("how", ["dropped", "uploaded"])
def test_a_change_in_place_with_its_time_put_back_is_noticed(home, how):
    info = home.inbox.upload("a", [b"content"]) if how == "uploaded" else None
    path = home.root / "inbox/a" if info else home.drop("a", b"content")
    home.reconcile()
    (before,) = home.announced()
    assert home.reconcile() == 0
    change_unseen(path)
    assert home.objects.stat(ObjectRef(**before)) is None
    with pytest.raises(Permanent) as caught:
        home.objects.read_into(ObjectRef(**before), 0, memoryview(bytearray(7)))
    assert caught.value.error_id == "object.changed"
    assert home.reconcile() == 1
    (after,) = home.announced()
    assert home.objects.stat(ObjectRef(**after)).size_bytes == 7
    assert before["version"] != after["version"]


def as_0_1(version):
    """What version 0.1 would have recorded: no change time."""
    return version.rpartition("-")[0]


def test_what_0_1_announced_is_not_announced_again_and_changes_to_it_are_noticed_from_then_on(home):
    path = home.drop("archive/a", b"content")
    old = ObjectRef("inbox", "archive/a", as_0_1(home.objects.stat(ObjectRef("inbox", "archive/a")).ref.version))
    with home.queue.database.writing() as connection:
        connection.execute("INSERT INTO seen VALUES (?, ?)", (b"archive/a", old.version))
    assert home.inbox.forget_gone() == 0
    assert home.reconcile() == 0
    assert home.objects.stat(old).ref == old
    assert home.objects.read_into(old, 0, memoryview(bytearray(7))) == 7
    change_unseen(path)
    assert home.reconcile() == 1
    path.write_bytes(b"longer than before")
    assert home.objects.stat(old) is None


def test_what_0_1_announced_and_was_replaced_since_is_announced(home):
    home.drop("a", b"content")
    with home.queue.database.writing() as connection:
        connection.execute("INSERT INTO seen VALUES (?, ?)", (b"a", "7-1-1"))
    assert home.reconcile() == 1


def test_an_upload_that_0_1_committed_and_did_not_place_is_placed(home, killed_at):
    killed_at("replace")
    with pytest.raises(Killed):
        home.inbox.upload("a", [b"content"])
    killed_at.undo()
    with home.queue.database.reading() as connection:
        rows = connection.execute("SELECT version FROM uploads UNION ALL SELECT version FROM seen").fetchall()
    assert [version.count("-") for (version,) in rows] == [2, 2]
    again = Home(home.root)
    assert again.inbox.place_pending() == 1
    (body,) = again.announced()
    assert body["version"].count("-") == 3
    assert again.objects.stat(ObjectRef(**body)) is not None


def test_a_look_between_rename_and_announcement_does_not_announce_twice(home, monkeypatch):
    replace = os.replace

    def replace_and_look(*arguments, **options):
        replace(*arguments, **options)
        assert Home(home.root).reconcile() == 0

    monkeypatch.setattr(os, "replace", replace_and_look)
    info = home.inbox.upload("a", [b"content"])
    assert home.announced() == [body_of(info)]
    assert home.reconcile() == 0
    assert home.objects.stat(info.ref) == info


def test_a_source_that_has_other_names_elsewhere_is_taken_and_they_stay_when_it_goes(home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "original"
    elsewhere.write_bytes(b"content")
    (home.root / "inbox").mkdir()
    (home.root / "inbox/a").hardlink_to(elsewhere)
    assert home.reconcile() == 1
    (body,) = home.announced()
    home.objects.delete(ObjectRef(**body))
    assert home.objects.list("inbox") == []
    assert elsewhere.read_bytes() == b"content"

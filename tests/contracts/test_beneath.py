"""Nothing below a home is reached through a link: not where one stands, and not where one is swapped in meanwhile."""

import errno
import itertools
import os
import resource
import shutil
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

import pytest
from bytereel.adapters.clock import ManualClock
from bytereel.adapters.folder import beneath, staging
from bytereel.adapters.folder.inbox import EmbeddedInbox
from bytereel.adapters.folder.objects import FolderObjects
from bytereel.adapters.folder.walk import folders_below
from bytereel.adapters.sqlite import database
from bytereel.adapters.sqlite.database import Database
from bytereel.adapters.sqlite.queue import SqliteQueue
from bytereel.errors import BytereelError, Permanent
from bytereel.model import ObjectRef
from bytereel.settings import load_settings
from bytereel.wiring import open_home
from bytereel.workers.owners import OwnerLock, count_living, free_the_dead

SECRET = b"what lies outside of the home"
KEY = "a/b/file"
REF = ObjectRef("inbox", KEY)
SYSTEM_CALLS = ("open", "stat", "mkdir", "scandir", "replace", "link", "unlink", "rmdir", "fsync")


class Ground:
    """A home with one source, and beside it a folder of the same shape that no call may touch."""

    def __init__(self, folder, queue):
        self.queue = queue
        self.root, self.outside = folder / "home", folder / "outside"
        for top, content in ((self.root / "inbox", b"inside"), (self.outside, SECRET)):
            (top / "a/b").mkdir(parents=True)
            (top / KEY).write_bytes(content)
        (self.root / ".staging").mkdir()
        self.before = self.state()
        self.objects = FolderObjects(self.root)

    def inbox(self):
        return EmbeddedInbox(self.objects, self.queue)

    def swap(self, name):
        """Put a link to what is outside in the place of the home's own."""
        place, target = self.root / name, self.outside / os.path.relpath(name, "inbox")
        place.rename(self.root / f"swapped {name.replace('/', ' ')}")
        place.symlink_to(self.outside if name == ".staging" else target)

    def state(self):
        """All that is outside: names, and what every change of a file, of a folder or of its attributes moves."""
        return {
            str(path): (each.st_ino, each.st_nlink, each.st_mode, each.st_size, each.st_mtime_ns, each.st_ctime_ns)
            for path in (self.outside, *self.outside.rglob("*"))
            for each in [path.lstat()]
        }

    def check(self):
        """Nothing outside was changed, and nothing of it came in."""
        assert self.state() == self.before
        files = [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]
        assert not any(SECRET in path.read_bytes() for path in files)


@pytest.fixture
def new_ground(tmp_path, monkeypatch):
    """Makes a ground where the last one was; the state is kept elsewhere, and emptied. Nothing waits for a disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(database, "PRAGMAS", ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = OFF"))
    queue = SqliteQueue(Database(tmp_path / "state.db"), ManualClock(time.time()))

    def made():
        shutil.rmtree(tmp_path / "ground", ignore_errors=True)
        with queue.database.writing() as connection:
            for table in ("uploads", "seen", "messages"):
                connection.execute(f"DELETE FROM {table}")
        return Ground(tmp_path / "ground", queue)

    return made


@pytest.fixture
def ground(new_ground):
    return new_ground()


def read(ground):
    buffer = bytearray(100)
    count = ground.objects.read_into(REF, 0, memoryview(buffer))
    assert bytes(buffer[:count]) == b"inside"


def look(ground):
    found = ground.objects.stat(REF)
    assert found is None or found.size_bytes == len(b"inside")


def listing(ground):
    assert [info.size_bytes for info in ground.objects.list("inbox")] in ([], [len(b"inside")])


def forget(ground):
    inbox = ground.inbox()
    inbox.reconcile(0, time.time() + 1)
    inbox.forget_gone()


def expire(ground):
    found = ground.objects.stat(REF)
    if found is not None:
        ground.objects.delete(found.ref)


OPERATIONS = {
    "read": read,
    "stat": look,
    "list": listing,
    "put": lambda ground: ground.objects.put(REF, [b"new"]),
    "put if absent": lambda ground: ground.objects.put(ObjectRef("inbox", "a/b/new"), [b"new"], if_absent=True),
    "put deeper": lambda ground: ground.objects.put(ObjectRef("inbox", "a/b/c/d"), [b"new"]),
    "delete": lambda ground: ground.objects.delete(REF),
    "expire": expire,
    "upload": lambda ground: ground.inbox().upload(KEY, [b"new"]),
    "reconcile": lambda ground: ground.inbox().reconcile(0, time.time() + 1),
    "forget": forget,
    "place": lambda ground: ground.inbox().place_pending(),
    "folders": lambda ground: list(folders_below(ground.root, "inbox")),
}
COMPONENTS = ("inbox", "inbox/a", "inbox/a/b", "inbox/a/b/file", ".staging")


def swapped_before(ground, component, number, monkeypatch):
    """Let the swap happen just before the system call of that number; return how many there were so far."""
    counter = itertools.count()
    seen = [0]

    def wrapped(call):
        def counted(*arguments, **options):
            seen[0] = next(counter)
            if seen[0] == number:
                ground.swap(component)
            return call(*arguments, **options)

        return counted

    for name in SYSTEM_CALLS:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name)))
    return seen


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whenever_a_component_is_swapped_for_a_link_nothing_outside_is_touched(
    new_ground, monkeypatch, operation, component
):
    for number in range(1000):
        ground = new_ground()
        with monkeypatch.context() as patch, suppress(BytereelError, beneath.LinkInTheWayError):
            seen = swapped_before(ground, component, number, patch)
            OPERATIONS[operation](ground)
        ground.check()
        if seen[0] < number:
            break
    assert number > 1
    assert seen[0] < number


def test_a_link_among_the_folders_of_a_key_leads_to_no_object(ground):
    ground.swap("inbox/a")
    assert ground.objects.stat(REF) is None
    assert ground.objects.list("inbox") == []
    ground.objects.delete(REF)
    with pytest.raises(Permanent) as caught:
        ground.objects.read_into(REF, 0, memoryview(bytearray(1)))
    assert caught.value.error_id == "object.missing"
    for call in (ground.objects.put, ground.inbox().upload):
        for key in ("a/new", "a/b/new", "a/new/er"):
            with pytest.raises(Permanent) as caught:
                call(key if call != ground.objects.put else ObjectRef("inbox", key), [b"x"])
            assert caught.value.error_id == "home.link"
            assert caught.value.facts["path"] == str(ground.root / "inbox/a")
    assert ground.inbox().place_pending() == 0
    assert list((ground.root / ".staging").iterdir()) == []
    ground.check()


def test_a_bucket_that_is_a_link_is_refused_and_not_taken_for_empty(ground):
    assert ground.inbox().reconcile(0, time.time() + 1).announced == 1
    ground.swap("inbox")
    for name in ("read", "stat", "list", "put", "delete", "upload", "reconcile"):
        with pytest.raises(Permanent) as caught:
            OPERATIONS[name](ground)
        assert caught.value.error_id == "home.link"
        assert caught.value.facts["path"] == str(ground.root / "inbox")
    assert ground.inbox().forget_gone() == 0
    ground.check()


def test_a_folder_of_staged_files_that_is_a_link_is_refused(ground):
    (ground.outside / "left").write_bytes(b"x")
    ground.before = ground.state()
    ground.swap(".staging")
    for call in (lambda: ground.objects.put(REF, [b"x"]), ground.inbox().place_pending):
        with pytest.raises(Permanent) as caught:
            call()
        assert caught.value.error_id == "home.link"
    ground.check()


def test_a_file_that_is_a_link_is_no_object_and_is_replaced_as_a_name(ground):
    ground.swap("inbox/a/b/file")
    link = ground.root / "inbox/a/b/file"
    assert ground.objects.stat(REF) is None
    ground.objects.delete(REF)
    assert link.is_symlink()
    with pytest.raises(Permanent) as caught:
        ground.objects.put(REF, [b"new"], if_absent=True)
    assert caught.value.error_id == "object.exists"
    ground.objects.put(REF, [b"new"])
    assert (link.is_symlink(), link.read_bytes()) == (False, b"new")
    ground.check()


def test_pipes_sockets_and_devices_are_neither_read_nor_waited_for_nor_removed(ground, monkeypatch):
    folder = ground.root / "inbox/a"
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    names = ["pipe", "socket"]
    with suppress(PermissionError):
        os.mknod(folder / "device", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        names.append("device")
    opened, open_now = [], os.open
    monkeypatch.setattr(
        os, "open", lambda name, *rest, **options: opened.append(name) or open_now(name, *rest, **options)
    )
    for name in names:
        ref = ObjectRef("inbox", f"a/{name}")
        assert ground.objects.stat(ref) is None
        with pytest.raises(Permanent) as caught:
            ground.objects.read_into(ref, 0, memoryview(bytearray(1)))
        assert caught.value.error_id == "object.missing"
        ground.objects.delete(ref)
        assert (folder / name).exists()
    assert [info.ref.key for info in ground.objects.list("inbox")] == [KEY]
    assert ground.inbox().reconcile(0, time.time() + 1).announced == 1
    assert not set(names) & set(opened)


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_takes_a_files_place_between_look_and_open_is_not_read(ground, monkeypatch, kind):
    look, place = beneath.stat_in, ground.root / "inbox/a/b/file"

    def look_and_replace(folder, name):
        found = look(folder, name)
        if name == "file" and place.is_file():
            place.unlink()
            make = {"pipe": os.mkfifo, "link": lambda path: path.symlink_to(ground.outside / KEY), "folder": os.mkdir}
            make[kind](place)
        return found

    monkeypatch.setattr(beneath, "stat_in", look_and_replace)
    with pytest.raises(Permanent) as caught:
        ground.objects.read_into(REF, 0, memoryview(bytearray(1)))
    assert caught.value.error_id == "object.missing"
    ground.check()


def open_descriptors():
    return len(list(Path("/dev/fd").iterdir()))


def test_deep_folders_are_walked_with_few_descriptors_and_the_deepest_key_is_found(ground):
    deepest = "/".join("d" * 511) + "/x"
    ground.objects.put(ObjectRef("inbox", deepest), [b"x"])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 20, limits[1]))
    try:
        assert [info.ref.key for info in ground.objects.list("inbox")] == [KEY, deepest]
        ground.objects.delete(ObjectRef("inbox", deepest))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not (ground.root / "inbox/d").exists()


def test_no_operation_leaves_a_descriptor_open(ground):
    before = open_descriptors()
    for component in (None, "inbox/a", "inbox"):
        if component:
            ground.swap(component)
        for operation in OPERATIONS.values():
            with suppress(BytereelError, beneath.LinkInTheWayError):
                operation(ground)
    assert open_descriptors() == before


def test_a_folder_on_another_file_system_takes_nothing_and_says_so(ground, monkeypatch):
    def divided(*_, **__):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "replace", divided)
    with pytest.raises(Permanent) as caught:
        ground.objects.put(REF, [b"x"])
    assert caught.value.error_id == "home.divided"


def test_an_upload_to_a_folder_on_another_file_system_is_refused_before_anything_is_promised(ground, monkeypatch):
    monkeypatch.setattr(staging.StagedFile, "can_be_moved_to", lambda self, folder: False)
    with pytest.raises(Permanent) as caught:
        ground.inbox().upload(KEY, [b"x"])
    assert caught.value.error_id == "home.divided"
    assert ground.inbox().place_pending() == 0
    assert list((ground.root / ".staging").iterdir()) == []


def test_device_numbers_tell_file_systems_apart(ground):
    with staging.StagedFile(ground.root, ".staging") as staged:
        with beneath.opened_folder(ground.root, ("inbox", "a")) as folder:
            assert staged.can_be_moved_to(folder)
        with beneath.opened_folder(Path("/dev")) as folder:
            assert not staged.can_be_moved_to(folder)


@pytest.mark.parametrize("name", ["inbox", "work", "outbox", "state.sqlite"])
def test_a_home_with_a_link_for_a_bucket_or_its_state_is_not_opened(tmp_path, name):
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / name).symlink_to(tmp_path / "elsewhere" / ("state" if "." in name else ""))
    with pytest.raises(Permanent) as caught:
        open_home(load_settings(home=tmp_path / "home"))
    assert caught.value.error_id == "home.link"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_among_the_folders_for_dropping_keeps_no_home_from_opening(tmp_path, caplog):
    (tmp_path / "home/inbox").mkdir(parents=True)
    (tmp_path / "home/inbox/archive").symlink_to(tmp_path)
    open_home(load_settings(home=tmp_path / "home"))
    assert "inbox/archive" in caplog.text
    assert (tmp_path / "home/inbox/restore").is_dir()


def test_a_home_may_itself_be_a_link_and_lie_behind_others(tmp_path):
    (tmp_path / "disk/real").mkdir(parents=True)
    (tmp_path / "way").symlink_to(tmp_path / "disk")
    (tmp_path / "home").symlink_to(tmp_path / "way/real")
    home = open_home(load_settings(home=tmp_path / "home"))
    info = home.inbox.upload("archive/a", [b"x"])
    assert home.ports.objects.stat(info.ref) == info
    assert (tmp_path / "disk/real/inbox/archive/a").read_bytes() == b"x"
    with OwnerLock(home.owners_folder):
        assert count_living(home.owners_folder) == 1


def test_locks_of_workers_are_reached_through_no_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1-a.lock").write_bytes(b"")
    (tmp_path / "links").symlink_to(outside)
    for call in (lambda: OwnerLock(tmp_path / "links"), lambda: count_living(tmp_path / "links")):
        with pytest.raises(Permanent) as caught:
            call()
        assert caught.value.error_id == "home.link"
    with pytest.raises(Permanent):
        free_the_dead((), tmp_path / "links")
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "2-b.lock").symlink_to(outside / "1-a.lock")
    os.mkfifo(locks / "3-c.lock")
    assert (free_the_dead((), locks), count_living(locks)) == (0, 0)
    assert sorted(path.name for path in locks.iterdir()) == ["2-b.lock", "3-c.lock"]
    assert [path.name for path in outside.iterdir()] == ["1-a.lock"]


def test_folders_below_are_those_of_no_link(ground):
    (ground.root / "inbox/a/out").symlink_to(ground.outside)
    assert [path.name for path in folders_below(ground.root, "inbox")] == ["inbox", "a", "b"]

"""Folders out of reels: what a stream may make a reader hold, links, modes, and what a killed run leaves."""

import contextlib
import errno
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytereel_codec import BytereelError, DecodeOptions, Integrity, Permanent, Temporary, decode_file, encode_file
from bytereel_codec.files.folder import layout
from bytereel_codec.files.folder.links import DEPTH_MAX, FOLLOWED_MAX, STEPS_MAX, leads_out
from bytereel_codec.files.folder.members import EXTENDED_BYTES_MAX, NAME_BYTES_MAX, Member, MemberKind, MemberReader
from bytereel_codec.files.folder.target import FolderTarget
from bytereel_codec.files.staging import staging_path
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reels import PEAK_KIB

END = bytes(1024)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "", mode: int = 0o755) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, size, link, mode
    return info.tobuf(tarfile.GNU_FORMAT if size >= 8**11 or size < 0 else tarfile.USTAR_FORMAT)


def record(keyword: bytes, value: bytes) -> bytes:
    length = len(keyword) + len(value) + 3
    total = length + len(str(length))
    return b"%d %s=%s\n" % (length + len(str(total)), keyword, value)


def extended(content: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return header("x", kind, len(content)) + content + bytes(-len(content) % 512)


def lay_out(folder: Path, stream: bytes, **options: bool) -> Path:
    with FolderTarget(folder / "out", **options) as target:
        target.write_at(0, stream)
        target.commit(len(stream))
    return folder / "out"


def refused(folder: Path, stream: bytes) -> BytereelError:
    with pytest.raises(BytereelError) as raised:
        lay_out(folder, stream)
    assert list(folder.iterdir()) == []
    return raised.value


HOSTILE = (
    PEAK_KIB
    + """
import sys, time
sys.path[:0] = [sys.argv[3], sys.argv[4]]
from pathlib import Path
from bytereel_codec import BytereelError
from bytereel_codec.files.folder.target import FolderTarget
import test_folders
folder = Path(sys.argv[1])
test_folders.lay_out(folder, test_folders.header("warm") + test_folders.END)
before = peak_kib()
started = time.process_time()
try:
    with FolderTarget(folder / "big") as target:
        done = 0
        for part in test_folders.STREAMS[sys.argv[2]]():
            target.write_at(done, part)
            done += len(part)
        target.commit(done)
except BytereelError as error:
    print(error.error_id)
print("MiB", (peak_kib() - before) >> 10, "seconds", round(time.process_time() - started))
"""
)


def _equal_folders() -> Iterator[bytes]:
    for _ in range(200):
        yield header("d" * 90, b"5") * 500
    yield END


def _long_links() -> Iterator[bytes]:
    for number in range(12_000):
        yield extended(record(b"linkpath", b"x/" * 2040)) + header(f"l{number}", b"2")
    yield END


def _sparse_map() -> Iterator[bytes]:
    pairs = (b"major", b"1"), (b"minor", b"0"), (b"name", b"x"), (b"realsize", b"10")
    yield extended(b"".join(record(b"GNU.sparse." + key, value) for key, value in pairs))
    yield header("x", size=200 << 20) + b"100000000\n"
    for _ in range(200):
        yield b"0\n" * (1 << 19)


def _chain(kind: bytes) -> Iterator[bytes]:
    for _ in range(300):
        yield extended(record(b"comment", b"c" * ((1 << 20) - 100)), kind)
    yield header("x") + END


def _digits() -> Iterator[bytes]:
    yield extended(b"1" * (1 << 20)) + header("x") + END


def _keywords() -> Iterator[bytes]:
    for number in range(20):
        yield extended(b"".join(record(b"k%d" % each, b"v") for each in range(60_000))) + header(f"x{number}")
    yield END


def _big_files() -> Iterator[bytes]:
    for number in range(3):
        yield header(f"f{number}", size=100 << 20)
        for _ in range(100):
            yield bytes(1 << 20)
    yield END


STREAMS = {
    "equal folders": _equal_folders,
    "long links": _long_links,
    "sparse map": _sparse_map,
    "chain of headers": lambda: _chain(tarfile.XHDTYPE),
    "chain of global headers": lambda: _chain(tarfile.XGLTYPE),
    "chain of long names": lambda: _chain(tarfile.GNUTYPE_LONGNAME),
    "digits": _digits,
    "keywords": _keywords,
    "big files": _big_files,
    "endless size": lambda: iter([header("x", size=1 << 80) + END]),
    "endless size of a link": lambda: iter(
        [extended(record(b"size", b"9" * 4000)) + header("x", b"2", link="y") + END]
    ),
    "negative size": lambda: iter([header("x", size=-1024) + END]),
    "negative header": lambda: iter([header("x", b"x", size=-1024) + END]),
}
REFUSED = {name for name in STREAMS if name not in ("equal folders", "long links", "keywords", "big files")}


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_no_stream_makes_a_reader_hold_much_or_take_long(tmp_path, name):
    here = Path(__file__).parent
    command = [sys.executable, "-c", HOSTILE, str(tmp_path), name, str(here), str(here.parent / "codec")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    *refusal, measured = done.stdout.splitlines()
    assert bool(refusal) == (name in REFUSED), done.stdout
    _, mebibytes, _, seconds = measured.split()
    assert int(mebibytes) < 40, measured
    assert int(seconds) < 100, measured
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_extended_header_has_a_bound(tmp_path):
    filler = EXTENDED_BYTES_MAX - len(record(b"path", b"name"))
    for more in (0, 1):
        comment = record(b"comment", b"c" * (filler + more - 20))
        comment = record(b"comment", b"c" * (filler + more - 20 + (filler + more - len(comment))))
        content = record(b"path", b"name") + comment
        assert len(content) == EXTENDED_BYTES_MAX + more
        if more:
            assert refused(tmp_path, extended(content) + header("x") + END).error_id == "folder.unsafe"
        else:
            assert [m.name for m in MemberReader(io.BytesIO(extended(content) + header("x") + END))] == [b"name"]


@pytest.mark.parametrize("keyword", [b"path", b"linkpath"])
def test_a_name_has_a_bound(keyword):
    def read(length: int) -> list[Member]:
        stream = extended(record(keyword, b"n" * length)) + header("x", b"2", link="y") + END
        return list(MemberReader(io.BytesIO(stream)))

    assert len(read(NAME_BYTES_MAX)) == 1
    with pytest.raises(Integrity):
        read(NAME_BYTES_MAX + 1)


def test_a_stream_has_a_bound_of_members(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "MEMBERS_MAX", 3)
    members = [header(f"d{number}", b"5") for number in range(4)]
    assert refused(tmp_path, b"".join(members) + END).error_id == "folder.unsafe"
    assert len(list(lay_out(tmp_path, b"".join(members[:3]) + END).iterdir())) == 3


def test_a_folder_has_a_bound_of_depth(tmp_path):
    deep = "d/" * DEPTH_MAX + "x"
    stream = extended(record(b"path", deep.encode())) + header("x") + END
    assert (lay_out(tmp_path, stream) / deep).is_file()
    with pytest.raises(Permanent) as raised, FolderTarget(tmp_path / "deeper") as target:
        target.write_at(0, extended(record(b"path", b"d/" + deep.encode())) + header("x") + END)
        target.commit(target._offset)
    assert raised.value.error_id == "folder.too_deep"


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        header("x"),
        header("x") + bytes(511),
        header("x", size=5) + END[:4],
        header("x", size=5) + b"hello" + END[:500],
        extended(b"") + END,
        extended(b"12 path=abc"),
        extended(b"12 path=abc\n12 path") + header("x") + END,
        extended(b"13 path=abc\n") + header("x") + END,
        extended(b"path=abc\n") + header("x") + END,
        extended(record(b"size", b"-1")) + header("x") + END,
        extended(record(b"size", b"1e3")) + header("x") + END,
        header("x") + b"noise" * 200,
    ],
)
def test_a_stream_that_is_none_or_ends_early_is_damaged(tmp_path, stream):
    assert refused(tmp_path, stream).error_id == "folder.damaged"


def test_one_block_of_zeros_ends_a_stream_and_what_follows_is_no_member(tmp_path):
    assert list(lay_out(tmp_path, header("x") + bytes(512) + header("y")).iterdir()) == [tmp_path / "out" / "x"]


def test_a_later_record_counts_and_an_empty_one_says_nothing():
    content = record(b"path", b"first") + record(b"path", b"last") + record(b"mtime", b"")
    (member,) = MemberReader(io.BytesIO(extended(content) + header("x") + END))
    assert (member.name, member.modified_ns) == (b"last", 0)


@pytest.mark.parametrize("name", ["", "a/..", "../x", "/x", "a\x00b"])
def test_what_names_nothing_below_the_root_is_unsafe(tmp_path, name):
    stream = extended(record(b"path", name.encode())) + header(name.replace("\x00", ""))
    assert refused(tmp_path, stream + END).error_id == "folder.unsafe"


def test_a_folder_may_name_the_root_and_gives_it_its_mode(tmp_path):
    out = lay_out(tmp_path, header(".", b"5", mode=0o700) + header("./x") + END)
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert [path.name for path in out.iterdir()] == ["x"]


@pytest.mark.parametrize("target", ["x", "", "missing", "d", ".", "link"])
def test_a_hard_link_to_what_is_no_file_names_itself(tmp_path, target):
    stream = header("d", b"5") + header("link", b"2", link="d") + header("x", b"1", link=target) + END
    error = refused(tmp_path, stream)
    assert error.error_id in ("folder.damaged", "folder.unsafe", "target.member")
    assert error.error_id == "folder.unsafe" or "'x'" in error.message


def test_a_member_that_cannot_be_made_is_named(tmp_path):
    error = refused(tmp_path, header("readme", mode=0o644) + header("a\x1bb", size=0) + header("readme") + END)
    assert error.error_id == "target.member"
    assert "'readme'" in error.message


@pytest.mark.parametrize(
    ("target", "out"),
    [
        ("a", False),
        ("sub/../a", False),
        ("./sub/.././a", False),
        ("missing/../a", False),
        ("real/deep/../../a", False),
        ("to_real/../a", False),
        ("to_deep/../../a", False),
        ("..", True),
        ("/etc", True),
        ("", True),
        ("sub/../..", True),
        ("to_root/../a", True),
        ("to_deep/../../../a", True),
        ("to_to_root/../a", True),
        ("loop/../a", True),
        ("absolute/../a", True),
        ("x/../" * 400 + "a", False),
        ("x/../" * 600 + "a", True),
    ],
)
def test_where_a_link_leads(tmp_path, target, out):
    for name in ("sub", "real/deep"):
        (tmp_path / name).mkdir(parents=True)
    links = {"to_real": "real", "to_deep": "real/deep", "to_root": ".", "to_to_root": "sub/back", "sub/back": ".."}
    for name, leads in {**links, "loop": "loop", "absolute": "/etc"}.items():
        (tmp_path / name).symlink_to(leads)
    assert 2 * 400 <= STEPS_MAX < 2 * 600
    assert leads_out(os.fsencode(tmp_path), b"l", target.encode()) is out


def test_no_more_links_are_followed_than_a_system_follows(tmp_path):
    (tmp_path / "far").mkdir()
    for number in range(FOLLOWED_MAX + 2):
        (tmp_path / f"l{number}").symlink_to(f"l{number - 1}" if number else "far")
    last = FOLLOWED_MAX - 1
    assert leads_out(os.fsencode(tmp_path), b"x", f"l{last}/../a".encode()) is False
    assert leads_out(os.fsencode(tmp_path), b"x", f"l{last + 1}/../a".encode()) is True


@pytest.mark.parametrize("link", [("l", "sub/../a"), ("sub/l", "../sub/../a"), ("sub/l", "./../a"), ("l", "gone/../a")])
def test_a_link_that_stays_inside_comes_back(tmp_path, link):
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a").write_bytes(b"a")
    (tmp_path / "d" / link[0]).symlink_to(link[1])
    encode_file(tmp_path / "d", tmp_path / "reel")
    decode_file(tmp_path / "reel", tmp_path / "out")
    assert os.readlink(tmp_path / "out" / link[0]) == link[1]


@pytest.mark.parametrize(
    "links",
    [
        [("sub", "."), ("l", "sub/../a")],
        [("l", "sub/../a"), ("sub", ".")],
        [("d/up", ".."), ("l", "d/up/../etc")],
        [("d/e/up", "../.."), ("m", "d/e/up/../../etc")],
        [("one", "two"), ("two", "."), ("l", "d/../one/../x")],
    ],
)
def test_links_that_lead_out_together_are_refused_both_ways(tmp_path, links):
    (tmp_path / "source" / "d" / "e").mkdir(parents=True)
    for name, target in links:
        (tmp_path / "source" / name).symlink_to(target)
    with pytest.raises(Permanent) as raised:
        encode_file(tmp_path / "source", tmp_path / "reel")
    assert raised.value.error_id == "source.link_out"
    (tmp_path / "inner").mkdir()
    stream = header("d/e", b"5") + b"".join(header(name, b"2", link=target) for name, target in links) + END
    assert refused(tmp_path / "inner", stream).error_id == "folder.unsafe"


@pytest.mark.parametrize(("preserve", "mode"), [(False, 0o775), (True, 0o6775)])
def test_set_user_id_and_its_like_come_back_with_preserve_alone(tmp_path, preserve, mode):
    (tmp_path / "d" / "shared").mkdir(parents=True)
    (tmp_path / "d" / "tool").write_bytes(b"#!")
    (tmp_path / "d" / "tool").chmod(0o6775)
    (tmp_path / "d" / "shared").chmod(0o3777)
    encode_file(tmp_path / "d", tmp_path / "reel")
    report = decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(preserve=preserve))
    assert stat.S_IMODE((tmp_path / "out" / "tool").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "out" / "shared").stat().st_mode) == 0o3777
    assert [note for note in report.notes if "set-user-id" in note] == (
        [] if preserve else ["files that had set-user-id or set-group-id, which is not kept: 1"]
    )


def test_names_times_hard_links_and_the_folder_itself_come_back(tmp_path):
    root = os.fsencode(tmp_path / "d")
    os.mkdir(root, 0o700)
    names = [b"latin-\xe9", "utf-é".encode(), b"bad\xff\xfe\nname", b"back\\x2dslash"]
    for number, name in enumerate(names):
        with open(root + b"/" + name, "wb") as file:
            file.write(name)
        os.utime(root + b"/" + name, ns=(0, (number - 2) * 10**17 + 123_456_789))
    os.link(root + b"/" + names[0], root + b"/zweiter")
    os.symlink(b"to-\xe9", root + b"/link")
    os.utime(root + b"/link", ns=(0, 5), follow_symlinks=False)
    os.utime(root, ns=(0, 10**18 + 1))
    encode_file(tmp_path / "d", tmp_path / "reel")
    decode_file(tmp_path / "reel", tmp_path / "out")
    out = os.fsencode(tmp_path / "out")
    assert sorted(os.listdir(out)) == sorted(os.listdir(root))
    for name in [*os.listdir(root), b"."]:
        before, after = (os.lstat(place + b"/" + name) for place in (root, out))
        assert (after.st_mtime_ns, stat.S_IMODE(after.st_mode)) == (before.st_mtime_ns, stat.S_IMODE(before.st_mode))
    assert os.readlink(out + b"/link") == b"to-\xe9"
    assert os.path.samefile(out + b"/zweiter", out + b"/" + names[0])
    assert Path(os.fsdecode(out + b"/" + names[2])).read_bytes() == names[2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_with_more_in_it_than_it_states_is_refused(tmp_path, monkeypatch):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "status").write_bytes(b"")
    opened = open

    def open_of_proc(path, *arguments, **options):
        is_it = isinstance(path, bytes) and path.endswith(b"status")
        return opened("/proc/self/status" if is_it else path, *arguments, **options)

    monkeypatch.setattr("builtins.open", open_of_proc)
    with pytest.raises(Permanent) as raised:
        encode_file(tmp_path / "d", tmp_path / "reel")
    assert raised.value.error_id == "source.unstated"


KILLED = """
import sys, time
sys.path[:0] = sys.argv[2:]
from pathlib import Path
import test_folders
from bytereel_codec.files.folder.target import FolderTarget
target = FolderTarget(Path(sys.argv[1]))
start = test_folders.header("d/e/f", size=3) + b"abc" + bytes(509)
target.write_at(0, start + test_folders.header("half", size=1 << 20))
while not (target._staging.path / "folder" / "half").exists():
    time.sleep(0.01)
print("under way", flush=True)
time.sleep(100)
"""


def under_way(target: Path) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(target), str(here), str(here.parent / "codec")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "under way\n"
    return process


def test_a_killed_run_leaves_nothing_to_trip_over(tmp_path):
    process = under_way(tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (staging_path(tmp_path / "out") / "folder" / "half").exists(), "it was killed under way"
    assert list(lay_out(tmp_path, header("x") + END).iterdir()) == [tmp_path / "out" / "x"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_under_way_is_left_alone_and_the_other_told(tmp_path):
    process = under_way(tmp_path / "out")
    with pytest.raises(Temporary) as raised:
        lay_out(tmp_path, header("x") + END)
    assert raised.value.error_id == "target.busy"
    assert (staging_path(tmp_path / "out") / "folder" / "half").exists()
    process.kill()
    process.wait()


def test_what_a_killed_run_left_is_cleared_where_the_target_is_there_by_now(tmp_path):
    process = under_way(tmp_path / "out")
    process.kill()
    process.wait()
    (tmp_path / "out").mkdir()
    with pytest.raises(Permanent) as raised:
        FolderTarget(tmp_path / "out")
    assert raised.value.error_id == "target.occupied"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["link", "file", "writable by others"])
def test_a_staging_folder_of_somebody_else_is_not_taken_over(tmp_path, kind):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_bytes(b"p")
    staging = staging_path(tmp_path / "out")
    if kind == "link":
        staging.symlink_to("elsewhere")
    elif kind == "file":
        staging.write_bytes(b"")
    else:
        staging.mkdir()
        staging.chmod(0o777)
        (staging / "mine").write_bytes(b"m")
    with pytest.raises(Permanent) as raised:
        FolderTarget(tmp_path / "out")
    assert raised.value.error_id == "target.staging_taken"
    assert (tmp_path / "elsewhere" / "precious").exists()
    assert kind != "writable by others" or (staging / "mine").exists()


def test_a_dangling_link_is_a_target_that_exists(tmp_path):
    (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(Permanent) as raised:
        FolderTarget(tmp_path / "out")
    assert raised.value.error_id == "target.occupied"
    assert (tmp_path / "out").is_symlink()


def test_many_runs_to_one_target_make_it_once(tmp_path):
    outcomes: list[str] = []

    def run() -> None:
        try:
            lay_out(tmp_path, header("x") + END)
            outcomes.append("made")
        except BytereelError as error:
            outcomes.append(error.error_id)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("made") == 1
    assert set(outcomes) <= {"made", "target.busy", "target.occupied"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


names = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\x00", b"_").replace(b"/", b"_"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(name=b"n" * 155 + b"\xff", target=b"t", size=0, mode=0o7777, moment=-1.5)
@given(
    names,
    names,
    st.integers(0, 2000),
    st.integers(0, 0o7777),
    st.integers(-(2**43), 2**43).map(lambda each: each / 1000),
)
def test_members_are_what_another_writer_wrote(name, target, size, mode, moment):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for kind in (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.type, info.mode, info.mtime = kind, mode, moment
            info.size = size if kind == tarfile.REGTYPE else 0
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = target.decode("utf-8", "surrogateescape")
            tar.addfile(info, io.BytesIO(b"c" * size))
    reader = MemberReader(io.BytesIO(stream.getvalue()))
    found = [(member, b"".join(reader.content())) for member in reader]
    kinds = [MemberKind.FILE, MemberKind.SYMLINK, MemberKind.HARDLINK, MemberKind.FOLDER]
    assert [member.kind for member, _ in found] == kinds
    assert [member.name.rstrip(b"/") for member, _ in found] == [name] * 4
    assert [member.target for member, _ in found] == [b"", target, target, b""]
    assert [content for _, content in found] == [b"c" * size, b"", b"", b""]
    assert {member.mode for member, _ in found} == {mode}
    assert all(member.modified_ns is not None and abs(member.modified_ns - moment * 1e9) < 1e4 for member, _ in found)


def refusing(monkeypatch, function, number, wanted=lambda *_: True):
    """Have a function of `os` fail as on a file system that cannot do it, where `wanted` says so of its arguments."""
    real = getattr(os, function)

    def refuse(*args, **kwargs):
        if wanted(*args):
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, refuse)


def folder_of(tmp_path, **contents):
    (tmp_path / "d").mkdir()
    for name, content in contents.items():
        (tmp_path / "d" / name).write_bytes(content)
    return tmp_path / "d"


def decoded(tmp_path, **options):
    encode_file(tmp_path / "d", tmp_path / "reel")
    return decode_file(tmp_path / "reel", tmp_path / "out", DecodeOptions(**options))


def test_members_that_a_file_system_cannot_take_are_named_and_all_others_come_out(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, a=b"a", z=b"z")
    (folder / "a:b?").write_bytes(b"odd")
    (folder / "link").symlink_to("a")
    (folder / "odd").mkdir()
    (folder / "odd/inside").write_bytes(b"x")
    encode_file(folder, tmp_path / "reel")
    refusing(monkeypatch, "symlink", errno.EPERM)
    refusing(monkeypatch, "mkdir", errno.EINVAL, lambda path, *_: os.fsencode(path).endswith(b"/odd"))
    refusing(monkeypatch, "open", errno.EILSEQ, lambda path, *_: b"a:b?" in os.fsencode(path))
    report = decode_file(tmp_path / "reel", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "z"]
    assert report.lost == ()
    assert [line.partition(":")[0][:20] for line in report.left_out] == [
        "the file 'a",
        "the folder 'odd'",
        "the file 'odd/inside",
        "the symbolic link 'l",
    ]
    assert report.notes == ("members of the folder that could not be made here: 4; all others were",)


def test_of_two_names_that_a_file_system_takes_for_one_the_second_is_left_out(tmp_path, monkeypatch):
    folder_of(tmp_path, README=b"upper", readme=b"lower")
    encode_file(tmp_path / "d", tmp_path / "reel")
    refusing(monkeypatch, "open", errno.EEXIST, lambda path, *_: os.fsencode(path).endswith(b"/readme"))
    report = decode_file(tmp_path / "reel", tmp_path / "out")
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"upper"]
    assert "'readme'" in report.left_out[0]


def test_a_full_disk_is_no_odd_member(tmp_path, monkeypatch):
    folder_of(tmp_path, a=b"a", b=b"b")
    encode_file(tmp_path / "d", tmp_path / "reel")
    refusing(monkeypatch, "open", errno.ENOSPC, lambda path, *_: os.fsencode(path).endswith(b"/b"))
    with pytest.raises(Temporary):
        decode_file(tmp_path / "reel", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_hard_links_a_second_name_is_a_copy(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, first=b"content")
    (folder / "second").hardlink_to(folder / "first")
    os.utime(folder / "first", ns=(0, 123_456_789_123_456_789))
    encode_file(folder, tmp_path / "reel")
    refusing(monkeypatch, "link", errno.EPERM)
    assert decode_file(tmp_path / "reel", tmp_path / "out").left_out == ()
    first, second = tmp_path / "out/first", tmp_path / "out/second"
    assert first.read_bytes() == second.read_bytes() == b"content"
    assert first.stat().st_mtime_ns == second.stat().st_mtime_ns == 123_456_789_123_456_789
    assert not first.samefile(second)


def test_devices_sockets_and_pipes_are_counted_and_left_out(tmp_path):
    folder = folder_of(tmp_path, a=b"a")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    summary = encode_file(folder, tmp_path / "reel")
    assert summary.notes == ("left out, as they are no files: 2 devices, sockets or pipes",)
    decode_file(tmp_path / "reel", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


ATTRIBUTES = {
    "user.plain": b"words",
    "user.bytes": bytes(range(256)),
    "user.n\u00e9": b"a=b\nc",
    "user.long": b"x" * 9000,
}


def has_attributes(folder):
    try:
        os.setxattr(folder, "user.try", b"1")
    except OSError:
        return False
    os.removexattr(folder, "user.try")
    return True


def test_extended_attributes_of_users_come_back(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, a=b"a" * 5000, b=b"")
    if not has_attributes(folder):
        pytest.skip("this file system keeps no attributes")
    for name, value in list(ATTRIBUTES.items())[: 4 if folder else 0]:
        for path in (folder / "a", folder):
            with contextlib.suppress(OSError):  # some file systems keep 4 KiB at most
                os.setxattr(path, name, value)
    before = {path.name: {n: os.getxattr(path, n) for n in os.listxattr(path)} for path in (folder / "a", folder)}
    assert len(before["a"]) >= 2
    assert decoded(tmp_path).notes == ()
    out = tmp_path / "out"
    after = {path.name: {n: os.getxattr(path, n) for n in os.listxattr(path)} for path in (out / "a", out)}
    assert after == {"a": before["a"], "out": before["d"]}
    refusing(monkeypatch, "setxattr", errno.ENOTSUP)
    report = decode_file(tmp_path / "reel", tmp_path / "out2")
    assert (tmp_path / "out2/a").read_bytes() == b"a" * 5000
    assert report.notes == ("members that had extended attributes, which cannot be kept here: 2",)


def test_an_attribute_whose_name_a_stream_cannot_hold_is_counted(tmp_path):
    folder = folder_of(tmp_path, a=b"a")
    if not has_attributes(folder):
        pytest.skip("this file system keeps no attributes")
    os.setxattr(folder / "a", "user.a=b", b"c")
    os.setxattr(folder / "a", "user.kept", b"d")
    decoded(tmp_path)
    assert os.listxattr(tmp_path / "out/a") == ["user.kept"]


@pytest.mark.parametrize("shape", ["hole", "end", "start", "tiny", "dense"])
def test_runs_of_zeros_become_holes_and_the_bytes_are_the_same(tmp_path, shape):
    size = 8 << 20
    content = {
        "hole": b"x" * 70_000 + bytes(size) + b"y",
        "end": b"x" + bytes(size),
        "start": bytes(size) + b"x",
        "tiny": bytes(100),
        "dense": b"xy" * (size // 2),
    }[shape]
    folder_of(tmp_path, sparse=content)
    decoded(tmp_path)
    out = tmp_path / "out/sparse"
    assert out.read_bytes() == content
    if shape in ("hole", "end", "start"):
        assert out.stat().st_blocks * 512 < size // 4


def test_modes_of_a_folder_come_back_whatever_the_umask(tmp_path):
    folder = folder_of(tmp_path, group=b"g", none=b"n")
    (folder / "group").chmod(0o664)
    (folder / "none").chmod(0o400)
    folder.chmod(0o700)
    before = os.umask(0o077)
    try:
        decoded(tmp_path)
    finally:
        os.umask(before)
    for name in (".", "group", "none"):
        assert (tmp_path / "out" / name).stat().st_mode == (folder / name).stat().st_mode

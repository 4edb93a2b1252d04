"""What only an S3 store does: parts, checksums, versions, and connections and stores that fail."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import crc32c
import pytest
from bytereel.adapters.aws import make_client
from bytereel.adapters.s3.objects import S3Objects
from bytereel.errors import Integrity, Permanent, Temporary
from bytereel.model import Location, ObjectRef
from bytereel.ports.objects import Part
from lying_proxy import Fault, lying_proxy
from s3_stores import S3_STORES, client_of

from localstack.servers import Server

MIB = 1 << 20
REF = ObjectRef("work", "a/b.bin")
TARGET = ObjectRef("outbox", "x/reel.mp4")


@pytest.fixture(params=[store for store in S3_STORES if store != "ministack-versioned"])
def bucket(request):
    return request.getfixturevalue(f"{request.param}_bucket")


@pytest.fixture
def short_parts(monkeypatch):
    """Streams are cut into parts as short as S3 takes, so that tests need not send much."""
    monkeypatch.setattr("bytereel.adapters.s3.parts.FIRST_PART_BYTES", 5 * MIB)


@pytest.fixture
def proxy(ministack_server):
    with lying_proxy(ministack_server) as proxy:
        yield proxy


@pytest.fixture
def through(proxy, ministack_bucket):
    """A store behind the proxy, whose client gives up early."""
    client = client_of(proxy.server, retries={"mode": "standard", "total_max_attempts": 3})
    return ministack_bucket.objects(client)


@pytest.fixture
def passing(bucket):
    """A store, and what its client moves: (bytes sent, bytes received) so far."""
    moved = [0, 0]
    lock = threading.Lock()

    def sent(params, **_):
        body = params.get("body")
        with lock:
            moved[0] += len(body) if isinstance(body, bytes | bytearray) else 0

    def received(parsed, **_):
        with lock:
            moved[1] += parsed.get("ContentLength", 0)

    events = bucket.client.meta.events
    events.register("before-call.s3", sent)
    events.register("after-call.s3.GetObject", received)
    yield bucket.objects(), moved
    events.unregister("before-call.s3", sent)
    events.unregister("after-call.s3.GetObject", received)


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def part_of(objects, key, content):
    ref = ObjectRef("work", key)
    objects.put(ref, [content])
    return Part(ref, len(content), crc32c.crc32c(content))


def content_of(objects, ref):
    buffer = bytearray(objects.stat(ref).size_bytes)
    assert objects.read_into(ref, 0, memoryview(buffer)) == len(buffer)
    return bytes(buffer)


def uploads_open(bucket):
    """Multipart uploads that are neither completed nor aborted."""
    found = bucket.client.list_multipart_uploads(Bucket=bucket.name)
    return found.get("Uploads", [])


def head(bucket, objects, ref):
    name = objects.url_of(ref).removeprefix(f"s3://{bucket.name}/")
    return bucket.client.head_object(Bucket=bucket.name, Key=name)


# parts


def test_a_long_stream_becomes_one_object_of_several_parts(bucket, short_parts):
    objects, content = bucket.objects(), noise(12 * MIB)
    info = objects.put(REF, (content[start : start + MIB] for start in range(0, len(content), MIB)), if_absent=True)
    assert info == objects.stat(REF)
    assert head(bucket, objects, REF)["ETag"].endswith('-3"')
    assert content_of(objects, REF) == content
    assert uploads_open(bucket) == []


def test_if_absent_holds_for_long_streams_too(bucket, short_parts):
    objects = bucket.objects()
    objects.put(REF, [b"first"])
    with pytest.raises(Permanent) as caught:
        objects.put(REF, [noise(6 * MIB)], if_absent=True)
    assert caught.value.error_id == "object.exists"
    assert content_of(objects, REF) == b"first"
    assert uploads_open(bucket) == []


def test_racing_long_streams_have_one_winner(ministack_bucket, short_parts):
    # moto takes no locks, and SeaweedFS lets two that race both complete
    objects = ministack_bucket.objects()
    contents = [noise(6 * MIB, seed) for seed in range(3)]

    def put(content):
        try:
            return objects.put(REF, [content], if_absent=True)
        except Permanent as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(put, contents))
    winners = [index for index, outcome in enumerate(outcomes) if not isinstance(outcome, Permanent)]
    assert len(winners) == 1
    assert {error.error_id for error in outcomes if isinstance(error, Permanent)} == {"object.exists"}
    assert content_of(objects, REF) == contents[winners[0]]
    assert uploads_open(ministack_bucket) == []


def test_a_long_stream_that_raises_leaves_no_parts_behind(bucket, short_parts):
    objects = bucket.objects()

    def chunks():
        yield noise(11 * MIB)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        objects.put(REF, chunks())
    assert objects.stat(REF) is None
    assert uploads_open(bucket) == []


def test_big_parts_are_copied_inside_the_store(passing, bucket):
    objects, moved = passing
    contents = [noise(10 * MIB + 7), noise(5 * MIB)]
    parts = [part_of(objects, f"j/{index}", content) for index, content in enumerate(contents)]
    moved[:] = [0, 0]
    info = objects.compose(TARGET, b"head", parts, b"tail")
    sent, received = moved
    assert info == objects.stat(TARGET)
    assert content_of(objects, TARGET) == b"head" + b"".join(contents) + b"tail"
    assert head(bucket, objects, TARGET)["ContentType"] == "video/mp4"
    assert sent <= 5 * MIB + 4096
    in_process = objects._client.meta.endpoint_url.endswith("amazonaws.com")  # moto says no checksum
    assert received <= (21 if in_process else 5) * MIB
    assert uploads_open(bucket) == []


def test_small_parts_are_gathered(bucket):
    objects = bucket.objects()
    contents = [noise(size, size) for size in (3 * MIB, 4 * MIB, 1, 4 * MIB, 17)]
    parts = [part_of(objects, f"j/{index}", content) for index, content in enumerate(contents)]
    objects.compose(TARGET, b"h", parts, b"t")
    assert content_of(objects, TARGET) == b"h" + b"".join(contents) + b"t"


@pytest.mark.parametrize("sizes", [(3,), (10 * MIB, 5 * MIB)])
def test_a_composed_object_has_its_checksum_in_its_metadata_too(bucket, sizes):
    objects = bucket.objects()
    contents = [noise(size, size) for size in sizes]
    parts = [part_of(objects, f"j/{index}", content) for index, content in enumerate(contents)]
    objects.compose(TARGET, b"h", parts, b"t")
    whole = crc32c.crc32c(b"h" + b"".join(contents) + b"t")
    assert head(bucket, objects, TARGET)["Metadata"]["bytereel-crc32c"] == f"{whole:08x}"


def test_a_long_part_that_was_itself_several_is_proved_too(bucket, short_parts):
    objects, content = bucket.objects(), noise(6 * MIB)
    part = part_of(objects, "j/1", content)
    objects.compose(TARGET, b"", [part], b"")
    assert content_of(objects, TARGET) == content


@pytest.mark.parametrize("size", [100, 5 * MIB])
def test_a_damaged_part_keeps_what_was_there(bucket, short_parts, size):
    objects = bucket.objects()
    whole, hurt = part_of(objects, "j/1", noise(5 * MIB)), part_of(objects, "j/2", noise(size))
    objects.put(hurt.ref, [noise(size, 2)])
    objects.put(TARGET, [b"before"])
    with pytest.raises(Integrity) as caught:
        objects.compose(TARGET, b"head", [whole, hurt], b"")
    assert caught.value.error_id == "object.damaged"
    assert content_of(objects, TARGET) == b"before"
    assert uploads_open(bucket) == []


def test_a_part_of_another_version_is_refused(bucket):
    objects = bucket.objects()
    part = part_of(objects, "j/1", b"old")
    old = objects.stat(part.ref).ref
    objects.put(part.ref, [b"new"])
    with pytest.raises(Permanent) as caught:
        objects.compose(TARGET, b"", [Part(old, 3, part.crc32c)], b"")
    assert caught.value.error_id == "object.changed"


def test_a_range_moves_nothing_but_the_range(passing):
    objects, moved = passing
    objects.put(REF, [noise(3 * MIB)])
    moved[:] = [0, 0]
    buffer = bytearray(1000)
    assert objects.read_into(REF, 2 * MIB, memoryview(buffer)) == 1000
    assert moved == [0, 1000]
    assert bytes(buffer) == noise(3 * MIB)[2 * MIB :][:1000]


@pytest.mark.parametrize(("key", "kind"), [("a.MP4", "video/mp4"), ("a/b.json", "application/json")])
def test_a_browser_is_told_what_it_gets(bucket, key, kind):
    objects = bucket.objects()
    objects.put(ObjectRef("outbox", key), [b"{}"])
    assert head(bucket, objects, ObjectRef("outbox", key))["ContentType"] == kind


# names and versions


def test_the_url_of_an_object_names_bucket_and_key():
    objects = S3Objects(None, {"work": Location("b", "deep/")})
    assert objects.url_of(ObjectRef("work", "x y.mp4")) == "s3://b/deep/x y.mp4"
    with pytest.raises(Permanent) as caught:
        objects.url_of(ObjectRef("work", "/".join(["d" * 100] * 10) + "/" + "x" * 12))
    assert caught.value.error_id == "object.bad_key"


def test_old_versions_and_deletions_are_not_listed(ministack_versioned_bucket):
    objects = ministack_versioned_bucket.objects()
    for key in ("a", "b", "c"):
        for number in range(4):
            objects.put(ObjectRef("inbox", key), [b"%d" % number])
    objects.delete(ObjectRef("inbox", "b"))
    listed = objects.list("inbox")
    assert [info.ref.key for info in listed] == ["a", "c"]
    assert listed == [objects.stat(info.ref) for info in listed]
    assert objects.list("inbox", after="a", limit=1) == [objects.stat(ObjectRef("inbox", "c"))]


def test_the_same_bytes_put_again_are_another_version_only_where_versions_are_kept(
    ministack_bucket, ministack_versioned_bucket
):
    for bucket, differs in ((ministack_bucket, False), (ministack_versioned_bucket, True)):
        objects = bucket.objects()
        first, second = objects.put(REF, [b"same"]), objects.put(REF, [b"same"])
        assert (first.ref.version != second.ref.version) is differs


def test_versions_may_be_switched_on_while_the_road_runs(ministack_bucket):
    name = f"{ministack_bucket.name}-later"
    ministack_bucket.client.create_bucket(Bucket=name)
    objects = S3Objects(ministack_bucket.client, {"inbox": Location(name)})
    before = objects.put(ObjectRef("inbox", "a"), [b"a"])
    assert objects.list("inbox") == [before]
    ministack_bucket.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    after = objects.put(ObjectRef("inbox", "b"), [b"b"])
    assert [info.ref.version for info in objects.list("inbox")] == [before.ref.version, after.ref.version]


# what is missing or refused


def test_an_absent_bucket_is_said_to_be_absent(ministack_bucket):
    objects = S3Objects(ministack_bucket.client, {"work": Location("no-such-bucket")})
    for call in (
        lambda: objects.put(REF, [b"x"]),
        lambda: objects.stat(REF),
        lambda: objects.list("work"),
        lambda: objects.delete(REF),
        lambda: objects.compose(REF, b"", [], b""),
    ):
        with pytest.raises(Permanent) as caught:
            call()
        assert caught.value.error_id == "service.absent"
        assert "no-such-bucket" in str(caught.value)


def test_wrong_credentials_are_rejected(seaweedfs_server, seaweedfs_bucket):
    for access_key, secret_key in (("nobody", "x"), (seaweedfs_server.access_key, "wrong")):
        client = client_of(Server(seaweedfs_server.endpoint_url, access_key, secret_key))
        objects = seaweedfs_bucket.objects(client)
        with pytest.raises(Permanent) as putting:
            objects.put(REF, [b"x"])
        with pytest.raises(Permanent) as listing:
            objects.list("work")
        assert putting.value.error_id == listing.value.error_id == "credentials.rejected"


def test_missing_credentials_are_named(ministack_server, ministack_bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    client = make_client("s3", endpoint_url=ministack_server.endpoint_url, region="us-east-1")
    with pytest.raises(Permanent) as caught:
        ministack_bucket.objects(client).stat(REF)
    assert caught.value.error_id == "credentials.missing"


# connections and stores that fail


@pytest.mark.parametrize("fault", [{"answer": 503}, {"answer": 500, "code": "InternalError"}, {"lose": True}])
@pytest.mark.parametrize("if_absent", [False, True])
def test_a_write_that_fails_at_first_happens_once(proxy, through, fault, if_absent):
    proxy.faults = [Fault("PUT", times=1, **fault)]
    info = through.put(REF, [b"content"], if_absent=if_absent)
    assert info == through.stat(REF)
    assert content_of(through, REF) == b"content"
    assert proxy.seen("PUT") == 2


def test_a_long_write_whose_last_answer_was_lost_happened(proxy, through, short_parts):
    content = noise(6 * MIB)
    proxy.faults = [Fault("POST", times=1, about="uploadId=", lose=True)]
    assert through.put(REF, [content], if_absent=True) == through.stat(REF)
    assert content_of(through, REF) == content


@pytest.mark.parametrize(
    ("fault", "error_id", "attempts"),
    [
        ({"answer": 503}, "service.busy", 3),
        ({"answer": 507, "code": "XMinioStorageFull"}, "store.full", 1),
        ({"stall_seconds": 1.0}, "service.unreachable", 3),
        ({"lose": True}, "service.unreachable", 3),
    ],
)
def test_a_store_that_keeps_failing_is_temporary_within_a_bound(proxy, ministack_bucket, fault, error_id, attempts):
    client = client_of(proxy.server, read_timeout=0.5, retries={"mode": "standard", "total_max_attempts": 3})
    proxy.faults = [Fault("PUT", **fault)]
    with pytest.raises(Temporary) as caught:
        ministack_bucket.objects(client).put(REF, [b"content"])
    assert caught.value.error_id == error_id
    assert proxy.seen("PUT") == attempts


def test_bytes_hurt_on_the_way_up_are_sent_again(proxy, through, short_parts):
    content = noise(6 * MIB)
    proxy.faults = [Fault("PUT", times=2, damage=True)]
    through.put(REF, [content])
    assert content_of(through, REF) == content


def test_bytes_always_hurt_on_the_way_up_are_temporary_and_leave_nothing(proxy, through, ministack_bucket, short_parts):
    proxy.faults = [Fault("PUT", damage=True)]
    for content in (b"content", noise(6 * MIB)):
        with pytest.raises(Temporary):
            through.put(REF, [content])
        assert through.stat(REF) is None
    assert uploads_open(ministack_bucket) == []


def test_what_the_store_says_it_stored_is_compared_with_what_was_sent(proxy, through, ministack_bucket, short_parts):
    for content in (b"content", noise(6 * MIB)):
        proxy.faults = [Fault("PUT", times=1, forge=True)]
        with pytest.raises(Integrity) as caught:
            through.put(REF, [content])
        assert caught.value.error_id == "object.damaged"
    assert uploads_open(ministack_bucket) == []


def test_a_read_that_breaks_off_goes_on_where_it_stopped(proxy, through):
    content = noise(3 * MIB)
    through.put(REF, [content])
    proxy.faults = [Fault("GET", times=3, cut_after=MIB - 5)]
    assert content_of(through, REF) == content
    assert proxy.seen("GET") == 4
    assert proxy.bytes_down == len(content)


def test_a_read_that_keeps_breaking_off_is_temporary(proxy, through):
    through.put(REF, [noise(MIB)])
    proxy.faults = [Fault("GET", cut_after=10)]
    with pytest.raises(Temporary) as caught:
        through.read_into(REF, 0, memoryview(bytearray(MIB)))
    assert caught.value.error_id == "object.broken_off"
    assert proxy.seen("GET") == 6


@pytest.mark.parametrize("named", [False, True])
def test_a_read_never_mixes_two_versions(proxy, through, ministack_bucket, named):
    info = through.put(REF, [noise(MIB)])
    proxy.faults = [Fault("GET", times=1, cut_after=100)]
    real = proxy.fault_of

    def replaced_in_between(method, path):
        if method == "GET" and proxy.seen("GET") == 1:
            other.put(REF, [noise(MIB, 2)])
        return real(method, path)

    other = S3Objects(ministack_bucket.client, through._locations)
    proxy.fault_of = replaced_in_between
    with pytest.raises(Permanent if named else Temporary) as caught:
        through.read_into(info.ref if named else REF, 0, memoryview(bytearray(MIB)))
    assert caught.value.error_id == ("object.changed" if named else "object.replaced")


def test_a_part_hurt_on_its_way_into_a_composed_object_is_noticed(proxy, through):
    parts = [part_of(through, f"j/{index}", noise(MIB, index)) for index in range(3)]
    proxy.faults = [Fault("GET", times=1, damage_answer=True)]
    with pytest.raises(Integrity) as caught:
        through.compose(TARGET, b"", parts, b"")
    assert caught.value.error_id == "object.damaged"
    assert through.stat(TARGET) is None


def test_a_copy_that_fails_for_good_aborts_the_upload(proxy, through, ministack_bucket):
    part = part_of(through, "j/1", noise(5 * MIB))
    through.put(TARGET, [b"before"])
    proxy.faults = [Fault("PUT", about="partNumber=2", answer=503)]
    with pytest.raises(Temporary):
        through.compose(TARGET, b"head", [part, part], b"")
    assert content_of(through, TARGET) == b"before"
    assert uploads_open(ministack_bucket) == []

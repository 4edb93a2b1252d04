"""What becomes of a source on the road when nothing breaks, and what each kind of bad input ends in."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import crc32c
import pytest
from bytereel.errors import Integrity, is_state_lost
from bytereel.messages import ENCODE, FINALIZE, INTAKE, QUEUES, event_of
from bytereel.model import INBOX, OUTBOX, WORK, JobState, ObjectInfo, ObjectRef
from bytereel.operations import receive, retry, view
from bytereel.routing import manifest_key, output_key, route_key
from bytereel_codec.errors import Permanent, Temporary
from toys import CONTENTS, LIMITS, Failing, Road, expected, loud, summed


@pytest.mark.parametrize(("key", "content"), CONTENTS)
def test_a_source_becomes_one_output_and_leaves_nothing_in_work(key: str, content: bytes) -> None:
    road = Road()
    job_id = road.put(key, content)
    road.run()
    assert road.job(job_id).state is JobState.DONE
    assert road.output(job_id) == expected(key, content)
    assert road.keys(WORK) == []
    assert road.ports.queue.dead() == []


def test_the_output_lies_below_conversion_and_profile_with_the_folders_of_the_source() -> None:
    road = Road()
    job_id = road.put("archive/fancy/a/b.zip", b"x")
    other = road.put("a b/c+%.zip", b"y")
    road.run()
    assert road.job(job_id).result["output"] == "archive/fancy/a/b.zip.mp4"
    assert road.job(other).result["output"] == "archive/plain/a b/c+%.zip.mp4"
    assert "archive/fancy/a/b.zip.mp4.manifest.json" in road.keys(OUTBOX)


def test_the_manifest_says_what_was_made_of_what() -> None:
    road = Road()
    job_id = road.put("summed/a", b"abcdef")
    road.run()
    job = road.job(job_id)
    manifest = manifest_of(road, job_id)
    assert manifest["job"] == job_id
    assert manifest["source"] == {"key": "summed/a", "version": job.source.version, "bytes": 6}
    assert manifest["output"]["bytes"] == len(summed(b"abcdef"))
    assert manifest["facts"] == {"lengths": 6}
    assert [each["fragment_bytes"] for each in manifest["segments"]] == [4, 2, 2]


def read(road: Road, bucket: str, key: str) -> bytes:
    ref = ObjectRef(bucket, key)
    info = road.ports.objects.stat(ref)
    assert info is not None, key
    buffer = bytearray(info.size_bytes)
    road.ports.objects.read_into(ref, 0, memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("content", [b"", b"a", b"abcdefghijk"])
@pytest.mark.parametrize("passes", [True, False])
def test_an_output_has_its_checksums_in_manifest_and_job(
    content: bytes, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put together from the fragments' own; the SHA-256 where the bytes pass or, if not, by reading them once."""
    road = Road()
    road.ports = replace(road.ports, sha256=True)
    if not passes:
        compose = road.ports.objects.compose
        monkeypatch.setattr(road.ports.objects, "compose", lambda *a, **k: replace(compose(*a, **k), sha256=None))
    job_id = road.put("a b", content)
    road.run()
    output = loud(content)
    expected = {"crc32c": f"{crc32c.crc32c(output):08x}", "sha256": hashlib.sha256(output).hexdigest()}
    manifest = manifest_of(road, job_id)["output"]
    assert {name: manifest[name] for name in expected} == expected
    assert manifest["check"] == "sha256sum 'a b.mp4'"
    assert {name: road.job(job_id).result[f"output_{name}"] for name in expected} == expected


def test_without_being_asked_for_no_output_is_read_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    road.run()
    assert set(manifest_of(road, job_id)["output"]) == {"key", "bytes", "crc32c"}


def test_an_output_that_the_store_gives_back_otherwise_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    road = Road()
    road.ports = replace(road.ports, sha256=True)
    compose = road.ports.objects.compose

    def hurt(ref: ObjectRef, head: bytes, parts: Any, tail: bytes, **named: Any) -> ObjectInfo:
        stored = compose(ref, head, parts, tail[:-1] + b"?", **named)
        return replace(stored, sha256=None)

    monkeypatch.setattr(road.ports.objects, "compose", hurt)
    job_id = road.put("a", b"abcdef")
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    assert "not what was composed" in road.job(job_id).reason


@pytest.mark.parametrize(
    ("key", "record"),
    [
        ("a", "archive/plain/a.error.json"),
        ("archive/a", "archive/plain/a.error.json"),
        ("archive/fancy/x/a", "archive/fancy/x/a.error.json"),
        ("holiday/a", "archive/plain/holiday/a.error.json"),
    ],
)
def test_a_failure_is_told_in_the_outbox_until_the_job_is_retried(key: str, record: str) -> None:
    road = Road()
    job_id = road.put(key, b"REFUSED")
    road.run()
    assert road.keys(OUTBOX) == [record]
    told = json.loads(read(road, OUTBOX, record))
    assert (told["job"], told["state"], told["source"]["key"]) == (job_id, "failed", key)
    assert "this source cannot be taken" in told["reason"]
    retry(road.ports, job_id)
    assert road.keys(OUTBOX) == []
    road.run()
    assert road.keys(OUTBOX) == [record]


def test_a_record_of_a_failure_takes_the_place_of_nothing_else() -> None:
    road = Road()
    taken = ObjectRef(OUTBOX, "archive/plain/a.error.json")
    road.ports.objects.put(taken, [b"somebody's"])
    job_id = road.put("a", b"REFUSED")
    road.run()
    assert read(road, OUTBOX, taken.key) == b"somebody's"
    (mine,) = [key for key in road.keys(OUTBOX) if key != taken.key]
    assert job_id[:12] in mine
    retry(road.ports, job_id)
    assert road.keys(OUTBOX) == [taken.key]


def test_a_record_tells_no_name_where_sealed_outputs_tell_none() -> None:
    road = Road()
    road.ports = replace(road.ports, names_by_job=True)
    job_id = road.put("archive/fancy/folder/name", b"REFUSED")
    road.run()
    assert road.keys(OUTBOX) == [f"archive/fancy/{job_id}.error.json"]
    assert b"folder" not in read(road, OUTBOX, f"archive/fancy/{job_id}.error.json")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("archive/fanxy/a", "fancy"),
        ("archive/Plain/a", "plain"),
        ("archive/fancie/a", "fancy"),
        ("archive/fancier/a", None),
        ("archive/fan/a/b", "fancy"),
        ("archive/fanciers/a", None),
        ("archive/fanxy", None),
        ("fanxy/a", None),
        ("archive/holiday/a", None),
    ],
)
def test_a_folder_that_is_nearly_a_profile_is_refused_with_the_right_name(key: str, meant: str | None) -> None:
    road = Road()
    job_id = road.put(key, b"abcd")
    road.run()
    job = road.job(job_id)
    assert (job.state is JobState.FAILED) == (meant is not None)
    assert meant is None or f"nearly {meant!r}" in job.reason


@pytest.mark.parametrize("length", [905, 946, 947, 1024])
def test_a_key_too_long_for_its_output_is_refused_before_any_work(length: int) -> None:
    """On both sides of the bound: whatever is begun is done, and whatever cannot be named is not begun."""
    road = Road()
    folders = "/".join(["f" * 99] * 9)
    name = "n" * (length - len(folders) - 1) if length - len(folders) - 1 < 200 else "n" * 200
    road_key = f"{folders}/{name}"
    job_id = road.put(road_key, b"abcd")
    road.run()
    job = road.job(job_id)
    if job.state is JobState.DONE:
        assert max(len(key) for key in road.keys(OUTBOX)) <= 1024
    else:
        assert (job.state, job.segments_total) == (JobState.FAILED, 0)
        assert "shorten its folders" in job.reason
    assert (job.state is JobState.DONE) == (length <= 946)


def test_a_failure_that_cannot_be_told_fails_the_job_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    road = Road()

    def put(*_: Any, **__: Any) -> ObjectInfo:
        raise Temporary("store.full", "no space")

    job_id = road.put("a", b"REFUSED")
    monkeypatch.setattr(road.ports.objects, "put", put)
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    assert f"job {job_id}: its failure is not told in the outbox: no space" in caplog.text
    assert "put off" not in caplog.text


def test_two_jobs_of_one_key_have_records_of_their_own() -> None:
    road = Road()
    first = road.put("a", b"REFUSED")
    road.run()
    second = road.put("a", b"REFUSED again")
    road.run()
    records = [json.loads(read(road, OUTBOX, key)) for key in road.keys(OUTBOX)]
    assert {record["job"] for record in records} == {first, second}
    retry(road.ports, first)
    (left,) = road.keys(OUTBOX)
    assert json.loads(read(road, OUTBOX, left))["job"] == second


def manifest_of(road: Road, job_id: str) -> dict[str, Any]:
    ref = ObjectRef(OUTBOX, str(road.job(job_id).result["manifest"]))
    buffer = bytearray(road.ports.objects.stat(ref).size_bytes)
    road.ports.objects.read_into(ref, 0, memoryview(buffer))
    return json.loads(buffer)


def test_what_hides_its_source_says_nothing_of_it_beside_the_output_or_in_its_row() -> None:
    road = Road()
    road.loud.hides_source = True
    job_id = road.put("archive/fancy/folder/name", b"abcdef")
    road.run()
    manifest = manifest_of(road, job_id)
    assert {"source", "expansion"}.isdisjoint(manifest)
    assert set(manifest["segments"][0]) == {"index", "stage", "attempt", "fragment_bytes", "crc32c"}
    assert manifest["output"]["key"] == "archive/fancy/folder/name.mp4"
    job = road.job(job_id)
    assert (job.source.version, job.source_bytes, job.result["expansion"]) == ("", 0, None)
    shown = view(job, 1.0)
    assert shown["source_bytes"] is shown["bytes_per_second"] is shown["expansion"] is None
    assert road.output(job_id) == loud(b"abcdef")


def test_an_output_that_is_named_by_its_job_has_no_word_of_the_sources_key() -> None:
    road = Road()
    road.loud.hides_source = road.loud.named_by_job = True
    job_id = road.put("archive/fancy/folder/name", b"abcdef")
    road.run()
    key = f"archive/fancy/{job_id}.mp4"
    assert road.keys(OUTBOX) == [key, f"{key}.manifest.json"]
    assert road.output(job_id) == loud(b"abcdef")
    assert "folder" not in json.dumps(manifest_of(road, job_id))


def test_fragments_are_the_workers_own_and_an_output_as_open_as_its_conversion_says() -> None:
    road = Road()
    road.loud.mode = 0o640
    job_id = road.put("a", b"abcdef")
    road.deliver_one()
    road.deliver_one()
    assert {info.mode for info in road.ports.objects.list(WORK)} == {0o600}
    road.run()
    assert road.job(job_id).state is JobState.DONE
    assert {info.mode for info in road.ports.objects.list(OUTBOX)} == {0o640}


def test_the_log_tells_jobs_by_their_ids_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    road = Road()
    job_id = road.put("folder/some-name", b"x" * 1234)
    road.run()
    assert job_id in caplog.text
    assert not any(word in caplog.text for word in ("some-name", "folder", "1234"))


def test_an_event_heard_twice_makes_one_job_and_converts_once() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    source = road.ports.objects.stat(ObjectRef(INBOX, "a")).ref
    road.ports.queue.send(INTAKE, [event_of(source)] * 3)
    road.run()
    road.ports.queue.send(INTAKE, [event_of(source)])
    road.run()
    assert road.output(job_id) == loud(b"abcdefgh")
    assert set(road.loud.finished.values()) == {1}
    assert len(road.ports.jobs.list()) == 1


def test_a_source_that_is_replaced_before_intake_becomes_the_job_of_its_newest_bytes() -> None:
    road = Road()
    old, new = road.put("a", b"old"), road.put("a", b"new")
    road.run()
    assert road.job(old).state is JobState.FAILED
    assert "replaced" in road.job(old).reason
    assert road.output(new) == loud(b"new")


def test_outputs_of_one_name_do_not_replace_each_other() -> None:
    road = Road()
    jobs = {road.put(key, content): content for key, content in (("a", b"one"), ("loud/a", b"two"), ("a", b"three"))}
    road.run()
    done = {job_id: content for job_id, content in jobs.items() if road.job(job_id).state is JobState.DONE}
    assert len(done) >= 2
    assert all(road.output(job_id) == loud(content) for job_id, content in done.items())
    again = road.put("a", b"four")
    road.run()
    assert road.output(again) == loud(b"four")
    assert all(road.output(job_id) == loud(content) for job_id, content in done.items())
    assert len({road.job(job_id).result["manifest"] for job_id in [*done, again]}) == len(done) + 1


def test_the_event_of_a_source_that_is_gone_leaves_a_failed_job_that_says_so() -> None:
    road = Road()
    job_id = road.put("a", b"abc")
    road.ports.objects.delete(ObjectRef(INBOX, "a"))
    assert road.deliver_one()
    assert not road.deliver_one()
    assert road.job(job_id).state is JobState.FAILED
    assert "removed" in road.job(job_id).reason
    assert road.ports.queue.dead() == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"REFUSED", "this source cannot be taken (try another)"),
        (b"abcdef!h", "there is an exclamation mark (calm down)"),
    ],
)
def test_a_source_that_cannot_be_converted_fails_with_the_reason_of_the_conversion(content: bytes, reason: str) -> None:
    road = Road()
    job_id = road.put("a", content)
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    assert road.job(job_id).reason == reason


def test_a_source_that_changes_while_it_is_encoded_fails_and_its_new_bytes_are_another_job() -> None:
    road = Road()
    old = road.put("a", b"abcdefgh")
    road.deliver_one()
    new = road.put("a", b"ijkl")
    road.run()
    assert road.job(old).state is JobState.FAILED
    assert road.output(new) == loud(b"IJKL")


@pytest.mark.parametrize(
    ("queue", "body"),
    [
        (INTAKE, {"bucket": OUTBOX, "key": "archive/plain/a.mp4", "version": "v1"}),
        (INTAKE, {"bucket": INBOX}),
        (INTAKE, {"bucket": INBOX, "key": "../a", "version": ""}),
        (ENCODE, {"job": "x"}),
        (ENCODE, {"index": 1}),
        (FINALIZE, {}),
    ],
)
def test_a_message_that_means_nothing_is_buried_at_once(queue: str, body: dict[str, object]) -> None:
    road = Road()
    road.ports.queue.send(queue, [body])
    road.deliver_one()
    assert len(road.ports.queue.dead()) == 1
    assert road.ports.jobs.list() == []


@pytest.mark.parametrize("fail_at", range(1, 6))
def test_a_state_that_is_lost_says_nothing_of_a_message_or_its_job(fail_at: int) -> None:
    road = Road()
    job_id = road.put("archive/a", b"abcdefgh")
    lost = Failing(road.ports, fail_at, after=False, error=lambda: Integrity("state.replaced", "lost"), for_good=False)
    raised = 0
    while any(road.ports.queue.size(queue) for queue in QUEUES):
        try:
            if not road.deliver_one(lost.ports):
                road.clock.advance(LIMITS.lease_seconds)
        except Integrity as error:
            assert is_state_lost(error)
            raised += 1
    assert raised == 1
    assert road.ports.queue.dead() == []
    assert road.job(job_id).state == JobState.DONE


@pytest.mark.parametrize(("queue", "body"), [(ENCODE, {"job": "x", "index": 0}), (FINALIZE, {"job": "x"})])
def test_a_message_about_an_absent_job_is_dropped(queue: str, body: dict[str, object]) -> None:
    road = Road()
    road.ports.queue.send(queue, [body])
    road.run()
    assert road.ports.queue.dead() == []


@pytest.mark.parametrize(
    ("key", "route"),
    [
        ("a.zip", ("archive", "plain", "a.zip")),
        ("archive", ("archive", "plain", "archive")),
        ("archive/a.zip", ("archive", "plain", "a.zip")),
        ("archive/fancy", ("archive", "plain", "fancy")),
        ("archive/fancy/a.zip", ("archive", "fancy", "a.zip")),
        ("archive/other/a.zip", ("archive", "plain", "other/a.zip")),
        ("fancy/a.zip", ("archive", "plain", "fancy/a.zip")),
        ("summed/fancy/x/y", ("summed", "fancy", "x/y")),
    ],
)
def test_a_key_names_conversion_and_profile_or_neither(key: str, route: tuple[str, str, str]) -> None:
    found = route_key(key, Road().conversions)
    assert (found.conversion, found.profile, found.path) == route


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\x00"])
def test_an_output_name_that_is_no_single_component_is_refused(name: str) -> None:
    with pytest.raises(Permanent):
        output_key(route_key("a", Road().conversions), name)


@pytest.mark.parametrize("name", ["a", "x" * 255, "ü" * 127, "\U0001f3ac" * 63, "ü" * 120])
def test_a_manifest_has_a_name_that_a_file_system_takes(name: str) -> None:
    found = manifest_key(f"archive/{name}")
    assert found.startswith("archive/")
    assert len(found.partition("/")[2].encode()) <= 255


def test_a_message_that_nobody_understands_ends_no_job() -> None:
    road = Road()
    job_id = road.put("a", b"abcdefgh")
    road.deliver_one()
    road.ports.queue.send("encode", [{"job": job_id, "index": "boo"}, {"job": job_id, "index": 10**30}])
    road.run()
    assert road.ports.jobs.get(job_id).state is JobState.DONE
    assert len(road.ports.queue.dead()) == 2


def test_an_object_at_the_output_that_no_job_claims_is_not_replaced() -> None:
    road = Road()
    theirs = ObjectRef(OUTBOX, "archive/plain/a.mp4")
    road.ports.objects.put(theirs, [b"somebody's"])
    job_id = road.put("a", b"abcd")
    road.run()
    job = road.ports.jobs.get(job_id)
    assert job.state is JobState.DONE
    assert job.result["output"] != theirs.key
    assert road.ports.objects.stat(theirs).size_bytes == len(b"somebody's")


def test_an_event_without_a_version_makes_no_job_that_could_read_two_versions() -> None:
    road = Road()
    stored = road.ports.objects.put(ObjectRef(INBOX, "a"), [b"abcd"])
    road.ports.queue.send(INTAKE, [{"bucket": "inbox", "key": key, "version": ""} for key in ("a", "gone")])
    road.run()
    jobs = {job.source.key: job for job in road.ports.jobs.list()}
    assert (jobs["a"].state, jobs["a"].source.version) == (JobState.DONE, stored.ref.version)
    assert (jobs["gone"].state, jobs["gone"].source.version) == (JobState.FAILED, "")
    retry(road.ports, jobs["gone"].id)
    road.run()
    assert road.ports.jobs.get(jobs["gone"].id).state is JobState.FAILED


def test_a_source_of_another_size_than_its_job_knows_is_not_planned() -> None:
    road = Road()
    job_id = road.put("a", b"abcdef")
    source = road.ports.objects.stat(ObjectRef(INBOX, "a"))
    receive(road.ports, replace(source, size_bytes=5), "archive", "plain")
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    assert "removed or replaced" in road.job(job_id).reason


@pytest.mark.parametrize(("bytes_max", "state"), [(8, JobState.DONE), (7, JobState.FAILED)])
def test_an_output_that_the_store_could_not_hold_is_refused_before_it_is_encoded(
    bytes_max: int, state: JobState
) -> None:
    road = Road()
    road.ports = replace(road.ports, object_bytes_max=bytes_max)
    plan = road.loud.plan
    road.loud.plan = lambda *arguments: replace(plan(*arguments), output_bytes=8)
    job_id = road.put("a", b"abcdef")
    road.run()
    assert road.job(job_id).state is state
    if state is JobState.FAILED:
        assert "would have about 8 bytes, and the store takes 7" in road.job(job_id).reason
        assert not road.loud.finished


def composing(road: Road, stored: Callable[[bytes], bytes | None], told_bytes: int | None) -> None:
    """Have the store keep something else of a composed output, and tell of it that size (None: the true one)."""
    compose, objects = road.ports.objects.compose, road.ports.objects

    def lying(ref: ObjectRef, *pieces: object, **named: object) -> ObjectInfo:
        info = compose(ref, *pieces, **named)
        content = bytearray(info.size_bytes)
        objects.read_into(ref, 0, memoryview(content))
        kept = stored(bytes(content))
        objects.delete(ref)
        if kept is not None:
            info = objects.put(ref, [kept])
        return info if told_bytes is None else replace(info, size_bytes=told_bytes)

    objects.compose = lying


@pytest.mark.parametrize(
    ("stored", "told_bytes", "actual"),
    [
        (lambda content: content[:-1], 8, 7),
        (lambda content: content + b"!", 8, 9),
        (lambda content: None, 8, -1),
        (lambda content: content[:-1], None, 7),
        (lambda content: content, 7, 8),
    ],
    ids=["short", "long", "gone", "short and told", "whole and told short"],
)
def test_an_output_that_the_store_keeps_in_another_size_is_not_the_output(
    stored: Callable[[bytes], bytes | None], told_bytes: int | None, actual: int
) -> None:
    road = Road()
    honest = road.ports.objects.compose
    composing(road, stored, told_bytes)
    job_id = road.put("a", b"abcdef")
    road.run()
    assert road.job(job_id).state is JobState.FAILED
    assert f"the stored output has {actual} bytes instead of 8" in road.job(job_id).reason
    assert road.keys(WORK) != [], "a retry needs the fragments"
    road.ports.objects.compose = honest
    retry(road.ports, job_id)
    road.run()
    assert road.output(job_id) == loud(b"abcdef")
    assert set(road.loud.finished.values()) == {1}

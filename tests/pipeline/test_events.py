"""What stores say when an object appears: every shape they have, and every kind of nonsense."""

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from bytereel.errors import Permanent
from bytereel.events import RECORDS_MAX, body_of, is_marker, jobs_in, sources_in, version_of
from bytereel.messages import ENCODE, INTAKE, event_of
from bytereel.model import INBOX, Location, ObjectRef, job_id_of
from hypothesis import example, given
from hypothesis import strategies as st

PLACE = Location("uploads", "in/")
KEYS = [
    "a",
    "archive/a b.zip",
    "archive/a+b",
    "100%",
    "a%20b",
    "été/日本.txt",
    "deep/er/still",
    "q?x=1&y#z",
    "\U0001f4fc",
]
KEY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda key: not key.endswith("/"))


def record(
    key: str, *, bucket: str = PLACE.bucket, name: str = "ObjectCreated:Put", encode: Any = quote_plus, **stored: Any
) -> dict[str, Any]:
    """A record of a notification; `stored` is what it says of the object beside its key."""
    return {
        "eventVersion": "2.1",
        "eventName": name,
        "s3": {"bucket": {"name": bucket}, "object": {"key": encode(key), **stored}},
    }


def notification(key: str, **said: Any) -> dict[str, Any]:
    return {"Records": [record(key, **said)]}


def minio(key: str, **said: Any) -> dict[str, Any]:
    name = f"s3:{said.pop('name', 'ObjectCreated:Put')}"
    found = record(key, name=name, **said)
    return {"EventName": name, "Key": f"{found['s3']['bucket']['name']}/{key}", "Records": [found]}


def bridge(key: str, *, bucket: str = PLACE.bucket, name: str = "Object Created", **stored: Any) -> dict[str, Any]:
    renamed = {{"versionId": "version-id", "eTag": "etag"}.get(word, word): value for word, value in stored.items()}
    detail = {"version": "0", "bucket": {"name": bucket}, "object": {"key": key, **renamed}}
    return {"version": "0", "source": "aws.s3", "detail-type": name, "detail": detail}


def by_topic(key: str, **said: Any) -> dict[str, Any]:
    """A notification as a topic of SNS passes it on to a queue."""
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:a:1:t", "Message": json.dumps(notification(key, **said))}


def bridge_by_topic(key: str, **said: Any) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:a:1:t", "Message": json.dumps(bridge(key, **said))}


def by_topic_to_a_function(key: str, **said: Any) -> dict[str, Any]:
    return {"Records": [{"EventSource": "aws:sns", "Sns": by_topic(key, **said)}]}


STORES = [notification, minio, bridge, by_topic, by_topic_to_a_function]


@pytest.mark.parametrize(
    "event",
    [
        {**by_topic("a"), "Message": "no JSON"},
        {**by_topic("a"), "Message": None},
        {**by_topic("a"), "Message": json.dumps([1])},
        {**by_topic("a"), "Message": json.dumps(by_topic("a"))},
        {"Records": [{"Sns": "text"}]},
        {"Records": [{"Sns": {"Message": 7}}]},
        {"Records": [{"Sns": by_topic("a")}, {"Sns": by_topic("b")}]},
    ],
)
def test_a_topic_that_passes_on_no_event_of_a_store_is_refused(event: Any) -> None:
    with pytest.raises(Permanent) as raised:
        sources_in(event, PLACE)
    assert raised.value.error_id in ("event.malformed", "message.malformed")


def test_a_topic_passes_on_what_a_bridge_says_too() -> None:
    assert sources_in(bridge_by_topic("in/a", versionId="7"), PLACE) == [ObjectRef(INBOX, "a", "7")]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("shape", STORES)
def test_every_shape_names_the_very_key(shape: Any, key: str) -> None:
    (source,) = sources_in(shape(f"in/{key}", versionId="v1", eTag="abc"), PLACE)
    assert source == ObjectRef(INBOX, key, "v1")


@given(key=KEY_TEXT, prefix=st.sampled_from(["", "in/", "a b+%/"]))
def test_any_key_survives_every_shape(key: str, prefix: str) -> None:
    place = Location(PLACE.bucket, prefix)
    for shape in STORES:
        assert [source.key for source in sources_in(shape(prefix + key), place)] == [key]


def test_a_key_encoded_with_percent_20_is_the_one_encoded_with_plus() -> None:
    for encode in (quote, quote_plus, lambda key: quote(key, safe="")):
        (source,) = sources_in(notification("in/a b/c+d é", encode=encode), PLACE)
        assert source.key == "a b/c+d é"


def test_the_keys_of_a_bridge_are_not_decoded() -> None:
    (source,) = sources_in(bridge("in/a+b%20c%2Fd"), PLACE)
    assert source.key == "a+b%20c%2Fd"


def test_one_event_may_hold_several_records_and_keeps_their_order() -> None:
    records = [record(f"in/{number}", versionId=f"v{number}") for number in range(5)]
    records.insert(2, record("in/gone", name="ObjectRemoved:Delete"))
    assert sources_in({"Records": records}, PLACE) == [ObjectRef(INBOX, str(n), f"v{n}") for n in range(5)]


@pytest.mark.parametrize(
    "name", ["Put", "Post", "Copy", "CompleteMultipartUpload", "PutTagging", "SomethingThatIsYetToCome"]
)
def test_every_verb_of_a_creation_is_one(name: str) -> None:
    assert len(sources_in(notification("in/a", name=f"ObjectCreated:{name}"), PLACE)) == 1
    assert len(sources_in(minio("in/a", name=f"ObjectCreated:{name}"), PLACE)) == 1


@pytest.mark.parametrize(
    "name",
    ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "ObjectAccessed:Get", "LifecycleExpiration:Delete"],
)
def test_what_creates_nothing_is_no_source_wherever_it_happened(name: str) -> None:
    for bucket in (PLACE.bucket, "another"):
        for key in ("in/a", "elsewhere/a"):
            assert sources_in(notification(key, bucket=bucket, name=name), PLACE) == []
            assert sources_in(minio(key, bucket=bucket, name=name), PLACE) == []


@pytest.mark.parametrize("name", ["Object Deleted", "Object Tags Added", "Object Restore Completed", "", None])
def test_a_bridge_that_tells_of_something_else_names_no_source(name: Any) -> None:
    assert sources_in(bridge("in/a", name=name), PLACE) == []
    assert sources_in(bridge("a", name=name, bucket="another"), PLACE) == []


def test_a_test_event_names_no_source_whatever_its_bucket() -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-21T00:00:00Z", "Bucket": "another"}
    assert sources_in(event, PLACE) == []
    assert jobs_in(INTAKE, event, PLACE) == []


@pytest.mark.parametrize("key", ["in/", "in/folder/", "in/deep/er/"])
@pytest.mark.parametrize("shape", STORES)
def test_a_folder_marker_is_no_source(shape: Any, key: str) -> None:
    assert sources_in(shape(key), PLACE) == []
    assert is_marker(key)
    assert not is_marker(key + "a")


def test_a_message_of_the_road_itself_is_the_source_it_names_as_it_stands() -> None:
    for key in KEYS:
        source = ObjectRef(INBOX, key, "v1")
        assert sources_in(event_of(source), PLACE) == [source]
    assert sources_in({"bucket": INBOX, "key": "folder/", "version": ""}, PLACE) == []


@pytest.mark.parametrize("shape", STORES)
def test_an_object_of_another_bucket_is_refused(shape: Any) -> None:
    for bucket in ("another", "", "uploads2", "UPLOADS"):
        assert refusal_of(shape("in/a", bucket=bucket)) == "event.foreign_bucket"


def test_a_message_about_another_bucket_of_the_road_is_refused() -> None:
    for bucket in ("outbox", "work", PLACE.bucket):
        assert refusal_of({"bucket": bucket, "key": "a", "version": ""}) == "event.foreign_bucket"


@pytest.mark.parametrize("shape", STORES)
def test_an_object_under_another_prefix_is_refused(shape: Any) -> None:
    for key in ("a", "out/a", "in", "inn/a", "IN/a", "/in/a"):
        assert refusal_of(shape(key)) == "event.foreign_prefix"


def test_the_prefix_is_compared_with_the_key_as_it_is_and_not_as_it_is_encoded() -> None:
    place = Location(PLACE.bucket, "a b+c/")
    for shape in STORES:
        assert [source.key for source in sources_in(shape("a b+c/d"), place)] == ["d"]
    assert sources_in(notification("in/a", encode=lambda _: "in%2Fa"), PLACE)[0].key == "a"


@pytest.mark.parametrize(
    ("version_id", "etag", "version"),
    [
        ("v1", '"abc"', "v1"),
        ("null", '"abc"', "abc"),
        ("", "abc", "abc"),
        (None, '"abc-2"', "abc-2"),
        (None, None, ""),
        (None, "", ""),
        (None, '""', ""),
    ],
)
def test_a_version_is_the_stores_own_where_it_keeps_versions_else_the_etag(
    version_id: str | None, etag: str | None, version: str
) -> None:
    assert version_of(version_id, etag) == version
    for shape in STORES:
        assert sources_in(shape("in/a", versionId=version_id, eTag=etag), PLACE)[0].version == version


def test_all_shapes_of_one_upload_are_one_job() -> None:
    said = {"versionId": "v1", "eTag": "abc", "sequencer": "18A"}
    jobs = {job for shape in STORES for job in jobs_in(INTAKE, shape("in/archive/é b", **said), PLACE)}
    assert jobs == {job_id_of(ObjectRef(INBOX, "archive/é b", "v1"))}


def test_messages_of_other_queues_name_their_job() -> None:
    assert jobs_in(ENCODE, {"job": "j", "index": 3}, PLACE) == ["j"]


def refusal_of(event: Any) -> str:
    with pytest.raises(Permanent) as refused:
        sources_in(event, PLACE)
    json.dumps(refused.value.to_dict())
    return refused.value.error_id


def broken(**changes: Any) -> dict[str, Any]:
    """A notification of one record with parts of it replaced, or left out where the change is None."""
    found = record("in/a", eTag="abc")
    for path, value in changes.items():
        *way, last = path.split("__")
        inner: Any = found
        for step in way:
            inner = inner[step]
        inner[last] = value
        if value is None:
            del inner[last]
    return {"Records": [found]}


@pytest.mark.parametrize("value", [None, 3, "x", [], True])
@pytest.mark.parametrize("path", ["s3", "s3__bucket", "s3__object", "eventName", "s3__bucket__name", "s3__object__key"])
def test_a_record_with_a_part_of_another_kind_is_refused_or_names_nothing(path: str, value: Any) -> None:
    try:
        assert sources_in(broken(**{path: value}), PLACE) == []
    except Permanent as refused:
        assert refused.error_id.startswith("event.")


@pytest.mark.parametrize(
    "event",
    [
        {"Records": None},
        {"Records": 3},
        {"Records": "x"},
        {"Records": {"0": record("in/a")}},
        {"Records": [None]},
        {"Records": [3]},
        {"Records": ["x"]},
        {"Records": [[]]},
        {"Records": [{}]},
        {"Records": [record("in/a"), 3]},
        {"Records": [record("in/a")] * (RECORDS_MAX + 1)},
        notification("x", encode=lambda _: "%ff"),
        notification("x", encode=lambda _: 3),
        notification("in/x", eTag=3),
        {"detail": None},
        {"detail": 3},
        {"detail": []},
        {"detail": {"bucket": {"name": "uploads"}}},
        {"detail": {"object": {"key": "in/a"}}},
        {"detail-type": "Object Created", "detail": {"bucket": {"name": 3}, "object": {"key": "in/a"}}},
        {"detail-type": "Object Created", "detail": {"bucket": {"name": "uploads"}, "object": {"key": 3}}},
    ],
    ids=lambda event: json.dumps(event)[:40],
)
def test_what_no_store_sends_is_refused(event: Any) -> None:
    assert refusal_of(event) == "event.malformed"


@pytest.mark.parametrize(
    "event", [{}, {"a": 1}, {"bucket": "inbox"}, {"bucket": "inbox", "key": "", "version": ""}, {"Event": "s3:Other"}]
)
def test_a_message_that_says_nothing_is_refused(event: Any) -> None:
    assert refusal_of(event) == "message.malformed"


def test_as_many_records_as_are_allowed_are_read() -> None:
    assert len(sources_in({"Records": [record("in/a")] * RECORDS_MAX}, PLACE)) == RECORDS_MAX


def test_a_refusal_shows_no_more_than_the_start_of_what_was_sent() -> None:
    with pytest.raises(Permanent) as refused:
        sources_in({"Records": ["x" * 10_000]}, PLACE)
    assert len(json.dumps(refused.value.to_dict())) < 1000


@pytest.mark.parametrize("text", ["", "x", "[]", "3", "null", '"x"', "{", "{'a': 1}", '{"a": 1}x', "9" * 10_000])
def test_a_text_that_is_no_object_of_json_is_refused(text: str) -> None:
    with pytest.raises(Permanent) as refused:
        body_of(text)
    assert refused.value.error_id == "event.malformed"


def test_a_text_is_read_as_json() -> None:
    assert body_of(json.dumps(notification("in/é"))) == notification("in/é")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.sampled_from([PLACE.bucket, "in/a", "in/%E9", "%", "Object Created", "ObjectCreated:Put", "s3:TestEvent"])


@st.composite
def mangled(draw: st.DrawFn) -> Any:
    """An event of some shape, in which some values became something else."""
    event = draw(st.sampled_from(STORES))("in/a", versionId="v1", eTag="abc")
    for _ in range(draw(st.integers(1, 3))):
        inner: Any = event
        while True:
            places = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            if isinstance(inner[place], dict | list) and draw(st.booleans()):
                inner = inner[place]
                continue
            if isinstance(inner, dict) and draw(st.booleans()):
                del inner[place]
            else:
                inner[place] = draw(JSON | PARTS)
            break
    return event


@given(event=mangled() | st.dictionaries(st.sampled_from(["Records", "detail", "Event", "bucket", "key"]), JSON))
@example(event={"Records": [], "detail": {}})
def test_whatever_is_sent_is_refused_as_permanent_or_names_sources(event: Any) -> None:
    try:
        sources = sources_in(event, PLACE)
    except Permanent as refused:
        assert refused.error_id in {
            "event.malformed",
            "event.foreign_bucket",
            "event.foreign_prefix",
            "message.malformed",
        }
    else:
        assert all(source.bucket == INBOX and source.key and len(job_id_of(source)) == 26 for source in sources)


@given(text=st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_whatever_text_is_sent_is_refused_as_permanent_or_read(text: str) -> None:
    try:
        assert isinstance(body_of(text), dict)
    except Permanent as refused:
        assert refused.error_id == "event.malformed"


@pytest.mark.parametrize("version", [5, True, [1], {"a": 1}, {}])
@pytest.mark.parametrize("shape", STORES)
def test_a_version_that_is_no_text_is_refused(shape: Any, version: Any) -> None:
    assert refusal_of(shape("in/a", versionId=version)) == "event.malformed"


@pytest.mark.parametrize(
    "event",
    [
        notification("in/a", encode=lambda _: "in/\ud800"),
        bridge("in/\ud800"),
        notification("in/a", eTag="\ud800"),
        {"bucket": INBOX, "key": "\ud800", "version": ""},
    ],
    ids=["notification", "bridge", "version", "message"],
)
def test_text_that_is_no_unicode_is_refused(event: Any) -> None:
    assert refusal_of(event) in {"event.malformed", "message.malformed"}


def test_a_text_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(Permanent):
        body_of('{"a":' + "[" * 100_000)


def test_a_foreign_record_beside_others_is_passed_over_lest_it_take_them_with_it() -> None:
    records = [
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": name}, "object": {"key": key, "eTag": "e"}}}
        for name, key in (("another", "a"), ("my-inbox", "b"))
    ]
    found = sources_in({"Records": records}, Location("my-inbox"))
    assert [(source.bucket, source.key) for source in found] == [("inbox", "b")]

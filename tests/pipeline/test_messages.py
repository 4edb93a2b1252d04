"""Messages at their bounds: which segment a message may name, and which queue a job's segments are in."""

import pytest
from bytereel.errors import Permanent
from bytereel.messages import BULK, BULK_SEGMENTS_MIN, ENCODE, SEGMENT_INDEX_MAX, encode_queue_of, segment_of
from bytereel.model import INBOX, Job, JobState, ObjectRef, fragment_key_of


@pytest.mark.parametrize("index", [0, SEGMENT_INDEX_MAX])
def test_a_message_may_name_any_segment_that_a_fragments_key_can(index: int) -> None:
    assert segment_of({"job": "j", "index": index}) == ("j", index)
    assert len(fragment_key_of("j", index, 1)) == len("j/000000.1")


@pytest.mark.parametrize("index", [-1, SEGMENT_INDEX_MAX + 1, 1.0, "1", None])
def test_a_message_that_names_no_such_segment_is_refused(index: object) -> None:
    with pytest.raises(Permanent) as raised:
        segment_of({"job": "j", "index": index})
    assert raised.value.error_id == "message.malformed"


@pytest.mark.parametrize(
    ("segments", "queue"), [(0, ENCODE), (BULK_SEGMENTS_MIN - 1, ENCODE), (BULK_SEGMENTS_MIN, BULK)]
)
def test_the_segments_of_a_huge_job_have_a_queue_of_their_own(segments: int, queue: str) -> None:
    job = Job(
        "j", ObjectRef(INBOX, "a", "v"), 1, "archive", "plain", JobState.PLANNED, 0.0, 0.0, segments_total=segments
    )
    assert encode_queue_of(job) == queue

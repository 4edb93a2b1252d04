"""The inbox where it is a bucket: what a command uploads is one job, whoever else speaks of it."""

import pytest
from bytereel.adapters.s3.inbox import BucketInbox
from bytereel.errors import Permanent
from bytereel.messages import INTAKE, event_of
from bytereel.model import INBOX, JobState, ObjectRef, job_id_of
from toys import Road


def test_an_upload_is_stored_announced_and_converted_once_though_the_bucket_tells_of_it_too() -> None:
    road = Road()
    info = BucketInbox(road.ports.objects, road.ports.queue).upload("archive/a", [b"ab", b"cd"])
    assert road.ports.objects.stat(ObjectRef(INBOX, "archive/a")) == info
    road.ports.queue.send(INTAKE, [event_of(info.ref)])
    road.run()
    assert [job.id for job in road.ports.jobs.list(JobState.DONE)] == [job_id_of(info.ref)]
    assert max(road.loud.finished.values()) == 1


def test_an_upload_that_breaks_off_leaves_neither_object_nor_message() -> None:
    road = Road()

    def chunks():
        yield b"half"
        raise ZeroDivisionError

    inbox = BucketInbox(road.ports.objects, road.ports.queue)
    with pytest.raises(ZeroDivisionError):
        inbox.upload("a", chunks())
    with pytest.raises(Permanent):
        inbox.upload("a//b", [b"x"])
    assert (road.ports.objects.list(INBOX), road.ports.queue.size(INTAKE)) == ([], 0)

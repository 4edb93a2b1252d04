"""One plan for a reel, whoever writes it: the road writes what `encode` writes, and a table learns nothing from it."""

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bytereel.conversions.archive import ArchiveConversion
from bytereel.conversions.protocol import FinishedSegment, Plan
from bytereel_codec.errors import BytereelError
from bytereel_codec.files.ranged import BytesReader, read_range
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.profiles.profiles import PROFILES
from bytereel_codec.reel.parameters import SegmentFacts
from bytereel_codec.writing import reel_plan
from bytereel_codec.writing.encode import EncodeOptions, encode_file
from bytereel_codec.writing.reel_plan import ReelPlan, new_leader, plan_reel
from bytereel_codec.writing.sealed_notes import facts_in, noted_facts, noted_plan, plan_in, working_bytes_in

SECRET = Secret(key=b"k" * 32)
PASSPHRASE = Secret(passphrase=b"correct horse")
CREATED = "2026-01-01T00:00:00+00:00"
SIZE = 123_457
DIGEST = bytes(range(32))


def drawn(count: int) -> bytes:
    """The same for every draw of one length: sealing draws in another order on the road."""
    return bytes(range(count))


def by_road(content: bytes, conversion: ArchiveConversion, profile: str) -> bytes:
    """The reel as the steps put it together, segment by segment."""
    source = BytesReader(content)
    plan = conversion.plan(source, "a.bin", profile)
    stored = json.loads(json.dumps(plan.parameters))
    finished: list[FinishedSegment] = []
    for index in range(len(plan.segments)):
        finished.append(converted(conversion, Plan(stored, plan.segments), index, source, finished))
    assembly = conversion.assemble(stored, finished)
    bodies = [bytes(read_range(finished[i].reader, 0, finished[i].fragment_bytes)) for i in assembly.order]
    return b"".join([bytes(assembly.head), *bodies, bytes(assembly.tail)])


def converted(
    conversion: ArchiveConversion, plan: Plan, index: int, source: BytesReader, earlier: list[FinishedSegment]
) -> FinishedSegment:
    fragment, segment = bytearray(), plan.segments[index]
    before = [each for each in earlier if each.stage < segment.stage]
    chunks = conversion.convert(plan.parameters, segment, index, source, before)
    while True:
        try:
            fragment += next(chunks)
        except StopIteration as end:
            result = json.loads(json.dumps(end.value))
            return FinishedSegment(index, segment.stage, len(fragment), result, BytesReader(bytes(fragment)))


@pytest.mark.parametrize(
    ("size", "profile", "parity", "secret"),
    [
        (0, "archive", 0, None),
        (1, "archive", 0, None),
        (600_000, "archive", 30, None),
        (600_000, "archive", 0, SECRET),
        (600_000, "archive", 30, PASSPHRASE),
        (50_000, "balanced", 50, None),
        (50_000, "rugged", 0, SECRET),
    ],
)
def test_encode_and_the_road_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, profile: str, parity: int, secret: Secret | None
) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "a.bin").write_bytes(content)
    options = EncodeOptions(
        profile=profile, parity_percent=parity, secret=secret, random=drawn, created=CREATED, keep_mode=False
    )
    encode_file(tmp_path / "a.bin", tmp_path / "a.mp4", options)
    monkeypatch.setattr(reel_plan, "_now", lambda: CREATED)
    conversion = ArchiveConversion(parity, secret, drawn)
    assert by_road(content, conversion, profile) == (tmp_path / "a.mp4").read_bytes()


def planned(secret: Secret | None = None, *, mode: int | None = None) -> ReelPlan:
    leader = new_leader("secret-name.txt", PROFILES["archive"], 20.0, mode=mode, created=CREATED)
    return plan_reel(leader, PROFILES["archive"], SIZE, secret=secret)


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("mode", [None, 0o640])
def test_a_plan_comes_back_from_its_values(secret: Secret | None, mode: int | None) -> None:
    plan = planned(secret, mode=mode)
    assert ReelPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    assert plan_in(json.loads(json.dumps(noted_plan(plan, secret))), secret) == plan


def test_the_plan_of_a_stream_gets_its_segments_and_parity_at_its_end() -> None:
    stream = plan_reel(new_leader("a", PROFILES["archive"], 20.0), PROFILES["archive"], None)
    assert (stream.parameters.segments, stream.parity.segments) == (0, 0)
    size = 3 * stream.parameters.segment_span_bytes
    ended = stream.ended(size)
    assert (ended.layout.segments, ended.parameters.segments, ended.parity.segments) == (3, 3, 1)
    assert stream.parameters.segments == 0


def test_the_plan_of_a_file_is_the_same_at_its_end() -> None:
    plan = planned(SECRET)
    assert plan.ended(SIZE) == plan


OLD_REEL = {
    "reel_id": "00112233445566778899aabbccddeeff",
    "geometry": {"name": "144p"},
    "frames_per_segment": 1,
    "segments": 2,
    "groups": 1,
    "columns": 1,
    "compress": True,
    "sealed": False,
    "scrypt_log2_n": 0,
}
OLD_LEADER = {
    "name": "a.bin",
    "kind": "file",
    "profile": "archive",
    "size_bytes": None,
    "segments": None,
    "digest": None,
    "sha256": None,
    "parity_percent": 40.0,
    "parity_segments": 0,
    "created": CREATED,
    "software": "bytereel 0.1.0",
}


@pytest.mark.parametrize("secret", [None, SECRET])
def test_a_job_that_was_planned_by_0_1_goes_on(secret: Secret | None) -> None:
    old: dict[str, Any] = {"reel": {**OLD_REEL, "sealed": secret is not None}, "source_bytes": 60_000}
    old["leader"] = OLD_LEADER
    if secret:
        old["key_check"] = secret.check(bytes.fromhex(str(OLD_REEL["reel_id"])), 0)
    plan = plan_in(old, secret)
    assert (plan.layout.segments, plan.parity.segments, plan.leader.name) == (2, 1, "a.bin")
    facts = SegmentFacts(DIGEST, (10, 20))
    assert facts_in(plan, 0, {"sha256": DIGEST.hex(), "chunk_bytes": [10, 20]}, secret) == facts
    assert working_bytes_in(old) == plan.working_bytes


@pytest.mark.parametrize("secret", [SECRET, PASSPHRASE])
def test_the_notes_of_a_sealed_reel_tell_nothing_of_the_source(secret: Secret) -> None:
    plan = planned(secret, mode=0o640)
    facts = SegmentFacts(DIGEST, (10, 20))
    noted = noted_facts(plan, 3, facts, secret)
    said = json.dumps([noted_plan(plan, secret), noted])
    assert not any(each in said for each in ("secret-name", str(SIZE), DIGEST.hex(), CREATED, ": 416"))
    assert facts_in(plan, 3, noted, secret) == facts
    assert len(noted_plan(plan, secret)["sealed"]) == len(noted_plan(longer_name(plan), secret)["sealed"])


def longer_name(plan: ReelPlan) -> ReelPlan:
    return ReelPlan(plan.parameters, new_leader("x" * 100, PROFILES["archive"]), 10**12, plan.key_check)


def test_the_notes_of_an_open_reel_stand_as_they_are() -> None:
    plan = planned()
    assert noted_plan(plan, None) == plan.to_dict()
    assert noted_facts(plan, 0, SegmentFacts(DIGEST, (1,)), SECRET)["sha256"] == DIGEST.hex()


@pytest.mark.parametrize(
    ("read", "error_id"),
    [
        (lambda plan, noted: facts_in(plan, 3, noted, None), "secret.missing"),
        (lambda plan, noted: facts_in(plan, 3, noted, Secret(key=b"l" * 32)), "secret.changed"),
        (lambda plan, noted: facts_in(plan, 4, noted, SECRET), "plan.damaged"),
        (lambda plan, noted: facts_in(plan, 3, {**noted, "sealed": flipped(noted["sealed"])}, SECRET), "plan.damaged"),
        (lambda plan, noted: facts_in(plan, 3, {**noted, "sealed": "?"}, SECRET), "plan.damaged"),
        (lambda plan, noted: facts_in(plan, 3, {**noted, "sealed": "AAAA"}, SECRET), "plan.damaged"),
        (lambda plan, noted: plan_in({**noted_plan(plan, SECRET), "sealed": noted["sealed"]}, SECRET), "plan.damaged"),
        (lambda plan, noted: plan_in(noted_plan(plan, SECRET), None), "secret.missing"),
    ],
)
def test_a_note_is_read_with_its_own_secret_in_its_own_place_alone(read: Callable[..., Any], error_id: str) -> None:
    plan = planned(SECRET)
    noted = noted_facts(plan, 3, SegmentFacts(DIGEST, (10, 20)), SECRET)
    with pytest.raises(BytereelError) as raised:
        read(plan, noted)
    assert raised.value.error_id == error_id


def flipped(note: str) -> str:
    sealed = bytearray(b64decode(note))
    sealed[-1] ^= 1
    return b64encode(sealed).decode()

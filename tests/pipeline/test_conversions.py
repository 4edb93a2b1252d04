"""The real conversions, without a road around them: what a plan keeps, and what a changed secret does."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bytereel.conversions.archive import DATA_STAGE, PARITY_STAGE, ArchiveConversion
from bytereel.conversions.protocol import FinishedSegment, Plan
from bytereel.errors import Permanent
from bytereel_codec.files.ranged import BytesReader
from bytereel_codec.frame.envelope import Secret
from bytereel_codec.writing.encode import EncodeOptions, encode_file

SOURCE = BytesReader(bytes(100_000))


def planned(secret: Secret | None) -> Plan:
    return ArchiveConversion(secret=secret).plan(SOURCE, "a.bin", "archive")


def converted(plan: Plan, secret: Secret | None) -> Iterator[Any]:
    return ArchiveConversion(secret=secret).convert(plan.parameters, plan.segments[0], 0, SOURCE, [])


@pytest.mark.parametrize("kind", ["key", "passphrase"])
def test_a_secret_that_changed_since_the_plan_is_refused(kind: str) -> None:
    plan = planned(Secret(**{kind: b"k" * 32}))
    assert len(list(converted(plan, Secret(**{kind: b"k" * 32})))) == 2
    with pytest.raises(Permanent) as raised:
        list(converted(plan, Secret(**{kind: b"l" * 32})))
    assert raised.value.error_id == "secret.changed"
    with pytest.raises(Permanent) as raised:
        list(converted(plan, None))
    assert raised.value.error_id == "secret.missing"


def test_a_plan_without_a_secret_stays_open() -> None:
    assert len(list(converted(planned(None), Secret(key=b"k" * 32)))) == 2


def test_the_cost_of_a_sealed_segment_counts_the_derivation_of_its_key() -> None:
    conversion = ArchiveConversion()
    costs = [conversion.segment_cost_bytes(planned(secret).parameters, 0) for secret in (None, Secret(passphrase=b"x"))]
    assert costs[1] - costs[0] >= 60 << 20


def test_a_parity_segment_costs_no_more_than_is_stated_however_many_segments_it_reads() -> None:
    conversion = ArchiveConversion(parity_percent=5)
    source = BytesReader(random.Random(1).randbytes(8_000_000))
    plan = conversion.plan(source, "a.bin", "archive")
    finished = [
        finished_segment(conversion, plan, index, source)
        for index, segment in enumerate(plan.segments)
        if segment.stage == DATA_STAGE
    ]
    assert len(finished) > 20
    list(conversion.convert(plan.parameters, plan.segments[-1], len(plan.segments) - 1, source, finished))  # compiles
    tracemalloc.start()
    parity = conversion.convert(plan.parameters, plan.segments[-1], len(plan.segments) - 1, source, finished)
    assert sum(len(chunk) for chunk in parity) > 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= conversion.segment_cost_bytes(plan.parameters, PARITY_STAGE)


def finished_segment(conversion: ArchiveConversion, plan: Plan, index: int, source: BytesReader) -> FinishedSegment:
    fragment, result = bytearray(), None
    chunks = conversion.convert(plan.parameters, plan.segments[index], index, source, [])
    while result is None:
        try:
            fragment += next(chunks)
        except StopIteration as end:
            result = end.value
    return FinishedSegment(index, DATA_STAGE, len(fragment), result, BytesReader(fragment))


@pytest.mark.parametrize("profile", ["archive", "balanced", "rugged"])
def test_a_manifest_counts_the_pictures_that_encode_counts(tmp_path: Path, profile: str) -> None:
    content = random.Random(3).randbytes(100_000)
    conversion, source = ArchiveConversion(), BytesReader(content)
    plan = conversion.plan(source, "a.bin", profile)
    finished = []
    for index, segment in enumerate(plan.segments):
        fragment = bytearray()
        chunks = conversion.convert(plan.parameters, segment, index, source, [])
        result = None
        while result is None:
            try:
                fragment += next(chunks)
            except StopIteration as stop:
                result = stop.value
        finished.append(FinishedSegment(index, segment.stage, len(fragment), result, BytesReader(bytes(fragment))))
    (tmp_path / "a.bin").write_bytes(content)
    made = encode_file(tmp_path / "a.bin", tmp_path / "a.mp4", EncodeOptions(profile=profile))
    assert conversion.assemble(plan.parameters, finished).facts["pictures"] == made.pictures


def test_the_segments_of_a_sealed_job_are_those_of_a_source_that_fills_them_and_tell_no_size() -> None:
    sources = [BytesReader(bytes(size)) for size in (100_000, 99_999)]
    conversions = ArchiveConversion(secret=Secret(key=b"k" * 32)), ArchiveConversion()
    sealed, opened = ([each.plan(source, "a", "archive").segments for source in sources] for each in conversions)
    assert sealed[0] == sealed[1]
    assert sealed[0][-1].end > 100_000
    assert [segments[-1].end for segments in opened] == [100_000, 99_999]

"""The real conversions, without a road around them: what a plan keeps, and what a changed secret does."""

from collections.abc import Iterator
from typing import Any

import pytest
from bytereel.conversions import Plan
from bytereel.conversions.archive import ArchiveConversion
from bytereel.errors import Permanent
from bytereel_codec.envelope import Secret
from bytereel_codec.ranged import BytesReader

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

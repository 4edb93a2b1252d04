"""What the writers of a reel tell each other through a table that others may read: a plan, and facts of segments.

Of an open reel they stand there as they are. Of a sealed one whatever follows from the source (its name, size and
digests) is closed under a key that comes from the reel's own, so that the table tells no more than the reel does.
Source: NIST SP 800-38D (GCM), RFC 5869 (HKDF).
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bytereel_codec.errors import Integrity
from bytereel_codec.frame.envelope import KEY_BYTES, NONCE_BYTES, Secret
from bytereel_codec.frame.leader import Leader
from bytereel_codec.reel.parameters import ReelParameters, SegmentFacts
from bytereel_codec.writing.reel_plan import Random, ReelPlan, key_of

_INFO = b"bytereel notes"
_PADDED_BYTES = 512  # a note's length tells a name's length in steps of this
_SEALED = "sealed"
_UNKNOWN = Leader("")


def noted_plan(plan: ReelPlan, secret: Secret | None, random: Random = os.urandom) -> dict[str, Any]:
    """The plan as JSON-able values for a table. Raises: as `key_of`."""
    values = plan.to_dict()
    key = key_of(plan, secret)
    if key is None:
        return values
    shown = {name: values.pop(name) for name in ("reel", "key_check")}
    return {**shown, _SEALED: _closed(plan.parameters, key, "plan", values, random)}


def plan_in(values: Mapping[str, Any], secret: Secret | None) -> ReelPlan:
    """The inverse of `noted_plan`; reads also what 0.1 planned. Raises: as `key_of`; Integrity `plan.damaged`."""
    if _SEALED not in values:
        return ReelPlan.from_dict(values)
    shown = ReelPlan(ReelParameters.from_dict(values["reel"]), _UNKNOWN, None, values["key_check"])
    key = key_of(shown, secret)
    assert key is not None, "notes are closed for a sealed reel alone"
    return ReelPlan.from_dict({**values, **_opened(shown.parameters, key, "plan", values[_SEALED])})


def working_bytes_in(values: Mapping[str, Any]) -> int:
    """`ReelPlan.working_bytes` of a noted plan; needs no secret."""
    return ReelPlan(ReelParameters.from_dict(values["reel"]), _UNKNOWN, None).working_bytes


def noted_facts(
    plan: ReelPlan, index: int, facts: SegmentFacts, secret: Secret | None, random: Random = os.urandom
) -> dict[str, Any]:
    """The facts of data segment `index` as JSON-able values for a table. Raises: as `key_of`."""
    values = facts.to_dict()
    key = key_of(plan, secret)
    if key is None:
        return values
    digest = {"sha256": values.pop("sha256")}
    return {**values, _SEALED: _closed(plan.parameters, key, f"segment {index}", digest, random)}


def facts_in(plan: ReelPlan, index: int, values: Mapping[str, Any], secret: Secret | None) -> SegmentFacts:
    """The inverse of `noted_facts`; reads also what 0.1 noted. Raises: as `key_of`; Integrity `plan.damaged`."""
    if _SEALED not in values:
        return SegmentFacts.from_dict(values)
    key = key_of(plan, secret)
    assert key is not None, "notes are closed for a sealed reel alone"
    return SegmentFacts.from_dict({**values, **_opened(plan.parameters, key, f"segment {index}", values[_SEALED])})


def _cipher(parameters: ReelParameters, reel_key: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, parameters.reel_id, _INFO).derive(reel_key))


def _closed(parameters: ReelParameters, reel_key: bytes, about: str, values: Mapping[str, Any], random: Random) -> str:
    """The values as a note that only `_opened` with the same key and `about` reads."""
    text = json.dumps(values, separators=(",", ":")).encode("ascii")
    padded = text.ljust(-(-len(text) // _PADDED_BYTES) * _PADDED_BYTES)
    nonce = random(NONCE_BYTES)
    return b64encode(nonce + _cipher(parameters, reel_key).encrypt(nonce, padded, about.encode())).decode("ascii")


def _opened(parameters: ReelParameters, reel_key: bytes, about: str, note: str) -> dict[str, Any]:
    try:
        sealed = b64decode(note, validate=True)
        cipher = _cipher(parameters, reel_key)
        values: dict[str, Any] = json.loads(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about.encode()))
    except (ValueError, InvalidTag) as error:
        raise Integrity(
            "plan.damaged", f"what was noted about the {about} of a sealed reel was altered", hint="plan it anew"
        ) from error
    return values

"""The error families: what the caller must do about a failure.

`Permanent`: the same call will fail again (dead letter). `Temporary`: try again later. `Integrity`: bytes are not
what they were; stop and look. Every error has a stable id, one clear sentence, often a hint, and facts without
secrets. A bug is none of these and propagates as it is.
"""

from collections.abc import Mapping
from typing import Any


class BytereelError(Exception):
    """Base of the families; raise one of the families, not this.

    Args: `error_id` stable dotted name such as `reel.wrong_key`; `message` one sentence for a user; `hint` what to
    do about it; `facts` JSON-able values (expected, actual, offset, key), never secrets.
    """

    family = "error"

    def __init__(self, error_id: str, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.error_id = error_id
        self.message = message
        self.hint = hint
        self.facts: Mapping[str, Any] = facts

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-able values for users: family, id, message, hint and facts."""
        shown: dict[str, Any] = {"family": self.family, "id": self.error_id, "message": self.message}
        if self.hint:
            shown["hint"] = self.hint
        if self.facts:
            shown["facts"] = dict(self.facts)
        return shown


class Permanent(BytereelError):
    """The same call fails again: reject the input, or mend the settings."""

    family = "permanent"


class Temporary(BytereelError):
    """The same call may succeed later: try again inside a bound."""

    family = "temporary"


class Integrity(BytereelError):
    """Bytes differ from what was written: stop, keep the evidence, repair."""

    family = "integrity"

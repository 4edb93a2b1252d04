"""The error families of the codec, under the name the road uses, and the road's own members."""

from bytereel_codec.errors import BytereelError, Integrity, Permanent, Temporary

__all__ = [
    "BytereelError",
    "Integrity",
    "LeaseLost",
    "Permanent",
    "Temporary",
    "TransitionRefused",
    "is_state_lost",
    "reason_of",
]


class LeaseLost(Temporary):
    """The attempt no longer holds its lease: somebody else may, so drop what was done."""


class TransitionRefused(Temporary):
    """The row was not in a state that the transition starts from: read it again and decide anew."""


def reason_of(error: BytereelError) -> str:
    """The error as one sentence for a user, with what to do about it."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def is_state_lost(error: BaseException) -> bool:
    """Whether the state of the home cannot be used any more: whoever works on it has to end, and to say so."""
    return isinstance(error, Permanent | Integrity) and error.error_id.startswith("state.")

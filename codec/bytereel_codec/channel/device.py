"""What computes the symbols and the parity of lossy reels: this machine's cores, or an NVIDIA card.

A card gives the same pictures, bytes and margins; only the time differs. Nothing of `numba.cuda` is loaded before it
is asked for. Which encoder codes the pictures is another question: see `rehearsal.with_proven_encoder`.
"""

from enum import StrEnum
from functools import lru_cache

from bytereel_codec.errors import Permanent


class Device(StrEnum):
    """What a user may ask for."""

    AUTO = "auto"
    """The card where one answers."""
    CPU = "cpu"
    CUDA = "cuda"


def chosen(device: Device) -> Device:
    """`CPU` or `CUDA`: what that choice comes to on this machine.

    Raises: Permanent `device.none` when a card is asked for and none answers.
    """
    if device == Device.CPU:
        return device
    if has_card():
        return Device.CUDA
    if device == Device.CUDA:
        raise Permanent(
            "device.none",
            "no CUDA card answers on this machine",
            hint="take the CPU, or see to the NVIDIA driver and the CUDA toolkit, as `numba -s` shows them",
        )
    return Device.CPU


@lru_cache(maxsize=1)
def has_card() -> bool:
    """Whether a CUDA card, its driver and a compiler for it answer. Asked once a process."""
    try:
        from numba import cuda
    except ImportError:  # a numba built without it
        return False
    return bool(cuda.is_available())

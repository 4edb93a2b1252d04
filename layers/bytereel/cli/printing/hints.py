"""What to do about an error, in words of the command line: for errors whose remedy is one of its options.

The codec and the road say what is wrong, and what holds for every caller; which option or command helps is known here.
"""

from collections.abc import Mapping
from typing import Any

from bytereel_codec.reading.losses import ALL_LOST

HINTS: Mapping[str, str] = {
    "device.none": "take --device cpu, or see to the NVIDIA driver and the CUDA toolkit, as `numba -s` shows them",
    "encoder.failed": "a card encodes so many streams at once: take fewer workers, or --device cpu",
    "folder.unsafe": "`bytereel decode --range 0:` gives the folder as a tar stream",
    "channel.none": "`bytereel verify` proves every byte of it: it is whole, or it says which bytes are lost",
    "reel.bad_leader": "`bytereel decode --salvage` passes it over",
    "reel.beyond": "it was encoded beyond what its profile stands: `bytereel channel` shows how far, "
    "`bytereel survive` which profile holds",
    "reel.damaged": "`bytereel decode --salvage` writes what is left, with zeros for the rest",
    "reel.none": "was another file meant? A reel of archive that was encoded again has lost its frames; of others "
    "`bytereel channel` shows what is left",
    "reel.sealed": "give the passphrase or key it was sealed with: --passphrase-file or --key-file; for workers "
    "BYTEREEL_PASSPHRASE_FILE or BYTEREEL_KEY_FILE",
    "reel.several": "choose one with --reel: {reels}",
    "reel.unproved": "`bytereel decode --salvage` writes what opens; nothing proves that it is all",
    "reel.cut_off": "`bytereel decode --salvage` writes what is left",
    "reel.unsealed": "leave --passphrase-file and --key-file out, or give --allow-unsealed; for workers "
    "BYTEREEL_ALLOW_UNSEALED=true",
    "source.link_out": "remove the link, or encode a tar stream: tar c FOLDER | bytereel encode - OUT.mp4",
    "source.not_a_file": "pipe it: bytereel encode - OUT.mp4 < FILE",
    "target.member": "`bytereel decode --range 0:` gives the folder as a tar stream",
    "target.exists": "give another name; --force replaces an output that is named on the command line",
}
"""By the error's id; names in braces are the error's facts."""
_KEPT = frozenset({ALL_LOST})
"""Hints of the codec that say more than the ones above."""


def hint_for(error: Mapping[str, Any]) -> str:
    """The hint for an error (see `BytereelError.to_dict`): the command line's own, else the error's."""
    template = HINTS.get(str(error["id"]))
    own = str(error.get("hint") or "")
    if template is None or own in _KEPT:
        return own
    facts = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value
        for name, value in error.get("facts", {}).items()
    }
    try:
        return template.format_map(facts)
    except KeyError:
        return own

"""Where a symbolic link of a folder leads: the one rule for what goes into a reel and for what comes out.

A link must be relative and stay inside wherever it is followed. What stands between its parts may be links too:
`sub/..` is not the folder that `sub` lies in where `sub` is a link. So a target that climbs behind a name is walked, on
the tree as it stands. A link that climbs at its start alone cannot leave as long as every other link stays inside.
"""

import os
from collections import deque

from bytereel_codec.errors import Permanent

DEPTH_MAX = 256
STEPS_MAX = 1024  # of a walk: what a path of 4,096 bytes may take, links on the way included
FOLLOWED_MAX = 40  # links on the way; Linux follows no more either, see path_resolution(7)


def parts_of(path: bytes) -> list[bytes]:
    """The components of a path, those that say nothing left out."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def check_depth(parts: list[bytes]) -> None:
    """Refuse what the standard library's own walks, which recurse, would not come back from.

    Raises: Permanent `folder.too_deep`.
    """
    if len(parts) > DEPTH_MAX + 1:
        raise Permanent("folder.too_deep", f"the folder is more than {DEPTH_MAX} levels deep", expected=DEPTH_MAX)


def leads_out(root: bytes, name: bytes, target: bytes) -> bool:
    """Whether the link `name` below `root` could lead out of it, by itself or through the links that are there now.

    `name` is relative to `root`, its parent a folder and not a link. A target that is empty, takes more than
    `STEPS_MAX` steps or more than `FOLLOWED_MAX` links on the way counts as leading out. What does not exist is taken
    for a folder.
    """
    if not target or target.startswith(b"/") or b"\x00" in target:
        return True
    place, coming = parts_of(name)[:-1], deque(parts_of(target))
    climbs, followed = coming.count(b".."), 0
    for _ in range(STEPS_MAX):
        if not climbs:
            return False
        part = coming.popleft()
        if part == b"..":
            climbs -= 1
            if not place:
                return True
            place.pop()
            continue
        link = _link_at(b"/".join([root, *place, part]))
        if link is None:
            place.append(part)
        elif link.startswith(b"/") or followed == FOLLOWED_MAX:
            return True
        else:
            followed += 1
            coming.extendleft(reversed(parts_of(link)))
            climbs = coming.count(b"..")
    return True


def _link_at(path: bytes) -> bytes | None:
    """What the link at that path says, None where there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return None

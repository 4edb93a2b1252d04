"""The walk over a bucket's folder in key order, which follows no link."""

import itertools
import logging
import os
import stat as modes
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bytereel.adapters.folder.beneath import Entry, LinkInTheWayError, entries_of, opened_folder, says_absent, stat_in
from bytereel.adapters.keys import KEY_BYTES_MAX

log = logging.getLogger(__name__)

STAT_RUN_MAX = 1000


def _nothing(key: str) -> None:
    del key


def walk(
    top: Path,
    bucket: str,
    prefix: str,
    after: str,
    above: tuple[str, ...] = (),
    *,
    on_odd: Callable[[str], None] = _nothing,
) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below the bucket in key order, as (key, stat), for keys with `prefix` and behind `after`.

    Opens only folders that can hold such a key, and at most one at a time. A file that vanishes meanwhile is left
    out, and so is what no key can name: paths longer than a key may be. Links are not followed: `on_odd` is told of
    each, and of what else is neither file nor folder. Raises: LinkInTheWayError where the bucket is one.
    """
    folder, key_above = (bucket, *above), "".join(f"{name}/" for name in above)
    entries = _entries(top, folder)
    for entry in entries:
        if not entry.is_folder and not entry.is_file:
            on_odd(key_above + entry.name)
    for is_folder, run in itertools.groupby(_sorted(entries), key=lambda entry: entry[1]):
        keys = [key_above + name for name, _ in run if _can_be_key(key_above + name)]
        if is_folder:
            for key in keys:
                if _may_hold(key, prefix, after):
                    below = (*above, key[len(key_above) : -1])
                    yield from walk(top, bucket, prefix, after, below, on_odd=on_odd)
        else:
            yield from _stats(top, folder, [key for key in keys if key > after and key.startswith(prefix)])


def folders_below(top: Path, bucket: str) -> Iterator[Path]:
    """The bucket's folder and those below it, each before those in it; no link is followed. Raises: as `walk`."""
    waiting: list[tuple[str, ...]] = [(bucket,)]
    while waiting:
        folder = waiting.pop()
        yield Path(top, *folder)
        waiting += [(*folder, name[:-1]) for name, is_folder in _sorted(_entries(top, folder)) if is_folder]


def _can_be_key(key: str) -> bool:
    if len(os.fsencode(key)) <= KEY_BYTES_MAX:
        return True
    log.warning("left out, as its path is longer than %d bytes: %r ...", KEY_BYTES_MAX, key[:80])
    return False


def _stats(top: Path, folder: Sequence[str], keys: Sequence[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The files of one folder, some at a time: the folder is not kept open while the caller works on them."""
    for start in range(0, len(keys), STAT_RUN_MAX):
        yield from _stats_of_run(top, folder, keys[start : start + STAT_RUN_MAX])


def _stats_of_run(top: Path, folder: Sequence[str], keys: Sequence[str]) -> list[tuple[str, os.stat_result]]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), opened_folder(top, folder) as descriptor:
        for key in keys:
            with suppress(FileNotFoundError):
                found.append((key, stat_in(descriptor, key.rpartition("/")[2])))
    return [(key, stat) for key, stat in found if modes.S_ISREG(stat.st_mode)]


def _entries(top: Path, folder: Sequence[str]) -> Sequence[Entry]:
    try:
        with opened_folder(top, folder) as descriptor:
            return entries_of(descriptor)
    except OSError as error:
        if says_absent(error):
            return []
        if isinstance(error, LinkInTheWayError):
            raise
        log.warning("left out, as it cannot be read: %r: %s", str(Path(top, *folder)), error.strerror)
        return []


def _sorted(entries: Sequence[Entry]) -> list[tuple[str, bool]]:
    """Files and folders of a folder in key order: a folder's name ends in the slash its keys go on with."""
    return sorted(
        (entry.name + "/" if entry.is_folder else entry.name, entry.is_folder)
        for entry in entries
        if entry.is_folder or entry.is_file
    )


def _may_hold(folder_key: str, prefix: str, after: str) -> bool:
    """Whether a key below `folder_key` (it ends in a slash) can have the prefix and come behind `after`."""
    below_prefix = folder_key.startswith(prefix) or prefix.startswith(folder_key)
    return below_prefix and (folder_key > after or after.startswith(folder_key))

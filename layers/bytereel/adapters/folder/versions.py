"""Which bytes a file holds, as far as that is seen without reading it: the versions of objects that are files.

A version is `<size>-<modification time>-<inode>-<change time>`, times in nanoseconds. The change time is the kernel's
own: no program sets it back, so a file that was written to has another version although its size and modification time
are as before. It moves with a change of mode, owner or number of links too; such a file counts as changed.

Version 0.1 knew no change time. What it recorded has three parts and still names a file whose three parts are those.
Renaming a file moves its change time: until an upload lies in its place, its *identity*, those three parts, names it.
"""

import os


def version_of(stat: os.stat_result) -> str:
    """What changes whenever the bytes of a file may have changed."""
    return f"{identity_of(stat)}-{stat.st_ctime_ns}"


def identity_of(stat: os.stat_result) -> str:
    """What of the version a rename leaves as it is."""
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"


def identity_in(version: str) -> str:
    """The identity that a version of either kind begins with."""
    return "-".join(version.split("-")[:3])


def is_version(version: str, stat: os.stat_result) -> bool:
    """Whether the file is of this version; one of three parts says nothing of the change time."""
    return version in (version_of(stat), identity_of(stat))

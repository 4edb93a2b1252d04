"""What a key says: which conversion, which profile, where the output goes. Pure; nothing else reads keys."""

from collections.abc import Mapping
from dataclasses import dataclass

from bytereel_codec.files.names import FILE_NAME_BYTES_MAX, fitted_name

from bytereel.conversions.protocol import Conversion
from bytereel.errors import Permanent
from bytereel.model import Job

DEFAULT_CONVERSION = "archive"
MANIFEST_SUFFIX = ".manifest.json"
ERROR_SUFFIX = ".error.json"
_NEAR_EDITS = 2
_BESIDE_BYTES = 64  # suffixes of output and manifest, and a mark
_SUFFIX_BYTES_MAX = 32  # what is longer is no suffix, but a part of the name

Conversions = Mapping[str, Conversion]
"""The conversions that this worker can do, by name."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a source's key asks for; `path` is the rest of the key."""

    conversion: str
    profile: str
    path: str

    @property
    def name(self) -> str:
        """The source's file name."""
        return self.path.rpartition("/")[2]


def route_key(key: str, conversions: Conversions) -> Route:
    """Read `[conversion/[profile/]]path`; a folder that names neither belongs to the path.

    `archive/a.zip` is archived with its first profile, and so is `holiday/a.zip`, as `holiday/a.zip`.
    """
    first, slash, rest = key.partition("/")
    if not slash or first not in conversions:
        return Route(DEFAULT_CONVERSION, conversions[DEFAULT_CONVERSION].profiles[0], key)
    profiles = conversions[first].profiles
    second, slash, path = rest.partition("/")
    if slash and second in profiles:
        return Route(first, second, path)
    return Route(first, profiles[0], rest)


def near_profile(key: str, conversions: Conversions) -> str | None:
    """The profile that a key's second folder nearly names, off by two letters at most; None where it names one or none.

    Such a source would silently become a reel of another profile, which may survive nothing.
    """
    first, _, rest = key.partition("/")
    second, slash, _ = rest.partition("/")
    if first not in conversions or not slash or second in conversions[first].profiles:
        return None
    near = [name for name in conversions[first].profiles if _edits(second.lower(), name) <= _NEAR_EDITS]
    return near[0] if near else None


def _edits(one: str, other: str) -> int:
    """How many letters have to be put in, taken out or changed; any number above the bound where that is many."""
    if abs(len(one) - len(other)) > _NEAR_EDITS:
        return _NEAR_EDITS + 1
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, wanted in enumerate(other, 1):
            change = before + (letter != wanted)
            before, row[place] = row[place], min(change, row[place] + 1, row[place - 1] + 1)
    return row[-1]


def longest_key(route: Route) -> str:
    """A key as long as any that the job will write: its output, whatever that is called, or a manifest with a mark."""
    folders = route.path.rpartition("/")[0]
    size = min(FILE_NAME_BYTES_MAX, len(route.name.encode("utf-8", "surrogateescape")) + _BESIDE_BYTES)
    return "/".join(part for part in (route.conversion, route.profile, folders, "x" * size) if part)


def output_key(route: Route, output_name: str) -> str:
    """The output's key: conversion and profile, the source's folders, the name that the assembly chose.

    Raises: Permanent `output.name` for a name that is not one component: it may come out of a reel.
    """
    if output_name in ("", ".", "..") or "/" in output_name or "\x00" in output_name:
        raise Permanent("output.name", f"{output_name!r} cannot be the name of an output", name=output_name)
    folders = route.path.rpartition("/")[0]
    return "/".join(part for part in (route.conversion, route.profile, folders, output_name) if part)


def job_key(route: Route, output_name: str, job_id: str) -> str:
    """An output's key that tells nothing of the source: conversion and profile, the job's id, the output's suffix."""
    _, dot, suffix = output_name.rpartition(".")
    return f"{route.conversion}/{route.profile}/{job_id}{dot}{suffix if dot else ''}"


def marked_key(output: str, job_id: str) -> str:
    """Another key beside the output's, which no other job has: its name with a mark of the job, before its suffix."""
    folders, slash, name = output.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode("utf-8", "surrogateescape")) > _SUFFIX_BYTES_MAX:
        stem, dot, suffix = name, "", ""
    return f"{folders}{slash}{fitted_name(stem, f'~{job_id[:12]}{dot}{suffix}')}"


def error_key(job: Job, *, by_job: bool) -> str:
    """Where the outbox tells that a job failed: as its output's key, of the source's name or, `by_job`, the job's id.

    Read off the key alone, whatever the conversion would have called its output.
    """
    path = job.source.key.removeprefix(f"{job.conversion}/").removeprefix(f"{job.profile}/")
    folders, _, name = path.rpartition("/")
    parts = (job.conversion, job.profile, *(("", job.id) if by_job else (folders, name)))
    *above, last = (part for part in parts if part)
    return "/".join([*above, fitted_name(last, ERROR_SUFFIX)])


def manifest_key(output: str) -> str:
    """The manifest's key beside the output: its name and a suffix, shortened where a file system wants it."""
    folders, slash, name = output.rpartition("/")
    return f"{folders}{slash}{fitted_name(name, MANIFEST_SUFFIX)}"

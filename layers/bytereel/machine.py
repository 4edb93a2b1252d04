"""What this machine has and can do, measured where that takes well under a second. Each function is one question."""

import hashlib
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bytereel.cores import usable_cores

_GPU_SUFFIX = "_nvenc"
ENCODERS = {
    "h264": ("libx264", "h264_nvenc", "libopenh264"),
    "hevc": ("libx265", "hevc_nvenc"),
    "av1": ("libsvtav1", "libaom-av1", "av1_nvenc"),
    "vp9": ("libvpx-vp9",),
    "ffv1": ("ffv1",),
}
_LIBRARIES = (
    "bytereel", "numpy", "numba", "crc32c", "zstandard", "cryptography", "av", "click", "rich", "pydantic-settings",
    "psutil", "watchfiles",
)  # fmt: skip
_CGROUP = Path("/sys/fs/cgroup")
_HASHED_BYTES = 32 << 20
_WRITTEN_BYTES = 64 << 20
_SYNCS = 5
_QUERY_SECONDS = 10


def cores() -> dict[str, Any]:
    """Cores of the machine, those that this process may use, and the control group's quota in cores."""
    quota = _first_line(_CGROUP / "cpu.max").split()
    limited = len(quota) == 2 and quota[0] != "max"
    return {
        "machine": os.cpu_count(),
        "usable": usable_cores(),
        "cgroup_quota": round(int(quota[0]) / int(quota[1]), 2) if limited else None,
        "sha_instructions": has_sha_instructions(),
    }


def has_sha_instructions() -> bool | None:
    """Whether the processor has instructions for SHA-256; None where that cannot be told."""
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8", "replace").split())
    except OSError:
        return None
    return bool(words & {"sha_ni", "sha2"})


def memory() -> dict[str, Any]:
    """Bytes of memory: the machine's, what is free to use, and the control group's limit."""
    import psutil

    found = psutil.virtual_memory()
    limit = _first_line(_CGROUP / "memory.max")
    return {
        "total": found.total,
        "available": found.available,
        "cgroup_limit": int(limit) if limit.isdecimal() else None,
    }


def limits() -> dict[str, int | None]:
    """The limits of this process that matter here; None is none."""
    names = {"open_files": resource.RLIMIT_NOFILE, "file_bytes": resource.RLIMIT_FSIZE, "memory": resource.RLIMIT_AS}
    soft = {name: resource.getrlimit(number)[0] for name, number in names.items()}
    return {name: None if value == resource.RLIM_INFINITY else value for name, value in soft.items()}


def encoders(cards: Sequence[str]) -> dict[str, list[str]]:
    """For each kind of video, the encoders that libav was built with; those of a GPU only where there is a card."""
    from bytereel_codec.libav.encoding import has_encoder

    def usable(name: str) -> bool:
        return has_encoder(name) and (bool(cards) or not name.endswith(_GPU_SUFFIX))

    return {kind: [name for name in names if usable(name)] for kind, names in ENCODERS.items()}


def gpus() -> list[str]:
    """The NVIDIA cards that the driver names; the device files where its tool is missing."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    query = (tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def versions() -> dict[str, str]:
    """Python, the system, and the libraries that the work depends on."""
    found = {"python": sys.version.split()[0], "system": platform.platform()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def disk(folder: Path) -> dict[str, Any]:
    """Of the disk below a folder: free bytes, milliseconds that one small synced write takes, written bytes a second.

    Measures in the nearest folder that is there. Raises: OSError where nothing can be written.
    """
    existing = next(each for each in (folder, *folder.parents) if each.is_dir())
    usage = shutil.disk_usage(existing)
    block = memoryview(bytearray(_WRITTEN_BYTES // 16))
    with tempfile.TemporaryFile(dir=existing) as file:
        times = sorted(_seconds_of_sync(file.fileno()) for _ in range(_SYNCS))
        started_at = time.perf_counter()
        if usage.free > 4 * _WRITTEN_BYTES:
            for _ in range(16):
                file.write(block)
        file.flush()
        os.fsync(file.fileno())
        seconds = time.perf_counter() - started_at
        written = file.tell()
    return {
        "folder": str(folder),
        "measured_in": str(existing),
        "free": usage.free,
        "total": usage.total,
        "sync_milliseconds": round(times[len(times) // 2] * 1000, 3),
        "write_bytes_per_second": round(written / seconds) if written else None,
    }


def rates() -> dict[str, int]:
    """Bytes a second of SHA-256 and CRC32C on one core."""
    import crc32c

    block = bytes(_HASHED_BYTES)
    return {
        "sha256_bytes_per_second": round(_HASHED_BYTES / _seconds_of(lambda: hashlib.sha256(block))),
        "crc32c_bytes_per_second": round(_HASHED_BYTES / _seconds_of(lambda: crc32c.crc32c(block))),
    }


def kernels() -> dict[str, Any]:
    """How long a round trip of 1 KiB takes, which needs no kernel; whether that of parity is compiled already."""
    seconds = _seconds_of(_round_trip)
    from bytereel_codec.codes.erasure_kernels import accumulate

    return {"compiled": _is_cached(accumulate), "round_trip_seconds": round(seconds, 3)}


def _is_cached(kernel: Any) -> bool:
    folder = Path(kernel.stats.cache_path)
    return any(folder.glob(f"*.{kernel.__name__}-*.nbc"))


def lossy_kernels_are_compiled() -> bool:
    """Whether those of the lossy profiles lie in numba's cache; loads what they are, as whoever asks is about to."""
    from bytereel_codec.channel.symbols import cells_kernels

    kernel = next(each for each in vars(cells_kernels).values() if hasattr(each, "stats"))
    return any(Path(kernel.stats.cache_path).glob("*_kernels.*.nbc"))


def _round_trip() -> None:
    """Encode and decode 1 KiB. Raises: as the codec does when the bytes that come back are others."""
    from bytereel_codec.reading.decode import decode_file
    from bytereel_codec.writing.encode import encode_file

    with tempfile.TemporaryDirectory(prefix="bytereel-") as folder:
        source, reel = Path(folder) / "source", Path(folder) / "reel.mp4"
        source.write_bytes(os.urandom(1024))
        encode_file(source, reel)
        decode_file(reel, Path(folder) / "back")


def _seconds_of_sync(descriptor: int) -> float:
    def write() -> None:
        os.pwrite(descriptor, bytes(4096), 0)
        os.fsync(descriptor)

    return _seconds_of(write)


def _seconds_of(work: Any) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def _first_line(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").partition("\n")[0]
    except OSError:
        return ""


def missing(found: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """What is wrong or scarce, one sentence each, for the answers of this file and the settings in force."""
    said = []
    if found["disk"].get("error"):
        said.append(f"the home cannot be written: {found['disk']['error']}")
    elif found["disk"]["free"] < 1 << 30:
        said.append("less than 1 GiB is free on the disk of the home")
    needed = int(settings.get("workers", 1)) * int(settings.get("memory_budget_bytes", 0))
    room = min(found["memory"]["available"], found["memory"]["cgroup_limit"] or sys.maxsize)
    if needed > room:
        said.append(
            "the workers' memory budgets together exceed the memory there is: lower BYTEREEL_WORKERS "
            "or BYTEREEL_MEMORY_BUDGET_BYTES"
        )
    open_files = found["limits"]["open_files"]
    if open_files is not None and open_files < 256:
        said.append(f"only {open_files} files may be open at once: raise `ulimit -n`")
    if found["limits"]["file_bytes"] is not None:
        said.append(f"a file may have no more than {found['limits']['file_bytes']} bytes: see `ulimit -f`")
    said += [f"{name} is not installed" for name, version in found["versions"].items() if version == "not installed"]
    return said

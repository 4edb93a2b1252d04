"""Rows of the lossy profiles' parts, apart from any video codec, and of their peers.

Symbol kernels stand beside a plain copy of the same samples, Reed-Solomon beside `reedsolo` and a copy. Seconds are the
process's own of CPU, the best of several runs, kernels loaded before; what comes back is compared, outside the time.
"""

import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from bytereel_codec.channel.modulation import Family, Modulation
from bytereel_codec.channel.on_device import modulator_for
from bytereel_codec.channel.raster import Picture, Raster
from bytereel_codec.channel.symbols.modulator import Bytes
from bytereel_codec.codes.reed_solomon import correct, encode
from bytereel_codec.profiles.profiles import Channel

from bench.measure import MEBIBYTE, Scratch, random_file, run_process
from bench.rows import Row

# MB/s of a core: DCT render and demodulate, cells render and classify; RS(255, 255 - parity), of data, encoded and
# corrected, the latter by the part of the bytes that is wrong.
DCT_MIN, CELLS_MIN = (1000, 150), (20, 20)
ENCODE_MIN = {8: 1250, 32: 550}
CORRECT_MIN = {(32, 0.0): 318, (32, 1e-3): 225, (32, 1e-2): 85}
_ERROR_RATES = (0.0, 1e-3, 1e-2)
_PEER_PARITY, _PEER_COLUMNS = 32, 64
_CODEWORD_BYTES = 255
_RUNS_MIN, _SECONDS_MIN = 3, 0.4

_YOUBIT_SECTION = "Peer: YouBit (PyPI)"
_YOUBIT_BYTES = 4 * MEBIBYTE
_YOUBIT_SECONDS_MAX = 300
_YOUBIT_PYTHONS = ("python3.10", "python3.9")  # it asks for one before 3.11
# Measured in November 2026 at YouBit's own settings on 10 MB of random bytes, on another machine.
_YOUBIT_BEFORE = {1: (8.37, 0.38, 0.52), 2: (3.91, 0.70, 0.61)}


def core_seconds(work: Callable[[], object], prepare: Callable[[], object] = lambda: None) -> float:
    """Seconds of CPU that the work takes, at best. `prepare` runs before each time, outside it."""
    best, total, runs = float("inf"), 0.0, -1
    while runs < _RUNS_MIN or total < _SECONDS_MIN:
        prepare()
        started_at = time.process_time()
        work()
        seconds = time.process_time() - started_at
        runs += 1
        if runs > 0:  # the first one loads the kernels
            best, total = min(best, seconds), total + seconds
    return best


def measure_symbols(name: str, channel: Channel, raster: Raster, *, is_bound: bool) -> Iterator[Row]:
    """A full picture of a profile rendered and demodulated. Raises: RuntimeError where other bytes come back."""
    modulation, picture = channel.modulation, raster.grey()
    writer, reader = modulator_for(raster, modulation, channel.quantiser), modulator_for(raster, modulation, None)
    content = np.random.default_rng(2).integers(0, 256, writer.picture_bytes, np.uint8)
    read, margin = np.empty_like(content), np.empty_like(content)
    rendering = core_seconds(lambda: writer.render(content, picture))
    demodulating = core_seconds(lambda: reader.demodulate(picture, read, margin))
    if (read != content).any():
        raise RuntimeError(f"{name}: symbols are read as others")
    areas = _areas(picture, raster, modulation)
    copies = [np.empty_like(area) for area in areas]
    copying = core_seconds(lambda: _copy(copies, areas))
    section, what = f"Symbol kernels, a core, {raster.name}", f"{name}, {_described(modulation)}"
    bounds = CELLS_MIN if modulation.family == Family.CELLS else DCT_MIN
    for work, seconds, bound in zip(("render", "demodulate"), (rendering, demodulating), bounds, strict=True):
        note = f"{copying / seconds:.2f} of memcpy"
        rate = content.size / seconds / 1e6
        yield Row(section, f"{what}: {work}", rate, "MB/s", at_least=bound if is_bound else None, note=note)
    samples = sum(area.size for area in areas)
    note = f"the limit: {samples / content.size:.1f} samples a byte, at {samples / copying / 1e9:.1f} GB/s"
    yield Row(section, f"{what}: memcpy", content.size / copying / 1e6, "MB/s", note=note)


def _copy(targets: Sequence[Bytes], sources: Sequence[Bytes]) -> None:
    for target, source in zip(targets, sources, strict=True):
        np.copyto(target, source)


def _areas(picture: Picture, raster: Raster, modulation: Modulation) -> list[Bytes]:
    """The samples that carry data."""
    top, bottom = 16 * raster.first_row, 16 * raster.last_row
    luma, half = picture.y[top:bottom], slice(top // 2, bottom // 2)
    return [luma, picture.u[half], picture.v[half]] if modulation.second else [luma]


def _described(modulation: Modulation) -> str:
    if modulation.family == Family.CELLS:
        return f"{1 << modulation.first} colours"
    return f"{modulation.family.name} {modulation.first}+{modulation.second}"


def measure_parity(parity: int, columns: int, *, is_bound: bool) -> Iterator[Row]:
    """One code encoding and correcting so many codewords. Raises: RuntimeError where other bytes come back."""
    section, code = "Reed-Solomon, a core, of data", f"({_CODEWORD_BYTES}, {_CODEWORD_BYTES - parity})"
    random = np.random.default_rng(3)
    matrix = random.integers(0, 256, (_CODEWORD_BYTES, columns), np.uint8)
    size = columns * (_CODEWORD_BYTES - parity) / 1e6
    encoded = size / core_seconds(lambda: encode(matrix, parity))
    copy = np.empty_like(matrix)
    copied = size / core_seconds(lambda: np.copyto(copy, matrix))
    bound = ENCODE_MIN.get(parity) if is_bound else None
    yield Row(section, f"{code} encode", encoded, "MB/s", at_least=bound, note=f"{encoded / copied:.2f} of memcpy")
    for rate in _ERROR_RATES:
        damage = random.integers(1, 256, matrix.shape, np.uint8) * (random.random(matrix.shape) < rate)
        corrected, failed = _correct_rate(matrix, damage, parity)
        bound = CORRECT_MIN.get((parity, rate)) if is_bound else None
        note = f"{failed:,} of {columns:,} codewords have more errors than the code corrects" if failed else ""
        yield Row(section, f"{code} correct, byte error {rate:g}", corrected, "MB/s", at_least=bound, note=note)
    if parity == _PEER_PARITY:
        yield from _reedsolo_rows(section, matrix, damage, parity, {"encode": encoded, "correct": corrected})


def _correct_rate(matrix: Bytes, damage: Bytes, parity: int) -> tuple[float, int]:
    """MB/s of data, and how many columns were too much for the code."""
    damaged = np.empty_like(matrix)
    failed: list[int] = []
    seconds = core_seconds(
        lambda: failed.append(len(correct(damaged, parity).failed)),
        lambda: np.bitwise_xor(matrix, damage, out=damaged),
    )
    if not failed[0] and (damaged != matrix).any():
        raise RuntimeError(f"parity {parity}: corrected to other bytes")
    return matrix.shape[1] * (_CODEWORD_BYTES - parity) / seconds / 1e6, failed[0]


def _reedsolo_rows(section: str, matrix: Bytes, damage: Bytes, parity: int, own: dict[str, float]) -> Iterator[Row]:
    """The same first codewords through `reedsolo`. Raises: RuntimeError where it makes others of them."""
    from reedsolo import RSCodec  # type: ignore[import-untyped]

    codec = RSCodec(parity)
    words = [column.tobytes() for column in matrix.T[:_PEER_COLUMNS]]
    damaged = [column.tobytes() for column in (matrix ^ damage).T[:_PEER_COLUMNS]]
    works: dict[str, Callable[[], list[bytes]]] = {
        "encode": lambda: [bytes(codec.encode(word[:-parity])) for word in words],
        "correct": lambda: [bytes(codec.decode(word)[1]) for word in damaged],
    }
    for work, do in works.items():
        if do() != words:
            raise RuntimeError("reedsolo makes other codewords")
        rate = len(words) * (_CODEWORD_BYTES - parity) / core_seconds(do) / 1e6
        what = f"reedsolo: {work}{', byte error 0.01' if work == 'correct' else ''}"
        note = f"the same codewords; bytereel is {own[work] / rate:,.0f} x as fast"
        yield Row(section, what, rate, "MB/s", note=note)


def measure_youbit(scratch: Scratch) -> Iterator[Row]:
    """YouBit's own command on random bytes where it installs and runs; else why not, and what was measured before."""
    folder = scratch.fresh("youbit")
    folder.mkdir()
    source = random_file(folder / "source", _YOUBIT_BYTES)
    try:
        python = _installed(folder)
        rows = [row for bits in _YOUBIT_BEFORE for row in _youbit_rows(python, source, folder / f"bpp{bits}", bits)]
    except subprocess.CalledProcessError as error:
        rows = list(_youbit_rows_before(_reason(error)))
    except (OSError, subprocess.TimeoutExpired, zipfile.BadZipFile) as error:
        rows = list(_youbit_rows_before(type(error).__name__))
    yield from rows
    scratch.fresh("youbit")


def _installed(folder: Path) -> Path:
    """The Python of a new environment that has YouBit. Raises: CalledProcessError, TimeoutExpired, OSError."""
    older = [path for name in _YOUBIT_PYTHONS if (path := shutil.which(name)) and _runs(path)]
    base = older[0] if older else sys.executable
    python = folder / "environment" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-color", "youbit"]
    for command in ([base, "-m", "venv", str(python.parents[1])], install):
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_YOUBIT_SECONDS_MAX)
    return python


def _runs(python: str) -> bool:
    command = [python, "-c", "import ensurepip, venv"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def _reason(error: subprocess.CalledProcessError) -> str:
    """What pip complained of first, and at which package; the exit code where it, or YouBit, said nothing."""
    told = [line.strip() for line in str(error.stderr or "").splitlines()]
    complaints = [line.partition(" ")[2].rstrip(".") for line in told if line.startswith(("ERROR: ", "\u00d7 "))]
    places = [line for line in str(error.stdout or "").splitlines() if line.startswith("Collecting ")]
    if not complaints:
        return f"exit code {error.returncode}"
    return complaints[0] + (f" ({places[-1]})" if places else "")


def _youbit_rows(python: Path, source: Path, folder: Path, bits: int) -> Iterator[Row]:
    folder.mkdir()
    timed = run_process([python, "-m", "youbit", "encode", source, folder, "--bpp", str(bits)])
    with zipfile.ZipFile(next(iter(folder.glob("*.zip")), folder)) as archive:
        size = sum(info.file_size for info in archive.infolist() if info.filename.endswith(".mp4"))
    yield Row(_YOUBIT_SECTION, f"bpp {bits}: expansion", size / _YOUBIT_BYTES, "x")
    rate = _YOUBIT_BYTES / timed.core_seconds / 1e6
    yield Row(_YOUBIT_SECTION, f"bpp {bits}: encode", rate, "MB/s", note="of a core, the process's start included")


def _youbit_rows_before(reason: str) -> Iterator[Row]:
    yield Row(_YOUBIT_SECTION, "figures measured in this run", 0, "", note=f"it did not install or run: {reason}")
    note = "measured in November 2026 on another machine, not in this run"
    for bits, (expansion, encoding, decoding) in _YOUBIT_BEFORE.items():
        yield Row(_YOUBIT_SECTION, f"bpp {bits}: expansion, measured earlier", expansion, "x", note=note)
        yield Row(_YOUBIT_SECTION, f"bpp {bits}: encode, measured earlier", encoding, "MB/s", note=note)
        yield Row(_YOUBIT_SECTION, f"bpp {bits}: decode, measured earlier", decoding, "MB/s", note=note)

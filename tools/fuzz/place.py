"""Where a process of the fuzzing keeps its files: in memory where that can be, as thousands are made a minute."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_RAM_DISK = Path("/dev/shm")
_FREE_BYTES_MIN = 2 << 30


@contextmanager
def working_folder() -> Iterator[Path]:
    """A folder of this process's own, for its temporary files too; removed at the end with all that is in it."""
    on_ram = _RAM_DISK.is_dir() and shutil.disk_usage(_RAM_DISK).free > _FREE_BYTES_MIN
    name = tempfile.mkdtemp(prefix="bytereel-fuzz-", dir=_RAM_DISK if on_ram else None)
    try:
        with temporary_files_in(Path(name)) as folder:
            yield folder
    finally:
        shutil.rmtree(name, onerror=_let_go)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[Path]:
    """Have this process make its temporary files in `folder`, the code under test with it."""
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before


def _let_go(remove: Callable[[str], object], name: str, error: object) -> None:
    """Remove what lies in a folder that a tar stream closed."""
    del error
    Path(name).parent.chmod(0o700)
    with suppress(OSError):
        remove(name)

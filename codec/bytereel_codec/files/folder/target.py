"""A folder as a target: takes its tar stream through `write_at`, and appears when it is complete and right."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bytereel_codec.errors import BytereelError, Permanent
from bytereel_codec.files.folder.layout import FolderLayout, LayoutReport
from bytereel_codec.files.ranged import Buffer
from bytereel_codec.files.sink import write_error
from bytereel_codec.files.staging import StagingFolder

_BUFFER_BYTES = 1 << 20


class FolderTarget:
    """A folder that appears under its name when it is complete: laid out beside it, then renamed.

    A context: leaving it by an error removes what was made; what a killed run left is removed by the next one to the
    same path. Takes memory for a few buffers, whatever the stream holds. `preserve` as for `FolderLayout`.

    Raises: Permanent `target.occupied`, `target.member`, `target.unwritable`; Temporary `target.busy`, `target.full`;
    Integrity `folder.unsafe`, `folder.damaged`. Not for use by two threads at once.
    """

    def __init__(self, path: Path, *, preserve: bool = False) -> None:
        self.path = path
        self._offset = 0
        self.report = LayoutReport()
        """What did not come out as it went in; complete after `commit`."""
        if path.name in ("", ".."):
            raise _occupied(path)
        self._staging = StagingFolder(path)
        if os.path.lexists(path):
            self._staging.close()
            raise _occupied(path)
        self._root = self._staging.path / "folder"
        reading, self._writing = os.pipe()
        self._pool = ThreadPoolExecutor(1, "folder")
        self._extraction = self._pool.submit(self._extract, reading, preserve)

    def write_at(self, offset: int, content: Buffer) -> None:
        """Take the next bytes of the stream. Raises what ended the laying out, if something did."""
        assert offset == self._offset
        self._offset += len(content)
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._writing, view) :]
        except BrokenPipeError:
            self._extraction.result()
            raise

    def commit(self, size: int) -> None:
        """End the stream, of `size` bytes, wait for the last member, and give the folder its name."""
        assert size == self._offset
        self._finish()
        try:
            self._root.rename(self.path)
        except OSError as error:
            raise write_error(error, self.path) from error

    def __enter__(self) -> "FolderTarget":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with suppress(BytereelError):  # what is lost says more than how the folder then ends
                self._finish()
        finally:
            self._staging.close()

    def _finish(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1
        self._pool.shutdown()
        self._extraction.result()

    def _extract(self, descriptor: int, preserve: bool) -> None:
        with os.fdopen(descriptor, "rb", buffering=_BUFFER_BYTES) as pipe:
            try:
                self._root.mkdir()
                layout = FolderLayout(self._root, self._staging.path, preserve=preserve)
                self.report = layout.report
                layout.lay_out(pipe)
                while pipe.read(_BUFFER_BYTES):  # behind the end mark
                    continue
            except OSError as error:
                raise write_error(error, self.path) from error


def _occupied(path: Path) -> Permanent:
    return Permanent("target.occupied", f"{str(path)!r} exists: a folder is made anew", hint="give another name")

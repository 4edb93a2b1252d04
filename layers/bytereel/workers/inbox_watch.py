"""Notices that something happened in the inbox folder. Only a hint: reconciling finds out what is there.

Each folder is watched by itself, for a recursive watch would follow links out of the inbox, as far as they lead. A
folder that is swapped for a link at the moment it is to be watched gives hints about another folder's names; nothing is
read there.
"""

import itertools
import logging
import threading
from pathlib import Path

import watchfiles

from bytereel.adapters.folder.walk import folders_below

log = logging.getLogger(__name__)

STEP_MILLISECONDS = 50
DEBOUNCE_MILLISECONDS = 200
RETRY_SECONDS = 1.0
FOLDERS_MAX = 10_000
"""More are not watched: what is dropped there waits for the sweep."""


class InboxWatch:
    """Watches a folder in a thread of its own while the context lasts; silent where there is none, or it cannot."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="inbox-watch", daemon=True)

    def __enter__(self) -> "InboxWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def has_changed(self) -> bool:
        """Whether something happened since the last call."""
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def _watch(self) -> None:
        if self._folder is None:
            return
        last_failure = ""
        while not self._ended.is_set():
            try:
                self._watch_folders(self._folder)
            except (OSError, RuntimeError) as error:
                if str(error) != last_failure:
                    log.warning("%s cannot be watched, dropped files take longer: %s", self._folder, error)
                last_failure = str(error)
                self._ended.wait(RETRY_SECONDS)
            self._changed.set()  # what happened before the new folders were watched went unnoticed

    def _watch_folders(self, inbox: Path) -> None:
        """Watch the folders that are there now, until others are. Raises: RuntimeError; OSError."""
        folders = folders_below(inbox.parent, inbox.name)
        watched = {str(folder) for folder in itertools.islice(folders, FOLDERS_MAX)}
        for changes in watchfiles.watch(
            *watched,
            watch_filter=None,
            stop_event=self._ended,
            step=STEP_MILLISECONDS,
            debounce=DEBOUNCE_MILLISECONDS,
            recursive=False,
            ignore_permission_denied=True,
        ):
            self._changed.set()
            if any(path in watched or _is_folder(Path(path)) for _, path in changes):
                return


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()

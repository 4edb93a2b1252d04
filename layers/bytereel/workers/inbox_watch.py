"""Notices that something happened in the inbox folder. Only a hint: reconciling finds out what is there."""

import logging
import threading
from pathlib import Path

import watchfiles

log = logging.getLogger(__name__)

STEP_MILLISECONDS = 50
DEBOUNCE_MILLISECONDS = 200


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
        try:
            for _ in watchfiles.watch(
                self._folder,
                watch_filter=None,
                stop_event=self._ended,
                step=STEP_MILLISECONDS,
                debounce=DEBOUNCE_MILLISECONDS,
                ignore_permission_denied=True,
            ):
                self._changed.set()
        except (OSError, RuntimeError) as error:
            log.warning("%s cannot be watched, dropped files take longer: %s", self._folder, error)

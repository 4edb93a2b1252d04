"""What a target of the fuzzing switches off is on again for the next suite."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def log_as_it_was() -> Iterator[None]:
    """Targets run without the log, which would be most of their work."""
    before = logging.root.manager.disable
    yield
    logging.disable(before)

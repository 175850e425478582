"""A list that cannot be had is told once in the log, not with every look: a PC without a camera is looked at every few seconds."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest

from vidconf.engine import devices


class Listing:
    """A system's list: fails with what it is told to, else is empty."""

    def __init__(self) -> None:
        self.error: OSError | None = None

    def __call__(self, way: str) -> Iterable[object]:
        if self.error is not None:
            raise self.error
        return []


def test_a_failing_list_is_told_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vidconf.devices")
    listing = Listing()

    def looked(error: OSError | None, times: int = 3) -> int:
        caplog.clear()
        listing.error = error
        for _ in range(times):
            assert devices._enumerated("a test's things", listing, "none") == []
        return len(caplog.records)

    assert looked(OSError(5, "I/O error")) == 1
    assert looked(OSError(5, "I/O error")) == 0
    assert looked(OSError(13, "denied")) == 1
    assert looked(None) == 0
    assert looked(OSError(13, "denied")) == 1

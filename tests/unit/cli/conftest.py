"""For the commands' tests: the doctor, with nothing of this machine's between it and what a test lays out."""

from __future__ import annotations

import pytest

from vidconf.cli import doctor_media


@pytest.fixture
def doctor_alone(monkeypatch: pytest.MonkeyPatch, no_proxies: None) -> None:
    """No proxy but the test's; waits that are long enough for a machine with much else to do, and no longer."""
    monkeypatch.setattr(doctor_media, "EVERY_S", 0.02)
    monkeypatch.setattr(doctor_media, "LAST_S", 0.4)

"""The doctor's line on updates: what policy says, what a real update site says, and what to do when it cannot be believed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.update_site import UpdateSite, update_site

from vidconf import words
from vidconf.cli.doctor_updates import settled, softened, updates
from vidconf.cli.findings import Finding
from vidconf.client.settings import Settings
from vidconf.client.updates.check import CODES


@pytest.fixture(autouse=True)
def vietnamese() -> Iterator[None]:
    words.set_language("vi")
    yield
    words.set_language("vi")


@pytest.mark.parametrize(
    ("values", "found", "ask"),
    [
        ({}, [("ok", "no_site")], False),
        ({"update_mode": "off", "update_url": "https://x/"}, [("ok", "off")], False),
        ({"update_url": "https://x/"}, [], True),
        ({"update_url": "https://x/", "min_version": "2.0"}, [("failure", "too_old")], True),
        ({"min_version": "2.0"}, [("failure", "too_old")], False),
        ({"min_version": "1.0"}, [("ok", "no_site")], False),
        ({"min_version": "newest"}, [("warning", "bad_minimum")], False),
    ],
)  # fmt: skip
def test_what_policy_says(values: dict[str, Any], found: list[tuple[str, str]], ask: bool) -> None:
    settings = Settings()
    for key, value in values.items():
        settings.set(key, value)
    findings, asks = settled(settings, own="1.0.0")
    assert ([(one.status, one.result) for one in findings], asks) == (found, ask)


class Doctor:
    def __init__(self, site: UpdateSite, folder: Path) -> None:
        self.site, self.root, self.folder = site, folder / "root.json", folder / "memory"
        self.root.write_bytes(site.root)

    def finds(self, own: str = "1.0.0", **told: Any) -> Finding:
        found: list[Finding] = []
        updates(found.append, {"url": self.site.url, "roots": [str(self.root)], "folder": str(self.folder), "own": own, **told})
        (only,) = found
        return only


@pytest.fixture
def doctor(tmp_path: Path) -> Iterator[Doctor]:
    with update_site(tmp_path) as site:
        site.publish("1.2", minimum="1.0")
        yield Doctor(site, tmp_path)


@pytest.mark.parametrize(
    ("own", "status", "result"), [("1.2.0", "ok", "newest"), ("1.1", "ok", "available"), ("0.9", "failure", "too_old")]
)
def test_what_the_site_says(doctor: Doctor, own: str, status: str, result: str) -> None:
    finding = doctor.finds(own)
    assert (finding.status, finding.result) == (status, result)
    assert "…" not in finding.text()
    assert not doctor.folder.exists(), "the doctor remembers nothing"


def test_what_is_wrong_is_said_with_what_to_do(doctor: Doctor, tmp_path: Path) -> None:
    doctor.site.publish("1.3", now=datetime.now(UTC) - timedelta(days=30))
    expired = doctor.finds()
    assert (expired.status, expired.result) == ("warning", "expired")
    assert "refresh" in expired.help()
    away = doctor.finds(url="http://127.0.0.1:9")
    assert (away.result, away.detail["reason"]) == ("unreachable", "unreachable")
    rootless = doctor.finds(roots=[str(tmp_path / "none" / "update-root.json")])
    assert rootless.result == "no_root"
    assert str(tmp_path / "none") in rootless.help()


def test_a_look_that_hangs_keeps_nobody_from_a_meeting() -> None:
    found = [Finding("doctor.updates", "failure", "hung", {"seconds": 11}), Finding("doctor.updates", "failure", "too_old", {})]
    assert [one.status for one in softened(found)] == ["warning", "failure"]


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize("code", CODES)
def test_every_trouble_has_its_words(language: str, code: str) -> None:
    words.set_language(language)
    finding = Finding("doctor.updates", "warning", code, {"site": "https://x", "said": "y", "reason": "z", "places": ["/etc/opt/vidconf"]})
    assert words.has(f"doctor.updates.{code}")
    assert finding.help()
    assert "…" not in finding.text() + finding.help()

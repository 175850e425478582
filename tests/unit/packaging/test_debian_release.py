"""A package's version sorts as Python's does, and its changelog is what dpkg can read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from packaging_scripts import ROOT, load

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is Debian's")


release = load("packaging/debian/release.py")


@pytest.mark.parametrize(
    ("version", "debian"),
    [
        ("0.1.0", "0.1.0-1"),
        ("1.0.0rc2", "1.0.0~rc2-1"),
        ("1.0.0.dev3", "1.0.0~~dev3-1"),
        ("1.0.0.post1", "1.0.0+post1-1"),
        ("1.0.0+a.1", "1.0.0+a.1-1"),
    ],
)
def test_versions(version: str, debian: str) -> None:
    assert release.debian_version(version) == debian


def test_a_build_for_one_release_says_so() -> None:
    assert release.debian_version("0.1.0", "+deb12") == "0.1.0-1+deb12"


@pytest.mark.parametrize("version", ["", "v1.0", "1.0-1", "1.0 ", "1.0;rm", "latest", "1.0\n"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        release.debian_version(version)


@pytest.mark.parametrize("suffix", ["deb12", "+deb 12", "+", "+deb12\n", "-2"])
def test_what_is_no_suffix_is_refused(suffix: str) -> None:
    with pytest.raises(ValueError, match="is not a suffix"):
        release.debian_version("1.0.0", suffix)


numbers = st.integers(0, 12)
versions = st.builds(
    lambda a, b, c, pre, post, dev: f"{a}.{b}.{c}{pre}{post}{dev}",
    numbers, numbers, numbers,
    st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from(["a", "b", "rc"]), numbers)),
    st.one_of(st.just(""), st.builds(".post{}".format, numbers)),
    st.one_of(st.just(""), st.builds(".dev{}".format, numbers)),
)  # fmt: skip


@needs_dpkg
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(versions, versions)
def test_packages_sort_as_versions_do(one: str, other: str) -> None:
    wanted = "lt" if Version(one) < Version(other) else "gt" if Version(one) > Version(other) else "eq"
    compared = ["dpkg", "--compare-versions", release.debian_version(one), wanted, release.debian_version(other)]
    assert subprocess.run(compared).returncode == 0, compared


SAMPLE = """# Changelog

## [Unreleased]

### Added
- `vidconf serve`: a point
  that goes on.
- Another.

## [0.1.0] - 2026-10-01
- The first.
"""


def test_headings_and_points_are_read() -> None:
    found = release.releases(SAMPLE)
    assert [(r.name, r.date, r.points) for r in found] == [
        ("Unreleased", "", ("`vidconf serve`: a point that goes on.", "Another.")),
        ("0.1.0", "2026-10-01", ("The first.",)),
    ]


def test_a_released_version_keeps_its_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBEMAIL", raising=False)
    written = release.changelog("vidconf", "0.2.0", 1_800_000_000, SAMPLE)
    assert "vidconf (0.2.0-1) stable" in written
    assert "  * vidconf serve: a point that goes on." in written
    assert "Fri, 15 Jan 2027 08:00:00 +0000" in written
    assert "Thu, 01 Oct 2026 00:00:00 +0000" in written
    assert "vidconf (0.1.0-1) stable" in written


@pytest.mark.skipif(shutil.which("dpkg-parsechangelog") is None, reason="dpkg-parsechangelog comes with dpkg-dev")
def test_dpkg_reads_the_changelog(tmp_path: Path) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (tmp_path / "changelog").write_text(release.changelog("vidconf", release.source_version(), 1_800_000_000, text), encoding="utf-8")
    read = subprocess.run(["dpkg-parsechangelog", "-l", str(tmp_path / "changelog")], capture_output=True, text=True, check=True)
    assert f"Version: {release.debian_version(release.source_version())}" in read.stdout
    assert read.stderr == ""

"""What ships and under which licence: complete, with texts, and no library inside a wheel that nobody listed."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from vidconf import licences
from vidconf.licences import bundled, components, normal, packages
from vidconf.resources import resource

SITE = Path(sysconfig.get_path("platlib"))
SPDX = re.compile(r"\(?[A-Za-z0-9.+-]+( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*\)?")


def test_each_has_a_version_a_licence_and_its_text() -> None:
    found = components()
    assert found[0].name == "vidconf"
    assert len(found) > 60
    assert [one.name for one in found if SPDX.fullmatch(one.licence) is None] == []
    assert [one.name for one in found if not one.version and not one.part_of] == []
    assert [one.name for one in found if len(one.text()) < 300] == []


def test_what_only_tests_need_does_not_ship() -> None:
    names = {normal(one.name) for one in packages()}
    assert {"pyside6-essentials", "shiboken6", "aiohttp", "yarl", "aiortc", "cryptography", "sqlalchemy", "greenlet", "keyring"} <= names
    assert not names & {"pytest", "ruff", "mypy", "hypothesis", "playwright", "vidconf"}


def test_every_library_inside_a_wheel_is_listed() -> None:
    """Linux wheels keep them in `<package>.libs`, Qt in its own folder."""
    patterns = [pattern for one in bundled("linux") for pattern in one.files]
    folders = ("av.libs", "numpy.libs", "google_crc32c.libs", "PySide6/Qt/lib")
    libraries = [file.name for name in folders for file in (SITE / name).iterdir() if ".so" in file.name]
    assert len(libraries) > 50
    assert [name for name in libraries if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)] == []
    shipping = {normal(one.name) for one in packages()}
    carriers = {normal(folder.name.removesuffix(".libs")) for folder in SITE.glob("*.libs")}
    assert carriers & shipping == {"av", "numpy", "google-crc32c"}, "a wheel carries libraries now: list them"


def test_the_lists_versions_are_the_wheels() -> None:
    import av
    import PySide6

    told = {(one.name, one.part_of): one.version for one in bundled()}
    assert told["FFmpeg", "av"] == av.ffmpeg_version_info
    assert told["Qt", "PySide6_Essentials"] == PySide6.__version__
    (opus,) = SITE.glob("av.libs/libopus-*")
    assert f"libopus {told['Opus', 'av']}".encode() in opus.read_bytes()
    (x264,) = SITE.glob("av.libs/libx264-*")
    assert x264.name.endswith(f".so.{told['x264', 'av']}")


def test_the_lists_carriers_and_texts_are_there() -> None:
    rows = json.loads(resource("licences", "bundled.json").read_text(encoding="utf-8"))
    lock = Path(__file__).parents[2].joinpath("requirements.lock").read_text(encoding="utf-8").lower()
    for row in rows:
        assert row["part_of"] in ("python", "vidconf") or f"{normal(row['part_of'])}==" in lock.replace("_", "-"), row["name"]
        assert set(row["systems"]) <= {"linux", "windows", "macos"}
        assert row["systems"], row["name"]
        assert row["home"].startswith("https://")
    for one in bundled():
        assert all(source.is_file() for source in one.sources), one.name
        assert one.sources, one.name
    used = {source.name for one in bundled() for source in one.sources}
    kept = {file.name for file in resource("licences").glob("*.txt")}
    assert kept - used == set()


def test_a_package_that_says_little(tmp_path: Path) -> None:
    def made(told: str) -> licences.Component:
        folder = tmp_path / "thing-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n{told}\n", encoding="utf-8")
        one = metadata.PathDistribution(folder)
        return licences._component(one, one.metadata)

    assert made("").licence == "unknown"
    assert made("").text() == ""
    assert made("Classifier: License :: OSI Approved :: MIT License").licence == "MIT"
    assert made("License: " + "x" * 4000).licence == "unknown", "a whole text is no name"
    apache = made("License-Expression: Apache-2.0")
    assert "Apache License" in apache.text()
    assert "GNU LESSER" in made("License: LGPL-3.0-only OR GPL-2.0-only").text()


def test_where_nothing_says_what_is_needed_all_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder of packages without vidconf's own metadata."""
    monkeypatch.setattr(licences, "_needed_by_vidconf", lambda told: None)
    assert {"pytest", "aiohttp"} <= {normal(one.name) for one in packages()}


def test_the_command(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(licences.__file__).parents[1])}
    command = [sys.executable, "-m", "vidconf.cli.main", "licences"]
    listed = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    told = json.loads(listed.stdout)["components"]
    assert {one["name"] for one in told} >= {"vidconf", "Qt", "FFmpeg", "x264", "aiohttp", "Noto Sans"}
    assert all(one.keys() == {"name", "version", "licence", "part_of", "home"} for one in told)
    whole = subprocess.run([*command, "ffmpeg"], env=environment, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in whole.stdout
    unknown = subprocess.run([*command, "nothing-of-ours"], env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert unknown.returncode == 1
    assert "nothing-of-ours" in unknown.stderr

"""What of the recipe for macOS can be held to its word on another system: its property lists, its texts, and that it says where it runs."""

from __future__ import annotations

import plistlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging_scripts import ROOT, load

facts = load("packaging/macos/facts.py")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    facts.write(tmp_path, "1.2.3rc1")
    return tmp_path


def test_the_bundle_answers_for_links_and_says_who_it_is(written: Path) -> None:
    told = plistlib.loads((written / "Info.plist").read_bytes())
    assert told["CFBundleIdentifier"] == "vn.vidconf.client"
    assert told["CFBundleShortVersionString"] == "1.2.3"
    assert told["CFBundleURLTypes"][0]["CFBundleURLSchemes"] == ["vidconf"]


def test_each_use_is_explained_in_both_languages(written: Path) -> None:
    assert set(facts.USES["vi"]) == set(facts.USES["en"])
    told = plistlib.loads((written / "Info.plist").read_bytes())
    for language in ("vi", "en"):
        lines = (written / f"{language}.lproj/InfoPlist.strings").read_text(encoding="utf-8").splitlines()
        read = dict(re.fullmatch(r'"(\w+)" = "(.+)";', line).groups() for line in lines)  # type: ignore[union-attr]
        assert read == facts.USES[language]
        assert set(read) <= set(told)
    assert told["CFBundleLocalizations"] == ["vi", "en"]


def test_the_hardened_runtime_is_opened_for_what_is_used_and_no_more(written: Path) -> None:
    told = plistlib.loads((written / "entitlements.plist").read_bytes())
    assert told["com.apple.security.device.camera"] is True
    assert told["com.apple.security.device.audio-input"] is True
    assert "com.apple.security.cs.disable-library-validation" not in told
    assert "com.apple.security.get-task-allow" not in told


@pytest.mark.parametrize("version", ["", "1.2", "one"])
def test_a_version_that_apple_does_not_take_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="three numbers"):
        facts.information(version)


def test_managed_settings_are_of_this_bundle() -> None:
    profile = (ROOT / "packaging/policies/vidconf.mobileconfig").read_bytes()
    payloads = plistlib.loads(profile)["PayloadContent"]
    assert any(payload["PayloadType"] == facts.IDENTIFIER for payload in payloads)


@pytest.mark.skipif(sys.platform == "darwin", reason="there it builds")
def test_elsewhere_the_build_says_where_it_runs() -> None:
    script = ROOT / "packaging/macos/build"
    told = subprocess.run([script], capture_output=True, text=True, timeout=20)
    assert (told.returncode, told.stdout) == (1, "")
    assert "only be built on a Mac" in told.stderr
    assert "UNTESTED" in subprocess.run([script, "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert subprocess.run([script, "--nonsense"], capture_output=True, timeout=20).returncode == 2


def test_the_recipe_is_python() -> None:
    compile((ROOT / "packaging/macos/vidconf.spec").read_text(encoding="utf-8"), "vidconf.spec", "exec")

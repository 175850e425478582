"""What is packed into the Linux client, what its package asks of the system, and its pages."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from packaging_scripts import ROOT, load

kept = load("packaging/debian/client/kept.py")
depends = load("packaging/debian/client/depends.py")
manual = load("packaging/debian/client/manual.py")
FILES = ROOT / "packaging/debian/client/files"
STDLIB = ["/usr/lib/python3.11"]


@pytest.mark.parametrize(
    ("target", "origin", "stays"),
    [
        ("libssl.so.3", "/usr/lib/x86_64-linux-gnu/libssl.so.3", False),
        ("libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1", False),
        ("libpython3.11.so.1.0", "/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0", True),
        ("python3.11/lib-dynload/_ssl.so", "/usr/lib/python3.11/lib-dynload/_ssl.so", True),
        ("av.libs/libavcodec.so.62", "/venv/lib/python3.11/site-packages/av.libs/libavcodec.so.62", True),
        ("PySide6/Qt/lib/libQt6Core.so.6", "/venv/PySide6/Qt/lib/libQt6Core.so.6", True),
        ("PySide6/Qt/lib/libQt6Quick.so.6", "/venv/PySide6/Qt/lib/libQt6Quick.so.6", False),
        ("PySide6/Qt/plugins/platformthemes/libqgtk3.so", "/venv/PySide6/Qt/plugins/platformthemes/libqgtk3.so", False),
        ("PySide6/Qt/plugins/platforms/libqxcb.so", "/venv/PySide6/Qt/plugins/platforms/libqxcb.so", True),
        ("PySide6/Qt/plugins/designer/libx.so", "/venv/PySide6/Qt/plugins/designer/libx.so", False),
    ],
)
def test_libraries_of_the_building_machine_and_of_no_use_stay_out(target: str, origin: str, stays: bool) -> None:
    assert kept.binary(target, origin, STDLIB) is stays


@pytest.mark.parametrize("name", ["libcomposeplatforminputcontextplugin.so", "libibusplatforminputcontextplugin.so"])
def test_vietnamese_can_be_typed(name: str) -> None:
    assert kept.data(f"PySide6/Qt/plugins/platforminputcontexts/{name}")


def test_nothing_the_program_imports_is_left_out() -> None:
    """A module of NOT_USED that the source names would fail only on the user's machine."""
    imported = set()
    for path in (ROOT / "src/vidconf").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:from|import)\s+([A-Za-z0-9_.]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    left_out = {name for name in imported if any(name == out or name.startswith(f"{out}.") for out in kept.NOT_USED)}
    assert left_out <= {"sounddevice"}, "PortAudio plays elsewhere than on Linux"


def test_each_library_once_with_its_later_name() -> None:
    told = depends.named(["libc6 (>= 2.34)", "libssl3 (>= 3.0.0)", "libglib2.0-0 (>= 2.37.3)", "libc6"])
    parts = told.split(", ")
    assert parts == sorted(parts)
    assert "libssl3 (>= 3.0.0) | libssl3t64 (>= 3.0.0)" in parts
    assert "libasound2 | libasound2t64" in parts
    assert [part for part in parts if part.startswith("libc6")] == ["libc6 (>= 2.34)"]


def test_what_dpkg_prints_is_read() -> None:
    assert depends.parsed("shlibs:Depends=libc6 (>= 2.34), libx11-6\n") == ["libc6 (>= 2.34)", "libx11-6"]
    with pytest.raises(depends.DependsError):
        depends.parsed("nothing\n")


def test_a_tree_without_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(depends.DependsError, match="no program or library"):
        depends.needed(tmp_path)


def test_the_manual_tells_every_command() -> None:
    page = manual.filled((FILES / "vidconf.1.in").read_text(encoding="utf-8"), "1.2.3", 1_700_000_000)
    for name in manual.commands():
        assert f".B {name}" in page
    assert "@" not in page
    assert '"2023-11-14" "vidconf 1.2.3"' in page


def test_no_words_of_a_command_are_a_request_to_roff() -> None:
    assert manual.escaped(".br's") == "\\&.br's"
    assert manual.escaped("--json") == "\\-\\-json"


def test_links_open_the_program() -> None:
    entry = configparser.ConfigParser(interpolation=None)
    entry.optionxform = str  # type: ignore[method-assign, assignment]
    entry.read(FILES / "vidconf.desktop", encoding="utf-8")
    desktop = entry["Desktop Entry"]
    assert desktop["MimeType"] == "x-scheme-handler/vidconf;"
    assert desktop["Exec"] == "vidconf %u"
    assert {"Name", "GenericName[vi]", "Comment[vi]", "Keywords[vi]"} <= set(desktop)
    if shutil.which("desktop-file-validate"):
        assert subprocess.run(["desktop-file-validate", str(FILES / "vidconf.desktop")], capture_output=True, text=True).stdout == ""


def test_software_centres_find_the_desktop_file() -> None:
    text = manual.filled((FILES / "vn.vidconf.client.metainfo.xml.in").read_text(encoding="utf-8"), "1.2.3", 1_700_000_000)
    component = ElementTree.fromstring(text)
    assert component.findtext("launchable") == "vidconf.desktop"
    release = component.find("releases/release")
    assert release is not None
    assert release.attrib == {"version": "1.2.3", "date": "2023-11-14"}


@pytest.mark.parametrize("script", ["build", "check", "client/build"])
def test_scripts_tell_their_use(script: str) -> None:
    told = subprocess.run([ROOT / "packaging/debian" / script, "--help"], capture_output=True, text=True, timeout=20, check=True)
    assert "packaging/debian/" in told.stdout
    wrong = subprocess.run([ROOT / "packaging/debian" / script, "--nonsense"], capture_output=True, text=True, timeout=20)
    assert wrong.returncode == 2


def test_what_packs_is_locked_by_hash() -> None:
    lock = (ROOT / "packaging/debian/client/requirements-build.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z])", lock)[1:]
    assert len(blocks) >= 4
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)

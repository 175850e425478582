"""The bench of installers opens what it is given and says what it saw."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging_scripts import ROOT, load

installed = load("bench/installed.py")
archive = load("packaging/debian/archive.py")
CONTROL = "Package: sample\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: a sample\n"
PROGRAM = f"""#!{sys.executable}
import os, pathlib, socket, sys
if "--version" in sys.argv:
    sys.exit(0)
with socket.socket(socket.AF_UNIX) as line:
    line.bind(str(pathlib.Path(os.environ["TMPDIR"]) / "vidconf-0123"))
    line.listen()
    while True:
        other, _ = line.accept()
        if other.recv(64).startswith(b"vidconf 1 "):
            other.sendall(b"ok\\n")
"""


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")
def test_sizes_and_starts_of_a_package(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    program = tree / "opt/vidconf/vidconf"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    (program.parent / "weight").write_bytes(bytes(2_000_000))
    deb = archive.make(tree, CONTROL, tmp_path / "out", 0, compressor="gzip")
    found = installed.measured(deb, 1, False)
    assert (found["unpacked_mb"], found["files"]) == (2.0, 2)
    for name in ("command", "window"):
        assert 0 < found["starts"][name]["warm_s"] < 20
    assert installed.row(found).startswith(f"| {deb.name} | 0.0 | 2 / 2 | ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [deb.name]


def test_a_window_that_ends_is_told(tmp_path: Path) -> None:
    program = tmp_path / "vidconf"
    program.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(RuntimeError, match="ended with 3"):
        installed.window_s(program, tmp_path)


def test_a_portable_archive_has_sizes_only(tmp_path: Path) -> None:
    path = tmp_path / "vidconf.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("vidconf/vidconf.exe", bytes(1_000_000))
    found = installed.measured(path, 1, False)
    assert (found["packed_mb"], found["unpacked_mb"]) == (1.0, 1.0)
    assert installed.row(found) == "| vidconf.zip | 1.0 | 1 / 1 | – | – |"


def test_what_is_no_installer_is_wrong_usage(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/installed.py"), str(tmp_path / "gone.deb")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "is no .deb" in done.stderr

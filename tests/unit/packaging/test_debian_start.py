"""What every process of the packed client does first, run in a process where a stand-in has the place of PyInstaller's loader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging_scripts import ROOT

HOOK = ROOT / "packaging/debian/client/at_start.py"
PROGRAM = """
import json, os, runpy, sys, types
archive = types.SimpleNamespace(_filename=sys.argv[2])
sys.modules["pyimod02_importers"] = types.SimpleNamespace(pyz_archive=archive)
sys._MEIPASS = "/opt/vidconf/lib"
runpy.run_path(sys.argv[1])
os.replace(sys.argv[2] + ".new", sys.argv[2])
print(json.dumps([os.environ.get("LD_LIBRARY_PATH"), open(archive._filename).read()]))
"""


def started(folder: Path, **environment: str) -> list[str | None]:
    archive = folder / "archive"
    archive.write_text("old", encoding="utf-8")
    (folder / "archive.new").write_text("new", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LD_LIBRARY_PATH")}
    words = [sys.executable, "-c", PROGRAM, str(HOOK), str(archive)]
    printed = subprocess.run(words, env=kept | environment, capture_output=True, text=True, check=True, timeout=30).stdout
    told: list[str | None] = json.loads(printed)
    return told


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_an_upgrade_does_not_change_what_a_running_program_reads(tmp_path: Path) -> None:
    assert started(tmp_path)[1] == "old"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize(
    ("environment", "left"),
    [
        ({}, None),
        ({"LD_LIBRARY_PATH": "/users/own"}, "/users/own"),
        ({"LD_LIBRARY_PATH": "/opt/vidconf/lib"}, None),
        ({"LD_LIBRARY_PATH": "/opt/vidconf/lib:/users/own", "LD_LIBRARY_PATH_ORIG": "/users/own"}, "/users/own"),
    ],
)
def test_other_programs_find_their_own_libraries(tmp_path: Path, environment: dict[str, str], left: str | None) -> None:
    assert started(tmp_path, **environment)[0] == left

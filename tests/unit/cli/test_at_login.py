"""The entry that an installer makes for everybody who logs on starts the window only where the setting `autostart` agrees."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from vidconf.starting import own_command


def started(folder: Path, *words: str, autostart: bool | None) -> subprocess.Popen[str]:
    """The program of a user whose setting is this; None: they never chose."""
    (folder / "vidconf").mkdir()
    if autostart is not None:
        (folder / "vidconf" / "settings.json").write_text(json.dumps({"autostart": autostart}), encoding="utf-8")
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
        "QT_QPA_PLATFORM": "offscreen",
        "VIDCONF_INSTANCE": str(folder),
    }
    return subprocess.Popen(own_command(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("autostart", [None, False])
def test_who_did_not_want_it_has_no_window(tmp_path: Path, autostart: bool | None) -> None:
    process = started(tmp_path, "--at-login", autostart=autostart)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_who_wants_it_has_the_program(tmp_path: Path) -> None:
    process = started(tmp_path, "--at-login", autostart=True)
    try:
        assert process.stderr is not None
        assert any("page: home" in line for line in process.stderr), "it ended"
    finally:
        process.terminate()
        process.communicate(timeout=60)

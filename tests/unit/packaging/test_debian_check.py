"""The check of packages fails when a promise does, whatever it fails of, and takes no dull meeting for a good one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging_scripts import load

check = load("packaging/debian/check")


@pytest.mark.parametrize(
    "failure",
    [
        check.Failed("seen otherwise"),
        OSError("gone"),
        subprocess.TimeoutExpired("vidconf", 3),
        json.JSONDecodeError("no", "x", 0),
        KeyError("settings"),
    ],
)
def test_a_promise_that_fails_fails_the_check_and_the_others_are_still_tried(
    failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    promises = check.Promises()
    with promises.made("one"):
        raise failure
    with promises.made("two") as seen:
        seen.append("as promised")
    assert not promises.kept
    assert [(what, ok) for what, ok, _, _ in promises.rows] == [("one", False), ("two", True)]
    said = capsys.readouterr().out
    assert "FAILED one" in said
    assert "two: as promised" in said


def test_nothing_promised_is_nothing_kept() -> None:
    assert not check.Promises().kept


def report(**changes: Any) -> str:
    tracks = [{"painted_fps": 12.0}, {"painted_fps": 20.0}, {"painted_fps": 15.0}, {"painted_fps": None}]
    return json.dumps({"participants": 6, "admitted": 5, "window": {"tracks": tracks, "sound": {"rms_dbfs": -26.0}}} | changes)


def test_a_good_meeting_is_told() -> None:
    assert check.good_report(report()) == "6 in the meeting, 3 moving pictures, sound -26.0 dBFS"


@pytest.mark.parametrize(
    "changes",
    [{"participants": 2}, {"admitted": 0}, {"window": {"tracks": [{"painted_fps": 0}], "sound": {"rms_dbfs": -26.0}}},
     {"window": {"tracks": [{"painted_fps": 9.0}] * 4, "sound": {"rms_dbfs": -90.0}}}],
)  # fmt: skip
def test_a_meeting_without_people_pictures_or_sound_is_none(changes: dict[str, Any]) -> None:
    with pytest.raises(check.Failed):
        check.good_report(report(**changes))


def test_every_path_that_stays_is_seen(tmp_path: Path) -> None:
    for name in (
        "opt/vidconf/lib/x",
        "usr/bin/vidconf",
        "var/cache/apt/y",
        "home/official/own",
        "tmp/z",
        "etc/opt/vidconf/policies/managed/a.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = check.Root(tmp_path).files()
    assert {"opt/vidconf/lib/x", "usr/bin/vidconf", "etc/opt/vidconf/policies/managed/a.json", "etc/opt"} <= found
    assert not [path for path in found if path.startswith(("var/cache/", "home/", "tmp/"))]

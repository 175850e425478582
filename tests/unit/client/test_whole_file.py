"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vidconf.client.whole_file import write_whole


def test_it_takes_the_place_of_what_was_there_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_bytes(b"before")
    write_whole(file, "sau đó".encode())
    assert file.read_text("utf-8") == "sau đó"
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_it_is_for_the_user_alone_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    write_whole(tmp_path / "own", b"")
    write_whole(tmp_path / "shown", b"", mode=0o644)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("own", "shown")] == [0o600, 0o644]


@pytest.mark.parametrize("trouble", ["fsync", "replace"])
def test_where_it_fails_what_was_there_stays_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str) -> None:
    file = tmp_path / "current"
    file.write_bytes(b"1.0\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, trouble, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, b"2.0\n")
    assert file.read_bytes() == b"1.0\n"
    assert os.listdir(tmp_path) == ["current"]


def test_no_folder_is_made_for_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "nowhere" / "file", b"")

"""The portable program replaces itself: with real ZIPs and programs that really start, and with all that can go wrong between."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.portable_program import made_portable, packed, program, started
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.updates import portable
from vidconf.client.updates.portable import Portable, PortableError, current_version, find_portable, replace_with, tidy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the made programs are shell scripts")


@pytest.fixture
def place(tmp_path: Path) -> Portable:
    """An unpacked one that runs version 1.0."""
    return made_portable(tmp_path, "1.0.0")


def refused(place: Portable, archive: Path, version: str = "1.1.0") -> str:
    """The code; and that nothing has changed: the old version starts, nothing lies about."""
    with pytest.raises(PortableError) as caught:
        replace_with(place, archive, version)
    assert started(place) == "I am 1.0.0"
    assert [entry.name for entry in place.versions.iterdir()] == ["1.0.0"]
    assert sorted(entry.name for entry in place.root.iterdir()) == ["current", "portable.marker", "versions"]
    return caught.value.code


@pytest.mark.parametrize("top", ["vidconf/", ""])
def test_the_next_start_is_the_new_version_and_the_old_one_goes(place: Portable, tmp_path: Path, top: str) -> None:
    replace_with(place, packed(tmp_path / "new.zip", "1.1.0", top=top), "1.1")
    assert started(place) == "I am 1.1.0"
    assert (place.versions / "1.1.0/app/thuật ngữ.txt").stat().st_size == 5000
    tidy(place)
    assert (place.versions / "1.0.0").is_dir(), "it runs still"
    tidy(Portable(place.root, "1.1.0"))
    assert [entry.name for entry in place.versions.iterdir()] == ["1.1.0"]


def test_a_version_of_two_numbers_is_found_and_kept(tmp_path: Path) -> None:
    place = made_portable(tmp_path, "1.0")
    tidy(place)
    assert started(place) == "I am 1.0"
    replace_with(place, packed(tmp_path / "new.zip", "1.1"), "1.1")
    assert started(place) == "I am 1.1"
    tidy(place)
    assert (place.versions / "1.0").is_dir()


def test_what_is_installed_is_never_portable(place: Portable, tmp_path: Path) -> None:
    assert find_portable(Path(sys.executable)) is None
    (place.root / "portable.marker").unlink()
    assert find_portable(place.versions / "1.0.0/vidconf") is None


@pytest.mark.parametrize("version", ["1.0", "0.9", "1.0rc1"])
def test_only_forward(place: Portable, tmp_path: Path, version: str) -> None:
    assert refused(place, packed(tmp_path / "new.zip", version), version) == "not_newer"


@pytest.mark.parametrize(
    "spoil", [lambda raw: b"", lambda raw: b"PK" * 500, lambda raw: raw[: len(raw) // 2], lambda raw: raw[:200] + bytes(300) + raw[500:]]
)
def test_a_broken_zip(place: Portable, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    archive = packed(tmp_path / "new.zip", "1.1.0", {**program("1.1.0"), "noise": os.urandom(4000)})
    archive.write_bytes(spoil(archive.read_bytes()))
    assert refused(place, archive) == "not_a_zip"


def test_a_zip_of_another_version(place: Portable, tmp_path: Path) -> None:
    assert refused(place, packed(tmp_path / "new.zip", "1.2.0"), "1.1.0") == "not_a_zip"
    assert refused(place, tmp_path / "not there.zip") == "not_written"


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "../../../evil", "/etc/evil", "C:/evil", "a\\..\\evil", "a/../../evil", "a//b", "./a", "con", "app/NUL.txt", "a.", "a ", "a:stream",
        "x" * 300, "a\x01b",
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere(place: Portable, tmp_path: Path, name: str) -> None:
    assert refused(place, packed(tmp_path / "new.zip", "1.1.0", {**program("1.1.0"), name: b"evil"})) == "unsafe_name"
    outside = packed(tmp_path / "new.zip", "1.1.0", more={name: b"evil"})
    assert refused(place, outside) == "unsafe_name", "nor beside the version"
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [0o120777, 0o010644, 0o020644])
def test_links_and_devices(place: Portable, tmp_path: Path, kind: int) -> None:
    archive = packed(tmp_path / "new.zip", "1.1.0")
    with zipfile.ZipFile(archive, "a") as opened:
        info = zipfile.ZipInfo("vidconf/versions/1.1.0/link")
        info.external_attr = kind << 16
        opened.writestr(info, "/etc/passwd")
    assert refused(place, archive) == "unsafe_name"


def test_names_that_are_one_on_windows(place: Portable, tmp_path: Path) -> None:
    assert refused(place, packed(tmp_path / "new.zip", "1.1.0", {**program("1.1.0"), "DATA.txt": b"other"})) == "unsafe_name"


def test_too_much(place: Portable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "new.zip", "1.1.0")
    monkeypatch.setattr(portable, "ENTRIES_LIMIT", 3)
    assert refused(place, archive) == "too_large"
    monkeypatch.undo()
    monkeypatch.setattr(portable, "BYTES_LIMIT", 3000)
    assert refused(place, archive) == "too_large"


def test_a_bomb_that_lies_about_its_size(place: Portable, tmp_path: Path) -> None:
    archive = packed(tmp_path / "new.zip", "1.1.0", {**program("1.1.0"), "bomb": bytes(5_000_000)})
    raw = archive.read_bytes()
    size = (5_000_000).to_bytes(4, "little")
    assert raw.count(size) == 2
    archive.write_bytes(raw.replace(size, (1000).to_bytes(4, "little")))
    assert refused(place, archive) in ("not_a_zip", "too_large")


def test_no_room(place: Portable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "new.zip", "1.1.0")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    assert refused(place, archive) == "no_room"


def test_the_disk_is_full_in_the_middle(place: Portable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "chmod", full)
    assert refused(place, packed(tmp_path / "new.zip", "1.1.0")) == "no_room"


@pytest.mark.parametrize("function", ["mkdtemp", "mkstemp"])
def test_no_right_to_write(place: Portable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """As on a read-only share; root could write anywhere, so it is the call that refuses."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    archive = packed(tmp_path / "new.zip", "1.1.0")
    monkeypatch.setattr(portable.tempfile, function, refuse)
    with pytest.raises(PortableError, match="not_written"):
        replace_with(place, archive, "1.1.0")
    monkeypatch.undo()
    assert started(place) == "I am 1.0.0"
    tidy(place)
    assert [entry.name for entry in place.versions.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\necho vidconf, version 1.0.0\n", "#!/bin/sh\nkill -SEGV $$\n", "#!/bin/sh\n", "no program"]
)
def test_a_version_that_does_not_start_here_is_not_used(place: Portable, tmp_path: Path, script: str) -> None:
    assert refused(place, packed(tmp_path / "new.zip", "1.1.0", {**program("1.1.0"), "vidconf": script.encode()})) == "does_not_start"


def test_a_version_that_hangs_is_not_used(place: Portable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "TRIAL_S", 0.3)
    assert refused(place, packed(tmp_path / "new.zip", "1.1.0", {"vidconf": b"#!/bin/sh\nexec sleep 20\n"})) == "does_not_start"


def test_a_zip_without_the_program(place: Portable, tmp_path: Path) -> None:
    assert refused(place, packed(tmp_path / "new.zip", "1.1.0", {"data.txt": b"x"})) == "does_not_start"


def test_who_joins_a_meeting_is_not_disturbed(place: Portable, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(PortableError, match="stopped"):
        replace_with(place, packed(tmp_path / "new.zip", "1.1.0"), "1.1.0", stop)
    assert started(place) == "I am 1.0.0"


@pytest.mark.parametrize("after", ["_unpack", "_try", "_rename"])
def test_the_power_goes_in_the_middle(place: Portable, tmp_path: Path, after: str) -> None:
    """A process of its own is killed after that step; the old version starts, and the next try succeeds."""
    archive = packed(tmp_path / "new.zip", "1.1.0")
    code = (
        f"import os, signal\nfrom pathlib import Path\nfrom vidconf.client.updates import portable as p\nstep = p.{after}\n"
        "def last(*a, **k):\n    step(*a, **k)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"p.{after} = last\np.replace_with(p.Portable(Path({str(place.root)!r}), '1.0.0'), Path({str(archive)!r}), '1.1.0')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == -9
    assert len(list(place.versions.iterdir())) == 2, "something was left lying"
    assert started(place) == "I am 1.0.0"
    tidy(place)
    assert [entry.name for entry in place.versions.iterdir()] == ["1.0.0"]
    replace_with(place, archive, "1.1.0")
    assert started(place) == "I am 1.1.0"


def test_a_try_that_was_broken_off_is_made_again_without_tidying(place: Portable, tmp_path: Path) -> None:
    (place.versions / "1.1.0").mkdir()
    (place.versions / "1.1.0/rest").touch()
    replace_with(place, packed(tmp_path / "new.zip", "1.1.0"), "1.1.0")
    assert started(place) == "I am 1.1.0"
    assert not (place.versions / "1.1.0/rest").exists()


def test_a_scanner_that_holds_the_folder_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    rename, tries = os.rename, iter([True, True, False])

    def held(a: Any, b: Any) -> None:
        if next(tries):
            raise PermissionError(errno.EACCES, "in use")
        rename(a, b)

    monkeypatch.setattr(os, "rename", held)
    (tmp_path / "a").mkdir()
    portable._rename(tmp_path / "a", tmp_path / "b", slept.append)
    assert (tmp_path / "b").is_dir()
    assert slept == [0.0, 0.5, 2.0]
    monkeypatch.setattr(os, "rename", lambda a, b: (_ for _ in ()).throw(PermissionError()))
    with pytest.raises(PermissionError):
        portable._rename(tmp_path / "b", tmp_path / "c", slept.append)


@pytest.mark.parametrize("content", ["", "../../evil", "1.0.0; rm", "x" * 5000, "９.0"])
def test_a_pointer_that_is_none_removes_nothing(place: Portable, content: str) -> None:
    (place.root / "current").write_text(content, encoding="utf-8")
    (place.versions / "0.9.0").mkdir()
    assert current_version(place) == ""
    tidy(place)
    assert (place.versions / "0.9.0").is_dir()


def test_tidying_leaves_alone_what_is_not_its_own(place: Portable) -> None:
    (place.versions / "my notes").mkdir()
    tidy(place)
    assert (place.versions / "my notes").is_dir()


@pytest.fixture(scope="module")
def good_zip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return packed(tmp_path_factory.mktemp("zip") / "new.zip", "1.1.0").read_bytes()


@given(spoils=st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=4)), min_size=1, max_size=6))
def test_a_spoilt_zip_is_refused_or_lies_where_it_should(good_zip: bytes, spoils: list[tuple[int, bytes]]) -> None:
    raw = bytearray(good_zip)
    for at, piece in spoils:
        raw[at % len(raw) : at % len(raw) + len(piece)] = piece
    with tempfile.TemporaryDirectory() as folder:
        archive, into = Path(folder) / "new.zip", Path(folder) / "into"
        archive.write_bytes(raw)
        into.mkdir()
        with contextlib.suppress(PortableError):
            portable._unpack(archive, "1.1.0", into, threading.Event())
        assert sorted(entry.name for entry in Path(folder).iterdir()) == ["into", "new.zip"]


@given(st.text(max_size=20))
def test_every_name_is_sound_or_refused(name: str) -> None:
    try:
        portable._check_name(name)
    except PortableError:
        return
    assert ".." not in name.split("/")
    assert not name.startswith("/")
    assert not set(name) & set('\\:*?"<>|')

"""Windows' door, tried here as it is there: the secret in the user's own folder, and whoever listens in the window's place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QLockFile
from PySide6.QtNetwork import QLocalServer, QLocalSocket
from pytestqt.qtbot import QtBot

import vidconf
from vidconf.gui import own_door as doors
from vidconf.gui.own_door import Door, own_door
from vidconf.gui.single_instance import DONE, HELLO, WHO, SingleInstance, hand_over, runs_already

SRC = str(Path(vidconf.__file__).parent.parent)
COME = """
import sys
from pathlib import Path
from PySide6.QtCore import QCoreApplication
app = QCoreApplication([])
from vidconf.gui.own_door import Door, own_door
from vidconf.gui.single_instance import hand_over, runs_already
door = own_door(sys.argv[1], platform="win32", folder=Path(sys.argv[2]))
print(door.name)
link = sys.argv[3]
sys.exit(0 if (hand_over(link, door) if link else runs_already(door)) else 3)
"""


@pytest.fixture
def there(tmp_path: Path) -> Callable[[], Door]:
    return lambda: own_door(str(tmp_path), platform="win32", folder=tmp_path / "local")


def come(tmp_path: Path, link: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COME, str(tmp_path), str(tmp_path / "local"), link],
        env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(started: subprocess.Popen[str], qtbot: QtBot) -> tuple[int, str, str]:
    qtbot.waitUntil(lambda: started.poll() is not None, timeout=20_000)
    out, said = started.communicate()
    assert "Traceback" not in said, said
    return started.returncode, out.strip(), said


def kept(tmp_path: Path) -> Path:
    [file] = [file for file in (tmp_path / "local").iterdir() if file.suffix != ".lock"]
    return file


def test_the_name_is_not_to_be_guessed_and_stays(there: Callable[[], Door], tmp_path: Path) -> None:
    door = there()
    assert door == there()
    assert door.secret not in door.name
    assert door.secret not in repr(door)
    elsewhere = own_door(str(tmp_path), platform="win32", folder=tmp_path / "another")
    assert elsewhere.name != door.name, "it is made of the secret, not of who the user is"
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o600
    assert len(door.name) < 60


def test_who_begins_to_listen_has_a_name_nobody_has_seen(there: Callable[[], Door], tmp_path: Path) -> None:
    """Under a name that another has taken with the rights it likes, it could stand between the window and who comes to it."""
    seen = there()
    fresh = own_door(str(tmp_path), anew=True, platform="win32", folder=tmp_path / "local")
    assert fresh.name != seen.name
    assert fresh.secret != seen.secret
    assert there() == fresh, "who comes later finds it"


def test_scopes_have_doors_of_their_own(tmp_path: Path) -> None:
    assert len({own_door(scope, platform="win32", folder=tmp_path).name for scope in "abc"}) == 3


@pytest.mark.parametrize("said", [b"", b"x" * 64, b"ab" * 31, b"ab" * 33, b"AB" * 32, b"\xff\xfe" * 40, b"ab" * 100_000])
def test_what_is_no_secret_is_made_anew(there: Callable[[], Door], tmp_path: Path, said: bytes) -> None:
    before = there()
    kept(tmp_path).write_bytes(said)
    door = there()
    assert door.secret != before.secret
    assert re.fullmatch("[0-9a-f]{64}", door.secret)
    assert door == there()
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o600


def test_a_link_to_nowhere_is_replaced(there: Callable[[], Door], tmp_path: Path) -> None:
    there()
    file = kept(tmp_path)
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    assert there() == there()
    assert not file.is_symlink()


def test_where_nothing_can_be_kept_nobody_meets(there: Callable[[], Door], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    there()
    file = kept(tmp_path)
    file.unlink()
    (file / "x").mkdir(parents=True)
    assert there() != there()
    assert "is not kept" in caplog.text
    assert [entry.name for entry in file.parent.iterdir() if entry.name.startswith(".")] == [], "nothing half is left"
    blocked = tmp_path / "a file"
    blocked.write_text("")
    assert own_door(platform="win32", folder=blocked) != own_door(platform="win32", folder=blocked)


def test_a_lock_that_stays_keeps_nobody_waiting_for_ever(
    there: Callable[[], Door], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door = there()
    lock = QLockFile(f"{kept(tmp_path)}.lock")
    assert lock.tryLock(0)
    monkeypatch.setattr(doors, "LOCK_MS", 50)
    assert there().secret != door.secret
    assert "is locked" in caplog.text
    lock.unlock()
    assert there() == door


def test_first_starts_at_once_agree(there: Callable[[], Door], tmp_path: Path, qtbot: QtBot) -> None:
    names = {ended(one, qtbot)[1] for one in [come(tmp_path, "") for _ in range(4)]}
    assert names == {there().name}


def test_a_second_start_hands_over(there: Callable[[], Door], tmp_path: Path, qtbot: QtBot) -> None:
    made, handed = SingleInstance(there()), []
    made.handed.connect(handed.append)
    assert made.listen()
    assert ended(come(tmp_path, ""), qtbot)[0] == 0
    assert handed == [], "asking is no visit"
    assert ended(come(tmp_path, "abcd-efgh"), qtbot)[0] == 0
    assert handed == ["abcd-efgh"]
    made.close()
    assert ended(come(tmp_path, "abcd-efgh"), qtbot)[0] == 3


@pytest.mark.parametrize(
    "answer",
    [DONE, b"0" * 64 + b"\n", b"", b"\n", b"\xff" * 100_000, Door("", "0" * 64).proof("0" * 32) + b"\n", WHO + b"0" * 32 + b"\n"],
    ids=["ok", "zeros", "silent", "empty", "flood", "another secret", "the question back"],
)
def test_who_only_took_the_name_hears_no_link(there: Callable[[], Door], tmp_path: Path, qtbot: QtBot, answer: bytes) -> None:
    """Names of pipes can be listed by anybody on the machine: one that was seen may be taken as soon as its window has gone."""
    thief, heard = QLocalServer(), bytearray()

    def on_visit() -> None:
        socket = thief.nextPendingConnection()

        def on_bytes() -> None:
            heard.extend(bytes(socket.readAll().data()))
            socket.write(answer)
            socket.flush()

        socket.readyRead.connect(on_bytes)

    thief.newConnection.connect(on_visit)
    assert thief.listen(there().name)
    code, _, said = ended(come(tmp_path, "abcd-efgh#k=" + "s" * 24), qtbot)
    thief.close()
    assert code == 3
    assert "cannot prove" in said
    assert bytes(heard).startswith(WHO)
    assert HELLO not in heard
    assert b"abcd" not in heard


def test_neither_does_a_window_with_another_secret(there: Callable[[], Door], tmp_path: Path, qtbot: QtBot) -> None:
    made, handed = SingleInstance(Door(there().name, "0" * 64)), []
    made.handed.connect(handed.append)
    assert made.listen()
    assert ended(come(tmp_path, "abcd-efgh"), qtbot)[0] == 3
    made.close()
    assert handed == []


@pytest.mark.parametrize("nonce", [b"", b"x" * 32, b"0" * 31, b"0" * 33, b"0" * 4000, b"\xff" * 32])
def test_a_proof_is_given_to_a_nonce_only(there: Callable[[], Door], qtbot: QtBot, nonce: bytes) -> None:
    made = SingleInstance(there())
    assert made.listen()
    socket = QLocalSocket()
    socket.connectToServer(there().name)
    assert socket.waitForConnected(2000)
    socket.write(WHO + nonce + b"\n")
    socket.flush()
    qtbot.waitUntil(lambda: socket.state() == QLocalSocket.LocalSocketState.UnconnectedState, timeout=2000)
    assert bytes(socket.readAll().data()) == b""
    made.close()


def test_where_the_system_tells_who_listens_nothing_is_kept(tmp_path: Path) -> None:
    assert own_door("x", platform="darwin", folder=tmp_path) == own_door("x", platform="linux", folder=tmp_path)
    assert own_door("x", platform="linux", folder=tmp_path).secret == ""
    assert list(tmp_path.iterdir()) == []
    assert not runs_already(own_door(str(tmp_path), platform="linux"))
    assert not hand_over("abcd-efgh", own_door(str(tmp_path), platform="linux"))

"""One window a user: a second process hands its link to the first and ends; what else comes to that door."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtNetwork import QLocalSocket
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

import vidconf
from vidconf.gui.own_door import Door, own_door
from vidconf.gui.single_instance import DONE, HELLO, LIMIT, SingleInstance, hand_over, runs_already

SRC = str(Path(vidconf.__file__).parent.parent)
HAND_OVER = """
import sys
from PySide6.QtCore import QCoreApplication
app = QCoreApplication([])
from vidconf.gui.own_door import Door
from vidconf.gui.single_instance import hand_over
sys.exit(0 if hand_over(sys.argv[1], Door(sys.argv[2])) else 3)
"""
CRASH = """
import os, sys
from PySide6.QtCore import QCoreApplication
app = QCoreApplication([])
from vidconf.gui.own_door import Door
from vidconf.gui.single_instance import SingleInstance
one = SingleInstance(Door(sys.argv[1]))
assert one.listen()
os._exit(1)
"""


def process(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script, *arguments], env={**os.environ, "PYTHONPATH": SRC}, stderr=subprocess.PIPE)


@pytest.fixture
def name(tmp_path: Path) -> str:
    return own_door(str(tmp_path)).name


@pytest.fixture
def first(name: str) -> Iterator[tuple[SingleInstance, list[str]]]:
    made, handed = SingleInstance(Door(name)), []
    made.handed.connect(handed.append)
    assert made.listen()
    yield made, handed
    made.close()
    made.deleteLater()
    QApplication.processEvents()


def code_of(started: subprocess.Popen[bytes], qtbot: QtBot) -> int:
    qtbot.waitUntil(lambda: started.poll() is not None, timeout=20_000)
    _, said = started.communicate()
    assert b"Traceback" not in said, said.decode()
    return started.returncode


@pytest.mark.parametrize("link", ["https://hop.example.vn/m/kx7m-2pqa-9tdf#k=" + "s" * 24, "", "họp tuần 📄", "một\nhai"])
def test_a_second_process_hands_its_link_over_and_ends(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot, link: str) -> None:
    assert code_of(process(HAND_OVER, link, name), qtbot) == 0
    assert first[1] == [link.replace("\n", " ")]


def test_several_at_once(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot) -> None:
    started = [process(HAND_OVER, f"abcd-{n:04}", name) for n in range(3)]
    assert [code_of(one, qtbot) for one in started] == [0, 0, 0]
    assert sorted(first[1]) == ["abcd-0000", "abcd-0001", "abcd-0002"]


def test_the_first_start_finds_nobody(name: str, qtbot: QtBot) -> None:
    assert code_of(process(HAND_OVER, "abcd-efgh", name), qtbot) == 3


def test_what_a_crash_left_is_taken_over(name: str, qtbot: QtBot) -> None:
    assert code_of(process(CRASH, name), qtbot) == 1
    assert not hand_over("abcd-efgh", Door(name))
    made, handed = SingleInstance(Door(name)), []
    made.handed.connect(handed.append)
    assert made.listen()
    assert code_of(process(HAND_OVER, "abcd-efgh", name), qtbot) == 0
    assert handed == ["abcd-efgh"]
    made.close()


def test_closed_nobody_answers_any_more(first: tuple[SingleInstance, list[str]], name: str) -> None:
    first[0].close()
    assert not hand_over("abcd-efgh", Door(name))


def test_names_tell_users_and_scopes_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_door("a") != own_door("b")
    assert own_door() == own_door()
    before = own_door()
    monkeypatch.setenv("VIDCONF_INSTANCE", "demo")
    assert own_door() != before
    assert len(own_door().name) < 40


# ---- whoever else comes ----


def visit(name: str, qtbot: QtBot, *parts: bytes) -> bytes:
    """Say something at the door, piece by piece; what is answered."""
    socket = QLocalSocket()
    socket.connectToServer(name)
    assert socket.waitForConnected(2000)
    answer = bytearray()
    for part in parts:
        socket.write(part)
        socket.flush()
        qtbot.wait(20)
        answer += bytes(socket.readAll().data())
    qtbot.wait(30)
    answer += bytes(socket.readAll().data())
    socket.abort()
    return bytes(answer)


@pytest.mark.parametrize(
    "said",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"vidconf 2 abcd\n",
        HELLO + b"x" * (LIMIT + 100),
        b"x" * (LIMIT * 2) + b"\n",
        HELLO + b"abcd-efgh",
        b"\xff\xfe\n",
    ],
    ids=["empty", "http", "newer", "too long", "flood", "no end", "bytes"],
)
def test_what_is_no_link_is_not_taken(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot, said: bytes) -> None:
    assert visit(name, qtbot, said) == b""
    assert first[1] == []
    assert visit(name, qtbot, HELLO + b"abcd-efgh\n") == DONE, "the door is still open for others"
    assert first[1] == ["abcd-efgh"]


def test_a_link_in_pieces(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot) -> None:
    assert visit(name, qtbot, HELLO[:4], HELLO[4:] + b"ab", b"cd-efgh\n") == DONE
    assert first[1] == ["abcd-efgh"]


def test_letters_cut_in_the_middle(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot) -> None:
    assert visit(name, qtbot, HELLO + "họp".encode()[:2] + b"\n") == DONE
    assert first[1] == ["h\ufffd"]


def test_the_door_is_the_users_own(first: tuple[SingleInstance, list[str]]) -> None:
    path = Path(first[0]._server.fullServerName())
    if not path.exists():
        pytest.skip("no socket in the file system here")
    assert path.stat().st_mode & 0o077 == 0


def test_who_has_gone_before_the_answer(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot) -> None:
    socket = QLocalSocket()
    socket.connectToServer(name)
    assert socket.waitForConnected(2000)
    socket.write(HELLO + b"abcd-efgh\n")
    socket.waitForBytesWritten(500)
    socket.abort()
    qtbot.waitUntil(lambda: first[1] == ["abcd-efgh"], timeout=2000)


def test_whether_one_runs_is_asked_without_a_word(first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot) -> None:
    asking = process(
        HAND_OVER.replace("import hand_over", "import runs_already").replace(
            "hand_over(sys.argv[1], Door(sys.argv[2]))", "runs_already(Door(sys.argv[2]))"
        ),
        "",
        name,
    )
    assert code_of(asking, qtbot) == 0
    assert first[1] == [], "the window does not come forward"
    nobody = process(
        HAND_OVER.replace("import hand_over", "import runs_already").replace(
            "hand_over(sys.argv[1], Door(sys.argv[2]))", "runs_already(Door(sys.argv[2]))"
        ),
        "",
        name + "x",
    )
    assert code_of(nobody, qtbot) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells who listens")
@pytest.mark.parametrize("ask", [lambda door: hand_over("abcd-efgh", door), runs_already])
def test_to_another_users_door_nothing_is_said(
    first: tuple[SingleInstance, list[str]], name: str, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Door], bool]
) -> None:
    """Names are guessed, and /tmp is everybody's: who listens first would be told the links, the chair's secret among them."""
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    assert not ask(Door(name))
    qtbot.wait(50)
    assert first[1] == []

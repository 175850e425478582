"""A chair's link is no secret any more once `ps` tells it: read from stdin, or wiped from the command line."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vidconf.cli import link_argument as module

SECRET = "kh0ng-noi-voi-ai-thu-ky-biet"
LINK = f"https://hop.example.gov.vn/m/abcd-efgh-jkmn#k={SECRET}"
SHOW = """
import sys
from pathlib import Path
from vidconf.cli.link_argument import conceal, given_link
link = given_link(sys.argv[1])
print(link)
print(Path("/proc/self/cmdline").read_text() if sys.platform == "linux" else "")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(SHOW, encoding="utf-8")
    return file


def shown(program: Path, *words: str, said: str = "") -> list[str]:
    """The lines that it says when it is started with `words`: the link it took, and its words as all may read them."""
    done = subprocess.run([sys.executable, str(program), *words], input=said, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout or done.stderr).splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell command lines otherwise, or nobody")
def test_the_secret_is_wiped_and_the_rest_stays(program: Path) -> None:
    link, words = shown(program, LINK, "--language", "vi", f"again {LINK}")
    assert link == LINK, "the program has it still"
    wiped = LINK.partition("#")[0] + "#" + "*" * (len(SECRET) + 2)
    assert words.split("\0")[2:] == [wiped, "--language", "vi", f"again {wiped}", ""]


def test_on_a_mac_it_is_wiped_where_dyld_keeps_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With words of our own in the place of `main`'s."""
    words = [ctypes.create_string_buffer(word.encode()) for word in ("vidconf", LINK, "--language", f"again {LINK}")]
    argv = ctypes.pointer((ctypes.c_void_p * 5)(*(ctypes.addressof(word) for word in words), None))
    count = ctypes.pointer(ctypes.c_int(len(words)))
    pointer = ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))
    held = ctypes.cast(argv, ctypes.POINTER(ctypes.c_void_p))
    system = SimpleNamespace(_NSGetArgc=lambda: count, _NSGetArgv=lambda: ctypes.cast(ctypes.pointer(held), pointer))
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: system)
    monkeypatch.setattr(module.sys, "platform", "darwin")
    secret = LINK.partition("#")[2]
    assert module.conceal(secret)
    wiped = LINK.replace(secret, "*" * len(secret))
    assert [word.value.decode() for word in words] == ["vidconf", wiped, "--language", f"again {wiped}"]
    monkeypatch.setattr(module.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not module.conceal(secret), "another C library is no reason to fail"


def test_a_link_without_a_secret_is_left_alone(program: Path) -> None:
    plain = LINK.partition("#")[0]
    assert shown(program, plain, "#")[0] == plain
    assert shown(program, "")[0] == ""


@pytest.mark.parametrize("said", [LINK + "\n", f"  {LINK}\r\nmore", LINK])
def test_it_may_come_from_stdin(program: Path, said: str) -> None:
    assert shown(program, "-", said=said)[0] == LINK


@pytest.mark.parametrize("said", ["", "\n", "   \n" + LINK])
def test_an_empty_stdin_is_no_link(program: Path, said: str) -> None:
    assert "UsageError: there is no link on stdin" in shown(program, "-", said=said)[-1]


@pytest.mark.parametrize("command", [("bot",), ("doctor",), ("window",), ()], ids=lambda words: " ".join(words) or "nothing")
def test_the_commands_that_take_a_link_read_it_from_stdin(command: tuple[str, ...]) -> None:
    run = [sys.executable, "-m", "vidconf.cli.main", *command, "-"]
    done = subprocess.run(run, input="\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "there is no link on stdin" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell command lines otherwise, or nobody")
def test_several_words_are_wiped_wherever_they_stand(program: Path) -> None:
    program.write_text(SHOW.replace("given_link(sys.argv[1])", "conceal(sys.argv[1], '', sys.argv[2])"), encoding="utf-8")
    assert shown(program, "secret-one", "secret-two", "stays", "KEY:secret-one")[-1].split("\0")[2:] == ["*" * 10, "*" * 10, "stays", "KEY:" + "*" * 10, ""]

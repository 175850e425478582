"""Children that crash, hang, chatter or are never there: each a line of the report, and what was found before stays."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vidconf.cli import parts
from vidconf.cli.parts import Part

Started = Callable[..., Part]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """A part whose child runs the given checks: the machinery is the program's, only what it looks at is the test's."""
    real = subprocess.Popen

    def start(checks: str, owes: tuple[str, ...] = ("doctor.cpu",), told: dict[str, Any] | None = None) -> Part:
        script = tmp_path / "child.py"
        script.write_text("import os, signal, sys, time\nfrom vidconf.cli.findings import Finding\nfrom vidconf.cli.parts import child\n" + textwrap.dedent(checks))

        def popen(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
            assert argv[1:] == ["-m", "vidconf.cli.main", "doctor", "--part", "x"]
            return real([sys.executable, str(script)], **options)

        monkeypatch.setattr(subprocess, "Popen", popen)
        return Part("doctor", "x", owes, told=told)

    return start


def test_what_was_found_before_a_crash_stays(started: Started) -> None:
    part = started(
        """
        def check(put, told):
            put(Finding("doctor.cpu", "ok", "enough", {"cores": 4}))
            os.kill(os.getpid(), signal.SIGSEGV)
        child([check])
        """,
        ("doctor.memory", "doctor.cpu"),
    )
    first, second = part.wait(time.monotonic() + 20)
    assert (first.code, first.status, first.result, first.detail["how"]) == ("doctor.memory", "failure", "crashed", "SIGSEGV")
    assert 'File "' in first.detail["said"], "where it was"
    assert (second.code, second.result, second.detail) == ("doctor.cpu", "enough", {"cores": 4})


def test_what_was_found_before_a_hang_stays(started: Started) -> None:
    part = started(
        """
        def check(put, told):
            put(Finding("doctor.cpu", "ok", "enough"))
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(600)
        child([check])
        """,
        ("doctor.cpu", "doctor.memory"),
    )
    began = time.monotonic()
    while not part._found and time.monotonic() < began + 20:
        time.sleep(0.02)
    found = part.wait(time.monotonic() + 0.2)
    assert [(finding.code, finding.result) for finding in found] == [("doctor.cpu", "enough"), ("doctor.memory", "hung")]
    assert part._process is not None
    assert part._process.wait(5) == -9


def test_one_check_of_several_that_raises_loses_only_itself(started: Started) -> None:
    part = started(
        """
        def good(put, told):
            time.sleep(0.1)
            put(Finding("doctor.cpu", "ok", told["result"]))
        def bad(put, told):
            raise RuntimeError("a driver's own words")
        child([bad, good])
        """,
        ("doctor.cpu", "doctor.memory"),
        {"result": "enough"},
    )
    found = part.wait(time.monotonic() + 20)
    assert [(finding.code, finding.result) for finding in found] == [("doctor.cpu", "enough"), ("doctor.memory", "crashed")]
    assert found[1].detail["said"] == "RuntimeError: a driver's own words"


def test_what_libraries_print_is_no_finding(started: Started) -> None:
    part = started(
        """
        def check(put, told):
            print("Xin chào", flush=True)
            os.write(1, b'{"code": 7}\\n\\xff\\xfe\\n[1]\\n')
            put(Finding("doctor.cpu", "ok", "enough", {"name": "a\\ud800b", "path": os.sep}))
            os.write(1, b"x" * 300000)
        child([check])
        """
    )
    [found] = part.wait(time.monotonic() + 20)
    assert found.result == "enough"
    assert found.detail["name"] == "a?b"


def test_a_child_that_does_not_listen_takes_nobody_with_it(started: Started) -> None:
    part = started("sys.exit(3)\n", told={"long": "x" * 1_000_000})
    [found] = part.wait(time.monotonic() + 20)
    assert (found.result, found.detail["how"]) == ("crashed", "3")


def test_a_program_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    [found] = Part("doctor", "machine", ("doctor.cpu",)).wait(time.monotonic() + 5)
    assert found.result == "crashed"
    assert "/nowhere/python" in found.detail["said"]


def test_a_part_that_is_none_is_wrong_usage() -> None:
    for command in ("doctor", "selftest"):
        [found] = Part(command, "no such part", ("doctor.cpu",)).wait(time.monotonic() + 30)
        assert found.detail["how"] == "2"


@contextlib.contextmanager
def silent_display() -> Iterator[str]:
    """An X server that takes the connection and never says anything."""
    for number in range(40, 90):
        try:
            server = socket.create_server(("127.0.0.1", 6000 + number), backlog=10)
        except OSError:
            continue
        with server:
            yield f"127.0.0.1:{number}"
        return
    raise AssertionError("no display's port is free")


@pytest.mark.skipif(sys.platform != "linux", reason="X11")
def test_qt_waiting_for_a_display_that_hangs_is_ended() -> None:
    with silent_display() as display:
        part = Part("selftest", "window", ("selftest.qt",), environment={"QT_QPA_PLATFORM": "xcb", "DISPLAY": display})
        found = {finding.code: finding for finding in part.wait(time.monotonic() + 8)}
    assert (found["selftest.qt"].status, found["selftest.qt"].result) == ("failure", "hung")
    assert found["selftest.input_method"].status in ("ok", "warning"), "said before Qt was asked for a window"


def test_qt_without_its_platform_says_why() -> None:
    part = Part("selftest", "window", ("selftest.qt",), environment={"QT_QPA_PLATFORM": "no-such-platform"})
    found = {finding.code: finding for finding in part.wait(time.monotonic() + 30)}
    assert (found["selftest.qt"].result, found["selftest.qt"].detail["how"]) == ("crashed", "SIGABRT")
    assert "no-such-platform" in found["selftest.qt"].detail["said"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], ""),
        (["qt.qpa.xcb: could not connect", "This application failed to start", "Available platform plugins are: minimal."], "qt.qpa.xcb: could not connect"),
        (["WARNING something", "Traceback (most recent call last):", '  File "x.py", line 3', "ValueError: no"], "ValueError: no"),
        (["Fatal Python error: Segmentation fault", "", "Current thread 0x1:", '  File "av/__init__.py", line 3 in <module>'], 'File "av/__init__.py", line 3 in <module>'),
        (["libEGL warning: x", "Illegal instruction"], "Illegal instruction"),
    ],
)
def test_the_last_words_that_say_most(lines: list[str], told: str) -> None:
    assert parts._telling(lines) == told


def test_signals_by_name() -> None:
    assert [parts._how(status) for status in (-11, -6, -9, 1, 0, None, -250)] == ["SIGSEGV", "SIGABRT", "SIGKILL", "1", "0", "None", "-250"]


def test_a_link_s_secret_is_not_to_be_seen_in_the_list_of_processes(started: Started) -> None:
    """What a child is told comes on its stdin."""
    part = started(
        """
        def check(put, told):
            put(Finding("doctor.cpu", "ok", "enough", {"argv": sys.argv, "told": told, "env": [v for v in os.environ.values() if "aaaa-bbbb" in v]}))
        child([check])
        """,
        told={"code": "aaaa-bbbb-cccc"},
    )
    [found] = part.wait(time.monotonic() + 20)
    assert found.detail["told"] == {"code": "aaaa-bbbb-cccc"}
    assert "aaaa-bbbb" not in json.dumps(found.detail["argv"])
    assert found.detail["env"] == []

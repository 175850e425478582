"""What systemd hears: from `Service` alone, and from a real `vidconf serve` that is started with a socket to speak to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidconf.server.service import Service

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux's")


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


async def test_says_it_in_lines(heard: socket.socket) -> None:
    Service({"NOTIFY_SOCKET": heard.getsockname()}).say("READY=1", "STATUS=https://hop.example.gov.vn")
    assert heard.recv(4096) == b"READY=1\nSTATUS=https://hop.example.gov.vn"


async def test_an_abstract_socket_is_one_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0vidconf-test-{os.getpid()}")
        Service({"NOTIFY_SOCKET": f"@vidconf-test-{os.getpid()}"}).say("READY=1")
        assert listening.recv(4096) == b"READY=1"


async def test_nobody_to_tell(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Service({}).say("READY=1")
    assert caplog.records == []
    Service({"NOTIFY_SOCKET": str(tmp_path / "gone")}).say("READY=1")
    assert "systemd was not told READY=1" in caplog.text


async def test_signs_of_life_only_when_they_are_asked_for_of_this_process(heard: socket.socket) -> None:
    name = heard.getsockname()
    for environment in ({}, {"WATCHDOG_USEC": "60000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "-5"}, {"WATCHDOG_USEC": "0"}):
        await asyncio.wait_for(Service({"NOTIFY_SOCKET": name, **environment}).watch(), 1)
    watching = asyncio.create_task(Service({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())}).watch())
    for _ in range(3):
        assert await asyncio.to_thread(heard.recv, 4096) == b"WATCHDOG=1"
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    heard.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        assert heard.recv(4096) == b"WATCHDOG=1"  # one that was on its way
        heard.recv(4096)
        pytest.fail("it goes on")


def test_the_server_tells_when_it_is_ready_lives_and_stops(heard: socket.socket, tmp_path: Path) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": heard.getsockname(), "WATCHDOG_USEC": "300000"}
    argv = [sys.executable, "-m", "vidconf.cli.main", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    server = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert heard.recv(4096).startswith(b"READY=1\nSTATUS=http://127.0.0.1:")
        assert [heard.recv(4096), heard.recv(4096)] == [b"WATCHDOG=1", b"WATCHDOG=1"]
        server.send_signal(signal.SIGSTOP)  # a server that hangs
        heard.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(6):  # what was on its way
                heard.recv(4096)
            pytest.fail("it goes on")
        server.send_signal(signal.SIGCONT)
        heard.settimeout(20)
        server.send_signal(signal.SIGTERM)
        while (said := heard.recv(4096)) == b"WATCHDOG=1":
            continue
        assert said.startswith(b"STOPPING=1")
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()

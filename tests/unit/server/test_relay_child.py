"""The relay's process and whoever started it: one does not outlive the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

KEY = {**os.environ, "VIDCONF_RELAY_KEY": "key:a secret of the tests that is long enough"}
RELAY = ("-m", "vidconf.cli.main", "relay", "--port", "0", "--udp-port", "0", "--parent")


def test_a_relay_whose_parent_has_ended_before_it_began_ends_too() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run([sys.executable, *RELAY, str(gone.pid)], env=KEY, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has ended" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_relay_is_killed_with_its_parent() -> None:
    code = (
        f"import os, subprocess, sys; p = subprocess.Popen([sys.executable, *{RELAY!r}, str(os.getpid())], stdout=subprocess.PIPE);"
        "print(p.pid, p.stdout.readline().decode(), flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=KEY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, word = parent.stdout.readline().split()[:2]
    assert word == "ready"
    relay = psutil.Process(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    ends = time.monotonic() + 5
    while relay.is_running() and relay.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < ends
        time.sleep(0.02)

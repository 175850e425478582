"""The laboratory before what else runs on the machine, so that its figures are of the network and not of the neighbours (Linux)."""

from __future__ import annotations

import atexit
import contextlib
import os
from pathlib import Path

import psutil


def take(nice: int) -> None:
    """This process, and every child it will have. Raises PermissionError.

    Where the kernel shares time between sessions first (autogroups), a process's own nice counts only within its session.
    """
    os.nice(nice)
    session = Path("/proc/self/autogroup")
    if session.exists():
        was = session.read_text().split()[-1]
        session.write_text(str(nice))
        atexit.register(session.write_text, was)


def pass_on() -> None:
    """To children that have made sessions of their own (a browser's)."""
    session = Path("/proc/self/autogroup")
    if not session.exists():
        return
    group, _, nice = session.read_text().split()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(OSError, psutil.Error):
            theirs = Path(f"/proc/{process.pid}/autogroup")
            if theirs.read_text().split()[0] != group:
                theirs.write_text(nice)

"""Who is at work in a server's data folder: any number together, or one alone. Any thread; standard library only.

A lock on the folder itself, held by every process that has the database open and dropped by the system when the process ends,
however it ends. Windows has no such lock: there the open database cannot be replaced, and that is what is relied upon.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

DATABASE = "vidconf.db"


class FolderInUse(OSError):
    """Another process has it."""


class Hold:
    """The lock, until `release`. Raises FolderInUse at once when it is not to be had, OSError when there is no such folder."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        self._handle = -1
        if sys.platform == "win32":
            return
        import fcntl

        self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise FolderInUse(f"{folder} is in use by another process") from None
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else has the database open inside this block, nor can open it. Raises FolderInUse."""
    hold = Hold(folder, alone=True)
    try:
        yield
    finally:
        hold.release()

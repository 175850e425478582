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


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Root works in a folder of another user as that user, inside this block: whoever owns it may have put links there, which root would
    follow anywhere. Of the whole process, so for commands and starts. Everybody else stays who he is. Raises OSError."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or (owner := folder.stat()).st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([owner.st_gid])
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)

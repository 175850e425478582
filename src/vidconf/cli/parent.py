"""A process of ours that another of ours started, and that is not to outlive it. Called first thing, on the main thread."""

from __future__ import annotations

import os
import sys


def end_with(parent: int) -> bool:
    """From now on whatever ends the process that started this one ends it, too; False when that has happened already.

    Here and not in the parent between fork and exec: there no Python may run, because another thread may have held any lock.
    """
    if sys.platform == "linux":
        import ctypes
        import signal

        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    return os.getppid() == parent or sys.platform == "win32"

"""Programs that tests start and that may not outlive them, however a test ends."""

from __future__ import annotations

import os
import sys

_BIND = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])"


def bound(*argv: str) -> list[str]:
    """`argv`, to be killed with this process (Linux). The new process says so itself, then becomes the program: between fork
    and exec no Python may run in a process that has threads."""
    return [sys.executable, "-I", "-S", "-c", _BIND, str(os.getpid()), *argv] if sys.platform == "linux" else list(argv)

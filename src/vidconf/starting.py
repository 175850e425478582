"""How this installation starts a part of itself in a process of its own: the engine, the relay, a check.

Standard library only; any thread.
"""

from __future__ import annotations

import sys
from pathlib import PurePath


def own_command(*words: str) -> list[str]:
    """The command line of `vidconf WORDS…`, as this very installation runs it.

    An installed launcher is the program itself and takes the words as they are; an interpreter is told which module to run.
    """
    launcher = getattr(sys, "frozen", False) or PurePath(sys.executable).stem.casefold() in ("vidconf", "vidconf-cli")
    return [sys.executable, *words] if launcher else [sys.executable, "-m", "vidconf.cli.main", *words]

"""What `demo` has set up around the window, for the window's script: told from one to the other, imported by both."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from vidconf.cli.demo_cast import Part


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A running server, a meeting, and who plays in it."""

    chair_link: str
    origin: str
    parts: tuple[Part, ...]
    cast: subprocess.Popen[str]
    data: Path
    """The server's folder."""

"""A file of this user's that is there whole or not at all, also when the power goes. Any thread but the loop's: it waits for the disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """`file` with `content` and nothing else, in a folder that is there; what was there before stays until then. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-")  # made 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        if mode != 0o600:
            os.chmod(name, mode)
        os.replace(name, file)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise

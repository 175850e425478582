"""At which door this user's window listens, and by what it is known as this user's. Blocks on one small file; any thread.

On Linux and macOS the system tells whose the socket is, or keeps its folder closed. On Windows the names of pipes are everybody's
on the machine, in every session, and anybody may list them and take one that was free: there each window that begins to listen
has a new name, made of a new secret in the user's own profile, and proves that it knows the secret before it is told anything.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
from PySide6.QtCore import QLockFile

log = logging.getLogger("vidconf.instance")

LOCK_MS = 1500
_SECRET = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Door:
    """`name` of the local socket; `secret`: what the two ends share, "" where the system itself tells who listens."""

    name: str
    secret: str = field(default="", repr=False)

    def proof(self, nonce: str) -> bytes:
        """What only a holder of the secret can say to `nonce`: hex."""
        return hmac.new(self.secret.encode(), f"vidconf door {nonce}".encode(), hashlib.sha256).hexdigest().encode()


def own_door(scope: str = "", *, anew: bool = False, platform: str = sys.platform, folder: Path | None = None) -> Door:
    """Of this user on this machine; `scope` (or VIDCONF_INSTANCE) tells apart what should not meet (the demo, tests). `anew`: for who
    begins to listen; a name that was seen before may be somebody else's by now. `folder`: where the secret is kept, by default the
    user's own for local data."""
    user = os.environ.get("USERNAME", "") if platform == "win32" else str(os.getuid())
    scope = scope or os.environ.get("VIDCONF_INSTANCE", "")
    told = hashlib.sha256(f"{user}\0{Path.home()}\0{scope}".encode()).hexdigest()[:16]
    if platform != "win32":
        return Door(f"vidconf-{told}")
    secret = _kept_secret(folder or Path(platformdirs.user_data_dir("vidconf", appauthor=False, roaming=False)), f"door-{told}", anew)
    return Door(f"vidconf-{hashlib.sha256(secret.encode()).hexdigest()[:32]}", secret)


def _kept_secret(folder: Path, name: str, anew: bool) -> str:
    """The secret in the file; made anew when there is none, or what is there is none. Of several starts at once all get the same.
    Where nothing can be kept, one of no use to anybody else: then no window finds another."""
    secret = secrets.token_hex(32)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = QLockFile(str(folder / f"{name}.lock"))
        if not lock.tryLock(LOCK_MS):
            log.warning("the secret of the program's door is locked: no start meets another")
            return secret
        try:
            return ("" if anew else _read(folder / name)) or _write(folder / name, secret)
        finally:
            lock.unlock()
    except OSError as error:
        log.warning("the secret of the program's door is not kept: %s", error.strerror or error)
        return secret


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            said = opened.read(100).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        log.info("the secret of the program's door cannot be read and is made anew: %s", error.strerror or error)
        return ""
    return said if _SECRET.fullmatch(said) else ""


def _write(file: Path, secret: str) -> str:
    """Whole, and for this user only: on Windows by the rights of the profile, which the folder inherits."""
    handle, made = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            opened.write(secret)
        os.replace(made, file)
    except OSError:
        os.unlink(made)
        raise
    return secret

"""The portable ZIP: the payload as one version of a folder that a user unpacks anywhere, with starters beside it.

    vidconf/vidconf.exe, vidconf-cli.exe    start versions/<current>/…
    vidconf/portable.marker                 tells the program that it may replace itself
    vidconf/current                         the version to start
    vidconf/versions/<version>/…            the payload

The same files make the same bytes: names in order, one time, no owner.
"""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

from winbuild import launcher, payload, product

TOP = "vidconf"
MARKER_TEXT = "This Vidconf is portable: it may replace itself with a newer, signed version.\r\n"


def starters(version: str, folder: Path) -> list[Path]:
    """Compile the two programs of the top into `folder`. Raises `RunError`."""
    folder.mkdir(parents=True, exist_ok=True)
    launcher.compile_launchers(version, folder, launcher.STARTER)
    return [folder / product.WINDOW, folder / product.CONSOLE]


def pack(source: Path, version: str, epoch: int, top: list[Path], target: Path) -> None:
    """The payload in `source` and the starters `top` as one ZIP, every entry dated `epoch` (seconds, UTC)."""
    moment = time.gmtime(max(epoch, 315_532_800))[:6]  # a ZIP counts from 1980
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(f"{TOP}/{name}", moment)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
            archive.writestr(entry, content)

        add(product.PORTABLE_MARKER, MARKER_TEXT.encode())
        add("current", f"{version}\n".encode())
        for path in top:
            add(path.name, path.read_bytes())
        for path in payload.files(source):
            add(f"versions/{version}/{path.relative_to(source).as_posix()}", path.read_bytes())

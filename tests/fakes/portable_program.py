"""Portable programs as the build makes them, small: shell scripts that start, say their version, and which they are.

place = made_portable(tmp_path, "1.0.0"); packed(tmp_path / "new.zip", "1.1.0"); started(place) == "I am 1.0.0"
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from vidconf.client.updates.portable import Portable, find_portable

_SCRIPT = '#!/bin/sh\ncase "$1" in --version) echo "vidconf, version {version}";; *) cat "$(dirname "$0")/data.txt";; esac\n'


def program(version: str) -> dict[str, bytes]:
    """Its files."""
    return {"vidconf": _SCRIPT.format(version=version).encode(), "data.txt": f"I am {version}".encode(), "app/thuật ngữ.txt": b"x" * 5000}


def packed(
    file: Path, version: str, files: dict[str, bytes] | None = None, *, top: str = "vidconf/", more: dict[str, bytes] | None = None
) -> Path:  # fmt: skip
    """A portable ZIP. `files`: instead of the version's own; `more`: beside `versions/`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in {"portable.marker": b"", "current": f"{version}\n".encode(), **(more or {})}.items():
            made.writestr(top + name, content)
        for name, content in (program(version) if files is None else files).items():
            info = zipfile.ZipInfo(f"{top}versions/{version}/{name}")
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if name == "vidconf" else 0o100644) << 16
            made.writestr(info, content)
    return file


def made_portable(folder: Path, version: str) -> Portable:
    """An unpacked one that runs `version`."""
    root = folder / "vidconf"
    for name, content in program(version).items():
        file = root / "versions" / version / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (root / "versions" / version / "vidconf").chmod(0o755)
    (root / "portable.marker").touch()
    (root / "current").write_text(f"{version}\n")
    found = find_portable(root / "versions" / version / "vidconf")
    assert found == Portable(root, version)
    return found


def started(place: Portable) -> str:
    """What the launcher does: reads `current` and starts that version; and what it says."""
    program = place.root / "versions" / (place.root / "current").read_text().strip() / "vidconf"
    return subprocess.run([program], capture_output=True, text=True, timeout=10, check=True).stdout

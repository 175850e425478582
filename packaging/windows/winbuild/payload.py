"""Lays out the folder that the installer and the portable ZIP carry: Python, the locked wheels, the program, its launchers.

What does not change from build to build (the trimmed and compiled wheels) is kept in the work folder, under a name made of all
that it depends on.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from winbuild import bytecode, launcher, runtime, trim
from winbuild.running import RunError, run
from winbuild.wine import Wine

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
LOCK = HERE.parent / "requirements-windows.lock"
PLATFORM, PYTHON = "x86_64-pc-windows-msvc", "3.13"
INTERPRETERS = ("python.exe", "pythonw.exe")
"""Not in the payload: a bare Python in Program Files is a way around application control."""
LICENCES = ("LICENSE",)


@dataclass(frozen=True, slots=True)
class Python:
    """Which embeddable Python: by default the pinned one, else a zip and its SHA-256."""

    zip_file: Path | None = None
    sha256: str = ""


def lay_out(work: Path, folder: Path, version: str, python: Python, epoch: int) -> None:
    """The payload of `version` in `folder`, which is made anew, every file dated `epoch` (seconds). Raises `RunError`,
    `RuntimeDiffers`."""
    base = _base(work, python)
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(base, folder)
    _add_program(folder / "app", version)
    wine = Wine(work / "wine")
    try:
        bytecode.compile_folder(wine, folder / INTERPRETERS[0], folder / "app")
    finally:
        wine.close()
    for name in INTERPRETERS:
        (folder / name).unlink()
    for name in LICENCES:
        shutil.copy(CHECKOUT / name, folder / f"{name}.txt")
    launcher.compile_launchers(version, folder)
    date(folder, epoch)


def _base(work: Path, python: Python) -> Path:
    """Python and the wheels, trimmed and compiled: made once."""
    told = [path.read_bytes() for path in (LOCK, runtime.LOCK, *(HERE / f"{name}.py" for name in ("trim", "bytecode", "runtime")))]
    key = hashlib.sha256(b"\0".join([*told, python.sha256.encode()])).hexdigest()[:16]
    done = work / f"base-{key}"
    if done.is_dir():
        return done
    building = work / f"base-{key}.building"
    if building.exists():
        shutil.rmtree(building)
    building.mkdir(parents=True)
    if python.zip_file is None:
        runtime.unpack_source(runtime.fetch_source(work / "downloads"), building)
    else:
        runtime.unpack_zip(python.zip_file, python.sha256, building)
    wheels = building / "app"
    # uv, because it weighs the markers for Windows where pip takes those of the machine it runs on
    run(["uv", "pip", "install", "--quiet", "--target", wheels, "--link-mode", "copy", "--no-deps", "--require-hashes", "--only-binary", ":all:",
         "--python-platform", PLATFORM, "--python-version", PYTHON, "-r", LOCK])  # fmt: skip
    trim.trim(wheels)
    wine = Wine(work / "wine")
    try:
        bytecode.compile_folder(wine, building / INTERPRETERS[0], wheels)
    finally:
        wine.close()
    building.rename(done)
    return done


def _add_program(app: Path, version: str) -> None:
    shutil.copytree(CHECKOUT / "src" / "vidconf", app / "vidconf", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "resources", app / "vidconf" / "_resources")
    named = app / "vidconf" / "__init__.py"
    text, count = re.subn(r'(?m)^__version__ = "[^"]*"$', f'__version__ = "{version}"', named.read_text(encoding="utf-8"))
    if count != 1:
        raise RunError(f"{named.name} of the program tells no version")
    named.write_text(text, encoding="utf-8")


def date(folder: Path, epoch: int) -> None:
    """Give every file one time and one mode: what is packed then depends on contents alone."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (epoch, epoch))


def last_change(default: int = 1_767_225_600) -> int:
    """When this checkout last changed, in seconds: SOURCE_DATE_EPOCH, or its last commit, or `default` (an unpacked source)."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    if said:
        if not said.isdigit():
            raise RunError("SOURCE_DATE_EPOCH is no number of seconds")
        return int(said)
    try:
        done = subprocess.run(
            ["git", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"], capture_output=True, text=True, timeout=30, check=False
        )
    except FileNotFoundError:
        return default
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else default


def digest(folder: Path) -> str:
    """SHA-256 over every path and content, in order."""
    total = hashlib.sha256()
    for path in files(folder):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def files(folder: Path) -> list[Path]:
    """All files below, in the order of their names."""
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.relative_to(folder).as_posix())

"""What of the wheels the program needs on Windows, and what is left out of the installer. `kept` is pure; `trim` deletes."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

QT_PARTS = ("Core", "Gui", "Widgets", "Network", "Svg")
QT_PYTHON = ("__init__.py", "_config.py", "_git_pyside_version.py")
QT_RUNTIME = ("pyside6.abi3", "msvcp140", "vcruntime140", "concrt")
QT_PLUGINS = {
    "platforms": ("qwindows", "qoffscreen"),
    "styles": ("qmodernwindowsstyle",),
    "imageformats": ("qjpeg", "qgif", "qico", "qsvg", "qwebp"),
    "iconengines": ("qsvgicon",),
    "tls": ("qschannelbackend",),
    "networkinformation": ("qnetworklistmanager",),
}
DROPPED_FOLDERS = (
    "bin",
    "include",
    "google-stubs",
    "numpy/f2py",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/random/lib",
    "numpy/_pyinstaller",
)
"""Scripts and headers; types for checkers."""
DROPPED_ENDINGS = (".pyi", ".pxd", ".pyx", ".h", ".hpp", ".c", ".cpp", ".lib", ".cmake", ".a", ".pyc", ".exe")
DROPPED_NAMES = (
    "py.typed", "INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", ".lock",
)  # fmt: skip
"""Who unpacked the wheels, where and when: of no use once they are inside the installer."""
TEST_FOLDERS = ("tests", "testing")
NOT_TESTS = ("numpy/testing",)
"""Imported by numpy itself."""
PORTAUDIO = ("__init__.py", "libportaudio64bit.dll", "README.md")
"""Of PortAudio's builds for every system the one for this; its README carries the licence."""


def kept(path: str) -> bool:
    """Whether the installer takes this file of the unpacked wheels; `path` from their folder, with slashes."""
    parts = PurePosixPath(path).parts
    name = parts[-1]
    if any(path.startswith(f"{folder}/") for folder in DROPPED_FOLDERS):
        return False
    if name in DROPPED_NAMES or name.endswith(DROPPED_ENDINGS) or "__pycache__" in parts:
        return False
    if parts[0] == "PySide6":
        return _kept_of_qt(parts[1:])
    if parts[0] == "_sounddevice_data":
        return name in PORTAUDIO
    return not any(part in TEST_FOLDERS and "/".join(parts[: at + 1]) not in NOT_TESTS for at, part in enumerate(parts[:-1]))


def _kept_of_qt(parts: tuple[str, ...]) -> bool:
    name = parts[-1]
    stem, _, ending = name.rpartition(".")
    if len(parts) == 1:
        if ending == "pyd":
            return stem in {f"Qt{part}" for part in QT_PARTS}
        if ending == "dll":
            return stem in {f"Qt6{part}" for part in QT_PARTS} or stem.startswith(QT_RUNTIME)
        return name in QT_PYTHON
    return len(parts) == 3 and parts[0] == "plugins" and stem in QT_PLUGINS.get(parts[1], ())


def trim(folder: Path) -> None:
    """Delete from the unpacked wheels in `folder` what is not `kept`, and the folders that are empty then."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink() or path.is_file():
            if not kept(path.relative_to(folder).as_posix()):
                path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def without_numpy(folder: Path) -> None:
    """Take numpy out of a copy of the program: Wine's C runtime cannot load it, and the program does without."""
    for found in [folder / "numpy", folder / "numpy.libs", *folder.glob("numpy-*.dist-info")]:
        if found.is_dir():
            shutil.rmtree(found)

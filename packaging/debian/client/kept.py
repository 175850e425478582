"""What of the collected files goes into the client, and what does not. Standard library only; used by `vidconf.spec` and its tests.

Libraries of the building machine stay out (the package names the system's own instead): they would need that machine's C library,
and nobody would mend their holes. Of Qt's plugins those stay that a desktop uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import PurePath

NOT_USED = (
    "tkinter", "unittest.mock", "test", "pip", "setuptools", "pkg_resources", "wheel", "distutils", "lib2to3", "idlelib", "pydoc_data",
    "numpy.f2py", "numpy.distutils", "numpy.testing", "PySide6.QtQml", "PySide6.QtQuick", "PySide6.QtPrintSupport", "PySide6.QtSql",
    "IPython", "matplotlib", "mako.ext", "readline", "curses", "_curses", "PyQt5", "PyQt6", "PySide2", "sounddevice",
)  # fmt: skip
"""Modules that something names but nothing here runs."""

PLUGINS = {
    "platforms": ("libqxcb", "libqwayland", "libqoffscreen", "libqminimal"),
    "platformthemes": ("libqxdgdesktopportal",),
    "platforminputcontexts": ("libcompose", "libibus"),
    "xcbglintegrations": ("libqxcb",),
    "iconengines": ("libqsvgicon",),
    "imageformats": ("libqgif", "libqico", "libqjpeg", "libqsvg", "libqwebp"),
    "tls": ("libqopensslbackend", "libqcertonlybackend"),
    "networkinformation": ("libqglib", "libqnetworkmanager"),
    "wayland-decoration-client": ("libbradient", "libadwaita"),
    "wayland-graphics-integration-client": ("libqt-plugin-wayland-egl", "libdmabuf-server", "libshm-emulation-server"),
    "wayland-shell-integration": ("libxdg-shell",),
}
"""Folder of Qt's plugins -> how the names begin of those that stay. GTK's theme plugin would tie the program to GTK."""

QT_LIBRARIES_OUT = (
    "libQt6Qml", "libQt6Quick", "libQt6VirtualKeyboard", "libQt6Pdf", "libQt6WaylandCompositor", "libQt6Sql", "libQt6Designer",
    "libQt6EglFS", "libQt6EglFs", "libQt6Test", "libQt6PrintSupport", "libQt6ShaderTools", "libQt6Lottie", "libQt6LabsQml", "libQt6WaylandEglCompositor",
)  # fmt: skip


def installed(name: str) -> bool:
    """Whether the distribution is here; some of a lock are for other systems."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def binary(target: str, origin: str, stdlib: Sequence[str]) -> bool:
    """Whether a library stays: `target` is its path in the bundle, `origin` where it was found, `stdlib` the interpreter's own folders."""
    name = PurePath(target).name
    if not data(target):
        return False
    if name.startswith("libpython"):
        return True
    of_system = origin.startswith(("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/"))
    return not of_system or any(origin.startswith(f"{folder}/") for folder in stdlib)


def data(target: str) -> bool:
    """Whether a file stays, by its path in the bundle."""
    parts = PurePath(target).parts
    name = parts[-1]
    if "PySide6" not in parts:
        # compiled elsewhere, or for those who build on it
        return not name.endswith((".pyi", ".pxd", ".pyx", ".h", ".c", ".a"))
    if name.startswith(QT_LIBRARIES_OUT):
        return False
    if "plugins" in parts:
        folder = parts[parts.index("plugins") + 1]
        return name.startswith(PLUGINS.get(folder, ())) if PLUGINS.get(folder) else False
    # Qt speaks no Vietnamese; the program's own words are elsewhere.
    return not {"translations", "qml", "metatypes", "libexec", "typesystems", "include", "glue"} & set(parts) and not name.endswith(
        (".pyi", ".json")
    )

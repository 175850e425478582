"""Runs before the program itself, in every process of the packed one. Standard library and PyInstaller's own loader."""

import os
import sys

import pyimod02_importers

# Programs that this one starts (a browser, pactl) must find their own libraries, not the ones that came with it. Some loaders lead to those
# by this variable; they read it when the process began, so nothing here changes for itself. What the user set stays.
if "LD_LIBRARY_PATH_ORIG" in os.environ:
    os.environ["LD_LIBRARY_PATH"] = os.environ.pop("LD_LIBRARY_PATH_ORIG")
elif os.environ.get("LD_LIBRARY_PATH", "").split(":")[0] == sys._MEIPASS:
    del os.environ["LD_LIBRARY_PATH"]

# The file with the modules is kept open: an upgrade puts a new one in its place, while a meeting goes on in this process, which may
# still import what it has not needed so far.
_archive = pyimod02_importers.pyz_archive
_archive._filename = f"/proc/{os.getpid()}/fd/{os.open(_archive._filename, os.O_RDONLY | os.O_CLOEXEC)}"

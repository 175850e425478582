"""The portable program replaces itself: a new version is unpacked beside the running one, tried, and used from the next start on.

    vidconf/                    wherever a user unpacked the ZIP
      vidconf.exe               starts versions/<current>/vidconf.exe; never replaced
      portable.marker           says that this is a portable program
      current                   one line: the version to start
      versions/1.3.0/…          a whole program each

What is used is one file, `current`, replaced as a whole after everything else is done: whatever breaks before, the old version
starts as ever. Blocks on the disk and a child process: for a worker thread, one at a time. Installed programs (MSI, .deb) have no
marker and are never touched. Written for every system; on Windows itself it was not run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vidconf.client.updates.versions import is_version, parse_version
from vidconf.client.whole_file import write_whole

log = logging.getLogger("vidconf.updates")

MARKER, POINTER, VERSIONS, HALF = "portable.marker", "current", "versions", ".new-"
ENTRIES_LIMIT = 20_000
BYTES_LIMIT = 2 << 30
ROOM_BYTES = 64 << 20
"""Left free on the disk at least."""
PIECE = 1 << 20
TRIAL_S = 120.0
RENAMES_S = (0.0, 0.5, 2.0, 5.0)
"""A virus scanner holds new files for a moment, and Windows then lets nobody rename their folder."""

CODES = ("not_a_zip", "unsafe_name", "too_large", "no_room", "not_written", "does_not_start", "not_newer", "stopped")

_PART = re.compile(r"[^\x00-\x1f\x7f<>:\"|?*\\/]{1,200}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}


class PortableError(Exception):
    """Nothing was replaced. `code`: one of `CODES`; the text is for a log."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Portable:
    """`root`: the folder the ZIP was unpacked to. `running`: name of the version that runs."""

    root: Path
    running: str

    @property
    def versions(self) -> Path:
        return self.root / VERSIONS


def find_portable(executable: Path | None = None) -> Portable | None:
    """Where this very program lies when it is a portable one."""
    folder = (executable or Path(sys.executable)).parent
    root = folder.parent.parent
    if folder.parent.name != VERSIONS or not (root / MARKER).is_file():
        return None
    return Portable(root, folder.name)


def current_version(place: Portable) -> str:
    """Name of what starts next, "" where that cannot be read."""
    try:
        with (place.root / POINTER).open(encoding="ascii") as file:
            name = file.read(60).strip()
    except (OSError, ValueError):
        return ""
    return name if is_version(name) else ""


def replace_with(place: Portable, archive: Path, version: str, stop: threading.Event | None = None) -> None:
    """From the next start on `version` runs, from `archive`, a portable ZIP that was verified. Raises `PortableError`; then nothing
    has changed. `stop`: give up, between two files."""
    version = str(parse_version(version))
    stop = stop or threading.Event()
    folder = place.versions / version
    if not _newer(version, place):
        raise PortableError("not_newer", version)
    half = Path()
    try:
        half = Path(tempfile.mkdtemp(prefix=HALF, dir=place.versions))
        _unpack(archive, version, half, stop)
        _try(half, version)
        if folder.exists():  # of a try that was broken off before it counted
            shutil.rmtree(folder)
        _rename(half, folder)
        _point_to(place, version)
    except OSError as error:
        raise PortableError("no_room" if error.errno in (28, 112) else "not_written", error.strerror or str(error)) from error
    finally:
        if half.name.startswith(HALF):
            shutil.rmtree(half, ignore_errors=True)
    log.info("version %s starts next time", version)


def tidy(place: Portable) -> None:
    """Removes what is neither running nor to be started: halves of broken tries, versions of the past. For the one window that
    runs; what cannot be removed stays until next time."""
    keep = {place.running, current_version(place)}
    if "" in keep:
        return  # who knows what a person is mending there
    with contextlib.suppress(OSError):
        for entry in place.versions.iterdir():
            if entry.name not in keep and (entry.name.startswith(HALF) or is_version(entry.name)):
                shutil.rmtree(entry, ignore_errors=True)


# ---- the parts ----------------------------------------------------------------------------------------------------------


def _newer(version: str, place: Portable) -> bool:
    held = current_version(place) or place.running
    return not is_version(held) or parse_version(held) < parse_version(version)


def _unpack(archive: Path, version: str, into: Path, stop: threading.Event) -> None:
    """The files below `versions/<version>/` of the ZIP, that folder lying at its top or in one folder there."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _wanted(opened, version)
            total = sum(entry.file_size for entry, _ in entries)
            if shutil.disk_usage(into).free < total + ROOM_BYTES:
                raise PortableError("no_room", f"{total >> 20} MB are needed")
            for entry, name in entries:
                if stop.is_set():
                    raise PortableError("stopped")
                _write(opened, entry, into / name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise PortableError("not_a_zip", str(error)) from error


def _wanted(opened: zipfile.ZipFile, version: str) -> list[tuple[zipfile.ZipInfo, str]]:
    """(entry, its name below the version's folder), when every name of the whole ZIP is sound."""
    infos = opened.infolist()
    if len(infos) > ENTRIES_LIMIT or sum(info.file_size for info in infos) > BYTES_LIMIT:
        raise PortableError("too_large", f"{len(infos)} entries")
    found: list[tuple[zipfile.ZipInfo, str]] = []
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        _check_name(name.removesuffix("/"))
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PortableError("not_a_zip", f"{name[:100]} is packed in another way")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise PortableError("unsafe_name", f"{name[:100]} is no file")
        if name.casefold() in seen:
            raise PortableError("unsafe_name", f"{name[:100]} is there twice")
        seen.add(name.casefold())
        parts = name.split("/")
        start = next((n for n in (0, 1) if parts[n : n + 1] == [VERSIONS] and _same(parts[n + 1 : n + 2], version)), None)
        if start is not None and not info.is_dir():
            found.append((info, "/".join(parts[start + 2 :])))
    if not found:
        raise PortableError("not_a_zip", f"it holds no {VERSIONS}/{version}")
    return found


def _same(name: list[str], version: str) -> bool:
    """1.4 and 1.4.0 are."""
    return bool(name) and is_version(name[0]) and parse_version(name[0]) == parse_version(version)


def _check_name(name: str) -> None:
    """Names that every system takes as what they say: no way out of the folder, no device, no drive, no stream."""
    for part in name.split("/"):
        device = part.partition(".")[0].casefold() in _DEVICES
        if not _PART.fullmatch(part) or part in (".", "..") or part[-1] in ". " or device:
            raise PortableError("unsafe_name", name[:100])


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with place.open("xb") as target:
        for piece in _pieces(opened, entry):
            written += len(piece)
            if written > entry.file_size:
                raise PortableError("too_large", f"{entry.filename[:100]} is larger than it says")
            target.write(piece)
    if written != entry.file_size:
        raise PortableError("not_a_zip", f"{entry.filename[:100]} is cut off")
    if (entry.external_attr >> 16) & 0o111:
        place.chmod(0o755)


def _pieces(opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with opened.open(entry) as source:
            while piece := source.read(PIECE):
                yield piece
    except OSError as error:  # it says it begins before its beginning
        raise PortableError("not_a_zip", f"{entry.filename[:100]}: {error}") from error


def _try(folder: Path, version: str) -> None:
    """The new program must start on this very machine, and be what it is said to be."""
    program = folder / ("vidconf-cli.exe" if sys.platform == "win32" else "vidconf")
    quiet = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows: no black window for a moment
    try:
        done = subprocess.run(
            [str(program), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_S,
            cwd=folder,
            creationflags=quiet,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PortableError("does_not_start", str(error)) from error
    said = done.stdout[:400].decode("utf-8", "replace").split()
    if done.returncode != 0 or not _same(said[-1:], version):
        raise PortableError("does_not_start", f"it ended with {done.returncode} and said {' '.join(said)!r}")


def _rename(half: Path, folder: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    for last, pause_s in enumerate(RENAMES_S, start=1 - len(RENAMES_S)):
        sleep(pause_s)
        try:
            os.rename(half, folder)
            return
        except PermissionError:
            if last == 0:
                raise


def _point_to(place: Portable, version: str) -> None:
    write_whole(place.root / POINTER, f"{version}\n".encode("ascii"))

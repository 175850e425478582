"""Copies of what the server keeps, made while it runs, and put back while it does not. Blocking; any thread but the loop's.

A backup is one ZIP file: `vidconf.db`, copied by SQLite's own backup (one moment of the database, whoever writes meanwhile), with
the secrets that stand in it, and `manifest.json`, which says what it is and how its bytes sum up. Whoever has the file has every
account's password hash and every chat: it is made 0600. `restore` believes nothing it has not checked.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec
from alembic.util.exc import CommandError

from vidconf import __version__
from vidconf.server.folder import DATABASE, FolderInUse, alone, as_owner
from vidconf.server.migrations import scripts

FOLDER = "backups"
MANIFEST = "manifest.json"
FORMAT = 1
MANIFEST_BYTES = 65536
WORD = 64
LAST_TIME_S = 253_402_214_400.0
"""31 December 9999."""
PIECE = 1 << 20
LABEL = re.compile(r"[a-z][a-z0-9-]{0,19}")
NAME = re.compile(r"vidconf-(\d{8}T\d{6}\.\d{6}Z)-([a-z][a-z0-9-]{0,19})\.zip")
BEFORE_RESTORE = "before-restore"
UPGRADE = "upgrade"
KEPT = {BEFORE_RESTORE: 3, UPGRADE: 5}
"""So many of those that nobody asked for are kept."""


class BackupError(Exception):
    """It cannot be made, read or put back; the text says why, and that nothing was changed or what was."""


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself. `made_at` in Unix seconds, `bytes` and `sha256` of the database, `revision` of its tables."""

    format: int
    made_at: float
    version: str
    revision: str
    label: str
    bytes: int
    sha256: str
    accounts: int
    meetings: int
    events: int


@dataclass(frozen=True, slots=True)
class Backup:
    path: Path
    manifest: Manifest


def create(data: Path, to: Path | None = None, *, label: str = "manual", keep: int = 0) -> Backup:
    """A backup of the database in `data`, into folder `to` (default: `data/backups`). Raises BackupError.

    `keep` > 0: of the backups with this label there, only so many of the newest stay.
    """
    if not LABEL.fullmatch(label):
        raise BackupError(f"label {label!r}: up to 20 small letters, digits and -, a letter first")
    source = data / DATABASE
    if not source.is_file():
        raise BackupError(f"there is no server's data in {data}")
    folder = to or data / FOLDER
    try:
        with as_owner(data) if to is None else contextlib.nullcontext():
            path, manifest = _create(source, folder, label)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"no backup of {source} was made: {error}") from None
    if keep > 0:
        for old in [one for one in names(folder) if NAME.fullmatch(one.name)[2] == label][keep:]:  # type: ignore[index]
            old.unlink(missing_ok=True)
    return Backup(path, manifest)


def _create(source: Path, folder: Path, label: str) -> tuple[Path, Manifest]:
    """Raises OSError, sqlite3.Error."""
    data = source.parent
    _not_planted(source)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _own(folder, data)
    with _scratch(folder) as copy, _scratch(folder) as archive:
        _copy(source, copy)
        manifest = _describe(copy, label)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as written:
            written.write(copy, DATABASE)
            written.writestr(MANIFEST, msgspec.json.encode(manifest))
        _sync(archive)
        path = folder / f"vidconf-{_stamp(manifest.made_at)}-{label}.zip"
        _own(archive, data)
        os.replace(archive, path)
        _sync(folder)
    return path, manifest


def before_migration(data: Path, *, always: bool = False) -> Backup | None:
    """A backup when this version has to change the tables of `data` (`always`: whenever there are any). Raises BackupError."""
    try:
        with (
            as_owner(data),
            contextlib.closing(sqlite3.connect(f"{(data / DATABASE).absolute().as_uri()}?mode=rw", uri=True, timeout=15)) as database,
        ):
            revision = _revision(database)
    except (FileNotFoundError, sqlite3.Error):
        return None  # empty as yet, or not to be read at all: who opens it says so
    except OSError as error:  # root that may not become the owner: tables are not changed without a copy
        raise BackupError(f"no backup of {data / DATABASE} was made: {error}") from None
    known = scripts()
    if revision not in {one.revision for one in known.walk_revisions()}:
        return None  # a newer version's: nothing will be changed
    if not always and revision == known.get_current_head():
        return None
    return create(data, label=UPGRADE, keep=KEPT[UPGRADE])


def names(folder: Path) -> list[Path]:
    """The files in `folder` named as backups are, the newest first; not looked into."""
    try:
        found = [one for one in folder.iterdir() if NAME.fullmatch(one.name)]
    except OSError:
        return []
    return sorted(found, key=lambda one: one.name, reverse=True)


def newest_at(data: Path) -> float:
    """When the newest backup in the data folder's own folder of backups was written, in Unix seconds; 0 without one."""
    for one in names(data / FOLDER):
        with contextlib.suppress(OSError):  # pruned this moment
            return one.stat().st_mtime
    return 0.0


def read(path: Path) -> Manifest:
    """What the backup says of itself; its database is not looked at. Raises BackupError."""
    with _file(path) as file, _opened(file, path) as archive:
        return _manifest(archive, path)


def check(path: Path) -> Manifest:
    """Reads it all as `restore` does, and leaves no trace. Raises BackupError."""
    with tempfile.TemporaryDirectory(prefix="vidconf-backup-") as folder, _file(path) as file:
        return _unpack(path, Path(folder) / DATABASE, file)


def restore(path: Path, data: Path) -> tuple[Manifest, Path | None]:
    """Puts the backup's database into `data`; what was there is backed up first, and that backup's path returned.

    Raises BackupError; then `data` is as it was. Refused while any process has the database open.
    """
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _file(path) as file, as_owner(data), alone(data), _scratch(data) as fresh:
            manifest = _unpack(path, fresh, file)
            _own(fresh, data)
            _sync(fresh)
            before = _put_by(data)
            os.replace(fresh, data / DATABASE)
            _sync(data)
    except FolderInUse:
        raise BackupError(f"a server (or another command) is at work on {data}: stop it first; nothing was changed") from None
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{path} was not put back: {error}") from None
    return manifest, before


def _put_by(data: Path) -> Path | None:
    """Makes the way free for another database: the present one is saved, and nothing of it is left that SQLite would take for the new one's."""
    database, log, shared = (data / f"{DATABASE}{end}" for end in ("", "-wal", "-shm"))
    if not database.exists():
        before = None
    else:
        try:
            before = create(data, label=BEFORE_RESTORE, keep=KEPT[BEFORE_RESTORE]).path
            with contextlib.closing(sqlite3.connect(database)) as last:
                last.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # whatever happens next, the file alone is the whole of it
        except (BackupError, sqlite3.Error):
            # It cannot be read, which may be why a backup is put back: its files are kept as they are.
            before = data / f"unreadable-{_stamp(time.time())}"
            before.mkdir(mode=0o700)
            _own(before, data)
            for file in (database, log):
                if file.exists():
                    shutil.copy2(file, before)
                    _own(before / file.name, data)
    for rest in (log, shared):
        rest.unlink(missing_ok=True)
    return before


def _copy(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=15)) as live,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)  # all pages in one step: of one moment
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, with no log beside it


def _describe(copy: Path, label: str) -> Manifest:
    with contextlib.closing(sqlite3.connect(copy)) as database:
        counts = [int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in ("accounts", "meetings", "events")]
        revision = _revision(database)
    return Manifest(FORMAT, time.time(), __version__, revision, label, copy.stat().st_size, _sum(copy), *counts)


def _revision(database: sqlite3.Connection) -> str:
    row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return "" if row is None else str(row[0])


def _file(path: Path) -> IO[bytes]:
    """Open. Raises BackupError."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise BackupError(f"{path}: there is no such file") from None
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror or error}") from None


@contextlib.contextmanager
def _opened(file: IO[bytes], path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever is wrong with it while it is read becomes a BackupError."""
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise BackupError(f"{path}: not a backup, or damaged: {error}") from None
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror or error}") from None


def _entry(archive: zipfile.ZipFile, name: str, path: Path) -> IO[bytes]:
    found = [one for one in archive.infolist() if one.filename == name]
    if len(found) != 1 or found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BackupError(f"{path}: not a backup, or damaged: it holds no {name}")
    return archive.open(found[0])


def _manifest(archive: zipfile.ZipFile, path: Path) -> Manifest:
    with _entry(archive, MANIFEST, path) as file:
        text = file.read(MANIFEST_BYTES + 1)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackupError(f"{path}: not a backup, or damaged: {MANIFEST}: {error}") from None
    words = (manifest.version, manifest.revision)
    if not LABEL.fullmatch(manifest.label) or any(len(word) > WORD or not word.isprintable() for word in words):
        raise BackupError(f"{path}: not a backup, or damaged: {MANIFEST}: what it says is no word")
    if not 0 <= manifest.made_at < LAST_TIME_S:
        raise BackupError(f"{path}: not a backup, or damaged: {MANIFEST}: a time that no calendar has")
    if manifest.format != FORMAT:
        raise BackupError(f"{path}: made by vidconf {manifest.version}, in a way that {__version__} does not read")
    if manifest.bytes < 0:
        raise BackupError(f"{path}: not a backup, or damaged: {MANIFEST}: a size below 0")
    return manifest


def _unpack(path: Path, target: Path, opened: IO[bytes]) -> Manifest:
    """The database out of the archive (`opened`, at `path`) into `target`, and all that is to be known of it checked."""
    with _opened(opened, path) as archive:
        manifest = _manifest(archive, path)
        if shutil.disk_usage(target.parent).free < manifest.bytes:
            raise BackupError(f"{path}: {manifest.bytes} bytes do not fit on the disk of {target.parent}")
        left, summed = manifest.bytes, hashlib.sha256()
        with _entry(archive, DATABASE, path) as file, target.open("wb") as out:
            while piece := file.read(PIECE):
                left -= len(piece)
                if left < 0:
                    break
                summed.update(piece)
                out.write(piece)
    if left or summed.hexdigest() != manifest.sha256:
        raise BackupError(f"{path}: damaged: its database is not the one it was made of")
    try:
        with contextlib.closing(sqlite3.connect(f"{target.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            whole = [str(row[0]) for row in database.execute("PRAGMA integrity_check(1)")] == ["ok"]
            revision = _revision(database)
    except sqlite3.Error as error:
        raise BackupError(f"{path}: its database cannot be read: {error}") from None
    if not whole or revision != manifest.revision:
        raise BackupError(f"{path}: damaged: its database is not whole")
    try:
        scripts().get_revision(revision)
    except CommandError:
        raise BackupError(
            f"{path}: made by vidconf {manifest.version}, whose tables {__version__} does not know: install that version first"
        ) from None
    return manifest


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty file (0600) in `folder`; gone at the end, unless it was renamed."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=".part-")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        for end in ("", "-journal", "-wal", "-shm"):
            Path(name + end).unlink(missing_ok=True)


def _not_planted(database: Path) -> None:
    """Who else than its owner makes a copy takes no link for the database: root could read anything. Raises PermissionError."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or (owner := database.parent.stat().st_uid) == 0:
        return
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            held = database.with_name(database.name + end).lstat()
            if not stat.S_ISREG(held.st_mode) or held.st_uid != owner:
                raise PermissionError(errno.EPERM, "not a file of the server's", f"{database}{end}")


def _own(path: Path, like: Path) -> None:
    """What root makes belongs to the server, as its folder does."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _sync(path: Path) -> None:
    """On the disk, power cut or not."""
    if os.name == "nt" and path.is_dir():
        return  # Windows syncs no folders
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(at: float) -> str:
    whole = int(at)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(whole))}.{int((at - whole) * 1e6):06d}Z"

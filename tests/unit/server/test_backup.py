"""Backups of real databases: of one moment while others write, whole when put back, and nothing believed that was spoilt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidconf.server import backup, migrations
from vidconf.server.audit import Row, seal
from vidconf.server.backup import MANIFEST, UPGRADE, BackupError
from vidconf.server.folder import FolderInUse, Hold
from vidconf.server.storage import FILE, Storage, StorageError, new_meeting


async def filled(folder: Path, *texts: str) -> list[Row]:
    """One meeting with an event of each text, behind what is there."""
    storage = await Storage.open(folder)
    try:
        found = await storage.meeting("m1")
        if found is None:
            await storage.add_meeting(new_meeting("Giao ban", "abcd-efgh-jkmn", id="m1"))
            found = await storage.meeting("m1")
        assert found is not None
        rows, prev = [], found.head_hash
        for n, text in enumerate(texts, found.head_seq + 1):
            rows.append(seal("m1", n, 1_760_000_000.0 + n, "p1", "chat_sent", text, prev))
            prev = rows[-1].hash
        if rows:
            await storage.append(rows, {"state": "live"}, [])
        return await storage.event_rows("m1")
    finally:
        await storage.close()


async def kept(folder: Path) -> list[Row]:
    storage = await Storage.open(folder)
    try:
        *_, broken = await storage.verify()
        assert broken == []
        return await storage.event_rows("m1")
    finally:
        await storage.close()


@pytest.fixture
def data(tmp_path: Path, migrated: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    shutil.copy(migrated, folder)
    return folder


@given(st.lists(st.text(max_size=20), max_size=8), st.lists(st.text(max_size=20), min_size=1, max_size=4))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_put_back_is_the_same_chain(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, texts: list[str], later: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    shutil.copy(migrated, folder)
    before = asyncio.run(filled(folder, *texts))
    made = backup.create(folder)
    assert (made.manifest.meetings, made.manifest.events) == (1, len(before))
    after = asyncio.run(filled(folder, *later))
    manifest, replaced = backup.restore(made.path, folder)
    assert manifest == made.manifest
    assert asyncio.run(kept(folder)) == before
    assert replaced is not None
    backup.restore(replaced, folder)
    assert asyncio.run(kept(folder)) == after, "and what was replaced is not lost"


async def test_a_backup_made_while_others_write_is_of_one_moment(data: Path, tmp_path: Path) -> None:
    """Every event is stored together with its meeting's head: a copy of two moments would not verify."""
    done = asyncio.Event()

    async def write() -> None:
        for n in range(200):
            await filled(data, f"câu {n}")
            if done.is_set():
                return

    await filled(data)
    writing = asyncio.create_task(write())
    made = []
    for n in range(6):
        await asyncio.sleep(0.05)
        made.append(await asyncio.to_thread(backup.create, data, tmp_path / f"out{n}"))
    done.set()
    await writing
    counts = []
    for n, one in enumerate(made):
        await asyncio.to_thread(backup.restore, one.path, tmp_path / f"back{n}")
        counts.append(len(await kept(tmp_path / f"back{n}")))
    assert counts == [one.manifest.events for one in made]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


async def test_it_holds_the_secrets_and_only_its_owner_may_read_it(data: Path, tmp_path: Path) -> None:
    storage = await Storage.open(data)
    secret = await storage.secret("access_secret")
    await storage.close()
    before = os.umask(0)
    try:
        made = backup.create(data)
        backup.restore(made.path, tmp_path / "other")
    finally:
        os.umask(before)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.path.parent.stat().st_mode & 0o777 == 0o700
    assert {one.name: one.stat().st_mode & 0o777 for one in (tmp_path / "other").iterdir()} == {FILE: 0o600}
    again = await Storage.open(tmp_path / "other")
    assert await again.secret("access_secret") == secret
    await again.close()


@pytest.fixture
def given_away(migrated: Path) -> Iterator[Path]:
    """A server's data of another user than root, in a folder of root's that anybody may pass through."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        folder = place / "data"
        folder.mkdir(mode=0o700)
        shutil.copy(migrated, folder)
        for path in (folder, folder / FILE):
            os.chown(path, 1234, 1235)
        yield folder


of_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")


@of_root
def test_what_root_makes_belongs_to_the_server(given_away: Path) -> None:
    data = given_away
    made = backup.create(data)
    backup.restore(made.path, data)
    found = {
        (path.stat().st_uid, path.stat().st_gid) for path in (data / FILE, made.path, made.path.parent, *backup.names(made.path.parent))
    }
    assert found == {(1234, 1235)}
    away = data.parent / "away"
    away.mkdir()
    backup.create(data, away)
    assert (away.stat().st_uid, away.stat().st_gid) == (0, 0), "a folder that was there stays whose it is"
    fresh = data.parent / "fresh"
    backup.create(data, fresh)
    assert {path.stat().st_uid for path in (fresh, *backup.names(fresh))} == {1234}
    assert (os.geteuid(), os.getegid()) == (0, 0)


@of_root
def test_root_does_not_follow_what_the_servers_user_laid_out(given_away: Path) -> None:
    """Whoever took over the server owns its folder, and waits for root to make or put back a backup there."""
    data = given_away
    safe = backup.create(data, data.parent / "safe").path
    shadow, etc = data.parent / "shadow", data.parent / "etc"
    shadow.write_text("root:$y$hash")
    shadow.chmod(0o600)
    etc.mkdir(mode=0o700)
    (data / FILE).unlink()
    (data / FILE).symlink_to(shadow)
    (data / "backups").symlink_to(etc)
    for attempt in (lambda: backup.create(data), lambda: backup.create(data, etc), lambda: backup.restore(safe, data)):
        with pytest.raises(BackupError):
            attempt()
    (data / FILE).unlink()
    os.link(shadow, data / FILE)
    with pytest.raises(BackupError):
        backup.restore(safe, data)
    assert b"hash" not in b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file() and not file.samefile(shadow))
    assert shadow.read_text() == "root:$y$hash"
    assert (etc.stat().st_uid, list(etc.iterdir())) == (0, [])
    assert (os.geteuid(), os.getegid()) == (0, 0)


@of_root
def test_root_that_may_not_become_the_owner_changes_no_tables_without_a_copy(given_away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose root may do little."""

    def refused(groups: list[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refused)
    with pytest.raises(BackupError):
        backup.before_migration(given_away, always=True)
    with pytest.raises(BackupError):
        backup.create(given_away)


@pytest.mark.parametrize(
    "said",
    [
        {"made_at": 1e300}, {"made_at": -1e18}, {"made_at": -1}, {"version": "\x1b]0;another title\x07"}, {"version": "9" * 500},
        {"label": "a\nb"}, {"revision": "\x1b[2J"}, {"format": 2, "version": "\x1b[2J"},
    ],
)  # fmt: skip
def test_what_a_backup_says_of_itself_is_no_word_to_a_terminal(data: Path, tmp_path: Path, said: dict[str, Any]) -> None:
    made = backup.create(data, tmp_path)
    spoilt = tmp_path / "spoilt.zip"
    with zipfile.ZipFile(made.path) as whole, zipfile.ZipFile(spoilt, "w") as out:
        out.writestr(FILE, whole.read(FILE))
        out.writestr(MANIFEST, msgspec.json.encode({**msgspec.json.decode(whole.read(MANIFEST)), **said}))
    with pytest.raises(BackupError) as error:
        backup.read(spoilt)
    assert str(error.value).isprintable()


def test_it_is_not_put_back_under_a_server(data: Path) -> None:
    """Another process has the database open; that it never wrote `server.json`, or died without removing it, does not matter."""
    made = backup.create(data)
    whole = (data / FILE).read_bytes()
    program = "import asyncio, sys; from pathlib import Path; from vidconf.server.storage import Storage\nasync def main():\n storage = await Storage.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()\nasyncio.run(main())"
    holder = subprocess.Popen([sys.executable, "-c", program, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(BackupError, match="stop it first"):
            backup.restore(made.path, data)
        assert (data / FILE).read_bytes() == whole
        backup.create(data)  # but made it is
        holder.kill()
        holder.wait()
    backup.restore(made.path, data)


async def test_nobody_opens_the_database_while_it_is_put_back(data: Path) -> None:
    hold = Hold(data, alone=True)
    with pytest.raises(StorageError, match="being put back"):
        await Storage.open(data)
    hold.release()
    await (await Storage.open(data)).close()


def spoilt(path: Path, to: Path, **changes: object) -> Path:
    """The same backup with another manifest."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        new.writestr(FILE, old.read(FILE))
        new.writestr(MANIFEST, msgspec.json.encode({**msgspec.json.decode(old.read(MANIFEST)), **changes}))
    return to


def test_what_is_no_whole_backup_is_refused_and_changes_nothing(data: Path, tmp_path: Path) -> None:
    made = backup.create(data)
    whole = (data / FILE).read_bytes()
    wrong = tmp_path / "wrong.zip"

    def refused(path: Path, why: str) -> None:
        with pytest.raises(BackupError, match=why):
            backup.restore(path, data)
        assert (data / FILE).read_bytes() == whole
        assert not list(data.glob(".part-*"))
        assert len(backup.names(data / backup.FOLDER)) == 1, "nothing was replaced, so nothing was saved"

    refused(tmp_path / "none.zip", "no such file")
    wrong.write_bytes(b"minutes")
    refused(wrong, "not a backup")
    wrong.write_bytes(made.path.read_bytes()[:-200])
    refused(wrong, "not a backup, or damaged")
    for name in (FILE, MANIFEST):
        with zipfile.ZipFile(made.path) as old, zipfile.ZipFile(wrong, "w") as new:
            for one in old.namelist():
                if one != name:
                    new.writestr(one, old.read(one))
        refused(wrong, f"no {name}")
    refused(spoilt(made.path, wrong, sha256="0" * 64), "damaged")
    refused(spoilt(made.path, wrong, bytes=made.manifest.bytes - 1), "damaged")
    refused(spoilt(made.path, wrong, bytes=made.manifest.bytes + 1), "damaged")
    refused(spoilt(made.path, wrong, bytes=-1), "below 0")
    refused(spoilt(made.path, wrong, bytes=1 << 62), "do not fit")
    refused(spoilt(made.path, wrong, revision="0000"), "not whole")
    refused(spoilt(made.path, wrong, format=2, version="9.1"), "made by vidconf 9.1")
    refused(spoilt(made.path, wrong, format="x"), MANIFEST.replace(".", r"\."))


def test_a_backup_of_a_newer_version_is_refused(data: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(data / FILE)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    made = backup.create(data)
    with pytest.raises(BackupError, match="install that version first"):
        backup.restore(made.path, tmp_path / "other")
    assert not (tmp_path / "other" / FILE).exists()


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4), st.floats(0, 1))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_spoilt_bytes_are_refused_or_do_not_matter(
    small: tuple[Path, bytes], tmp_path: Path, changes: list[tuple[float, int]], cut: float
) -> None:
    path, database = small
    spoilt_bytes = bytearray(path.read_bytes())
    for where, value in changes:
        spoilt_bytes[int(where * len(spoilt_bytes))] = value
    bad, out = tmp_path / "bad.zip", tmp_path / "out"
    bad.write_bytes(spoilt_bytes if cut > 0.3 else spoilt_bytes[: int(len(spoilt_bytes) * cut * 3)])
    try:
        backup.restore(bad, out)
    except BackupError:
        assert not (out / FILE).exists()
        return
    assert (out / FILE).read_bytes() == database, "a byte that nobody reads"
    (out / FILE).unlink()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("small")
    shutil.copy(migrated, folder)
    made = backup.create(folder)
    with zipfile.ZipFile(made.path) as archive:
        return made.path, archive.read(FILE)


async def test_a_database_that_cannot_be_read_is_kept_beside_the_one_put_back(data: Path) -> None:
    before = await filled(data, "một", "hai")
    made = backup.create(data)
    (data / FILE).write_bytes(b"not sqlite any more")
    (data / f"{FILE}-wal").write_bytes(b"a log that must not meet another database")
    _, replaced = backup.restore(made.path, data)
    assert replaced is not None
    assert (replaced / FILE).read_bytes() == b"not sqlite any more"
    assert not (data / f"{FILE}-wal").exists()
    assert await kept(data) == before


def test_only_so_many_of_a_label_are_kept(data: Path) -> None:
    assert backup.newest_at(data) == 0
    other = backup.create(data, label="before-work")
    made = [backup.create(data, label="nightly", keep=2).path for _ in range(4)]
    assert backup.names(data / backup.FOLDER) == [made[3], made[2], other.path]
    assert backup.newest_at(data) == made[3].stat().st_mtime
    for wrong in ("", "Nightly", "a b", "../x", "x" * 21):
        with pytest.raises(BackupError, match="label"):
            backup.create(data, label=wrong)
    with pytest.raises(BackupError, match="no server's data"):
        backup.create(data / "nowhere")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size to stand for a full disk")
def test_a_full_disk_leaves_no_half_of_a_backup(data: Path) -> None:
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    program = "import sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nfrom pathlib import Path\nfrom vidconf.server import backup\ntry: backup.create(Path(sys.argv[1]))\nexcept backup.BackupError as error: print('refused', error)"
    said = subprocess.run([sys.executable, "-c", program, str(data)], preexec_fn=small_files, capture_output=True, text=True, timeout=60)
    assert said.stdout.startswith("refused no backup"), said
    assert list((data / backup.FOLDER).iterdir()) == []


# ---- before tables are changed ---------------------------------------------------------------------------------------


HEAD = "import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision, branch_labels, depends_on = '0002', '0001', None, None\n"


class NextVersion:
    """Revision 0002, which `does` what it is told, line by line; `gone` is the version before again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def does(self, *lines: str) -> None:
        self._path.write_text(HEAD + "def upgrade():\n" + "".join(f"    {line}\n" for line in lines))

    def gone(self) -> None:
        self._path.unlink()


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NextVersion:
    """A later version's revisions: this one's and 0002."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrations.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations, "FOLDER", folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return NextVersion(folder / "versions" / "0002_next.py")


async def test_a_new_version_saves_the_data_before_it_changes_the_tables(data: Path, next_version: NextVersion) -> None:
    rows = await filled(data, "một")
    assert backup.names(data / backup.FOLDER) == [], "nothing to change, nothing to save"
    next_version.does("op.add_column('meetings', sa.Column('place', sa.String(64)))")
    await (await Storage.open(data)).close()
    (saved,) = backup.names(data / backup.FOLDER)
    assert saved.name.endswith(f"-{UPGRADE}.zip")
    assert (backup.read(saved).revision, backup.read(saved).events) == ("0001", 1)
    with contextlib.closing(sqlite3.connect(data / FILE)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]
        assert raw.execute("SELECT place FROM meetings").fetchall() == [(None,)]
    next_version.gone()
    with pytest.raises(StorageError, match="0002"):
        await Storage.open(data)  # the version before does not touch them
    backup.restore(saved, data)
    assert await kept(data) == rows, "and is served again by the backup"


@pytest.mark.parametrize(
    "failure",
    ["op.execute('DELETE FROM nothing')", "raise KeyError('a mistake')", "op.execute('DROP TABLE meetings'); raise OSError('disk')"],
)
async def test_a_change_that_fails_leaves_the_data_as_it_was(data: Path, next_version: NextVersion, failure: str) -> None:
    rows = await filled(data, "một", "hai")
    next_version.does("op.create_table('later', sa.Column('id', sa.Integer))", "op.execute('DELETE FROM events')", failure)
    with pytest.raises(StorageError, match=r"the data is as it was before, and a copy of it in .*-upgrade\.zip"):
        await Storage.open(data)
    next_version.gone()
    assert await kept(data) == rows
    with contextlib.closing(sqlite3.connect(data / FILE)) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master WHERE name = 'later'").fetchone() == (0,)


async def test_no_tables_are_changed_without_a_backup(data: Path, next_version: NextVersion) -> None:
    await filled(data, "một")
    next_version.does("op.execute('DELETE FROM events')")
    await asyncio.to_thread((data / backup.FOLDER).write_text, "a file where the folder should be")
    with pytest.raises(StorageError, match="no backup"):
        await Storage.open(data)
    next_version.gone()
    assert len(await kept(data)) == 1


def test_many_may_hold_a_folder_or_one_alone(tmp_path: Path) -> None:
    one, two = Hold(tmp_path, alone=False), Hold(tmp_path, alone=False)
    with pytest.raises(FolderInUse):
        Hold(tmp_path, alone=True)
    one.release()
    with pytest.raises(FolderInUse):
        Hold(tmp_path, alone=True)
    two.release()
    two.release()
    Hold(tmp_path, alone=True).release()

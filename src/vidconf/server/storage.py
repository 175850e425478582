"""What the server keeps: SQLite in WAL mode through SQLAlchemy, migrated at start. The loop's thread.

Every write is one transaction that takes the write lock at its start (`BEGIN IMMEDIATE`) and is on the disk before the call
returns (`synchronous=FULL`): what was answered survives a power cut. Several processes may open the same file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command as alembic
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from vidconf.server import backup, migrations, tables
from vidconf.server.audit import GENESIS, Broken, Row, Verifier
from vidconf.server.folder import DATABASE, FolderInUse, Hold

log = logging.getLogger("vidconf.storage")

FILE = DATABASE
VERIFY_PAGE = 2000


class StorageError(Exception):
    """The database cannot be used; the text says why."""


class SequenceTaken(Exception):
    """Another process stored this (meeting, seq) first: load what is new and decide again."""


@dataclass(frozen=True, slots=True)
class MeetingRow:
    """A meeting as its own table row says."""

    id: str
    code: str
    title: str
    start: float | None
    duration_s: int
    lobby: bool
    capacity: int
    owner: str | None
    chair_secret_hash: str | None
    created_at: float
    state: str
    epoch: int
    started_at: float | None
    ended_at: float | None
    head_seq: int
    head_hash: str


def _begin(connection: sa.Connection) -> None:
    writing = connection.get_execution_options().get("vidconf_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _connected(dbapi_connection: Any, _record: Any) -> None:
    dbapi_connection.isolation_level = None  # SQLAlchemy's `begin` event says BEGIN, not the driver
    cursor = dbapi_connection.cursor()
    for pragma in ("busy_timeout=15000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _make_file(folder: Path) -> Hold:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        hold = Hold(folder, alone=False)
        try:
            os.close(os.open(folder / FILE, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError:
            hold.release()
            raise
    except FolderInUse:
        raise StorageError(f"{folder}: a backup is just being put back there; try again") from None
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}") from None
    return hold


def _migrate(connection: sa.Connection) -> None:
    config = migrations.config()
    config.attributes["connection"] = connection
    alembic.upgrade(config, "head")


class Storage:
    """`await Storage.open(folder)`, then `await close()`."""

    def __init__(self, engine: AsyncEngine, hold: Hold) -> None:
        self.engine = engine
        self._hold = hold
        self._at_work = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._write_turn = asyncio.Lock()  # within the process: waiting here is fairer than SQLite's polling

    @classmethod
    async def open(cls, folder: Path, *, save_first: bool = False) -> Storage:
        """Opens or makes `folder/vidconf.db` and brings its tables up to date. Raises StorageError.

        Before tables are changed they are backed up (`save_first`: in any case); a change that fails leaves everything as it was.
        """
        hold, path = _make_file(folder), folder / FILE
        # An error that SQLAlchemy reports goes to the log: what was said in the chat, and what a token hashes to, does not.
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}", pool_size=4, max_overflow=4, hide_parameters=True)
        sa.event.listen(engine.sync_engine, "connect", _connected)
        sa.event.listen(engine.sync_engine, "begin", _begin)
        storage = cls(engine, hold)
        saved = None
        try:
            saved = await asyncio.to_thread(backup.before_migration, folder, always=save_first)
            async with storage.writing() as connection:
                await connection.run_sync(_migrate)
        except Exception as error:  # a migration is a program: anything may go wrong in it
            await storage.close()
            why = f"{path}: {getattr(error, 'orig', error)}"
            if saved is None:
                raise StorageError(why) from error
            raise StorageError(f"{why}; the data is as it was before, and a copy of it in {saved.path}") from error
        except BaseException:
            await storage.close()
            raise
        if saved is not None:
            log.info("a backup was made before the tables are used by this version: %s", saved.path)
        return storage

    async def close(self) -> None:
        """Waits for what is being read or written: a connection that came back to a pool which is gone would never be closed."""
        await self._at_rest.wait()
        await self.engine.dispose()
        self._hold.release()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        self._at_work += 1
        self._at_rest.clear()
        try:
            async with self.engine.connect() as connection:
                yield connection
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._at_rest.set()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed and on the disk when the block ends well."""
        async with self._write_turn, self._connection() as plain:
            connection = await plain.execution_options(vidconf_write=True)
            async with connection.begin():
                yield connection

    async def execute(self, *statements: sa.Executable) -> int:
        """Writes; the number of rows the last statement touched."""
        touched = 0
        async with self.writing() as connection:
            for statement in statements:
                touched = (await connection.execute(statement)).rowcount
        return touched

    async def rows(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        async with self._connection() as connection:
            return (await connection.execute(statement)).all()

    async def row(self, statement: sa.Executable) -> sa.Row[Any] | None:
        async with self._connection() as connection:
            return (await connection.execute(statement)).first()

    # ---- settings ----

    async def setting(self, name: str) -> str | None:
        row = await self.row(sa.select(tables.settings.c.value).where(tables.settings.c.name == name))
        return None if row is None else str(row[0])

    async def set_setting(self, name: str, value: str) -> None:
        async with self.writing() as connection:
            await connection.execute(sa.delete(tables.settings).where(tables.settings.c.name == name))
            await connection.execute(sa.insert(tables.settings).values(name=name, value=value))

    async def secret(self, name: str) -> str:
        """A secret of the server's own, made on first use and kept."""
        async with self.writing() as connection:
            row = (await connection.execute(sa.select(tables.settings.c.value).where(tables.settings.c.name == name))).first()
            if row is not None:
                return str(row[0])
            value = secrets.token_urlsafe(36)
            await connection.execute(sa.insert(tables.settings).values(name=name, value=value))
            return value

    # ---- meetings ----

    async def add_meeting(self, row: MeetingRow, *also: sa.Executable) -> None:
        values = {name: getattr(row, name) for name in MeetingRow.__slots__}
        await self.execute(sa.insert(tables.meetings).values(**values), *also)

    async def _meetings(self, *where: sa.ColumnElement[bool]) -> list[MeetingRow]:
        order = sa.func.coalesce(tables.meetings.c.start, tables.meetings.c.created_at)
        found = await self.rows(sa.select(tables.meetings).where(*where).order_by(order))
        return [MeetingRow(**row._mapping) for row in found]

    async def meeting(self, meeting: str) -> MeetingRow | None:
        return next(iter(await self._meetings(tables.meetings.c.id == meeting)), None)

    async def meeting_by_code(self, code: str) -> MeetingRow | None:
        return next(iter(await self._meetings(tables.meetings.c.code == code)), None)

    async def live_meetings(self) -> list[MeetingRow]:
        """Those with somebody in them when the server last knew, and those that are to come with somebody knocking."""
        someone = sa.select(tables.participants.c.meeting).where(tables.participants.c.place.in_(("lobby", "admitted")))
        return await self._meetings(tables.meetings.c.state != "ended", tables.meetings.c.id.in_(someone))

    async def account_meetings(self, account: str | None, now: float) -> list[MeetingRow]:
        """Not ended, not older than a day: of one account (its own and those it took part in), or all for None."""
        m = tables.meetings.c
        recent = sa.or_(m.state == "live", sa.func.coalesce(m.start + m.duration_s, m.created_at) > now - 86400)
        where = [m.state != "ended", recent]
        if account is not None:
            took_part = sa.select(tables.participants.c.meeting).where(tables.participants.c.account == account)
            where.append(sa.or_(m.owner == account, m.id.in_(took_part)))
        return await self._meetings(*where)

    # ---- the events of a meeting ----

    async def event_rows(self, meeting: str, after: int = 0, limit: int | None = None) -> list[Row]:
        return [Row(**row._mapping) for row in await self.rows(_events(meeting, after, limit))]

    async def append(
        self,
        rows: Sequence[Row],
        facts: Mapping[str, Any],
        people: Sequence[tuple[bool, Mapping[str, Any]]],
        also: Sequence[sa.Executable] = (),
    ) -> None:
        """Stores a decision: the events, what they make of the meeting's row (`facts`) and of the participants
        (`people`: whether the row is new, and its values), and what belongs to the same decision (`also`). All or nothing.

        Raises SequenceTaken when another process was first.
        """
        meeting = rows[0].meeting
        m = tables.meetings.c
        try:
            async with self.writing() as connection:
                await connection.execute(sa.insert(tables.events), [{name: getattr(row, name) for name in Row.__slots__} for row in rows])
                head = {"head_seq": rows[-1].seq, "head_hash": rows[-1].hash}
                moved = await connection.execute(
                    sa.update(tables.meetings).where(m.id == meeting, m.head_seq == rows[0].seq - 1).values(**facts, **head)
                )
                if moved.rowcount != 1:
                    raise SequenceTaken(f"{meeting} {rows[0].seq}")
                for new, values in people:
                    if new:
                        await connection.execute(sa.insert(tables.participants).values(**values))
                    else:
                        p = tables.participants.c
                        await connection.execute(
                            sa.update(tables.participants).where(p.meeting == values["meeting"], p.id == values["id"]).values(**values)
                        )
                for statement in also:
                    await connection.execute(statement)
        except IntegrityError as error:
            taken = await self.row(sa.select(tables.events.c.seq).where(tables.events.c.meeting == meeting, tables.events.c.seq == rows[0].seq))
            if taken is not None:
                raise SequenceTaken(f"{meeting} {rows[0].seq}") from error
            raise

    async def verify(self) -> tuple[int, int, int, list[Broken]]:
        """Recomputes every chain: (meetings, events, erased payloads, the first broken row of each broken meeting).

        In one transaction, so of one moment: a meeting that goes on meanwhile is not called broken.
        """
        e, m = tables.events.c, tables.meetings.c
        found: list[Broken] = []
        events = erased = 0
        async with self._connection() as moment:
            meetings = (await moment.execute(sa.select(m.id, m.head_seq, m.head_hash).order_by(m.created_at))).all()
            for row in meetings:
                meeting, head_seq, head_hash = tuple(row)
                verifier = Verifier(meeting)
                while verifier.broken is None:
                    page = [Row(**row._mapping) for row in await moment.execute(_events(meeting, verifier.seq, VERIFY_PAGE))]
                    if not page:
                        break
                    verifier.feed(page)
                    events += len(page)
                erased += verifier.erased
                broken = verifier.close(head_seq, head_hash)
                if broken is not None:
                    found.append(broken)
            first = sa.func.min(e.seq).label("first")
            orphans = await moment.execute(sa.select(e.meeting, first).where(e.meeting.not_in(sa.select(m.id))).group_by(e.meeting))
            found.extend(Broken(row.meeting, row.first, "its meeting's row was deleted") for row in orphans)
        return len(meetings), events, erased, found


def _events(meeting: str, after: int, limit: int | None) -> sa.Select[Any]:
    e = tables.events.c
    return sa.select(tables.events).where(e.meeting == meeting, e.seq > after).order_by(e.seq).limit(limit)


def new_meeting(title: str, code: str, **values: Any) -> MeetingRow:
    """A meeting to come, not stored yet."""
    facts: dict[str, Any] = {
        "id": "m" + secrets.token_hex(8), "code": code, "title": title, "start": None, "duration_s": 3600, "lobby": True,
        "capacity": 500, "owner": None, "chair_secret_hash": None, "created_at": time.time(), "state": "scheduled", "epoch": 1,
        "started_at": None, "ended_at": None, "head_seq": 0, "head_hash": GENESIS,
    }  # fmt: skip
    return MeetingRow(**{**facts, **values})

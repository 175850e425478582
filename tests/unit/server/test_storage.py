"""Storage on real files: migrated, shared by several processes, all or nothing, and every tampering found."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from vidconf.server import tables
from vidconf.server.audit import GENESIS, Row, seal
from vidconf.server.storage import FILE, SequenceTaken, Storage, StorageError, new_meeting


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Storage, Storage]]:
    """Two processes' storage on one file."""
    one, other = await Storage.open(tmp_path), await Storage.open(tmp_path)
    yield one, other
    await one.close()
    await other.close()


async def test_closing_waits_for_what_is_being_written(tmp_path: Path) -> None:
    """A connection that is out when its pool goes would be left to the garbage collector, which says so."""
    storage = await Storage.open(tmp_path)

    async def writes() -> None:
        async with storage.writing() as connection:
            entered.set()
            await asyncio.sleep(0.05)
            await connection.execute(sa.insert(tables.settings).values(name="a", value="b"))

    entered = asyncio.Event()
    writing = asyncio.create_task(writes())
    await entered.wait()
    await storage.close()
    assert writing.done()
    await writing
    del writing
    gc.collect()
    again = await Storage.open(tmp_path)
    assert await again.setting("a") == "b"
    await again.close()


async def made(storage: Storage, meeting: str = "m1", code: str = "abcd-efgh-jkmn") -> str:
    await storage.add_meeting(new_meeting("Giao ban", code, id=meeting))
    return meeting


async def append(storage: Storage, meeting: str, *texts: str) -> Row:
    """Events of any content behind what is there; tried again as a room does when another was first."""
    while True:
        found = await storage.meeting(meeting)
        assert found is not None
        rows: list[Row] = []
        prev = found.head_hash
        for n, text in enumerate(texts, found.head_seq + 1):
            rows.append(seal(meeting, n, 1_760_000_000.0 + n, "p1", "chat_sent", text, prev))
            prev = rows[-1].hash
        try:
            await storage.append(rows, {"state": "live"}, [])
        except SequenceTaken:
            continue
        return rows[-1]


# ---- opening ---------------------------------------------------------------------------------------------------------


async def test_what_was_stored_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = await Storage.open(tmp_path / "new" / "folder")
    await made(first)
    last = await append(first, "m1", '{"text":"Kính thưa hội nghị"}')
    await first.close()
    second = await Storage.open(tmp_path / "new" / "folder")
    assert await second.event_rows("m1") == [last]
    found = await second.meeting_by_code("abcd-efgh-jkmn")
    assert found is not None
    assert (found.head_seq, found.head_hash, found.state) == (1, last.hash, "live")
    await second.close()


async def test_the_tables_are_what_the_migrations_make(storage: Storage) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, tables.metadata))

    async with storage.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_every_write_waits_for_the_disk(storage: Storage) -> None:
    async with storage.writing() as connection:
        found = [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in ("synchronous", "journal_mode", "foreign_keys")]
    assert found == [2, "wal", 1]


async def test_the_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        storage = await Storage.open(tmp_path / "data")
        await made(storage)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
        await storage.close()
    finally:
        os.umask(before)
    assert set(modes) >= {FILE, f"{FILE}-wal"}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


async def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"minutes of the meeting\n" * 1000)
    with pytest.raises(StorageError, match=r"vidconf\.db: .*not a database"):
        await Storage.open(tmp_path)
    assert (tmp_path / FILE).read_bytes().startswith(b"minutes"), "what was there is left alone"


async def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    await (await Storage.open(tmp_path)).close()
    with sqlite3.connect(tmp_path / FILE) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StorageError, match="9999"):
        await Storage.open(tmp_path)


async def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/data: "):
        await Storage.open(tmp_path / "file" / "data")


OPEN = """
import asyncio, sys
from pathlib import Path
from vidconf.server.storage import Storage

async def main():
    sys.stdin.readline()
    storage = await Storage.open(Path(sys.argv[1]))
    print(await storage.secret("access_secret"), flush=True)
    await storage.close()

asyncio.run(main())
"""


def test_processes_that_open_an_empty_folder_at_once_agree(tmp_path: Path) -> None:
    """Two servers started together, or the command line beside the first start: one makes the tables, all have one secret."""
    argv = [sys.executable, "-c", OPEN, str(tmp_path)]
    with contextlib.ExitStack() as stack:
        openers = [stack.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) for _ in range(4)]
        for opener in openers:
            assert opener.stdin is not None
            opener.stdin.write("go\n")
            opener.stdin.flush()
        said = [opener.communicate(timeout=60)[0] for opener in openers]
    assert [opener.returncode for opener in openers] == [0] * 4
    assert len(set(said)) == 1
    assert len(said[0]) > 40


# ---- decisions -------------------------------------------------------------------------------------------------------


async def test_of_two_decisions_for_one_place_one_is_stored_whole(pair: tuple[Storage, Storage]) -> None:
    one, other = pair
    await made(one)
    rows = [seal("m1", 1, 1.0, actor, "locked", "{}", GENESIS) for actor in ("p1", "p2")]
    outcomes = await asyncio.gather(
        one.append([rows[0]], {"state": "live"}, []), other.append([rows[1]], {"state": "ended"}, []), return_exceptions=True
    )
    lost = [outcome for outcome in outcomes if outcome is not None]
    assert [type(outcome) for outcome in lost] == [SequenceTaken]
    winner = outcomes.index(None)
    assert await one.event_rows("m1") == [rows[winner]]
    found = await other.meeting("m1")
    assert found is not None
    assert (found.state, found.head_hash) == (("live", "ended")[winner], rows[winner].hash)


async def test_many_writers_on_two_connections_lose_nothing(pair: tuple[Storage, Storage]) -> None:
    one, other = pair
    await made(one)
    words = [f'{{"n":{n}}}' for n in range(40)]
    await asyncio.gather(*(append((one, other)[n % 2], "m1", word) for n, word in enumerate(words)))
    rows = await one.event_rows("m1")
    assert [row.seq for row in rows] == list(range(1, 41))
    assert sorted(str(row.payload) for row in rows) == sorted(words)
    assert await other.verify() == (1, 40, 0, [])


async def test_a_decision_that_leaves_a_gap_is_not_stored(storage: Storage) -> None:
    await made(storage)
    last = await append(storage, "m1", "{}")
    with pytest.raises(SequenceTaken):
        await storage.append([seal("m1", 3, 3.0, "p1", "locked", "{}", last.hash)], {"state": "ended"}, [])
    assert [row.seq for row in await storage.event_rows("m1")] == [1]
    found = await storage.meeting("m1")
    assert found is not None
    assert found.state == "live"


async def test_a_decision_is_stored_with_all_that_belongs_to_it_or_not_at_all(storage: Storage) -> None:
    await made(storage)
    seat = {"token_hash": "t" * 64, "meeting": "m1", "participant": "p1", "created_at": 1.0}
    person = {
        "meeting": "m1", "id": "p1", "name": "An", "role": "delegate", "kind": "person", "unit": "", "position": "", "place": "lobby",
        "session": 0, "guest": True, "account": None, "badge": None, "since": 1.0,
    }  # fmt: skip
    first = seal("m1", 1, 1.0, "server", "knocked", "{}", GENESIS)
    await storage.append([first], {"state": "scheduled"}, [(True, person)], [sa.insert(tables.joins).values(**seat)])
    second = seal("m1", 2, 2.0, "server", "admitted", "{}", first.hash)
    with pytest.raises(IntegrityError):  # and not SequenceTaken: deciding again would not help
        await storage.append([second], {"state": "live"}, [(False, {**person, "place": "admitted"})], [sa.insert(tables.joins).values(**seat)])
    place = await storage.row(sa.select(tables.participants.c.place))
    assert place is not None
    assert place[0] == "lobby"
    assert [row.seq for row in await storage.event_rows("m1")] == [1]
    await storage.append([second], {"state": "live"}, [(False, {**person, "place": "admitted"})])
    assert await storage.verify() == (1, 2, 0, [])


APPEND = """
import asyncio, sys
from pathlib import Path
from vidconf.server.audit import seal
from vidconf.server.storage import Storage

async def main():
    storage = await Storage.open(Path(sys.argv[1]))
    row = await storage.meeting("m1")
    prev = row.head_hash
    for seq in range(row.head_seq + 1, 100_000):
        sealed = seal("m1", seq, float(seq), "p1", "chat_sent", '{"text":"%d"}' % seq, prev)
        await storage.append([sealed], {"state": "live"}, [])
        print(seq, sealed.hash, flush=True)
        prev = sealed.hash

asyncio.run(main())
"""


async def test_what_was_stored_survives_a_process_killed_in_the_middle_of_writing(storage: Storage, tmp_path: Path) -> None:
    await made(storage)
    writer = await asyncio.create_subprocess_exec(sys.executable, "-c", APPEND, str(tmp_path), stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    said = [await writer.stdout.readline() for _ in range(50)]
    writer.kill()
    said += (await writer.stdout.read()).splitlines(keepends=True)
    await writer.wait()
    acknowledged = dict(line.decode().split() for line in said if line.endswith(b"\n"))
    stored = {str(row.seq): row.hash for row in await storage.event_rows("m1")}
    assert len(acknowledged) >= 50
    assert acknowledged.items() <= stored.items()
    assert (await storage.verify())[3] == []


async def test_what_is_stored_does_not_reach_the_log_by_way_of_an_error(storage: Storage) -> None:
    meeting = new_meeting("Việc mật", "abcd-efgh-jkmn", id="m1")
    await storage.add_meeting(meeting)
    with pytest.raises(IntegrityError) as raised:
        await storage.add_meeting(meeting)
    assert "UNIQUE" in str(raised.value)
    for secret in ("Việc mật", "abcd-efgh-jkmn"):
        assert secret not in str(raised.value)


# ---- lists -----------------------------------------------------------------------------------------------------------


async def test_an_account_sees_its_own_meetings_and_those_it_took_part_in(storage: Storage) -> None:
    now = 1_760_000_000.0
    account = {"role": "organiser", "disabled": False, "password_hash": "", "created_at": now}
    await storage.execute(
        *(sa.insert(tables.accounts).values(id=name, name=name, name_key=name, **account) for name in ("an", "binh"))
    )
    day = 86400.0
    meetings = {
        "mine": {"owner": "an", "start": now + day},
        "joined": {"owner": "binh", "start": now + 2 * day},
        "theirs": {"owner": "binh", "start": now + day},
        "over": {"owner": "an", "start": now - 3 * day},
        "live and long": {"owner": "an", "start": now - 3 * day, "state": "live"},
        "ended": {"owner": "an", "start": now, "state": "ended"},
        "any time": {"owner": "an", "start": None, "created_at": now - day / 2},
        "forgotten": {"owner": "an", "start": None, "created_at": now - 3 * day},
    }
    for n, (title, facts) in enumerate(meetings.items()):
        await storage.add_meeting(new_meeting(title, f"aaaa-aaaa-aaa{n + 2}", id=f"m{n}", **facts))
    part = {"id": "p1", "name": "An", "role": "delegate", "kind": "person", "unit": "", "position": "", "session": 1, "guest": False}
    await storage.execute(sa.insert(tables.participants).values(meeting="m1", place="left", account="an", badge=None, since=now, **part))
    assert [row.title for row in await storage.account_meetings("an", now)] == ["live and long", "any time", "mine", "joined"]
    assert {row.title for row in await storage.account_meetings("binh", now)} == {"joined", "theirs"}
    assert len(await storage.account_meetings(None, now)) == 5


async def test_meetings_with_somebody_in_them_are_found_after_a_restart(storage: Storage) -> None:
    part = {"name": "An", "role": "delegate", "kind": "person", "unit": "", "position": "", "session": 1, "guest": True, "since": 1.0}
    for n, (state, place) in enumerate((("live", "admitted"), ("scheduled", "lobby"), ("live", "left"), ("ended", "admitted"))):
        await storage.add_meeting(new_meeting("Họp", f"aaaa-aaaa-aaa{n + 2}", id=f"m{n}", state=state, created_at=float(n)))
        await storage.execute(sa.insert(tables.participants).values(meeting=f"m{n}", id="p1", place=place, **part))
    assert [row.id for row in await storage.live_meetings()] == ["m0", "m1"]


async def test_a_secret_is_made_once(pair: tuple[Storage, Storage]) -> None:
    one, other = pair
    secrets = await asyncio.gather(*(storage.secret("relay_secret") for storage in (one, other, one, other)))
    assert len(set(secrets)) == 1
    assert await one.secret("access_secret") != secrets[0]
    await one.set_setting("public_url", "https://a")
    await other.set_setting("public_url", "https://b")
    assert await one.setting("public_url") == "https://b"
    assert await one.setting("nothing") is None


# ---- verify ----------------------------------------------------------------------------------------------------------


TAMPERED: dict[str, tuple[str, str, int]] = {
    "content": ("UPDATE events SET payload = '{\"text\":\"khác\"}' WHERE meeting = 'm1' AND seq = 3", "content", 3),
    "salt": ("UPDATE events SET salt = '00112233445566778899aabbccddeeff' WHERE meeting = 'm1' AND seq = 3", "content", 3),
    "salt gone": ("UPDATE events SET salt = NULL WHERE meeting = 'm1' AND seq = 3", "content", 3),
    "commitment": ("UPDATE events SET payload = NULL, payload_commitment = hash WHERE meeting = 'm1' AND seq = 3", "changed", 3),
    "time": ("UPDATE events SET at = at + 1 WHERE meeting = 'm1' AND seq = 4", "changed", 4),
    "actor": ("UPDATE events SET actor = 'p2' WHERE meeting = 'm1' AND seq = 4", "changed", 4),
    "type": ("UPDATE events SET type = 'muted' WHERE meeting = 'm1' AND seq = 4", "changed", 4),
    "one gone": ("DELETE FROM events WHERE meeting = 'm1' AND seq = 2", "event 2 is missing", 2),
    "first gone": ("DELETE FROM events WHERE meeting = 'm1' AND seq = 1", "event 1 is missing", 1),
    "end gone": ("DELETE FROM events WHERE meeting = 'm1' AND seq >= 5", "events 5 to 6 are missing at the end", 5),
    "all gone": ("DELETE FROM events WHERE meeting = 'm1'", "events 1 to 6 are missing at the end", 1),
    "renumbered": ("UPDATE events SET seq = seq + 10 WHERE meeting = 'm1' AND seq = 3", "event 3 is missing", 3),
    "swapped": ("UPDATE events SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE meeting = 'm1' AND seq IN (2, 3);"
                "UPDATE events SET seq = -seq WHERE seq < 0", "does not follow", 2),
    "to another meeting": ("UPDATE events SET meeting = 'm2', seq = 3 WHERE meeting = 'm1' AND seq = 6", "missing at the end", 6),
    "meeting gone": ("DELETE FROM meetings WHERE id = 'm1'", "its meeting's row was deleted", 1),
    "the end denied": ("UPDATE meetings SET head_seq = 4 WHERE id = 'm1'", "the chain's end", 6),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
async def test_tampering_is_found_and_named(storage: Storage, tmp_path: Path, how: str) -> None:
    await made(storage)
    await made(storage, "m2", "abcd-efgh-jkmp")
    for n in range(6):
        await append(storage, "m1", f'{{"text":"lời {n}"}}')
    await append(storage, "m2", "{}", "{}")
    assert await storage.verify() == (2, 8, 0, [])
    statement, why, seq = TAMPERED[how]
    raw = sqlite3.connect(tmp_path / FILE)
    raw.executescript(statement)
    raw.close()
    broken = (await storage.verify())[3]
    found = next(one for one in broken if one.meeting == "m1")
    assert (found.seq, why in found.why) == (seq, True), found
    assert len(broken) == (2 if how == "to another meeting" else 1)


async def test_an_erased_content_leaves_the_chain_whole(storage: Storage) -> None:
    await made(storage)
    for n in range(5):
        await append(storage, "m1", f'{{"text":"lời {n}"}}')
    await storage.execute(sa.update(tables.events).where(tables.events.c.seq.in_((2, 4))).values(payload=None, salt=None))
    assert await storage.verify() == (1, 5, 2, [])


async def test_a_chain_longer_than_a_page_is_verified_whole(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.server.storage.VERIFY_PAGE", 7)
    await made(storage)
    await append(storage, "m1", *(f'{{"n":{n}}}' for n in range(30)))
    assert await storage.verify() == (1, 30, 0, [])
    await storage.execute(sa.update(tables.events).where(tables.events.c.seq == 29).values(payload="{}"))
    assert [one.seq for one in (await storage.verify())[3]] == [29]


async def test_a_live_meeting_that_goes_on_is_not_called_broken(pair: tuple[Storage, Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.server.storage.VERIFY_PAGE", 5)
    storage, live = pair
    await made(storage)
    for _ in range(10):
        await append(live, "m1", "{}")
    done = asyncio.Event()

    async def goes_on() -> None:
        while not done.is_set():
            await append(live, "m1", "{}")

    going = asyncio.create_task(goes_on())
    try:
        reports = []
        for _ in range(15):
            reports.append(await storage.verify())
            await asyncio.sleep(0.01)  # on a busy disk the meeting gets its turn, too
    finally:
        done.set()
        await going
    assert [broken for *_, broken in reports] == [[]] * 15
    assert reports[-1][1] > reports[0][1]


async def test_a_row_put_in_by_hand_is_found(storage: Storage) -> None:
    await made(storage)
    last = await append(storage, "m1", "{}", "{}")
    forged = replace(seal("m1", 3, 3.0, "p1", "chat_sent", "{}", last.hash), actor="p2")
    values = {name: getattr(forged, name) for name in Row.__slots__}
    await storage.execute(sa.insert(tables.events).values(**values))
    assert [one.seq for one in (await storage.verify())[3]] == [3]

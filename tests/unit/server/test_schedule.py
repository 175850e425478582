"""Codes nobody guesses, links, tickets good once, chair links that can be replaced and die."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from vidconf.server import tables
from vidconf.server.accounts import Accounts
from vidconf.server.schedule import ALPHABET, Created, Schedule, ScheduleError, chair_link, clean_code, link, new_code, parse_start
from vidconf.server.storage import Storage


@pytest.fixture
def schedule(storage: Storage) -> Schedule:
    return Schedule(storage)


# ---- codes -----------------------------------------------------------------------------------------------------------


def test_a_code_has_at_least_60_bits_and_can_be_read_aloud() -> None:
    assert len(set(ALPHABET)) ** 12 >= 1 << 60
    assert not set(ALPHABET) & set("01lo")
    codes = [new_code() for _ in range(4000)]
    assert len(set(codes)) == 4000
    assert all(len(code) == 14 and [len(part) for part in code.split("-")] == [4, 4, 4] for code in codes)
    for place in (*range(4), *range(5, 9), *range(10, 14)):
        seen = Counter(code[place] for code in codes)
        assert set(seen) == set(ALPHABET)
        assert max(seen.values()) < 2 * 4000 / 32  # 125 expected, 11 the deviation


codes = st.text(ALPHABET, min_size=12, max_size=12)


@given(codes, st.lists(st.tuples(st.integers(0, 40), st.sampled_from(" -\t")), max_size=8), st.booleans())
def test_a_code_is_understood_as_people_type_it(bare: str, put_in: list[tuple[int, str]], capitals: bool) -> None:
    stored = f"{bare[:4]}-{bare[4:8]}-{bare[8:]}"
    typed = stored.upper() if capitals else stored
    for place, char in put_in:
        typed = typed[:place] + char + typed[place:]
    assert clean_code(typed) == stored
    assert clean_code(bare) == stored


@given(st.text(max_size=80))
@example("abcd-efgh-jkmn' OR '1'='1")
@example("abcd-efgh-jkmn\x00")
@example("../../m/abcdefgh")
@example("ａｂｃｄｅｆｇｈｊｋｍｎ")
@example("abcd‐efgh‐jkmn")
def test_anything_else_is_no_code(text: str) -> None:
    found = clean_code(text)
    assert found is None or (clean_code(found) == found and len(found) == 14 and set(found) <= set(ALPHABET) | {"-"})


def test_no_code_is_too_long_too_short_or_of_other_letters() -> None:
    for text in ("", "abcd-efgh-jkm", "abcd-efgh-jkmnp", "abcd-efgh-jkm0", "abcd-efgh-jkml", "abcd_efgh_jkmn", "a" * 12 + " " * 60):
        assert clean_code(text) is None


def test_links() -> None:
    assert link("https://meet.example.gov.vn/", "abcd-efgh-jkmn") == "https://meet.example.gov.vn/m/abcd-efgh-jkmn"
    assert chair_link("https://meet.example.gov.vn", "abcd-efgh-jkmn", "s3_-") == "https://meet.example.gov.vn/m/abcd-efgh-jkmn#k=s3_-"


# ---- making one ------------------------------------------------------------------------------------------------------


def test_a_start_is_unix_seconds_or_iso() -> None:
    assert parse_start(None) is None
    assert parse_start(1_800_000_000) == 1_800_000_000.0
    assert parse_start("2027-03-02T08:30+07:00") == datetime.fromisoformat("2027-03-02T01:30+00:00").timestamp()
    assert parse_start(" 2027-03-02T08:30:00Z ") == datetime.fromisoformat("2027-03-02T08:30+00:00").timestamp()
    assert parse_start("2027-03-02 08:30") == datetime(2027, 3, 2, 8, 30).timestamp()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.just(10**400), st.just(-(10**400))),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)


@given(json_values)
@example(True)
@example("now")
@example("2027-13-45")
@example("0001-01-01T00:00+23:59")
@example("9999-12-31T23:59")
@example(1e300)
@example(math.nan)
@example(10**400)
def test_a_start_that_is_none_is_refused_by_name(value: Any) -> None:
    found: Any
    try:
        found = parse_start(value)
    except ScheduleError as refused:
        found = refused
    if isinstance(found, ScheduleError):
        assert found.field == "start"
        assert "2026-03-02T08:30+07:00" in str(found)
    else:
        assert found is None or (math.isfinite(found) and abs(found - time.time()) < 21 * 365 * 86400)


async def test_a_meeting_is_made_with_its_code_its_chair_secret_and_its_chair_key(schedule: Schedule, storage: Storage) -> None:
    made = await schedule.create("  Họp\u202e giao\nban  ", "2027-03-02T08:30+07:00", 5400, lobby=False)
    assert made.row.title == "Họp giao ban"
    assert (made.row.duration_s, made.row.lobby, made.row.start) == (5400, False, 1_803_951_000.0)
    assert await schedule.find(made.row.id) == await schedule.find(made.row.code.upper()) == made.row
    accounts = await Accounts.open(storage, None)
    bearer = await accounts.bearer(made.chair_token)
    accounts.close()
    assert bearer is not None
    assert (bearer.kind, bearer.meeting) == ("chair", made.row.id)
    assert made.row.chair_secret_hash is not None
    assert made.chair_secret not in made.row.chair_secret_hash


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("title", value) for value in (None, "", " \u200b ", 7, ["x"], {})),
        *(("duration_s", value) for value in (None, 59, 0, -1, 30 * 86400 + 1, 3600.5, "3600", True, 10**400)),
        *(("lobby", value) for value in (None, 1, "yes")),
        *(("start", value) for value in ("tomorrow", True, [], math.inf, 10**400)),
    ],
)
async def test_a_meeting_that_cannot_be_says_which_field(schedule: Schedule, storage: Storage, field: str, value: Any) -> None:
    with pytest.raises(ScheduleError) as refused:
        await schedule.create(**{"title": "Giao ban", field: value})
    assert refused.value.field == field
    assert await storage.rows(sa.select(tables.meetings)) == []
    assert await storage.rows(sa.select(tables.keys)) == []


async def test_a_long_title_is_cut_and_stored(schedule: Schedule, storage: Storage) -> None:
    made = await schedule.create("Ệ" * 5000)
    assert made.row.title == "Ệ" * 200
    assert await storage.meeting(made.row.id) == made.row


async def test_references_to_nothing_find_nothing(schedule: Schedule) -> None:
    await schedule.create("Giao ban")
    for reference in ("", "abcd-efgh-jkmn", "m0", "x" * 5000, "' OR 1=1 --", "%", "\x00", "\ud800"):
        assert await schedule.find(reference) is None


# ---- chair links and tickets -----------------------------------------------------------------------------------------


async def made_with_ticket(schedule: Schedule) -> tuple[Created, str]:
    made = await schedule.create("Giao ban")
    ticket = await schedule.ticket(made.row, made.chair_secret)
    assert ticket is not None
    return made, ticket


async def test_a_ticket_opens_its_meeting_once(schedule: Schedule) -> None:
    made, ticket = await made_with_ticket(schedule)
    other = await schedule.create("Một cuộc họp khác")
    assert not await schedule.take_ticket(other.row.id, ticket)
    assert await schedule.take_ticket(made.row.id, ticket)
    assert not await schedule.take_ticket(made.row.id, ticket)


async def test_of_several_that_show_one_ticket_at_once_one_is_let_in(schedule: Schedule, tmp_path: Path) -> None:
    made, ticket = await made_with_ticket(schedule)
    elsewhere = await Storage.open(tmp_path)
    doors = (schedule, Schedule(elsewhere))
    taken = await asyncio.gather(*(doors[n % 2].take_ticket(made.row.id, ticket) for n in range(8)))
    assert sorted(taken) == [False] * 7 + [True]
    await elsewhere.close()


async def test_a_ticket_is_good_for_60_seconds(schedule: Schedule, storage: Storage) -> None:
    made, ticket = await made_with_ticket(schedule)
    row = await storage.row(sa.select(tables.tickets.c.expires_at))
    assert row is not None
    assert 58 < row[0] - time.time() <= 60
    await storage.execute(sa.update(tables.tickets).values(expires_at=time.time() - 0.001))
    assert not await schedule.take_ticket(made.row.id, ticket)
    await schedule.ticket(made.row, made.chair_secret)
    assert len(await storage.rows(sa.select(tables.tickets))) == 1, "what ran out is cleared away"


async def test_a_wrong_secret_gets_no_ticket(schedule: Schedule) -> None:
    made, other = await schedule.create("Giao ban"), await schedule.create("Một cuộc họp khác")
    for secret in ("", "x", made.chair_secret + "x", made.chair_secret[:-1], other.chair_secret, made.row.chair_secret_hash or "", "\ud800"):
        assert await schedule.ticket(made.row, secret) is None


async def fresh(schedule: Schedule, made: Created) -> Any:
    row = await schedule.find(made.row.id)
    assert row is not None
    return row


async def test_a_new_chair_link_kills_the_old_one_and_its_tickets(schedule: Schedule) -> None:
    made, ticket = await made_with_ticket(schedule)
    secret = await schedule.new_chair_secret(made.row.id)
    row = await fresh(schedule, made)
    assert await schedule.ticket(row, made.chair_secret) is None
    assert not await schedule.take_ticket(made.row.id, ticket)
    assert await schedule.ticket(row, secret) is not None
    await schedule.revoke_chair_secret(made.row.id)
    row = await fresh(schedule, made)
    for old in (made.chair_secret, secret, "", "None"):
        assert await schedule.ticket(row, old) is None


async def test_a_chair_link_is_dead_a_day_after_the_end(schedule: Schedule, storage: Storage) -> None:
    made = await schedule.create("Giao ban")
    for ago_s, alive in ((0, True), (23 * 3600, True), (24 * 3600 + 1, False)):
        await storage.execute(sa.update(tables.meetings).values(state="ended", ended_at=time.time() - ago_s))
        assert (await schedule.ticket(await fresh(schedule, made), made.chair_secret) is not None) == alive

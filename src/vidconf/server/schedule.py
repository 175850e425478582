"""Meetings to come: their codes, links, chair links and tickets. The loop's thread.

A code has 12 characters of 32, so 60 bits, in groups that can be read aloud. A chair link carries a secret in its fragment,
which no server log sees; the program exchanges it for a ticket that is good once, for 60 s. The secret can be replaced and is
dead 24 h after the meeting's end.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from vidconf.meeting.names import clean_line
from vidconf.server import tables
from vidconf.server.accounts import Accounts, new_token, token_hash
from vidconf.server.storage import MeetingRow, Storage, new_meeting

ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
TICKET_S = 60
AFTER_END_S = 24 * 3600
TITLE_LIMIT = 200
DURATION_LIMIT_S = 30 * 86400
FAR_S = 20 * 365 * 86400


class ScheduleError(ValueError):
    """A meeting cannot be made like that. `field` names what is wrong."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


@dataclass(frozen=True, slots=True)
class Created:
    """A new meeting and its secrets, which are shown once."""

    row: MeetingRow
    chair_secret: str
    chair_token: str


def new_code() -> str:
    text = "".join(secrets.choice(ALPHABET) for _ in range(12))
    return f"{text[:4]}-{text[4:8]}-{text[8:]}"


def clean_code(text: str) -> str | None:
    """A code as typed by a person (capitals, blanks, no hyphens) as it is stored; None when it is none."""
    if len(text) > 64:
        return None
    bare = "".join(char for char in text.casefold() if char not in " -\t")
    if len(bare) != 12 or any(char not in ALPHABET for char in bare):
        return None
    return f"{bare[:4]}-{bare[4:8]}-{bare[8:]}"


def parse_start(value: Any) -> float | None:
    """None, Unix seconds, or ISO 8601 (without an offset: this machine's time). Raises ScheduleError."""
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= 64:
        try:
            value = datetime.fromisoformat(value.strip()).timestamp()
        except (ValueError, OverflowError, OSError):
            raise ScheduleError("start", "a time like 2026-03-02T08:30+07:00, or Unix seconds") from None
    near = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < FAR_S + time.time()  # NaN is not near either
    if not near or time.time() - value > FAR_S:
        raise ScheduleError("start", "a time like 2026-03-02T08:30+07:00, or Unix seconds")
    return float(value)


class Schedule:
    def __init__(self, storage: Storage, capacity: int = 500) -> None:
        self._storage = storage
        self._capacity = capacity

    async def create(self, title: Any, start: Any = None, duration_s: Any = 3600, lobby: Any = True, owner: str | None = None) -> Created:
        """Raises ScheduleError."""
        if not isinstance(title, str) or not (title := clean_line(title, TITLE_LIMIT)):
            raise ScheduleError("title", "a title of 1 to 200 characters")
        if isinstance(duration_s, bool) or not isinstance(duration_s, int) or not 60 <= duration_s <= DURATION_LIMIT_S:
            raise ScheduleError("duration_s", "from 60 seconds to 30 days")
        if not isinstance(lobby, bool):
            raise ScheduleError("lobby", "true or false")
        secret, token = secrets.token_urlsafe(24), new_token("vck")
        facts = {"start": parse_start(start), "duration_s": duration_s, "lobby": lobby, "capacity": self._capacity, "owner": owner}
        while True:
            row = new_meeting(title, new_code(), chair_secret_hash=token_hash(secret), **facts)
            try:
                await self._storage.add_meeting(row, Accounts.key_row(token, "chair", "chair", row.id))
            except IntegrityError:
                if await self._storage.meeting_by_code(row.code) is None:
                    raise
                continue  # one chance in 10^18
            return Created(row, secret, token)

    async def find(self, reference: str) -> MeetingRow | None:
        """By id or by code."""
        code = clean_code(reference)
        if code is not None:
            return await self._storage.meeting_by_code(code)
        return await self._storage.meeting(reference) if len(reference) <= 32 and reference.isascii() else None

    async def new_chair_secret(self, meeting: str) -> str:
        """The old chair link is dead from now on."""
        secret = secrets.token_urlsafe(24)
        await self._set_secret(meeting, token_hash(secret))
        return secret

    async def revoke_chair_secret(self, meeting: str) -> None:
        await self._set_secret(meeting, None)

    async def _set_secret(self, meeting: str, hashed: str | None) -> None:
        update = sa.update(tables.meetings).where(tables.meetings.c.id == meeting).values(chair_secret_hash=hashed)
        await self._storage.execute(update, sa.delete(tables.tickets).where(tables.tickets.c.meeting == meeting))

    async def ticket(self, row: MeetingRow, secret: str) -> str | None:
        """A chair link's secret for a ticket; None when it is wrong, revoked or too late."""
        now = time.time()
        if row.chair_secret_hash is None or not hmac.compare_digest(row.chair_secret_hash, token_hash(secret)):
            return None
        if row.ended_at is not None and now > row.ended_at + AFTER_END_S:
            return None
        ticket = new_token("vct")
        await self._storage.execute(
            sa.delete(tables.tickets).where(tables.tickets.c.expires_at < now),
            sa.insert(tables.tickets).values(ticket_hash=token_hash(ticket), meeting=row.id, expires_at=now + TICKET_S),
        )
        return ticket

    async def take_ticket(self, meeting: str, ticket: str) -> bool:
        """Whether `ticket` opens `meeting`; it is used up by asking."""
        t = tables.tickets.c
        taken = await self._storage.execute(
            sa.delete(tables.tickets).where(t.ticket_hash == token_hash(ticket), t.meeting == meeting, t.expires_at > time.time())
        )
        return taken == 1


def link(public_url: str, code: str) -> str:
    return f"{public_url.rstrip('/')}/m/{code}"


def chair_link(public_url: str, code: str, secret: str) -> str:
    return f"{link(public_url, code)}#k={secret}"

"""The chain of events: how a row is sealed, and how a whole meeting's rows are checked. Pure; any thread.

A row's `hash` covers meeting, seq, at, actor, type, payload_commitment and prev, but neither payload nor salt:
`payload_commitment = SHA-256(salt ‖ payload)`. So a payload can be erased (a court's order, a person's right) while
order and completeness stay proven; and without the salt nobody can guess what was erased.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

GENESIS = "0" * 64
"""`prev` of a meeting's first event."""


@dataclass(frozen=True, slots=True)
class Row:
    """One stored event. `payload` is the JSON text as stored; hashes are lower-case hex."""

    meeting: str
    seq: int
    at: float
    actor: str
    type: str
    payload: str | None
    salt: str | None
    payload_commitment: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row of a meeting that is not as it was written. `why` is for a person."""

    meeting: str
    seq: int
    why: str


def commitment(salt: str, payload: str) -> str:
    """`salt` is hex text; both are hashed as the bytes they stand for."""
    return hashlib.sha256(bytes.fromhex(salt) + payload.encode()).hexdigest()


def row_hash(meeting: str, seq: int, at: float, actor: str, type_: str, payload_commitment: str, prev: str) -> str:
    """JSON keeps the fields apart, so that no two different rows read the same."""
    text = json.dumps([meeting, seq, at, actor, type_, payload_commitment, prev], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(meeting: str, seq: int, at: float, actor: str, type_: str, payload: str, prev: str) -> Row:
    """A new row with a fresh salt, following the row whose hash is `prev`."""
    salt = secrets.token_hex(16)
    committed = commitment(salt, payload)
    return Row(meeting, seq, at, actor, type_, payload, salt, committed, prev, row_hash(meeting, seq, at, actor, type_, committed, prev))


class Verifier:
    """Fed with one meeting's rows in order; `broken` is the first that does not fit."""

    def __init__(self, meeting: str) -> None:
        self.meeting = meeting
        self.seq = 0
        self.prev = GENESIS
        self.erased = 0
        self.broken: Broken | None = None

    def feed(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if self.broken is not None:
                return
            why = self._why(row)
            if why:
                self.broken = Broken(self.meeting, row.seq if row.seq == self.seq + 1 else self.seq + 1, why)
                return
            self.erased += row.payload is None
            self.seq, self.prev = row.seq, row.hash

    def _why(self, row: Row) -> str:
        if row.seq != self.seq + 1:
            return f"event {self.seq + 1} is missing (the next stored one is {row.seq})"
        if row.prev != self.prev:
            return "it does not follow the event before it"
        if row.hash != row_hash(row.meeting, row.seq, row.at, row.actor, row.type, row.payload_commitment, row.prev):
            return "its time, actor, type or place was changed"
        if row.payload is not None:
            try:
                fits = row.salt is not None and commitment(row.salt, row.payload) == row.payload_commitment
            except ValueError:
                fits = False
            if not fits:
                return "its content was changed"
        return ""

    def close(self, head_seq: int, head_hash: str) -> Broken | None:
        """At the end: the meeting's own row knows how long the chain was."""
        if self.broken is None and (self.seq, self.prev) != (head_seq, head_hash):
            if self.seq < head_seq:
                self.broken = Broken(self.meeting, self.seq + 1, f"events {self.seq + 1} to {head_seq} are missing at the end")
            else:
                self.broken = Broken(self.meeting, self.seq, "the chain's end is not the one the meeting knows")
        return self.broken

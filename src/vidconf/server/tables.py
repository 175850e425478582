"""The tables, in types SQLite and PostgreSQL both have. Times are Unix seconds. Changed only together with a migration."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""The server's own secrets and facts: `access_secret`, `relay_key`, `public_url`."""

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("name_key", String(128), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
)
"""`name_key` is the name case-folded, so that two accounts never differ by case alone."""

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("family", String(32), nullable=False, index=True),
    Column("account", String(32), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("issued_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Column("revoked_at", Float),
)
"""Each is good once; a used one that comes again kills its family (somebody copied it)."""

keys = Table(
    "keys",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("meeting", String(32), ForeignKey("meetings.id"), index=True),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)
"""Bearers for scripts. Scope `service`: moderator of every meeting; `chair`: of the one in `meeting`."""

meetings = Table(
    "meetings",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("code", String(32), nullable=False, unique=True),
    Column("title", String(200), nullable=False),
    Column("start", Float),
    Column("duration_s", Integer, nullable=False),
    Column("lobby", Boolean, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("owner", String(32), ForeignKey("accounts.id"), index=True),
    Column("chair_secret_hash", String(64)),
    Column("created_at", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", String(64), nullable=False),
    Index("ix_meetings_state", "state"),
)
"""`state`, `epoch`, `head_*` follow the events, in the transaction that stores them."""

participants = Table(
    "participants",
    metadata,
    Column("meeting", String(32), ForeignKey("meetings.id"), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("unit", String(200), nullable=False),
    Column("position", String(200), nullable=False),
    Column("place", String(16), nullable=False),
    Column("session", Integer, nullable=False),
    Column("guest", Boolean, nullable=False),
    Column("account", String(32)),
    Column("badge", String(64)),
    Column("since", Float, nullable=False),
)
"""Who took part, as the events left them: for lists and reports. The events are the truth."""

joins = Table(
    "joins",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("meeting", String(32), ForeignKey("meetings.id"), nullable=False, index=True),
    Column("participant", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
)
"""Session tokens: one participant in one meeting."""

tickets = Table(
    "tickets",
    metadata,
    Column("ticket_hash", String(64), primary_key=True),
    Column("meeting", String(32), ForeignKey("meetings.id"), nullable=False),
    Column("expires_at", Float, nullable=False, index=True),
)
"""What a chair link's secret is exchanged for; deleted when used."""

events = Table(
    "events",
    metadata,
    Column("meeting", String(32), ForeignKey("meetings.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("type", String(32), nullable=False),
    Column("payload", Text),
    Column("salt", String(32)),
    Column("payload_commitment", String(64), nullable=False),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    UniqueConstraint("meeting", "hash", name="uq_events_hash"),
)
"""The chain of `audit.py`. `payload` and `salt` may be erased; the chain then still proves order and completeness."""

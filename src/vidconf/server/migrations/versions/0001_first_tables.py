"""The first tables: accounts, keys, meetings, participants, the event chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("name_key", sa.String(128), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("name_key", name="uq_accounts_name_key"),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("family", sa.String(32), nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("issued_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("used_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.PrimaryKeyConstraint("token_hash", name="pk_refresh_tokens"),
        sa.ForeignKeyConstraint(["account"], ["accounts.id"], name="fk_refresh_tokens_account_accounts"),
    )
    op.create_index("ix_refresh_tokens_family", "refresh_tokens", ["family"])
    op.create_index("ix_refresh_tokens_account", "refresh_tokens", ["account"])
    op.create_table(
        "meetings",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("start", sa.Float),
        sa.Column("duration_s", sa.Integer, nullable=False),
        sa.Column("lobby", sa.Boolean, nullable=False),
        sa.Column("capacity", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(32)),
        sa.Column("chair_secret_hash", sa.String(64)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("ended_at", sa.Float),
        sa.Column("head_seq", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_meetings"),
        sa.UniqueConstraint("code", name="uq_meetings_code"),
        sa.ForeignKeyConstraint(["owner"], ["accounts.id"], name="fk_meetings_owner_accounts"),
    )
    op.create_index("ix_meetings_state", "meetings", ["state"])
    op.create_index("ix_meetings_owner", "meetings", ["owner"])
    op.create_table(
        "keys",
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("meeting", sa.String(32)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
        sa.PrimaryKeyConstraint("key_hash", name="pk_keys"),
        sa.ForeignKeyConstraint(["meeting"], ["meetings.id"], name="fk_keys_meeting_meetings"),
    )
    op.create_index("ix_keys_meeting", "keys", ["meeting"])
    op.create_table(
        "participants",
        sa.Column("meeting", sa.String(32), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("unit", sa.String(200), nullable=False),
        sa.Column("position", sa.String(200), nullable=False),
        sa.Column("place", sa.String(16), nullable=False),
        sa.Column("session", sa.Integer, nullable=False),
        sa.Column("guest", sa.Boolean, nullable=False),
        sa.Column("account", sa.String(32)),
        sa.Column("badge", sa.String(64)),
        sa.Column("since", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("meeting", "id", name="pk_participants"),
        sa.ForeignKeyConstraint(["meeting"], ["meetings.id"], name="fk_participants_meeting_meetings"),
    )
    op.create_table(
        "joins",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("meeting", sa.String(32), nullable=False),
        sa.Column("participant", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_joins"),
        sa.ForeignKeyConstraint(["meeting"], ["meetings.id"], name="fk_joins_meeting_meetings"),
    )
    op.create_index("ix_joins_meeting", "joins", ["meeting"])
    op.create_table(
        "tickets",
        sa.Column("ticket_hash", sa.String(64), nullable=False),
        sa.Column("meeting", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("ticket_hash", name="pk_tickets"),
        sa.ForeignKeyConstraint(["meeting"], ["meetings.id"], name="fk_tickets_meeting_meetings"),
    )
    op.create_index("ix_tickets_expires_at", "tickets", ["expires_at"])
    op.create_table(
        "events",
        sa.Column("meeting", sa.String(32), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("salt", sa.String(32)),
        sa.Column("payload_commitment", sa.String(64), nullable=False),
        sa.Column("prev", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("meeting", "seq", name="pk_events"),
        sa.ForeignKeyConstraint(["meeting"], ["meetings.id"], name="fk_events_meeting_meetings"),
        sa.UniqueConstraint("meeting", "hash", name="uq_events_hash"),
    )


def downgrade() -> None:
    for table in ("events", "tickets", "joins", "participants", "keys", "meetings", "refresh_tokens", "accounts", "settings"):
        op.drop_table(table)

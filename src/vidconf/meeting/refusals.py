"""Every code by which the rules, or the control wire, say no. Words: `refusal.<code>` in `resources/words`. Any thread.

`detail` fills the words; its keys stand beside each code.
"""

from __future__ import annotations

REFUSALS: tuple[str, ...] = (
    # who asks, and where it stands
    "in_lobby",
    "not_allowed",  # capability
    "not_in_meeting",
    "server_only",
    "meeting_ended",
    # whom it concerns
    "nobody_named",
    "not_here",  # participant
    "not_in_lobby",  # participant
    "not_yourself",
    "only_removed_waiting",
    "unknown_participant",  # participant
    # coming in
    "bad_name",  # reason: empty | too_long
    "banned",
    "full",  # capacity, free
    "locked",
    "removed",
    # roles
    "chair_gives_chair",  # participant
    "co_chair_is_delegate",
    "last_chair",
    "target_is_chair",  # participant
    # being heard and seen
    "bad_seconds",  # least, most
    "hand_not_raised",  # participant
    "moderators_only",  # source
    "needs_floor",  # source
    "no_floor",
    "sites_only",
    # chat
    "bad_reaction",
    "chat_closed",
    "chat_empty",
    "chat_full",  # most
    "chat_share_full",  # most
    "chat_too_long",  # most
    # how often
    "too_many_changes",  # wait_s
    # the wire
    "malformed",  # field, reason
    "too_large",  # most
    "unknown_command",  # command
)

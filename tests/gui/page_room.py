"""For the tests of the meeting's page: states of a meeting, and the page of the real window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gui import states
from gui.meeting_room import (
    quiet,
)

from vidconf.client.state import ClientState
from vidconf.gui.main_window import MainWindow
from vidconf.gui.meeting_page import MeetingPage

Window = Callable[..., MainWindow]


def in_room(me: str = "p1", **fields: Any) -> ClientState:
    """As `states.in_meeting`, without a floor, nothing waiting to be sent or read."""
    return states.in_meeting(me, **{"meeting": quiet(), "unsent_chat": (), "unread_chat": 0, **fields})


def page_of(window: MainWindow) -> MeetingPage:
    assert isinstance(window.page, MeetingPage)
    return window.page

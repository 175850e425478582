"""The meetings to come as rows: when, what, its state, one button. For home; the window's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QWidget

from vidconf import words
from vidconf.client.state import UpcomingMeeting
from vidconf.gui.parts import Text, button, cell, chip, column, glyph, row, stack, tool
from vidconf.gui.theme import T

SOON_S = 900
"""From this long before its start a meeting is "starting soon"."""


def by_day(meetings: Iterable[UpcomingMeeting], now: float) -> tuple[list[UpcomingMeeting], list[UpcomingMeeting]]:
    """(today's, later ones) by time; what is live or has no time is today's, what was before today is left out unless live."""
    today: list[UpcomingMeeting] = []
    later: list[UpcomingMeeting] = []
    this_day = _date(now)
    for one in meetings:
        if one.state == "live" or one.start is None or _date(one.start) == this_day:
            today.append(one)
        elif one.start > now:
            later.append(one)
    # What runs comes first, then by time; without a time after those that have one.
    today.sort(key=lambda one: (one.state == "ended", one.start is None, one.start or 0.0, one.title))
    later.sort(key=lambda one: (one.start or 0.0, one.title))
    return today, later


def _date(at: float) -> tuple[int, int]:
    when = time.localtime(at)
    return when.tm_year, when.tm_yday


def state_of(one: UpcomingMeeting, now: float) -> tuple[str, str, str]:
    """(words, tone, icon) of its chip."""
    if one.state == "live":
        return words.text("home.state.live"), "good", "record!"
    if one.state == "ended":
        return words.text("home.state.ended"), "accent", "checkmark_circle"
    if one.start is None:
        return words.text("home.state.ready"), "info", "door"
    if one.start <= now:
        return words.text("home.state.late"), "info", "door"
    if one.start - now <= SOON_S:
        return words.text("home.state.soon"), "info", "door"
    if _date(one.start) == _date(now):
        return words.text("home.state.in", duration=words.duration((one.start - now) // 60 * 60)), "accent", "clock"
    return words.day(one.start), "accent", "calendar"


def meeting_row(
    one: UpcomingMeeting, now: float, *, main: bool, narrow: bool, open_: Callable[[str], None], copy: Callable[[str], None]
) -> QWidget:
    """`main`: the one whose button is the page's accent."""
    at = words.clock(one.start) if one.start is not None else "–"
    length = words.duration(one.duration_s) if one.duration_s else (words.text("home.meeting.any_time") if one.start is None else "")
    when = stack(Text(at, "lead"), *([Text(length, "small")] if length else []))
    when.layout().setSpacing(0)  # type: ignore[union-attr]
    when.setFixedWidth(84)
    about = words.text("home.meeting.code", code=one.code)
    if one.chair:
        about = f"{words.text('home.meeting.chair')} · {about}"
    state = state_of(one, now)
    title = Text(one.title, "strong", elide=True)
    below = Text(about, "small", elide=True)
    go = _go(one, main, open_)
    invite = tool("copy", tip=words.text("home.meeting.copy_link", title=one.title), do=lambda: copy(one.link))
    room = invite.sizePolicy()
    room.setRetainSizeWhenHidden(not narrow)  # so that the states stand below one another
    invite.setSizePolicy(room)
    if not one.link or one.state == "ended":
        invite.hide()
    if narrow:
        middle = column(title, row(chip(*state), (below, 1), gap=8), gap=4)
        return cell(when, (middle, 1), invite, go, gap=10, margins=(0, 8, 0, 8))
    holder = cell(chip(*state), None, margins=(0, 0, 0, 0))
    holder.setFixedWidth(186)
    return cell(when, (column(title, below, gap=0), 1), holder, invite, go, gap=14, margins=(0, 8, 0, 8))


def _go(one: UpcomingMeeting, main: bool, open_: Callable[[str], None]) -> QPushButton:
    text = words.text("home.meeting.join")
    go = button(text, "accent" if main else "", name=f"{text}: {one.title}", do=lambda: open_(one.link or one.code))
    go.setObjectName(f"join:{one.id}")
    go.setMinimumWidth(108)
    go.setEnabled(one.state != "ended")
    return go


def empty_place(symbol: str, what: str, cure: str, *buttons: QWidget) -> QWidget:
    """Says what will be here and the one thing to do."""
    head = Text(what, "strong", wrap=True)
    head.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    help_ = Text(cure, "muted", wrap=True)
    help_.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    lines = [head, *([help_] if cure else [])]
    doing = [row(None, *buttons, None)] if buttons else []
    return stack(None, row(None, glyph(symbol, T["muted"], 32), None), 4, *lines, 6, *doing, None, gap=4, margins=(0, 8, 0, 8))

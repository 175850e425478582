"""The end: why, and what one can do next, for every reason there is and any a newer server may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui import states
from gui.finding import button, focusable, has_button, tab_round, texts
from gui.meeting_room import focus, press
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.client.rest import CODES
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui.ended import EndedPage

Make = Callable[..., EndedPage]
AGAIN = {"left": "Vào lại", "denied": "Xin vào lại", "removed": "Xin vào lại", "lobby_timeout": "Xin vào lại", "replaced": "Vào lại", "lost": "Vào lại"}
REASONS = ("left", "meeting_ended", "denied", "removed", "banned", "lobby_timeout", "replaced", "lost")


@pytest.fixture
def ended(store: Store, actions: RecordingActions, show: Any) -> Make:
    def make(reason: str, width: int = 1280, height: int = 800, **fields: Any) -> EndedPage:
        go_to(store, states.ended(reason, **fields))
        page: EndedPage = show(EndedPage(store, actions), width, height)
        first = page.first_focus()
        assert first is not None
        first.setFocus()
        QApplication.processEvents()
        return page

    return make


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_says_what_happened_and_what_to_do(ended: Make, actions: RecordingActions, reason: str) -> None:
    page = ended(reason)
    assert words.text(f"ended.{reason}.title") in texts(page)
    assert words.text(f"ended.{reason}.text") in texts(page)
    assert states.LONG_TITLE in texts(page)
    if reason in AGAIN:
        assert focus() is button(page, AGAIN[reason])
        press(focus(), Qt.Key.Key_Space)
        assert actions.names() == ["join"]
    else:
        assert not has_button(page, "Vào lại")
        assert not has_button(page, "Xin vào lại")
        assert focus() is button(page, "Về trang chủ"), "there is no way back in"
    actions.forget()
    button(page, "Về trang chủ").click()
    button(page, "Về trang chủ (Esc)").click()
    assert actions.names() == ["back_home", "back_home"]


def test_the_chairs_reason_is_told(ended: Make) -> None:
    assert "Chủ trì chưa đồng ý cho vào, lý do: Sai phòng" in texts(ended("denied", end_detail={"reason": "  Sai phòng "}))
    long = texts(ended("denied", end_detail={"reason": "x" * 5000}))
    assert max(len(text) for text in long) < 400


@pytest.mark.parametrize("code", [*CODES, "from_next_year"])
def test_an_error_says_its_code_for_the_help_desk(ended: Make, code: str) -> None:
    said = texts(ended(f"error:{code}", end_detail={"ref": "a1b2", "wait_s": 7, "host": "a.vn"}))
    assert "Cuộc họp dừng vì lỗi" in said
    assert words.error(code, {"host": "a.vn"}) in said
    assert words.help_for(code, {"wait_s": 7}) in said
    assert f"Mã {code} · số a1b2" in said


def test_a_reason_of_a_newer_server(ended: Make, actions: RecordingActions) -> None:
    page = ended("moved_to_another_building")
    assert "Có lỗi chưa rõ (moved_to_another_building)." in texts(page)
    button(page, "Vào lại").click()
    assert actions.names() == ["join"]


def test_without_a_link_there_is_no_way_back(ended: Make) -> None:
    page = ended("left", link=None, link_meeting=None)
    assert not has_button(page, "Vào lại")
    assert focus() is button(page, "Về trang chủ")


def test_no_reason_at_all(store: Store, actions: RecordingActions, show: Any) -> None:
    go_to(store, ClientState(phase="ended"))
    assert "Đã rời cuộc họp" in texts(show(EndedPage(store, actions)))


@pytest.mark.parametrize("reason", ["left", "banned", "error:timeout"])
def test_tab_leads_everywhere(ended: Make, reason: str) -> None:
    page = ended(reason, 640, 480)
    assert set(focusable(page)) == set(tab_round(page))

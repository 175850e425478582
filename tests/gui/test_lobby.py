"""The lobby: what happened, what happens next, since when; nothing to do but wait, talk to nobody, or leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gui import states
from gui.finding import button, focusable, tab_round, texts
from gui.meeting_room import focus
from gui.recording import RecordingActions, go_to
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.state import ClientState, LocalSource
from vidconf.client.store import Store
from vidconf.gui.lobby import LONG_S, LobbyPage

Make = Callable[..., LobbyPage]


@pytest.fixture(autouse=True)
def now(clock: list[float]) -> list[float]:
    return clock


@pytest.fixture
def lobby(store: Store, actions: RecordingActions, show_ready: Any) -> Make:
    def make(state: ClientState | None = None, width: int = 1280, height: int = 800) -> LobbyPage:
        go_to(store, state if state is not None else states.in_lobby())
        page: LobbyPage = show_ready(LobbyPage(store, actions), width, height)
        return page

    return make


def test_it_says_what_happened_and_what_happens_next(lobby: Make) -> None:
    said = texts(lobby())
    assert states.LONG_TITLE in said
    assert f"Đã báo chủ trì lúc {words.clock(states.NOW - 95)}" in said
    assert "Đang chờ cho vào" in said
    assert "Đã chờ 1 phút 35 giây. Không cần làm gì thêm, chương trình tự vào họp khi được duyệt." in said
    assert "Chủ trì thấy tên Nguyễn Thị Hồng Nhung trong danh sách chờ." in said
    assert "Chưa ai trong phòng họp thấy hình, nghe tiếng từ máy này." in said


def test_the_waiting_is_counted(lobby: Make, now: list[float]) -> None:
    page = lobby()
    now[0] += 25
    page._show_wait(page.state)
    assert any("Đã chờ 2 phút 0 giây" in text for text in texts(page))
    now[0] -= 3600
    page._show_wait(page.state)
    assert any("Đã chờ 0 giây" in text for text in texts(page)), "a clock that was set back counts from nothing"


def test_by_the_servers_clock(lobby: Make) -> None:
    assert any("Đã chờ 2 phút 5 giây" in text for text in texts(lobby(states.in_lobby(clock_offset_s=30.0))))


def test_after_long_it_says_whom_to_call(lobby: Make) -> None:
    assert any("gọi người tổ chức" in text for text in texts(lobby(states.in_lobby(lobby_since=states.NOW - LONG_S))))
    assert not any("gọi người tổ chức" in text for text in texts(lobby(states.in_lobby(lobby_since=states.NOW - LONG_S + 5))))


def test_renamed_by_a_moderator(lobby: Make, store: Store) -> None:
    page = lobby()
    meeting = store.state.meeting
    assert meeting is not None
    renamed = replace(meeting.participants["p8"], name="Bà Nhung, Sở TNMT")
    store.dispatch(Set({"meeting": replace(meeting, participants={"p8": renamed}), "name": renamed.name}))
    assert "Chủ trì thấy tên Bà Nhung, Sở TNMT trong danh sách chờ." in texts(page)
    assert page.preview.name == "Bà Nhung, Sở TNMT"


def test_a_loss_is_told_and_what_becomes_of_the_place(lobby: Make, store: Store) -> None:
    page = lobby()
    assert not page._lost.isVisible()
    store.dispatch(Set({"reconnecting": True, "control": "reconnecting"}))
    QApplication.processEvents()
    assert "Mất kết nối, đang nối lại… Chỗ trong phòng chờ được giữ." in texts(page)
    store.dispatch(Set({"reconnecting": False, "control": "connected"}))
    assert not page._lost.isVisible()


def test_leaving_is_the_windows_to_ask(lobby: Make, actions: RecordingActions) -> None:
    page, asked = lobby(), []
    page.asked.connect(lambda what, detail: asked.append(what))
    button(page, "Rời phòng chờ").click()
    button(page, "Về trang chủ (Esc)").click()
    assert asked == ["leave", "leave"]
    assert actions.names() == []


def test_microphone_and_camera(lobby: Make, actions: RecordingActions, store: Store) -> None:
    page = lobby()
    assert focus() is page.buttons.microphone
    page.buttons.microphone.click()
    page.buttons.camera.click()
    assert [(call.name, call.given) for call in actions.calls] == [("set_microphone", {"on": False}), ("set_camera", {"on": True})]
    store.dispatch(Set({"sources": states.sources(camera=LocalSource("off", True, wanted="on"))}))
    assert page.preview.status == "Đang mở camera…"
    assert page.preview.accessibleName() == "Nguyễn Thị Hồng Nhung. Đang mở camera…"


def test_before_the_server_has_said_anything(lobby: Make) -> None:
    page = lobby(ClientState(phase="lobby", link=states.LINK, lobby_since=states.NOW))
    assert "Cuộc họp kx7m-2pqa-9tdf" in texts(page)


@pytest.mark.parametrize("size", [(1280, 800), (640, 480)])
def test_tab_leads_everywhere(lobby: Make, size: tuple[int, int]) -> None:
    page = lobby(width=size[0], height=size[1])
    assert set(focusable(page)) == set(tab_round(page))

"""The meeting's page in every size, both languages and both themes; with hundreds in the room."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from gui import states
from gui.meeting_room import (
    close_menus,
    crowd,
    cut_texts,
    happen,
    nameless,
    outside,
)
from gui.page_room import Window, in_room, page_of
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.client.state import ClientState, LocalSource, PendingChat
from vidconf.client.store import Store
from vidconf.gui import theme
from vidconf.meeting import messages as m

pytestmark = pytest.mark.usefixtures("clock")


def full(me: str) -> ClientState:
    """Everything at once: bars, floor, unread, pending, refused."""
    return states.in_meeting(
        me, control="reconnecting", reconnecting=True, unread_chat=120, quality={me: "poor", "p4": "lost"},
        unsent_chat=(PendingChat("k1", "chờ gửi"), PendingChat("k2", "bị từ chối " * 20, None, states.NOW, "chat_closed")),
        pending=frozenset({("admit", "p8"), ("mute", "p5"), ("give_floor", "p4")}),
        sources=states.sources(
            microphone=LocalSource("muted", True, wanted="on"), camera=LocalSource("off", error="device_in_use"),
            screen_share=LocalSource("on", wanted="on", device="/tmp/" + "Báo cáo tổng hợp " * 6 + ".png"),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("panel", ["", "people", "chat"])
@pytest.mark.parametrize("size", [(640, 480), (800, 600), (960, 540), (1280, 800), (1920, 1080)])
@pytest.mark.parametrize("me", ["p1", "p4"])
def test_nothing_is_cut_nameless_or_outside(window: Window, size: tuple[int, int], panel: str, language: str, me: str) -> None:
    words.set_language(language)
    for state in (in_room(me), full(me)):
        made = window(state, *size)
        page = page_of(made)
        if panel:
            page.open_panel(panel)
        for _ in range(3):
            QApplication.processEvents()
        assert (page.width(), page.height()) == size, "the page fits the smallest window"
        assert cut_texts(page) == []
        assert nameless(page) == []
        assert outside(page) == []
        for above, below in pairwise([page.top, page.middle, page.toolbar]):
            assert above.geometry().bottom() < below.geometry().top()
        made.hide()


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("name", ["microphone_devices", "camera_devices", "information"])
@pytest.mark.parametrize("size", [(640, 480), (1280, 800)])
def test_popovers_fit_every_size(window: Window, size: tuple[int, int], language: str, name: str) -> None:
    words.set_language(language)
    page = page_of(window(in_room(), *size))
    page._on_asked(name)
    QApplication.processEvents()
    card = page._popover
    assert card is not None
    assert page.rect().contains(card.geometry())
    assert cut_texts(card) == []
    assert nameless(card) == []


def test_dark_as_well(window: Window, qapp: QApplication) -> None:
    theme.apply(qapp, "dark")
    made = window(full("p1"))
    page_of(made).open_panel("people")
    QApplication.processEvents()
    assert cut_texts(made) == []
    ground = made.grab().toImage().pixelColor(20, made.height() - 3)
    assert ground.lightness() < 60


def test_hundreds_in_the_room_do_not_slow_the_whole_page(window: Window, store: Store) -> None:
    page = page_of(window(in_room(meeting=crowd(300), tracks={})))
    page.open_panel("people")
    QApplication.processEvents()
    took = []
    for n in range(20):
        begun = time.perf_counter()
        happen(store, m.SourceChanged(f"q{n + 1}", "microphone", "on"))
        took.append(1000 * (time.perf_counter() - begun))
    assert sorted(took)[10] < 40, took


def test_signs_of_a_person_gone_do_not_linger(window: Window, store: Store) -> None:
    """A menu that is open while its person goes does no harm."""
    page = page_of(window(in_room()))
    page.open_panel("people")
    row: Any = page.people.list.row_of(("room", "p3"))
    row.more.click()
    happen(store, m.Left("p3"))
    assert "p3" not in [item.key[1] for item in page.people.list.items if item.kind == "present"]  # type: ignore[index]
    close_menus()
    assert replace(store.state) == store.state

"""The lists of devices while these come and go: in sight at once, by name, and never moving under the pointer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gui import states
from gui.finding import tab_to, texts
from gui.meeting_room import cut_texts, own, press
from gui.page_room import Window, in_room, page_of
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from vidconf.client.changes import Set, Told
from vidconf.client.state import LocalSource
from vidconf.client.store import Store
from vidconf.engine.api import Device, Devices
from vidconf.gui.notices import sentences
from vidconf.gui.prejoin import PrejoinPage

Make = Callable[..., PrejoinPage]
PLUGGED = Device("mic3", "Tai nghe Plantronics")


@pytest.fixture
def prejoin(store: Store, actions: RecordingActions, show_ready: Any, clock: list[float]) -> Make:
    def make(**fields: Any) -> PrejoinPage:
        go_to(store, replace(states.prejoin(), **fields))
        page: PrejoinPage = show_ready(PrejoinPage(store, actions), 1280, 800)
        return page

    return make


def plug(store: Store, *more: Device, **fields: Any) -> None:
    devices = states.DEVICES
    store.dispatch(Set({"devices": replace(devices, microphones=(*devices.microphones, *more), **fields)}))


def items(choice: Any) -> list[str]:
    return [choice.itemText(n) for n in range(choice.count())]


def test_what_is_plugged_in_is_in_the_list_at_once_and_what_is_pulled_out_is_not(prejoin: Make, store: Store, actions: RecordingActions) -> None:
    page = prejoin()
    assert PLUGGED.name not in items(page.lists.microphone)
    plug(store, PLUGGED)
    assert items(page.lists.microphone)[-1] == PLUGGED.name
    plug(store)
    assert PLUGGED.name not in items(page.lists.microphone)
    assert actions.names() == []


def test_the_default_says_which_it_is(prejoin: Make, store: Store) -> None:
    page = prejoin()
    plug(store, default_microphone="mic2", default_speaker="spk1")
    assert items(page.lists.microphone)[0] == "Mặc định: Micrô tích hợp"
    assert items(page.lists.speaker)[0] == "Mặc định: Jabra Speak 750"
    plug(store)
    assert items(page.lists.microphone)[0] == "Mặc định của máy"


def test_a_list_that_is_open_keeps_still_until_it_is_closed(prejoin: Make, store: Store) -> None:
    page = prejoin()
    page.lists.microphone.showPopup()
    assert page.lists.microphone.view().isVisible()
    before = items(page.lists.microphone)
    plug(store, PLUGGED)
    assert items(page.lists.microphone) == before
    page.lists.microphone.hidePopup()
    QApplication.processEvents()
    assert items(page.lists.microphone) == [*before, PLUGGED.name]


def test_the_loudspeaker_is_tried_by_key_and_what_is_wrong_with_it_is_said(prejoin: Make, store: Store, actions: RecordingActions) -> None:
    page = prejoin()
    assert page.lists.test.accessibleName() == "Nghe thử loa"
    press(tab_to(page, lambda one: one is page.lists.test), Qt.Key.Key_Space)
    assert actions.names() == ["test_speaker"]
    assert not page.lists.speaker_trouble.isVisible()
    store.dispatch(Set({"speaker_error": "speaker_lost"}))
    assert "Loa vừa bị rút hoặc ngừng hoạt động. Tự thử lại cho đến khi được." in texts(page)
    store.dispatch(Set({"chosen": replace(store.state.chosen, speaker="none")}))
    assert not page.lists.test.isEnabled()
    assert not page.lists.speaker_trouble.isVisible(), "nobody wants to hear"


def test_one_that_waits_says_so_and_a_click_gives_it_up(prejoin: Make, store: Store, actions: RecordingActions) -> None:
    page = prejoin()
    waiting = LocalSource("off", True, "cam1", "device_in_use", wanted="on", waits=True)
    store.dispatch(Set({"sources": states.sources(microphone=states.MICROPHONE_MUTED, camera=waiting)}))
    assert page.buttons.camera.text() == "Chờ camera"
    assert page.buttons.camera.toolTip()
    assert "Đóng chương trình khác đang dùng, rồi thử lại. Tự thử lại cho đến khi được." in texts(page)
    page.buttons.camera.click()
    assert actions.calls[-1].given == {"on": False}
    muted = LocalSource("off", True, "mic1", "device_lost", wanted="muted", waits=True)
    store.dispatch(Set({"sources": states.sources(microphone=muted, camera=waiting)}))
    assert page.buttons.microphone.text() == "Mic tắt", "muted is what it will be"


@pytest.mark.parametrize("what", ["microphone", "camera"])
def test_in_the_meeting_the_popover_follows(window: Window, store: Store, actions: RecordingActions, what: str) -> None:
    page = page_of(window(in_room()))
    getattr(page.toolbar, f"{what}_devices").click()
    card: Any = page._popover
    choice = getattr(card.lists, what)
    count = choice.count()
    devices = states.DEVICES
    store.dispatch(Set({"devices": Devices((*devices.cameras, Device("new", "Mới")), (*devices.microphones, Device("new", "Mới")), devices.speakers)}))
    assert choice.count() == count + 1
    own(store, what, state="off", wanted="on", pending=True, waits=True, error="device_in_use")
    store.dispatch(Set({"speaker_error": "no_speaker"}))
    QApplication.processEvents()
    button = getattr(page.toolbar, what)
    assert button.text() == ("Chờ mic" if what == "microphone" else "Chờ camera")
    assert card._trouble.text().endswith("Tự thử lại cho đến khi được.")
    assert cut_texts(card) == []
    assert cut_texts(page.toolbar) == []
    assert page.rect().contains(card.geometry())
    if what == "microphone":
        card.lists.test.click()
        assert "test_speaker" in actions.names()


@pytest.mark.parametrize(
    ("code", "detail", "said"),
    [
        ("microphone_away", {"device": "Tai nghe", "stand_in": "Micrô tích hợp"}, "Không còn micrô Tai nghe. Đang dùng Micrô tích hợp."),
        ("camera_away", {"device": "", "stand_in": ""}, "Không còn camera đã chọn. Đang dùng thiết bị mặc định của máy."),
        ("speaker_back", {"device": "Jabra"}, "Đã nghe lại qua loa Jabra."),
    ],
)
def test_what_stands_in_is_said_by_name(store: Store, code: str, detail: dict[str, Any], said: str) -> None:
    store.dispatch(Told("warn", code, detail))
    assert sentences(store.state.notices[-1]) == (said, "")

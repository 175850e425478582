"""What the meeting's page says above the stage: a lost connection, a device that did not open, sharing, the floor, who knocks."""

from __future__ import annotations

from typing import Any

import pytest
from gui import states
from gui.meeting_room import (
    change_person,
    come,
    cut_texts,
    happen,
    own,
    quiet,
)
from gui.page_room import Window, in_room, page_of
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication

from vidconf.client.changes import Asked, Set
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.meeting import messages as m
from vidconf.meeting.models import Floor, Participant

pytestmark = pytest.mark.usefixtures("clock")

# ---- bars --------------------------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_a_bar_that_says_what_is_kept(window: Window, store: Store) -> None:
    made = window(in_room())
    page = page_of(made)
    bar = page.bars.connection
    assert not bar.isVisible()
    height = page.stage.height()
    store.dispatch(Set({"control": "reconnecting", "reconnecting": True}))
    QApplication.processEvents()
    assert bar.isVisible()
    assert "Mất kết nối" in bar.accessibleName()
    assert "Mic vẫn tắt" in bar.accessibleName()
    assert page.stage.height() < height, "it lies over no picture"
    own(store, "microphone", state="on", wanted="on")
    assert "Mic vẫn bật" in bar.accessibleName()
    store.dispatch(Set({"control": "connected", "media": "closed"}))
    assert "Hình và tiếng bị ngắt" in bar.accessibleName()
    store.dispatch(Set({"media": "connected", "reconnecting": False}))
    QApplication.processEvents()
    assert not bar.isVisible()
    assert page.stage.height() == height


def test_the_first_connection_is_only_spoken_of_when_it_takes_long(window: Window, store: Store, qtbot: Any) -> None:
    page = page_of(window(in_room(media="connecting")))
    bar = page.bars.connection
    assert not bar.isVisible()
    bar._slow.setInterval(1)
    store.dispatch(Set({"media": "idle"}))
    bar._slow.start()
    qtbot.waitUntil(bar.isVisible)
    assert bar.property("tone") == "info"
    store.dispatch(Set({"media": "connected"}))
    assert not bar.isVisible()


def test_a_source_that_did_not_open_says_what_to_do(window: Window, store: Store, actions: RecordingActions) -> None:
    page = page_of(window(in_room()))
    bar = page.bars.sources["camera"]
    own(store, "camera", state="off", wanted="off", error="device_in_use")
    assert bar.isVisible()
    assert "Camera đang được chương trình khác dùng." in bar.accessibleName()
    assert "thử lại" in bar.accessibleName()
    bar.again.click()
    assert actions.named("set_camera") == [{"on": True}]
    bar.devices_wanted.emit("camera")
    assert page._popover is not None
    assert page._popover.objectName() == "camera_devices"
    page.bars._away("camera")
    assert not bar.isVisible()
    own(store, "camera", level=0.0)
    store.dispatch(Set({"unread_chat": 1}))
    assert not bar.isVisible(), "put away, it stays away"
    own(store, "camera", error="")
    own(store, "camera", error="device_in_use")
    assert bar.isVisible(), "until it happens again"
    assert not page.bars.sources["microphone"].isVisible()


def test_sharing_is_said_and_can_be_stopped_there(window: Window, store: Store, actions: RecordingActions) -> None:
    page = page_of(window(in_room()))
    own(store, "screen_share", state="on", wanted="on", device="C:\\Tài liệu\\<b>Báo cáo.png")
    bar = page.bars.sharing
    assert bar.isVisible()
    assert bar._text.text() == "Mọi người đang thấy trang <b>Báo cáo.png"
    assert bar._text.textFormat() == Qt.TextFormat.PlainText
    bar.stop.click()
    assert actions.names() == ["stop_share"]


def test_the_floor_has_its_clock(window: Window, store: Store, actions: RecordingActions, clock: list[float]) -> None:
    page = page_of(window(in_room(meeting=quiet(floor=Floor("p3", states.NOW - 60, states.NOW + 125)))))
    bar = page.bars.floor
    assert bar.isVisible()
    assert (bar._name.text(), bar.time.text(), bar._word.text()) == ("Lê Văn Cường", "02:05", "còn lại")
    assert 0.6 < bar.clock.left < 0.7
    clock[0] += 130
    bar._show_time()
    assert (bar.time.text(), bar._word.text(), bar.clock.over) == ("00:05", "quá giờ", True)
    assert bar.time.property("over") == "true"
    bar.more.click()
    assert actions.named("give_floor") == [{"participant": "p3", "seconds": 60}]
    clock[0] -= 130
    bar.more.click()
    assert actions.named("give_floor")[-1] == {"participant": "p3", "seconds": 185}
    bar.end.click()
    assert actions.names()[-1] == "end_floor"
    store.dispatch(Asked("end_floor"))
    assert bar.end.property("state") == "pending"
    happen(store, m.FloorEnded("p3"))
    assert not bar.isVisible()


def test_a_floor_without_an_end_counts_what_was_spoken(window: Window, clock: list[float]) -> None:
    bar = page_of(window(in_room(meeting=quiet(floor=Floor("p3", states.NOW - 65))))).bars.floor
    assert (bar.time.text(), bar._word.text()) == ("01:05", "đã nói")
    assert not bar.more.isVisible()


def test_who_has_the_floor_may_end_it_others_not(window: Window, store: Store) -> None:
    floor = Floor("p3", states.NOW, states.NOW + 60)
    bar = page_of(window(in_room("p3", meeting=quiet(floor=floor)))).bars.floor
    assert bar._name.text() == "Đang được mời phát biểu"
    assert bar.end.isVisible()
    assert not bar.more.isVisible()
    go_to(store, in_room("p4", meeting=quiet(floor=floor)))
    assert not bar.end.isVisible()
    assert bar._name.text() == "Lê Văn Cường"


# ---- who knocks --------------------------------------------------------------------------------------------------------------------


def alone_knocking(*people: Participant) -> ClientState:
    there = {one.id: one for one in states.people().values() if one.place == "admitted"}
    return in_room(meeting=quiet(participants={**there, **{one.id: one for one in people}}))


def knocker(id_: str, name: str, **fields: Any) -> Participant:
    return Participant(id_, name, place="lobby", connected=True, session=1, since=states.NOW, **fields)


def test_who_knocks_is_told_with_the_way_in(window: Window, store: Store, actions: RecordingActions) -> None:
    page = page_of(window(alone_knocking()))
    toast = page.toast
    assert not toast.isVisible()
    come(store, knocker("k1", "Vũ Thị Khánh", position="Phó Giám đốc", unit=states.UNIT))
    assert toast.isVisible()
    assert toast._name.text() == "Vũ Thị Khánh xin vào họp"
    assert page.middle.geometry().contains(toast.geometry())
    toast.admit.click()
    assert actions.named("admit") == [{"participants": ["k1"]}]
    store.dispatch(Asked("admit", ("k1",)))
    toast.admit.click()
    assert len(actions.named("admit")) == 1
    come(store, knocker("k2", "Lò Văn Lâm"))
    assert (toast._name.text(), toast.admit.text()) == ("2 người xin vào họp", "Cho vào cả hai")
    come(store, knocker("k3", "Hồ Văn Lộc"))
    toast.admit.click()
    assert actions.names()[-1] == "admit_all"
    happen(store, m.Admitted("k1", "Vũ Thị Khánh", "delegate", "person"), m.Denied("k2"), m.Denied("k3"))
    assert not toast.isVisible()


def test_put_away_it_comes_again_with_the_next(window: Window, store: Store) -> None:
    page = page_of(window(alone_knocking(knocker("k1", "Một"))))
    page.toast.put_away()
    store.dispatch(Set({"unread_chat": 1}))
    change_person(store, "p3", position="Vụ trưởng")
    assert not page.toast.isVisible()
    assert page.toolbar._people_badge._text == "3", "the badge stays"
    come(store, knocker("k2", "Hai"))
    assert page.toast.isVisible()


def test_with_the_list_open_there_is_no_toast(window: Window, store: Store) -> None:
    page = page_of(window(alone_knocking(knocker("k1", "Một"))))
    page.toast._look.click()
    assert (page.open, page.toast.isVisible()) == ("people", False)
    come(store, knocker("k2", "Hai"))
    assert not page.toast.isVisible()
    page.close_panel()
    assert not page.toast.isVisible(), "both were seen in the list"


def test_whoever_wants_a_second_look_is_not_let_in_from_the_toast(window: Window, store: Store) -> None:
    page = page_of(window(alone_knocking(knocker("k1", "Một", removed_before=True))))
    assert page.toast.isVisible()
    assert not page.toast.admit.isVisible()
    go_to(store, alone_knocking(knocker("k3", "Lê Văn Cường", looks_like="p3")))
    assert not page.toast.admit.isVisible()
    go_to(store, in_room("p4", meeting=alone_knocking(knocker("k4", "Ba")).meeting))
    assert not page.toast.isVisible(), "delegates know nothing of the lobby"


@pytest.mark.parametrize("width", [640, 800, 1280])
@pytest.mark.parametrize("panel", ["", "chat"])
def test_the_toast_leaves_the_panel_and_the_bar_free(window: Window, width: int, panel: str) -> None:
    page = page_of(window(alone_knocking(knocker("k1", states.LONG_NAME, unit=states.UNIT)), width, 480))
    if panel:
        page.open_panel(panel)
    QApplication.processEvents()
    toast = page.toast.geometry()
    assert page.rect().contains(toast)
    assert not toast.intersects(page.toolbar.geometry())
    if panel:
        composer = page.chat.composer
        assert not toast.intersects(composer.rect().translated(composer.mapTo(page, QPoint(0, 0))))
    assert cut_texts(page.toast) == []

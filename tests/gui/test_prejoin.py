"""Before the meeting: who, with which devices, at which server; nothing is asked of a server before the user has said yes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gui import states
from gui.finding import button, field, focusable, has_button, tab_round, tab_to, texts
from gui.meeting_room import focus, press, write
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.links import LINK_ERRORS
from vidconf.client.rest import CODES
from vidconf.client.state import ClientState, JoinLink, LocalSource, MeetingPreview, TrackView
from vidconf.client.store import Store
from vidconf.engine.api import Devices
from vidconf.engine.frame_ring import RingWriter, bgrx_bytes
from vidconf.gui import shortcuts
from vidconf.gui.parts import breakable
from vidconf.gui.prejoin import PrejoinPage

Make = Callable[..., PrejoinPage]
UNKNOWN = JoinLink("https://hop.khac.example.vn:8443", states.CODE, confirm=True)


@pytest.fixture(autouse=True)
def now(clock: list[float]) -> None:
    """The clock stands."""


@pytest.fixture
def prejoin(store: Store, actions: RecordingActions, show_ready: Any) -> Make:
    def make(state: ClientState | None = None, width: int = 1280, height: int = 800) -> PrejoinPage:
        go_to(store, state if state is not None else states.prejoin())
        page: PrejoinPage = show_ready(PrejoinPage(store, actions), width, height)
        return page

    return make


# ---- the meeting and the way in ----


def test_the_meeting_is_named_with_its_time_and_state(prejoin: Make) -> None:
    page = prejoin()
    assert states.LONG_TITLE in texts(page)
    assert f"{words.clock(states.NOW + 540)} – {words.clock(states.NOW + 5940)} · Chưa bắt đầu" in texts(page)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"link_meeting": None, "busy": frozenset({"preview"})}, "Đang hỏi máy chủ về cuộc họp…"),
        ({"link_meeting": None}, breakable("hop.moitruong.example.vn")),
        ({"link_meeting": replace(states.PREVIEW, start=None, state="live", locked=True)}, "Đang họp · Phòng đang khóa"),
        ({"link": states.CHAIR_LINK, "link_meeting": MeetingPreview(states.CODE, "T", state="live")}, "Đang họp · Vào với quyền chủ trì"),
        ({"link_meeting": replace(states.PREVIEW, start=states.NOW + 86400, duration_s=None)}, f"{words.clock(states.NOW)}, 25/11/2026 · Chưa bắt đầu"),
        ({"link_meeting": MeetingPreview(states.CODE, "T", state="postponed")}, "postponed"),
    ],
)  # fmt: skip
def test_what_is_known_of_it(prejoin: Make, fields: dict[str, Any], said: str) -> None:
    assert said in texts(prejoin(states.prejoin(**fields)))


def test_a_meeting_without_a_name_is_its_code(prejoin: Make) -> None:
    assert "Cuộc họp kx7m-2pqa-9tdf" in texts(prejoin(states.prejoin(link_meeting=None)))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Xin vào họp"), ({"account": states.ORGANISER}, "Vào họp"), ({"link": states.CHAIR_LINK}, "Vào họp"),
        ({"link_meeting": replace(states.PREVIEW, lobby=False)}, "Vào họp"), ({"link_meeting": None}, "Vào họp"),
    ],
)  # fmt: skip
def test_the_button_says_what_will_happen(prejoin: Make, fields: dict[str, Any], text: str) -> None:
    assert prejoin(states.prejoin(**fields)).go.text() == text


@pytest.mark.parametrize("by", ["enter", "space", "click"])
def test_joining(prejoin: Make, actions: RecordingActions, by: str) -> None:
    page = prejoin()
    assert focus() is page.go, "the name is there already"
    if by == "enter":
        press(field(page, "Tên hiển thị"), Qt.Key.Key_Return)
    elif by == "space":
        press(page.go, Qt.Key.Key_Space)
    else:
        QTest.mouseClick(page.go, Qt.MouseButton.LeftButton)
    assert actions.names() == ["join"]


def test_a_name_is_needed(prejoin: Make, actions: RecordingActions, store: Store) -> None:
    page = prejoin(states.prejoin(name=""))
    assert focus() is page.name
    page.go.click()
    assert actions.names() == []
    assert page.name.property("wrong") == "true"
    assert "Ghi tên để chủ trì biết ai đang chờ." in texts(page)
    write(page.name, "Nguyễn Thị Hồng Nhung")
    assert page.name.text() == "Nguyễn Thị Hồng Nhung"
    QTest.keyClicks(page.name, "!")
    assert actions.named("set_name")[-1] == {"name": "Nguyễn Thị Hồng Nhung!"}
    store.dispatch(Set({"name": "Nguyễn Thị Hồng Nhung!"}))
    page.go.click()
    assert actions.names()[-1] == "join"
    assert page.name.property("wrong") == ""


def test_an_accounts_name_is_fixed(prejoin: Make, actions: RecordingActions) -> None:
    page = prejoin(states.prejoin(account=states.ORGANISER, name="Trần Thị Bình"))
    assert page.name.isReadOnly()
    assert "Theo tài khoản, không sửa được tại đây." in texts(page)
    QTest.keyClicks(page.name, "x")
    assert page.name.text() == "Trần Thị Bình"
    assert actions.names() == []


def test_what_is_typed_is_not_typed_over(prejoin: Make, store: Store) -> None:
    page = prejoin()
    page.name.setFocus()
    page.name.setText("Lê")
    store.dispatch(Set({"name": "Lê Văn"}))
    assert page.name.text() == "Lê"


def test_while_joining_one_can_only_give_up(prejoin: Make, actions: RecordingActions, store: Store) -> None:
    page = prejoin()
    store.dispatch(Set({"phase": "joining", "busy": frozenset({"join"})}))
    QApplication.processEvents()
    assert (page.go.isEnabled(), page.go.text()) == (False, "Đang vào…")
    assert focus() is page.cancel, "the keyboard is where one can act"
    press(focus(), Qt.Key.Key_Space)
    assert actions.names() == ["cancel"]
    store.dispatch(Set({"phase": "prejoin", "busy": frozenset(), "join_error": "timeout"}))
    QApplication.processEvents()
    assert focus() is page.go
    assert not page.cancel.isVisible()


def test_a_meeting_that_is_over_cannot_be_joined(prejoin: Make) -> None:
    page = prejoin(states.prejoin(link_meeting=replace(states.PREVIEW, state="ended"), join_error="ended"))
    assert not page.go.isEnabled()
    assert "Cuộc họp này đã kết thúc." in texts(page)


@pytest.mark.parametrize("code", [*CODES, *LINK_ERRORS])
def test_what_went_wrong_says_what_to_do(prejoin: Make, store: Store, code: str) -> None:
    page = prejoin()
    store.dispatch(Set({"join_error": code, "join_detail": {"wait_s": 40, "host": "a.vn", "capacity": 500}}))
    QApplication.processEvents()
    said = texts(page._trouble)
    assert words.error(code, {"host": "a.vn"}) in said
    assert words.help_for(code, {"wait_s": 40}) in said
    assert page.go.isEnabled(), "one may try again"


# ---- a server never used before ----


def test_a_server_never_used_is_asked_about_first(prejoin: Make, actions: RecordingActions, store: Store) -> None:
    page = prejoin(states.prejoin(link=UNKNOWN, link_meeting=None))
    assert "Kết nối máy chủ mới?" in texts(page)
    assert breakable("hop.khac.example.vn:8443") in texts(page), "all of the host, its port too"
    assert not page.go.isVisible()
    assert not page.name.isVisible()
    assert focus() is button(page, "Không kết nối"), "Enter without reading connects to nothing"
    press(focus(), Qt.Key.Key_Space)
    assert actions.names() == ["cancel"]
    actions.forget()
    press(tab_to(page, lambda one: one is button(page, "Kết nối hop.khac.example.vn:8443")), Qt.Key.Key_Space)
    assert actions.names() == ["confirm_host"]
    store.dispatch(Set({"link": replace(UNKNOWN, confirm=False), "link_meeting": states.PREVIEW}))
    QApplication.processEvents()
    assert page.go.isVisible()
    assert not has_button(page, "Không kết nối")


def test_another_link_is_asked_about_anew(prejoin: Make, store: Store) -> None:
    page = prejoin()
    for host in ("hop.khac.example.vn", "hop.la.example.vn"):
        store.dispatch(Set({"link": JoinLink(f"https://{host}", states.CODE, confirm=True), "link_meeting": None}))
        QApplication.processEvents()
        assert breakable(host) in texts(page)
        assert has_button(page, f"Kết nối {host}")
    assert breakable("hop.khac.example.vn") not in texts(page)


def test_a_letter_that_passes_for_another_is_seen(prejoin: Make) -> None:
    page = prejoin(states.prejoin(link=JoinLink("https://xn--hp-68s.example.vn", states.CODE, confirm=True), link_meeting=None))
    assert breakable("họp.example.vn") in texts(page)


# ---- devices ----


def test_microphone_and_camera_are_turned_by_click_and_key(prejoin: Make, actions: RecordingActions, store: Store) -> None:
    page = prejoin()
    assert (page.buttons.microphone.text(), page.buttons.camera.text()) == ("Mic bật", "Camera tắt")
    page.buttons.microphone.click()
    press(tab_to(page, lambda one: one is page.buttons.camera), Qt.Key.Key_Space)
    assert [(call.name, call.given) for call in actions.calls] == [("set_microphone", {"on": False}), ("set_camera", {"on": True})]
    store.dispatch(Set({"sources": states.sources(microphone=states.MICROPHONE_MUTED, camera=LocalSource("off", True, wanted="on"))}))
    assert (page.buttons.microphone.text(), page.buttons.camera.text()) == ("Mic tắt", "Đang mở…")
    assert "Camera đang tắt" not in texts(page)
    page.buttons.camera.click()
    assert actions.calls[-1].given == {"on": False}, "a wish not yet come true is taken back"


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (states.sources(microphone=states.MICROPHONE_ON), ("Micrô đang bật.", "Chủ trì duyệt trước khi vào phòng.")),
        (states.sources(microphone=states.MICROPHONE_MUTED), ("Micrô đang tắt.", "Bật ở đây, hoặc giữ một phím khi muốn nói trong phòng họp (Phím cách).")),
        (states.sources(microphone=LocalSource(error="device_in_use")), ("Micrô đang được chương trình khác dùng.", "Đóng chương trình khác đang dùng, rồi thử lại.")),
        (states.sources(camera=LocalSource(error="no_permission")), ("Hệ điều hành không cho dùng camera.", "Cho phép trong cài đặt quyền riêng tư của máy, rồi thử lại.")),
        (states.sources(camera=LocalSource(error="from_next_year")), ("Camera gặp lỗi (from_next_year).", "Rút, cắm lại thiết bị, hoặc chọn thiết bị khác.")),
    ],
)  # fmt: skip
def test_why_it_is_as_it_is(prejoin: Make, sources: dict[str, LocalSource], said: tuple[str, str]) -> None:
    page = prejoin(states.prejoin(sources=sources))
    assert set(said) <= set(texts(page))
    assert page._why_sign.isVisible() == (sources["microphone"].error != "" or sources["camera"].error != "")


def test_the_key_to_hold_is_the_one_in_the_settings(prejoin: Make) -> None:
    muted = states.prejoin(sources=states.sources(microphone=states.MICROPHONE_MUTED))
    assert any("(Phím cách)" in text for text in texts(prejoin(muted)))
    shortcuts.load({"talk": "F9"})
    assert any("(F9)" in text for text in texts(prejoin(muted)))


def test_devices_are_listed_and_chosen(prejoin: Make, actions: RecordingActions, store: Store) -> None:
    page = prejoin()
    microphone = page.lists.microphone
    assert [microphone.itemText(i) for i in range(microphone.count())] == ["Mặc định của máy", "Jabra Speak 750 – micrô đa hướng USB", "Micrô tích hợp"]
    assert [page.lists.speaker.itemData(i) for i in range(page.lists.speaker.count())] == ["default", "spk1", "spk2", "none"]
    microphone.setFocus()
    press(microphone, Qt.Key.Key_Down)
    page.lists.camera.setCurrentIndex(1)
    page.lists.camera.activated.emit(1)
    page.lists.speaker.setCurrentIndex(3)
    page.lists.speaker.activated.emit(3)
    assert [(call.name, call.given) for call in actions.calls] == [
        ("choose_device", {"source": "microphone", "device_id": "mic1"}), ("choose_device", {"source": "camera", "device_id": "cam1"}),
        ("choose_speaker", {"device_id": "none"}),
    ]  # fmt: skip


def test_what_is_shown_is_not_what_was_chosen(prejoin: Make, actions: RecordingActions, store: Store) -> None:
    """Lists that change by themselves choose nothing."""
    page = prejoin()
    store.dispatch(Set({"chosen": replace(store.state.chosen, microphone="mic2")}))
    assert page.lists.microphone.currentText() == "Micrô tích hợp"
    store.dispatch(Set({"devices": Devices()}))
    assert page.lists.microphone.currentText() == "Thiết bị đã chọn (chưa cắm)", "it may be plugged in again"
    store.dispatch(Set({"device_names": {"mic2": "Micrô tích hợp"}}))
    assert page.lists.microphone.currentText() == "Micrô tích hợp (chưa cắm)"
    store.dispatch(Set({"devices": None}))
    assert page.lists.microphone.currentText() == "Đang tìm thiết bị…"
    assert actions.names() == []


def test_the_wheel_over_the_page_chooses_nothing(prejoin: Make, actions: RecordingActions) -> None:
    from PySide6.QtCore import QPoint, QPointF
    from PySide6.QtGui import QWheelEvent

    page = prejoin()
    microphone = page.lists.microphone
    event = QWheelEvent(QPointF(5, 5), microphone.mapToGlobal(QPointF(5, 5)), QPoint(0, 0), QPoint(0, -240), Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
                        Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(microphone, event)
    assert microphone.currentIndex() == 0
    assert actions.names() == []


def test_the_level_says_by_word_what_its_bars_show(prejoin: Make, store: Store) -> None:
    page = prejoin(states.prejoin(sources=states.sources(microphone=LocalSource("on", wanted="on", level=0.0))))
    seen = []
    for level in (0.0, 0.25, 1.0, 0.0):
        store.dispatch(Set({"sources": states.sources(microphone=LocalSource("on", wanted="on", level=level))}))
        seen.append(page.level.word.text())
    assert seen == ["Nói thử…", "Nghe rõ", "Quá to", "Nghe rõ"], "once heard, it was heard"
    store.dispatch(Set({"sources": states.sources()}))
    assert page.level.word.text() == "Micrô đang tắt"
    assert page.level.gauge.accessibleName()


# ---- the picture ----


def test_the_preview_asks_for_its_own_size_and_only_while_it_is_seen(prejoin: Make, actions: RecordingActions, store: Store, show: Any) -> None:
    go_to(store, states.prejoin())
    page = show(PrejoinPage(store, actions))
    QApplication.processEvents()
    ratio = page.preview.devicePixelRatioF()
    first = actions.named("watch")[-1]
    size = {"width": round(page.preview.width() * ratio), "height": round(page.preview.height() * ratio)}
    assert first == {"track": "local:camera", **size, "visible": True, "fill": True, "format": "bgrx"}
    page.hide()
    assert actions.named("watch")[-1] == {"track": "local:camera", "width": 0, "height": 0, "visible": False, "fill": True, "format": "bgrx"}
    page.show()
    assert actions.named("watch")[-1]["visible"]
    page.let_go()
    assert not actions.named("watch")[-1]["visible"]


def test_ones_own_picture_is_mirrored(prejoin: Make, store: Store, qtbot: Any) -> None:
    page = prejoin(states.prejoin(sources=states.sources(camera=states.CAMERA_ON)))
    width, height = 64, 36
    ring = RingWriter(bgrx_bytes(width, height, 4 * width))
    red, blue = (0xFFD01010).to_bytes(4, "little"), (0xFF1010D0).to_bytes(4, "little")
    ring.write_bgrx((red * (width // 2) + blue * (width // 2)) * height, width, height, 4 * width)
    store.dispatch(Set({"tracks": {"local:camera": TrackView("local:camera", "", "", "camera", "video", ring=ring.name)}}))
    qtbot.waitUntil(lambda: page.preview._frame is not None, timeout=2000)
    picture = page.preview.grab().toImage()
    left, right = QColor(picture.pixel(picture.width() // 4, picture.height() // 2)), QColor(picture.pixel(3 * picture.width() // 4, picture.height() // 2))
    assert left.blue() > left.red()
    assert right.red() > right.blue()
    store.dispatch(Set({"tracks": {}, "sources": states.sources()}))
    assert page.preview._reader is None, "the shared memory is given back"
    ring.close()


def test_a_ring_that_is_gone_is_no_fault(prejoin: Make, store: Store) -> None:
    page = prejoin(states.prejoin(sources=states.sources(camera=states.CAMERA_ON)))
    store.dispatch(Set({"tracks": {"local:camera": TrackView("local:camera", "", "", "camera", "video", ring="vidconf-no-such-ring")}}))
    for _ in range(3):
        page.preview._tick()
    assert page.preview._frame is None
    page.preview.grab()


# ---- by keyboard ----


@pytest.mark.parametrize("state", [states.prejoin(), states.prejoin(link=UNKNOWN, link_meeting=None), states.prejoin(phase="joining")], ids=["ready", "asked", "joining"])
@pytest.mark.parametrize("size", [(1280, 800), (640, 480)])
def test_tab_leads_everywhere(prejoin: Make, state: ClientState, size: tuple[int, int]) -> None:
    page = prejoin(state, *size)
    assert set(focusable(page)) == set(tab_round(page))


def test_what_has_the_keyboard_is_scrolled_into_sight(prejoin: Make) -> None:
    page = prejoin(width=640, height=480)
    camera = tab_to(page, lambda one: one is page.lists.camera)
    area = page._area.viewport()
    assert area.rect().contains(camera.mapTo(area, camera.rect().center()))

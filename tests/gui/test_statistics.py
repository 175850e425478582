"""The connection's figures: what the engine says of each track, in words, each second; in windows of any width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui import states
from gui.finding import button, texts
from gui.meeting_room import cut_texts, entries, nameless, open_menu, press
from gui.recording import RecordingActions
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.client.changes import EngineSaid
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.gui.main_window import MainWindow
from vidconf.gui.statistics import RECENT, Losses, StatisticsSheet

Window = Callable[..., MainWindow]
CONTROL_ALT = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier


def video(who: str = "p3", **fields: Any) -> dict[str, Any]:
    return {
        "track": f"cam-{who}", "identity": f"{who}.1", "participant": who, "source": "camera", "kind": "video", "codec": "VP8", "width": 640, "height": 360,
        "frames": 900, "fps": 29.97, "recent_fps": 29.5, "freezes": 2, "freeze_s": 1.26, "packets": 1000, "lost": 10, "nacks": 12, "plis": 1,
        "jitter_buffer_ms": 34, "concealed_percent": 0.0, "bitrate_bps": 512_345, **fields,
    }  # fmt: skip


def audio(who: str = "p3", **fields: Any) -> dict[str, Any]:
    own = {"track": f"mic-{who}", "source": "microphone", "kind": "audio", "codec": "opus", "width": 0, "height": 0, "bitrate_bps": 32_100, "concealed_percent": 1.25}
    return video(who, **{**own, **fields})


def say(store: Store, *tracks: dict[str, Any], **engine: Any) -> None:
    store.dispatch(EngineSaid(api.Stats(tracks, {"cpu_percent": 21.5, "rss_mb": 170.2, "reconnects": 1, **engine})))
    QApplication.processEvents()


@pytest.fixture
def sheet(window: Window, store: Store) -> Callable[..., StatisticsSheet]:
    def make(*size: int) -> StatisticsSheet:
        made = window(states.in_meeting(), *(size or (1280, 800)))
        made.on_shortcut("statistics")
        QApplication.processEvents()
        assert isinstance(made._sheet, StatisticsSheet)
        return made._sheet

    return make


def test_before_anything_is_received(sheet: Callable[..., StatisticsSheet]) -> None:
    shown = sheet()
    assert "Chưa nhận hình, tiếng của ai." in texts(shown)
    assert "Hình do bộ xử lý vẽ." in texts(shown)
    assert shown._rows == []


def test_a_line_a_track_in_the_words_of_the_language(sheet: Callable[..., StatisticsSheet], store: Store) -> None:
    shown = sheet()
    say(store, video(), audio())
    say(store, video(packets=1090, lost=20), audio(packets=1050, lost=10))
    name = states.people()["p3"].name
    assert shown._rows[1:] == [
        (name, "Camera · VP8", "640×360", "29,5", "10 %", "34 ms", "2 lần, 1,3 giây", "512 kb/s"),
        (name, "Micrô · opus", "–", "–", "0 %", "34 ms", "vá 1,2 %", "32 kb/s"),
    ]
    assert "Phần xử lý hình, tiếng dùng 21,5 % một nhân, 170 MB; nối lại 1 lần." in shown._program.text()
    button(shown, "Chép thông số").click()
    copied = QGuiApplication.clipboard().text().splitlines()
    assert copied[0].split("\t") == ["Người", "Nguồn", "Cỡ hình", "Hình/giây", "Mất gói", "Bộ đệm", "Đứng, vá", "Tốc độ"]
    assert copied[1].startswith(f"{name}\tCamera · VP8\t640×360")
    assert len(copied) == 4


def sent(seconds: int, **shares: bool) -> dict[str, Any]:
    """What the engine says after so many seconds of sending; `h=False`: nobody takes that size."""
    sizes = {"q": (320, 180, 150), "h": (640, 360, 500), "f": (1280, 720, 2500)}
    layers = [
        {
            "rid": rid, "width": width, "height": height, "frames": 30 * seconds if shares.get(rid, True) else 7,
            "octets": 125 * kbps * seconds if shares.get(rid, True) else 99, "fraction_lost": 0.02 if rid == "f" else 0.0,
        }
        for rid, (width, height, kbps) in sizes.items()
    ]  # fmt: skip
    sound = {"codec": "opus", "octets": 125 * 48 * seconds, "fraction_lost": 0.0, "rtt_ms": 20.0}
    return {"microphone": sound, "camera": {"codec": "VP8", "width": 1280, "height": 720, "layers": layers}}


def test_what_oneself_sends_comes_first_a_line_a_size(sheet: Callable[..., StatisticsSheet], store: Store) -> None:
    shown = sheet()
    for second in range(1, 10):
        say(store, video(), sent=sent(second))
    me = f"{states.in_meeting().own.name} (tôi)"  # type: ignore[union-attr]
    assert shown._rows[1:5] == [
        (me, "Camera · VP8", "1280×720", "30", "2 %", "–", "–", "2500 kb/s"),
        (me, "Camera · VP8", "640×360", "30", "0 %", "–", "–", "500 kb/s"),
        (me, "Camera · VP8", "320×180", "30", "0 %", "–", "–", "150 kb/s"),
        (me, "Micrô · opus", "–", "–", "0 %", "–", "–", "48 kb/s"),
    ]
    for second in range(10, 20):
        say(store, video(), sent=sent(second, h=False, f=False))
    assert [row[2] for row in shown._rows[1:3]] == ["320×180", "–"], "what nobody takes is not sent"
    for second in range(20, 30):
        say(store, video(), sent=sent(second, q=False, h=False, f=False))
    assert shown._rows[1] == (me, "Camera · VP8", "–", "–", "–", "–", "hiện không ai xem", "0 kb/s")
    for second in (40, 1, 2):
        say(store, video(), sent=sent(second))
    assert shown._rows[1][-1] == "2500 kb/s", "another connection counts from nothing"
    say(store, sent={"camera": None, "radio": {"layers": [None, {"rid": 3, "octets": "x"}]}})
    say(store, sent=[1])
    assert shown._rows == []


def test_by_which_way_it_comes(sheet: Callable[..., StatisticsSheet], store: Store) -> None:
    shown = sheet()
    say(store, video(), way="")
    assert "UDP" not in shown._program.text()
    for way, said in (("udp", "đi qua UDP."), ("tcp", "đi qua TCP: UDP không qua được."), ("turn_tls", "máy chủ TURN bằng TLS"), ("new", "nối lại 1 lần.")):
        say(store, video(), way=way)
        assert said in shown._program.text()


def test_what_the_line_from_here_carries(sheet: Callable[..., StatisticsSheet], store: Store) -> None:
    shown = sheet()
    say(store, video(), uplink={})
    assert "Đường truyền từ đây" not in shown._program.text()
    say(store, video(), uplink={"target_bps": 1_234_567, "loss": 0.025, "rtt_ms": 57.4})
    assert "khoảng 1234 kb/s hình ảnh: mất 2,5 %, hồi đáp sau 57 ms." in shown._program.text()
    say(store, video(), uplink=[3])
    assert "Đường truyền từ đây" not in shown._program.text()


def test_it_follows_and_stops_when_closed(sheet: Callable[..., StatisticsSheet], store: Store) -> None:
    shown = sheet()
    say(store, video())
    say(store, video(), video("p4"), audio("p4"))
    assert len(shown._rows) == 4
    say(store, audio("p4"))
    assert len(shown._rows) == 2
    say(store)
    assert "Chưa nhận hình, tiếng của ai." in texts(shown)
    listeners = len(store._listeners)
    press(shown, Qt.Key.Key_Escape)
    assert len(store._listeners) == listeners - 1


@pytest.mark.parametrize("size", [(1280, 800), (800, 600), (640, 480)])
def test_nothing_is_cut_in_any_window(sheet: Callable[..., StatisticsSheet], store: Store, size: tuple[int, int]) -> None:
    for language in words.LANGUAGES:
        words.set_language(language)
        shown = sheet(*size)
        for _ in range(2):
            say(store, *(make(f"p{n}", bitrate_bps=12_345_678, freezes=140, freeze_s=1234.5) for n in range(1, 6) for make in (video, audio)))
        assert cut_texts(shown) == []
        assert nameless(shown) == []
        assert "Camera · VP8" in texts(shown)
        shown.reject()


def test_opened_by_key_and_by_menu_only_in_a_meeting(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(states.home())
    made.on_shortcut("statistics")
    assert made._sheet is None
    made = window(states.in_meeting())
    press(made, Qt.Key.Key_I, CONTROL_ALT)
    assert isinstance(made._sheet, StatisticsSheet)
    made._sheet.reject()
    page: Any = made.page
    page.toolbar.more.click()
    menu = open_menu()
    assert any(text.startswith("Thông số kết nối") for text in entries(menu))
    menu.close()
    page.asked.emit("statistics", None)
    assert isinstance(made._sheet, StatisticsSheet)


def test_hostile_figures_do_not_stop_it(sheet: Callable[..., StatisticsSheet], store: Store) -> None:
    shown = sheet()
    say(store, video(packets=None, lost="many", width=-3, bitrate_bps=10**30, participant="<b>x</b>", source="telepathy", codec=None), {"kind": "video"})
    say(store, video(fps=None, recent_fps=None, freeze_s=None), {}, cpu_percent=0)
    assert len(shown._rows) == 3


def test_losses_are_of_the_last_seconds() -> None:
    losses = Losses()
    assert losses.percent("cam-p3") is None
    losses.take([video(packets=1000, lost=100)])
    assert losses.percent("cam-p3") is None
    losses.take([video(packets=1090, lost=110)])
    assert losses.percent("cam-p3") == pytest.approx(10)
    for n in range(RECENT + 1):
        losses.take([video(packets=1100 + 90 * n, lost=110)])
    assert losses.percent("cam-p3") == 0
    losses.take([])
    assert losses.percent("cam-p3") is None


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(-100, 10**9)), min_size=2, max_size=30))
def test_losses_are_a_share_whatever_is_counted(counts: list[tuple[int, int]]) -> None:
    losses = Losses()
    for packets, lost in counts:
        losses.take([video(packets=packets, lost=lost)])
        share = losses.percent("cam-p3")
        assert share is None or 0 <= share <= 100


def test_the_card_is_named_where_it_paints(window: Window, store: Store) -> None:
    made = window(states.in_meeting())
    shown = StatisticsSheet(made, store, "gpu", "Intel UHD 630")
    made.open_sheet(shown)
    assert "Hình do card đồ họa vẽ (Intel UHD 630)." in shown.as_text()

"""Toasts: what happened and what to do, at most three, the newest on top; the prompt to unmute; gone by themselves or by a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from gui import states
from gui.finding import button, shown, texts
from gui.meeting_room import cut_texts, press
from gui.recording import RecordingActions
from PySide6.QtCore import QRect, Qt, QTimer
from PySide6.QtWidgets import QApplication, QFrame, QToolButton

from vidconf import words
from vidconf.client.changes import NoticeDismissed, Set, Told
from vidconf.client.state import Notice
from vidconf.client.store import Store
from vidconf.gui.main_window import MainWindow
from vidconf.gui.notices import GOES_AFTER_MS, SHOWN, WIDTH, sentences

Window = Callable[..., MainWindow]
NOTICES = sorted(
    key.removeprefix("notice.")
    for key in words.table("vi")
    if re.fullmatch(r"notice\.[a-z_]+", key) and key not in ("notice.unknown", "notice.dismiss", "notice.moderator", "notice.unmute_asked")
)


def tell(store: Store, level: Any, code: str, detail: dict[str, Any] | None = None, family: Any = "notice") -> int:
    store.dispatch(Told(level, code, detail or {}, states.NOW, family))
    QApplication.processEvents()
    return store.state.noticed


def toasts(window: MainWindow) -> list[QFrame]:
    """From the top downwards."""
    return sorted(window.notices._toasts.values(), key=lambda one: one.y())


# ---- words ----


@pytest.mark.parametrize("code", NOTICES)
def test_every_notice_is_a_sentence_in_both_languages(code: str) -> None:
    for language in words.LANGUAGES:
        words.set_language(language)
        detail = {
            "by": "p1",
            "name": "Phạm Quốc Hùng",
            "seconds": 60,
            "role": "chair",
            "code": "abcd",
            "count": 2,
            "device": "Jabra",
            "stand_in": "Logi",
            "folder": "C:\\Logs",
        }
        what, _ = sentences(Notice(1, "info", code, detail))
        assert what.endswith(".")
        assert "…" not in what
        assert "{" not in what


def test_who_did_it_is_named_and_a_nameless_one_is_a_moderator() -> None:
    assert sentences(Notice(1, "warn", "muted_by", {"name": "Phạm Quốc Hùng"}))[0] == "Phạm Quốc Hùng đã tắt micrô này."
    assert sentences(Notice(1, "warn", "muted_by", {"name": ""}))[0] == "Người điều hành đã tắt micrô này."
    assert "Thư ký" in sentences(Notice(1, "info", "role_set", {"role": "secretary"}))[0]
    assert "Đồng chủ trì" in sentences(Notice(1, "info", "role_set", {"role": "co_chair"}))[0]


def test_families() -> None:
    assert sentences(Notice(1, "warn", "needs_floor", {}, family="refusal"))[0] == words.refusal("needs_floor")
    assert sentences(Notice(1, "warn", "answer_lost", {}, family="error")) == (words.error("answer_lost"), words.help_for("answer_lost"))
    assert "from_next_year" in sentences(Notice(1, "info", "from_next_year", {}))[0]


@pytest.mark.parametrize(
    "detail", [{"name": None}, {"name": ["x"]}, {"role": {"a": 1}}, {"name": "{x}"}, {"name": "x" * 100_000}, {"key": 1, "self": 2}]
)
def test_whatever_stands_in_a_detail(detail: dict[str, Any]) -> None:
    for code in ("muted_by", "role_set", "floor_given"):
        what, _ = sentences(Notice(1, "info", code, detail))
        assert 0 < len(what) < 1000


# ---- on the window ----


def test_a_toast_says_it_and_is_put_away(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(states.home())
    id_ = tell(store, "error", "media_unreachable", {"reason": "ice_lost"}, "error")
    assert words.error("media_unreachable") in texts(made.notices)
    assert words.help_for("media_unreachable") in texts(made.notices)
    assert words.error("media_unreachable") in toasts(made)[0].accessibleName()
    gone = button(made.notices, "Đóng thông báo")
    gone.setFocus()
    press(gone, Qt.Key.Key_Space)
    assert actions.named("dismiss") == [{"notice_id": id_}]
    store.dispatch(NoticeDismissed(id_))
    QApplication.processEvents()
    assert not made.notices.isVisible()


def test_three_at_most_the_newest_on_top_each_with_its_height(window: Window, store: Store) -> None:
    made = window(states.home())
    for code in ("muted_by", "camera_stopped_by", "share_stopped_by", "sent_to_lobby"):
        tell(store, "warn", code, {"name": states.LONG_NAME})
    made_toasts = toasts(made)
    assert len(made_toasts) == SHOWN
    assert "phòng chờ" in texts(made_toasts[0])[0]
    assert not any("micrô này" in text for text in texts(made.notices)), "the oldest is not shown"
    for one in made_toasts:
        assert one.height() >= one.layout().heightForWidth(one.width())
    for above, below in pairwise(made_toasts):
        assert not above.geometry().intersects(below.geometry())
    assert cut_texts(made.notices) == []


def test_the_same_said_again_is_one_toast(window: Window, store: Store) -> None:
    made = window(states.home())
    for _ in range(5):
        tell(store, "info", "copied_link")
    assert len(toasts(made)) == 1


@pytest.mark.parametrize("size", [(1280, 800), (640, 480)])
def test_it_stands_at_the_upper_edge_inside_the_window(window: Window, store: Store, size: tuple[int, int]) -> None:
    made = window(states.home(), *size)
    tell(store, "error", "media_unreachable", {}, "error")
    for width, height in (size, (900, 700), size):
        made.resize(width, height)
        QApplication.processEvents()
        assert QRect(0, 0, width, height).contains(made.notices.geometry())
        assert made.notices.width() == min(WIDTH, width - 32)
        assert abs(made.notices.geometry().center().x() - width / 2) <= 1


@pytest.mark.parametrize("level", ["info", "warn", "error"])
def test_information_goes_by_itself_failures_stay(window: Window, store: Store, actions: RecordingActions, level: str) -> None:
    made = window(states.home())
    id_ = tell(store, level, "copied_link")
    timers = toasts(made)[0].findChildren(QTimer)
    if level == "error":
        assert timers == []
        return
    assert [one.interval() for one in timers] == [GOES_AFTER_MS[level]]
    timers[0].timeout.emit()
    assert actions.named("dismiss") == [{"notice_id": id_}]


def test_the_prompt_to_unmute_is_answered_by_keyboard(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(states.home())
    store.dispatch(Set({"unmute_asked": True}))
    tell(store, "info", "unmute_asked", {"name": "Phạm Quốc Hùng"})
    assert made.notices.isVisible()
    assert len([one for one in shown(made.notices, QToolButton) if one.accessibleName() == "Đóng thông báo"]) == 0, (
        "asked once, as a question"
    )
    for name, yes in (("Bật micrô", True), ("Để sau", False)):
        one = button(made.notices, name)
        one.setFocus()
        press(one, Qt.Key.Key_Space)
        assert actions.calls[-1].given == {"yes": yes}
    store.dispatch(Set({"unmute_asked": False}))
    QApplication.processEvents()
    assert not made.notices.isVisible()


def test_the_prompt_and_toasts_together(window: Window, store: Store) -> None:
    made = window(states.home(), 640, 480)
    for code in ("muted_by", "camera_stopped_by", "share_stopped_by"):
        tell(store, "warn", code, {"name": states.LONG_NAME})
    store.dispatch(Set({"unmute_asked": True}))
    QApplication.processEvents()
    assert cut_texts(made.notices) == []
    assert made.rect().contains(made.notices.geometry())


def test_a_name_without_end_does_not_cover_the_window(window: Window, store: Store) -> None:
    made = window(states.home(), 640, 480)
    for n in range(4):
        tell(store, "error", "full", {"capacity": "9" * 5000, "n": n}, "refusal")
    assert made.rect().contains(made.notices.geometry())


def test_in_the_other_language_they_are_told_again(window: Window, store: Store) -> None:
    made = window(states.home())
    tell(store, "info", "copied_link")
    words.set_language("en")
    made.rebuild()
    QApplication.processEvents()
    assert words.text("notice.copied_link") in texts(made.notices)
    assert words.table("vi")["notice.copied_link"] not in texts(made.notices)

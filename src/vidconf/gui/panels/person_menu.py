"""What can be done about one person: the menu behind `⋮` in the people panel and on a tile. The window's thread.

What the rules never allow the viewer is left out; what they forbid just now is greyed, its tooltip says why. Menus are shown by
`popup`, never by `exec`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QMenu, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.icons import icon
from vidconf.gui.panels.people_list import Asking
from vidconf.gui.theme import T
from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant

MINUTES = (3, 5, 10)
"""Speaking times offered; the floor can also be given without an end."""
GAINS = (0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is done in the window rather than in the meeting."""

    pinned: Callable[[], str | None]
    pin: Callable[[str | None], object]
    write_to: Callable[[str], object]
    ask: Callable[[str, Asking], object]
    """Ask in the person's row before it is done."""


def make_menu(parent: QWidget, title: str) -> QMenu:
    """One that deletes itself and shows tooltips."""
    menu = QMenu(parent)
    menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    menu.setToolTipsVisible(True)
    menu.setAccessibleName(title)
    return menu


def popup(menu: QMenu, at: QPoint, above: bool = False) -> None:
    """Show it with its corner at `at`; returns at once."""
    if above:
        at = QPoint(at.x(), at.y() - menu.sizeHint().height())
    menu.popup(at)


def add(menu: QMenu, text: str, symbol: str, do: Callable[[], object], *, why: m.Refusal | None = None, danger: bool = False) -> QAction:
    """An entry; `why`: forbidden now, and why."""
    action = QAction(icon(symbol, T["danger_text"] if danger else T["text"]), _plain(text), menu)
    action.triggered.connect(lambda *_: do())
    if why is not None:
        action.setEnabled(False)
        action.setToolTip(words.refusal(why.code, why.detail))
    else:
        action.setToolTip("")
    menu.addAction(action)
    return action


def _plain(text: str) -> str:
    """A name with & in it is no key of the menu."""
    return text.replace("&", "&&")


def add_menu(menu: QMenu, text: str, symbol: str) -> QMenu:
    inner = menu.addMenu(icon(symbol), _plain(text))
    inner.setToolTipsVisible(True)
    return inner


def add_choice(menu: QMenu, group: QActionGroup, text: str, chosen: bool, do: Callable[[], object]) -> QAction:
    action = QAction(_plain(text), menu)
    action.setCheckable(True)
    action.setChecked(chosen)
    action.setActionGroup(group)
    action.triggered.connect(lambda *_: do())
    menu.addAction(action)
    return action


class PersonMenu:
    """Fills menus from the state of the moment they open."""

    def __init__(self, actions: Any, hooks: Hooks) -> None:
        self.do, self._hooks = actions, hooks

    def person(self, parent: QWidget, state: ClientState, id_: str) -> QMenu | None:
        """Everything about a person in the room; None when it is no longer there."""
        meeting = state.meeting
        person = meeting.participants.get(id_) if meeting is not None else None
        if meeting is None or person is None or person.place != "admitted":
            return None
        menu = make_menu(parent, words.text("people.more", name=person.name))
        me = id_ == state.me
        self._own_things(menu, state, person, me)
        self._speaking(menu, state, person, me)
        self._sources(menu, person, me)
        self._standing(menu, state, person, me)
        if not me:
            self._out(menu, person)
        return menu

    def hand(self, parent: QWidget, state: ClientState, id_: str) -> QMenu | None:
        """About a raised hand: its place in the queue, the floor for a time."""
        meeting = state.meeting
        position = meeting.hand_position(id_) if meeting is not None else None
        if meeting is None or position is None:
            return None
        menu = make_menu(parent, words.text("people.hand_more", name=meeting.participants[id_].name))
        last = len(meeting.hands)
        for text, symbol, to in (("up", "chevron_up", position - 1), ("down", "chevron_down", position + 1), ("first", "list", 1)):
            refusal = self.do.can(m.MoveHand(id_, max(1, to)))
            action = add(menu, words.text(f"people.hand.{text}"), symbol, partial(self.do.move_hand, id_, to), why=refusal)
            if not 1 <= to <= last or to == position:
                action.setEnabled(False)
        menu.addSeparator()
        self._floor(menu, id_)
        return menu

    # ---- parts
    def _offer(self, menu: QMenu, text: str, symbol: str, command: m.Command, do: Callable[[], object], *, danger: bool = False) -> None:
        """Left out where the viewer has no such right at all."""
        refusal = self.do.can(command)
        if refusal is None or refusal.code != "not_allowed":
            add(menu, text, symbol, do, why=refusal, danger=danger)

    def _own_things(self, menu: QMenu, state: ClientState, person: Participant, me: bool) -> None:
        id_, hooks = person.id, self._hooks
        pinned = hooks.pinned() == id_
        add(menu, words.text("people.unpin" if pinned else "people.pin"), "pin", lambda: hooks.pin(None if pinned else id_))
        if me:
            add(menu, words.text("people.rename_own"), "edit", lambda: hooks.ask(id_, "rename"))
            return
        if "chat" not in state.closed:
            refusal = self.do.can(m.Chat("…", id_))
            add(menu, words.text("people.write"), "chat", lambda: hooks.write_to(id_), why=refusal)
        volume = add_menu(menu, words.text("people.volume"), "sound")
        group = QActionGroup(volume)
        now = state.volumes.get(id_, 1.0)
        for gain in GAINS:
            text = words.text("people.volume.none") if gain == 0 else words.text("people.volume.percent", percent=round(100 * gain))
            add_choice(volume, group, text, abs(gain - now) < 0.01, partial(self.do.set_volume, id_, gain))

    def _speaking(self, menu: QMenu, state: ClientState, person: Participant, me: bool) -> None:
        meeting, id_ = state.meeting, person.id
        assert meeting is not None
        menu.addSeparator()
        if meeting.floor is not None and meeting.floor.participant == id_:
            self._offer(menu, words.text("floor.end"), "stop", m.EndFloor(), self.do.end_floor)
        self._floor(menu, id_)
        if meeting.hand_position(id_) is not None:
            names = () if me else (id_,)
            text = words.text("hand.lower" if me else "people.lower")
            self._offer(menu, text, "hand_down", m.LowerHand(names), lambda: self.do.lower_hand(names))

    def _floor(self, menu: QMenu, id_: str) -> None:
        refusal = self.do.can(m.GiveFloor(id_))
        if refusal is not None and refusal.code == "not_allowed":
            return
        inner = add_menu(menu, words.text("people.give_floor"), "speaker_view")
        add(inner, words.text("people.give_floor.open"), "mic", lambda: self.do.give_floor(id_, None), why=refusal)
        for minutes in MINUTES:
            text = words.text("people.give_floor.minutes", minutes=minutes)
            add(inner, text, "timer", partial(self.do.give_floor, id_, 60 * minutes), why=refusal)

    def _sources(self, menu: QMenu, person: Participant, me: bool) -> None:
        id_, sources = person.id, person.sources
        if me:
            return
        if sources.microphone == "on":
            self._offer(menu, words.text("people.mute"), "mic_off", m.Mute((id_,)), lambda: self.do.mute([id_]))
        else:
            self._offer(menu, words.text("people.ask_unmute"), "mic", m.AskUnmute((id_,)), lambda: self.do.ask_unmute([id_]))
        if sources.camera == "on":
            self._offer(menu, words.text("people.stop_camera"), "video_off", m.StopCamera((id_,)), lambda: self.do.stop_camera([id_]))
        if sources.screen_share != "off":
            self._offer(menu, words.text("people.stop_share"), "share_screen_stop", m.StopShare((id_,)), lambda: self.do.stop_share_of([id_]))

    def _standing(self, menu: QMenu, state: ClientState, person: Participant, me: bool) -> None:
        meeting, id_ = state.meeting, person.id
        assert meeting is not None
        lit = meeting.spotlight == id_
        to = None if lit else id_
        self._offer(menu, words.text("people.spotlight_off" if lit else "people.spotlight"), "star", m.Spotlight(to), lambda: self.do.spotlight(to))
        if me:
            return
        if person.role == "delegate":
            wanted = not person.co_chair
            text = words.text("people.co_chair" if wanted else "people.co_chair_off")
            command = m.SetRole(id_, "delegate", wanted)
            self._offer(menu, text, "badge", command, lambda: self.do.set_role(id_, "delegate", wanted))
        self._offer(menu, words.text("people.rename_other"), "edit", m.Rename(person.name, id_), lambda: self._hooks.ask(id_, "rename"))

    def _out(self, menu: QMenu, person: Participant) -> None:
        id_, hooks = person.id, self._hooks
        menu.addSeparator()
        self._offer(menu, words.text("people.to_lobby"), "door", m.ToLobby((id_,)), lambda: self.do.to_lobby([id_]))
        remove = words.text("people.remove_menu")
        self._offer(menu, remove, "person_remove", m.Remove((id_,)), lambda: hooks.ask(id_, "remove"), danger=True)
        self._offer(menu, words.text("people.ban_menu"), "block", m.Ban((id_,)), lambda: hooks.ask(id_, "ban"), danger=True)


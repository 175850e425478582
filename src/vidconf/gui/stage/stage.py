"""The stage of the meeting: the people and what they share, as tiles. Says what is shown where; painting is `raster`'s or `gpu`'s.

The window's thread. It follows the state by itself; the meeting's page tells it mode, page, pin and self view, and hears by
signals what it shows and what was asked (`participant_menu`: (participant, where on the screen); `full_screen`). It draws its
own pager and, over a shared page, who shares. `let_go` before it is thrown away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QRect, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QStyle, QWidget

from vidconf import words
from vidconf.client.state import LOCAL_SOURCES, ClientState
from vidconf.gui.page import StateSource
from vidconf.gui.stage.canvas import Shown
from vidconf.gui.stage.chrome import Alone, Caption, Pager
from vidconf.gui.stage.exposure import Exposure
from vidconf.gui.stage.graphics import Graphics
from vidconf.gui.stage.overlay import PHASES
from vidconf.gui.stage.pictures import Pictures
from vidconf.gui.stage.placing import Placing, place
from vidconf.gui.stage.raster import RasterCanvas
from vidconf.gui.stage.roving import RovingTiles
from vidconf.gui.stage.tiles import PAGE, Choice, Content, LineUp, Memory, alone, content, line_up
from vidconf.gui.stage.watches import Watched, Watches

if TYPE_CHECKING:
    from vidconf.gui.stage.gpu import GpuCanvas

log = logging.getLogger("vidconf.stage")

TICK_MS, IDLE_MS, SLOWEST_MS = 16, 60, 50
"""How often rings are looked at: while pictures come, while none does, at most as slow when painting takes long."""
BEAT_S = 0.12
"""The bars of who speaks move so often."""
SETTLE_MS = 120
AHEAD = (160, 90)
"""Device pixels at which the next page's pictures are kept coming, so that turning the page shows them at once."""
LATE_S = 1.5
"""A picture that does not come for so long is said to be awaited."""


class Stage(QWidget):
    """`store`: the client's, or anything with `state` and `subscribe`; `actions`: has `watch`; `graphics` says who paints, without it
    the processor does."""

    mode_changed = Signal(str)
    """`grid`, `speaker` or `share`: what is shown."""
    pages_changed = Signal(int, int)
    """The page shown, from 0, and how many there are."""
    asked = Signal(str, object)

    def __init__(self, store: StateSource, actions: Any, graphics: Graphics | None = None) -> None:
        super().__init__()
        self.store, self.do, self._graphics = store, actions, graphics
        self.setAccessibleName(words.text("stage.name"))
        self._choice, self._memory = Choice(), Memory()
        self._pinned_from_grid = False
        self._line_up: LineUp | None = None
        self._placing = Placing()
        self._mode, self._page, self._pages = "grid", 0, 1
        self._told = ("grid", 0, 1)
        self._shown: list[Shown] = []
        self._turned = 0
        self._pictures = Pictures()
        self._watches = Watches(actions.watch)
        self._canvas = self._made_canvas()
        if graphics is not None:
            graphics.changed.connect(self._on_graphics)
        self._caption = Caption(self, self.turn_share)
        self._alone = Alone(self)
        self._pager = Pager(self, self.previous_page, self.next_page)
        self._tiles = RovingTiles(self, self._caption.turn, (self._pager.previous, self._pager.next))
        self._tiles.chosen.connect(self._on_chosen)
        self._tiles.clicked.connect(self._on_clicked)
        self._tiles.double_clicked.connect(lambda: self.asked.emit("full_screen", None))
        self._tiles.menu_asked.connect(lambda what, at: self.asked.emit("participant_menu", (what.participant, at)))
        self._phase, self._beat_at, self._fresh_at = 0, 0.0, 0.0
        self._clock = QTimer(self)
        self._clock.setTimerType(Qt.TimerType.PreciseTimer)
        self._clock.timeout.connect(self._on_tick)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._watches.settle)
        self._exposure = Exposure(self)
        self._exposure.changed.connect(self._on_seen)
        self._unsubscribe: Callable[[], None] | None = store.subscribe(self._on_state)

    # ---- what the page asks
    @property
    def mode(self) -> str:
        """What is shown: `share` while somebody shares, unless the viewer turned to the people."""
        return self._mode

    def set_mode(self, mode: str) -> None:
        """`grid` or `speaker`. Said while a page is shared and shown, it turns to the people until the sharing ends, another one
        begins, or `share` is chosen."""
        if mode == "share":
            self._choose(past_share=False)
            return
        if mode not in ("grid", "speaker"):
            raise ValueError(f"no such mode: {mode}")
        self._pinned_from_grid = False
        self._choose(mode=mode, past_share=(self._exposure.seen and self._mode == "share") or self._choice.past_share)

    @property
    def pinned(self) -> str | None:
        """The participant that is large for me."""
        return self._choice.pinned

    def pin(self, participant: str | None) -> None:
        """Show somebody large, for me alone; None: nobody. From the grid this turns to the speaker view and back."""
        if participant == self._choice.pinned:
            return
        mode = self._choice.mode
        if participant is not None and mode == "grid":
            self._pinned_from_grid, mode = True, "speaker"
        elif participant is None and self._pinned_from_grid:
            self._pinned_from_grid, mode = False, "grid"
        self._choose(pinned=participant, mode=mode)

    @property
    def self_view(self) -> bool:
        return self._choice.self_view

    def set_self_view(self, on: bool) -> None:
        """Whether one's own tile is shown."""
        self._choose(self_view=on)

    def turn_share(self) -> None:
        """To the next of several shared pages."""
        shares = self._line_up.shares if self._line_up is not None else ()
        if len(shares) > 1 and self._line_up is not None and self._line_up.share is not None:
            self._choose(share=shares[(shares.index(self._line_up.share) + 1) % len(shares)], past_share=False)

    @property
    def page(self) -> int:
        """From 0."""
        return self._page

    @property
    def pages(self) -> int:
        return self._pages

    def next_page(self) -> None:
        self._turn_to(self._page + 1)

    def previous_page(self) -> None:
        self._turn_to(self._page - 1)

    def first_focus(self) -> QWidget | None:
        """The tile the keyboard would come to; None while there is none."""
        return self._tiles.current

    def painted(self) -> list[dict[str, Any]]:
        """How each picture that is shown now is painted."""
        now, told = monotonic(), []
        for shown in self._shown:
            picture = self._pictures.get(shown.content.track)
            if picture is None or not shown.content.picture or not self._exposure.seen:
                continue
            told.append({
                "participant": shown.content.participant, "source": shown.content.source, "track": shown.content.track,
                "painted_fps": round(picture.painted_fps(now), 1), "painted": picture.painted, "width": shown.pixels.width(),
                "height": shown.pixels.height(), "age_ms": picture.ages_ms(now),
            })  # fmt: skip
        return told

    def refresh_look(self) -> None:
        """Theme or language have changed: draw and say everything anew."""
        self.setAccessibleName(words.text("stage.name"))
        for part in (self._caption, self._pager, self._alone):
            part.refresh_look()
        self._canvas.let_go()
        self._tiles.say()
        self._arrange()
        self._canvas.update()

    def let_go(self) -> None:
        """Stop following, watching and painting; give the shared memory back. Harmless to call twice."""
        if self._unsubscribe is None:
            return
        self._unsubscribe()
        self._unsubscribe = None
        if self._graphics is not None:
            self._graphics.changed.disconnect(self._on_graphics)
        self._exposure.let_go()
        self._clock.stop()
        self._settle.stop()
        self._watches.show({}, self.store.state.tracks)
        self._shown = []
        self._canvas.let_go()
        self._pictures.close()

    def _choose(self, **chosen: Any) -> None:
        choice = replace(self._choice, **chosen)
        if choice != self._choice:
            self._choice = choice
            self._arrange()

    def _turn_to(self, page: int) -> None:
        page = max(0, min(page, self._pages - 1))
        if page != self._page:
            self._page = page
            self._arrange()

    # ---- who paints
    def _made_canvas(self) -> RasterCanvas | GpuCanvas:
        graphics = self._graphics
        if graphics is None or graphics.painter == "raster":
            return RasterCanvas(self, self._pictures)
        from vidconf.gui.stage.gpu import GpuCanvas  # its classes of Qt are not loaded where they are not used

        canvas = GpuCanvas(self, self._pictures, trial=graphics.on_trial)
        canvas.lost.connect(graphics.failed)
        return canvas

    def _on_graphics(self) -> None:
        """The other painter from now on. Pictures come anew, in its format."""
        old = self._canvas
        old.let_go()
        old.hide()
        if old.format == "i420":
            old.destroyed.connect(lambda: QTimer.singleShot(0, self, self._leave_card))
        old.deleteLater()
        self._canvas = self._made_canvas()
        self._canvas.lower()
        self._canvas.setVisible(True)
        self._arrange()

    def _leave_card(self) -> None:
        """A window that was once composed by the card goes on so, and on a software renderer pays for it, until it is made anew."""
        top = self.window()
        focus = top.focusWidget()
        if self._unsubscribe is None or self._canvas.format == "i420" or not top.isVisible():
            return
        active = top.isActiveWindow()
        top.hide()
        top.destroy()
        top.show()
        if active:
            top.activateWindow()
        if focus is not None:
            focus.setFocus(Qt.FocusReason.OtherFocusReason)

    # ---- following
    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if self._unsubscribe is not None and _differ(old, new):
            self._arrange()

    def _on_seen(self, seen: bool) -> None:
        if seen:
            self._arrange()
        else:
            self._clock.stop()
            self._watch()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if event.type() == QEvent.Type.DevicePixelRatioChange:
            self._arrange()
        return handled

    # ---- what is shown where
    def _arrange(self) -> None:
        if self._unsubscribe is None or self.width() < 1 or self.height() < 1:
            return
        state, now = self.store.state, monotonic()
        self._drop_choices(state)
        found = line_up(state, self._choice, self._memory, self._placing.visible, now)
        if self._memory.shares and self._new_share(found):
            found = line_up(state, self._choice, self._memory, self._placing.visible, now)
        if found.mode != self._mode:
            self._page = 0
        placing = self._place(found, alone(state))
        if placing.visible != self._placing.visible:
            found = line_up(state, self._choice, self._memory, placing.visible, now)
            placing = self._place(found, alone(state))
        self._line_up, self._memory, self._placing = found, found.memory, placing
        self._mode, self._page, self._pages = found.mode, max(0, min(self._page, placing.pages - 1)), placing.pages
        self._show(state, now)
        self._tell_changes()

    def _new_share(self, found: LineUp) -> bool:
        """A page newly shared is shown at once, whatever was looked at before."""
        if all(track in self._memory.shares for track in found.shares):
            return False
        self._choice = replace(self._choice, past_share=False, share=None)
        return True

    def _place(self, found: LineUp, only_me: bool) -> Placing:
        return place(found, self.width(), self.height(), self._page, only_me)

    def _drop_choices(self, state: ClientState) -> None:
        """What was chosen of somebody or something that is gone."""
        choice, meeting = self._choice, state.meeting
        if meeting is None:
            return
        pinned = meeting.participants.get(choice.pinned or "")
        if choice.pinned is not None and (pinned is None or pinned.place != "admitted"):
            mode = "grid" if self._pinned_from_grid else choice.mode
            self._pinned_from_grid = False
            choice = replace(choice, pinned=None, mode=mode)
        if not self._memory.shares and choice.past_share:
            choice = replace(choice, past_share=False)
        self._choice = choice

    def _show(self, state: ClientState, now: float) -> None:
        placing, found = self._placing, self._line_up
        assert found is not None
        shown: list[Shown] = []
        for spot in placing.tiles:
            what = content(state, spot.tile.key, self._choice)
            if what is not None:
                area = QRect(spot.x, spot.y, spot.w, spot.h)
                bare = found.mode == "share" and spot.tile.main
                shown.append(Shown(what, area, self._device(area), bare, self._is_late(what, now)))
        self._shown = shown
        self._canvas.setGeometry(self.rect())
        self._canvas.show_tiles(shown)
        changed = self._pictures.follow({one.content.track: self._ring(state, one.content.track) for one in shown if one.content.track}, now)
        for one in shown:
            if (picture := self._pictures.get(one.content.track)) is not None:
                picture.expect(one.content.picture, now)
        if changed:
            self._canvas.fresh(changed)
        self._tiles.show_tiles(shown)
        self._show_around(state, found)
        self._watch()
        self._set_clock()

    def _device(self, area: QRect) -> QRect:
        """On whole device pixels, without gaps or overlaps where tiles touch."""
        ratio = self.devicePixelRatioF()
        left, top = round(area.x() * ratio), round(area.y() * ratio)
        right, bottom = round((area.x() + area.width()) * ratio), round((area.y() + area.height()) * ratio)
        return QRect(left, top, max(1, right - left), max(1, bottom - top))

    @staticmethod
    def _ring(state: ClientState, track: str | None) -> str:
        view = state.tracks.get(track or "")
        return view.ring or "" if view is not None else ""

    def _show_around(self, state: ClientState, found: LineUp) -> None:
        """Who shares, the pager, the words to who is alone."""
        placing, large = self._placing, None
        if placing.caption is not None and found.share is not None:
            large = content(state, PAGE + found.share, self._choice)
        self._caption.show_share(large, found.shares.index(found.share or "") if large is not None else 0, len(found.shares))
        self._caption.put(placing.caption if large is not None else None)
        people = sum(1 for one in self._shown if one.content.kind == "person")
        self._pager.show_page(self._page, placing.pages, people, found.people)
        self._pager.put(placing.pager)
        knocking = sum(1 for _ in state.meeting.knocking()) if state.meeting is not None else 0
        self._alone.show_knocking(knocking)
        self._alone.put(placing.words)

    def _tell_changes(self) -> None:
        mode, page, pages = self._told
        self._told = (self._mode, self._page, self._pages)
        if (page, pages) != self._told[1:]:
            self.pages_changed.emit(self._page, self._pages)
        if mode != self._mode:
            self.mode_changed.emit(self._mode)

    # ---- keys and clicks
    def _on_chosen(self, what: Content) -> None:
        """Enter: pin or unpin a person; a page comes to the front."""
        if what.kind == "page":
            self._choose(share=what.track, past_share=False)
        else:
            self.pin(None if self._choice.pinned == what.participant else what.participant)

    def _on_clicked(self, what: Content) -> None:
        if what.kind == "page":
            self._choose(share=what.track, past_share=False)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """What no tile wanted."""
        if event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.NoModifier:
            if event.key() == Qt.Key.Key_PageDown:
                self.next_page()
                return
            if event.key() == Qt.Key.Key_PageUp:
                self.previous_page()
                return
        super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """A page a notch."""
        self._turned += event.angleDelta().y()
        if abs(self._turned) >= 120:
            self._turn_to(self._page + (1 if self._turned < 0 else -1))
            self._turned = 0
        event.accept()

    # ---- watching and painting
    def _watch(self) -> None:
        wanted: dict[str, Watched] = {}
        if self._exposure.seen and self._unsubscribe is not None:
            wanted = self._ahead()
            for one in self._shown:
                if one.content.track:
                    wanted[one.content.track] = Watched(one.pixels.width(), one.pixels.height(), one.content.fill, self._canvas.format)
        if self._watches.show(wanted, self.store.state.tracks):
            self._settle.start()

    def _ahead(self) -> dict[str, Watched]:
        """What the next page will show."""
        if self._line_up is None or self._page + 1 >= self._pages:
            return {}
        found: dict[str, Watched] = {}
        for spot in place(self._line_up, self.width(), self.height(), self._page + 1, False).tiles:
            what = content(self.store.state, spot.tile.key, self._choice)
            if what is not None and what.track and what.picture:
                found[what.track] = Watched(*AHEAD, what.fill, self._canvas.format, True)
        return found

    def _set_clock(self) -> None:
        moving = self._pictures.flowing or any(one.content.speaking or one.content.picture for one in self._shown)
        if not moving or not self._exposure.seen:
            self._clock.stop()
        elif not self._clock.isActive():
            self._clock.start(TICK_MS)

    def _on_tick(self) -> None:
        now = monotonic()
        fresh = self._pictures.take(now)
        if fresh:
            self._fresh_at = now
            self._canvas.fresh(fresh)
        if now >= self._beat_at:
            self._beat_at = now + BEAT_S
            self._beat(now)
        # Half the window's time is left to others, whatever painting takes; while nothing comes, looking costs next to nothing.
        idle = now - self._fresh_at > 1
        wanted = IDLE_MS if idle else round(min(SLOWEST_MS, max(TICK_MS, 2 * self._canvas.pass_ms)))
        if abs(wanted - self._clock.interval()) > 2:
            self._clock.setInterval(wanted)

    def _beat(self, now: float) -> None:
        if any(one.content.speaking for one in self._shown):
            moves = self.style().styleHint(QStyle.StyleHint.SH_Widget_Animation_Duration, None, self) > 0
            self._phase = (self._phase + 1) % PHASES if moves else -1
            self._canvas.beat(self._phase, dict(self.store.state.speaking))
        late = [replace(one, waiting=self._is_late(one.content, now)) for one in self._shown]
        if late != self._shown:
            self._shown = late
            self._canvas.show_tiles(late)

    def _is_late(self, what: Content, now: float) -> bool:
        picture = self._pictures.get(what.track)
        return what.picture and picture is not None and picture.waited_s(now) > LATE_S


def _differ(old: ClientState, new: ClientState) -> bool:
    """Whether anything the stage shows may be another: levels and the like change ten times a second."""
    if any(getattr(old, name) is not getattr(new, name) for name in ("meeting", "me", "tracks", "quality", "pending", "main_speaker")):
        return True
    if [who for who, _ in old.speaking] != [who for who, _ in new.speaking]:
        return True
    states = [[held.state if (held := state.sources.get(source)) is not None else "off" for source in LOCAL_SOURCES] for state in (old, new)]
    return states[0] != states[1]

"""The connection in numbers, for the curious and for a help desk: what oneself sends, a line a track that is received, and what the
program costs.

A sheet over the window, filled anew each second from what the engine says (`ClientState.stats`), while it is open. The window's
thread. Losses are those of the last seconds, so that what is over does not look as if it went on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QGridLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.page import StateSource
from vidconf.gui.parts import Text, button, clear
from vidconf.gui.sent_figures import SentFigures
from vidconf.gui.sheet import EDGE, Sheet

RECENT = 10
"""Seconds over which losses are counted."""
COLUMNS = ("who", "what", "size", "fps", "loss", "delay", "freezes", "rate")
FIRST_TO_GO = ("size", "delay", "freezes", "rate", "fps")
"""In a window too narrow for all; who copies the figures has them all the same."""
NAME_WIDTH, GAP = 96, 14
WIDTH, EDGES = 860, 80
"""Of the card, and of that what is not for the table."""
_Counts = tuple[int, int]
"""Packets received, packets lost."""


class Losses:
    """Packets lost of those sent, over the last `RECENT` reports, by track."""

    def __init__(self) -> None:
        self._counts: dict[str, deque[_Counts]] = {}

    def take(self, tracks: list[dict[str, Any]]) -> None:
        """Another second's report."""
        here = {str(track.get("track", "")) for track in tracks}
        self._counts = {name: counts for name, counts in self._counts.items() if name in here}
        for track in tracks:
            counts = self._counts.setdefault(str(track.get("track", "")), deque(maxlen=RECENT + 1))
            counts.append((_number(track, "packets"), _number(track, "lost")))

    def percent(self, track: str) -> float | None:
        """None while nothing came."""
        counts = self._counts.get(track)
        if not counts or len(counts) < 2:
            return None
        packets, lost = (max(0, now - then) for now, then in zip(counts[-1], counts[0], strict=True))
        return 100 * lost / (packets + lost) if packets + lost > 0 else None


class StatisticsSheet(Sheet):
    """`painter`: who paints the stage now, `gpu` or `raster`; `renderer`: the graphics card's name, "" when unknown."""

    def __init__(self, window: QWidget, store: StateSource, painter: str, renderer: str) -> None:
        super().__init__(window, words.text("statistics.title"), width=WIDTH, symbol="network")
        self._painter, self._renderer = painter, renderer
        self._losses, self._sent = Losses(), SentFigures()
        self._rows: list[tuple[str, ...]] = []
        self._cells: list[list[Text]] = []
        self._window = window
        self._empty = Text("", "muted", wrap=True)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 8)
        self._grid.setHorizontalSpacing(GAP)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(0, 1)
        self._program = Text("", "small", wrap=True)
        self.put(self._empty, self._grid, self._program)
        self._close = button(words.text("common.close"), "accent", do=self.accept)
        copy = button(words.text("statistics.copy"), "quiet", "copy", do=lambda: QGuiApplication.clipboard().setText(self.as_text()))
        self.answers(copy, None, self._close)
        self._unsubscribe = store.subscribe(self._on_state)
        self._show(store.state)

    def first_focus(self) -> QWidget | None:
        return self._close

    def done(self, result: int) -> None:
        self._unsubscribe()
        super().done(result)

    def as_text(self) -> str:
        """Everything shown, a line a track, tabs between."""
        lines = ["\t".join(row) for row in self._rows] if len(self._rows) > 1 else [self._empty.text()]
        return "\n".join([*lines, self._program.text()])

    # ---- following
    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if old.stats is not new.stats:
            self._show(new)

    def _show(self, state: ClientState) -> None:
        tracks = [track for track in state.stats.get("tracks", ()) if isinstance(track, Mapping)]
        self._losses.take([dict(track) for track in tracks])
        names = {p.id: p.name for p in state.meeting.participants.values()} if state.meeting is not None else {}
        engine = state.stats.get("engine") or {}
        self._sent.take(engine.get("sent"))
        lines = self._sent.lines(state.own.name if state.own is not None else state.name)
        lines += sorted((self._line(track, names) for track in tracks), key=lambda line: line[:2])
        self._empty.setText("" if lines else words.text("statistics.none"))
        self._empty.setVisible(not lines)
        self._put_lines([tuple(words.text(f"statistics.{column}") for column in COLUMNS), *lines] if lines else [])
        self._program.setText(self._about(engine))
        self.place()

    def _line(self, track: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
        participant, source, video = str(track.get("participant", "")), str(track.get("source", "")), track.get("kind") == "video"
        what = words.text(f"statistics.{source}") if words.has(f"statistics.{source}") else source
        loss = self._losses.percent(str(track.get("track", "")))
        width, height = _number(track, "width"), _number(track, "height")
        delay = _number(track, "jitter_buffer_ms")
        return (
            names.get(participant, participant),
            f"{what} · {track.get('codec', '')}",
            f"{width}×{height}" if video and width else "–",
            words.number(float(track.get("recent_fps", track.get("fps", 0.0)) or 0.0)) if video else "–",
            words.text("statistics.percent", value=words.number(loss)) if loss is not None else "–",
            words.text("statistics.ms", value=delay) if delay else "–",
            words.text("statistics.frozen", count=_number(track, "freezes"), seconds=words.number(float(track.get("freeze_s", 0.0) or 0.0)))
            if video
            else words.text("statistics.mended", value=words.number(float(track.get("concealed_percent", 0.0) or 0.0))),
            words.text("statistics.kbps", value=round(_number(track, "bitrate_bps") / 1000)),
        )

    def _about(self, engine: Mapping[str, Any]) -> str:
        said = [words.text(f"statistics.painter.{self._painter}", name=self._renderer or "–")]
        if "cpu_percent" in engine:
            cpu, memory = float(engine["cpu_percent"]), round(float(engine.get("rss_mb", 0.0)))
            said.append(words.text("statistics.engine", cpu=words.number(cpu), memory=memory, reconnects=_number(engine, "reconnects")))
        uplink = engine.get("uplink")
        if isinstance(uplink, Mapping) and uplink:
            loss = words.number(100 * float(uplink.get("loss", 0.0) or 0.0))
            said.append(words.text("statistics.uplink", rate=_number(uplink, "target_bps") // 1000, loss=loss, delay=_number(uplink, "rtt_ms")))
        way = str(engine.get("way", ""))
        if words.has(f"statistics.way.{way}"):
            said.append(words.text(f"statistics.way.{way}"))
        return " ".join(said)

    def _put_lines(self, rows: list[tuple[str, ...]]) -> None:
        """The same cells again where there are as many; made anew where there are not."""
        if len(rows) != len(self._rows):
            clear(self._grid)
            self._cells = [[self._cell(row, column) for column in range(len(COLUMNS))] for row in range(len(rows))]
        self._rows = rows
        for cells, row in zip(self._cells, rows, strict=True):
            for cell, said in zip(cells, row, strict=True):
                cell.setText(said)
        self._fit()

    def _fit(self) -> None:
        """Leave out columns until the others have the room they need."""
        room = min(WIDTH, self._window.width() - 2 * EDGE) - EDGES
        wide = {name: max((cells[n].sizeHint().width() for cells in self._cells), default=0) for n, name in enumerate(COLUMNS)}
        wide["who"] = NAME_WIDTH
        shown = list(COLUMNS)
        for name in FIRST_TO_GO:
            if sum(wide[one] for one in shown) + GAP * (len(shown) - 1) <= room:
                break
            shown.remove(name)
        for cells in self._cells:
            for name, cell in zip(COLUMNS, cells, strict=True):
                cell.setVisible(name in shown)

    def resizeEvent(self, event: QResizeEvent) -> None:
        self._fit()
        super().resizeEvent(event)

    def _cell(self, row: int, column: int) -> Text:
        role = "small" if row == 0 else "strong" if column == 0 else ""
        made = Text("", role, elide=column == 0)
        if column > 1:
            made.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._grid.addWidget(made, row, column)
        return made


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key, 0)
    return int(value) if isinstance(value, int | float) else 0

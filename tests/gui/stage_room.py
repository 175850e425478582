"""For the stage's tests: rooms full of people as client states, and an engine's half of the frame rings: real segments, written
at the size the stage has asked for, by this thread (`Films.write`) or by one of its own (`Films.run`)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from PySide6.QtCore import QRect
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from vidconf.client.changes import EngineSaid, Set
from vidconf.client.state import LOCAL_SOURCES, ClientState, LocalSource, TrackView
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.engine.frame_ring import RingWriter, bgrx_bytes
from vidconf.gui.stage.graphics import Graphics
from vidconf.gui.stage.pictures import WINDOW_S
from vidconf.gui.stage.stage import Stage
from vidconf.meeting.models import Hand, Meeting, Participant, Sources

FPS = 30
NAMES = ("Lê Thu Hà", "Phạm Thị Ngọc Dung", "Điểm cầu Quảng Ninh", "Lê Văn Cường", "Trần Thị Bình", "Đặng Văn Giang")


def person(number: int, **fields: Any) -> Participant:
    """`p0` is the chair; all are in the room, their microphones open, their cameras on."""
    made = Participant(
        f"p{number}", NAMES[number % len(NAMES)] + ("" if number < len(NAMES) else f" {number}"), place="admitted", session=1,
        connected=True, role="chair" if number == 0 else "delegate", position="Phó Giám đốc",
        unit="Sở Nông nghiệp và Môi trường tỉnh Thừa Thiên Huế", sources=Sources("on", "on"),
    )  # fmt: skip
    return replace(made, **fields)


def room(count: int, *, me: str = "p1", camera: bool = True, shares: tuple[int, ...] = (), hands: tuple[str, ...] = (), **fields: Any) -> ClientState:
    """`count` people; everybody's camera is the track `cam<n>`, a page shared by n is `page<n>`. `fields` replace the state's."""
    people = {f"p{n}": person(n) for n in range(count)}
    tracks = {f"cam{n}": TrackView(f"cam{n}", f"p{n}.1", f"p{n}", "camera", "video") for n in range(count) if f"p{n}" != me and camera}
    tracks |= {f"page{n}": TrackView(f"page{n}", f"p{n}.1", f"p{n}", "screen_share", "video") for n in shares}
    sources = {source: LocalSource() for source in LOCAL_SOURCES}
    if camera:
        sources["camera"] = LocalSource("on", wanted="on")
    meeting = Meeting("m", "c", "Giao ban", state="live", participants=people, hands=tuple(Hand(who, 1.0) for who in hands))
    return replace(ClientState(phase="meeting", me=me, meeting=meeting, tracks=tracks, sources=sources), **fields)


def with_person(state: ClientState, who: str, **fields: Any) -> ClientState:
    assert state.meeting is not None
    people = dict(state.meeting.participants)
    people[who] = replace(people[who], **fields)
    return replace(state, meeting=replace(state.meeting, participants=people))


def without(state: ClientState, *who: str) -> ClientState:
    assert state.meeting is not None
    people = {id_: p for id_, p in state.meeting.participants.items() if id_ not in who}
    tracks = {id_: t for id_, t in state.tracks.items() if t.participant not in who}
    return replace(state, meeting=replace(state.meeting, participants=people), tracks=tracks)


class Watcher:
    """The stage's actions: remembers every `watch`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int, bool, bool]] = []
        self.formats: dict[str, str] = {}
        """What each track was last wanted in."""

    def watch(self, track: str, width: int, height: int, visible: bool = True, fill: bool = True, format: str = "bgrx") -> None:
        self.calls.append((track, width, height, visible, fill))
        self.formats[track] = format

    def take(self) -> list[tuple[str, int, int, bool, bool]]:
        """What was told since the last time."""
        calls, self.calls = self.calls, []
        return calls


class House:
    """A stage in a window, with its store and watcher."""

    def __init__(self, state: ClientState, width: int, height: int, graphics: Graphics | None = None) -> None:
        self.store, self.watcher = Store(state), Watcher()
        self.window = QWidget()
        self.stage = Stage(self.store, self.watcher, graphics)
        layout = QVBoxLayout(self.window)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.stage)
        self.window.resize(width, height)
        self.window.show()
        self.films = Films(self)

    def to(self, state: ClientState) -> None:
        """Change the whole state, listeners told once."""
        names = [name for name in state.__dataclass_fields__ if getattr(state, name) is not getattr(self.store.state, name)]
        self.store.dispatch(Set({name: getattr(state, name) for name in names}))

    def change(self, **fields: Any) -> None:
        self.store.dispatch(Set(fields))

    def said(self, *events: api.EngineEvent) -> None:
        for event in events:
            self.store.dispatch(EngineSaid(event))

    def tile(self, key: str) -> QWidget:
        found = self.stage.findChild(QWidget, key)
        assert found is not None, f"no tile {key}"
        return cast(QWidget, found)

    def tiles(self) -> list[str]:
        return [one.content.key for one in self.stage._shown]

    def grab(self) -> QImage:
        """What is on the screen, device pixels."""
        image = self.stage.grab().toImage()
        image.setDevicePixelRatio(1.0)
        return image

    def close(self) -> None:
        self.films.close()
        self.stage.let_go()
        self.window.close()
        self.window.deleteLater()
        app = QApplication.instance()
        assert app is not None
        app.processEvents()


MakeHouse = Callable[..., House]
"""`state`, and width and height in pixels."""


def halves(width: int, height: int, left: QColor, right: QColor) -> QImage:
    row = left.rgb().to_bytes(4, "little") * (width // 2) + right.rgb().to_bytes(4, "little") * (width - width // 2)
    return QImage(row * height, width, height, 4 * width, QImage.Format.Format_RGB32).copy()


def flat(width: int, height: int, colour: QColor) -> QImage:
    picture = QImage(width, height, QImage.Format.Format_RGB32)
    picture.fill(colour)
    return picture


class Films:
    """What the engine would write for each watched track: a colour of its own, the right half darker."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.rings: dict[str, RingWriter] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._written: deque[float] = deque(maxlen=1000)

    @staticmethod
    def colours(track: str) -> tuple[QColor, QColor]:
        """(left, right) half of a track's picture as others see it."""
        hue = (sum(map(ord, track)) * 47) % 360
        return QColor.fromHsv(hue, 220, 230), QColor.fromHsv(hue, 220, 90)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """What the stage wants now."""
        wanted: dict[str, tuple[int, int]] = {}
        for track, width, height, visible, _ in self._house.watcher.calls:
            wanted.pop(track, None)
            if visible:
                wanted[track] = (width, height)
        return wanted

    def picture(self, track: str, width: int, height: int) -> QImage:
        return halves(width, height, *self.colours(track))

    def write(self, *tracks: str, size: tuple[int, int] | None = None) -> None:
        """One picture into each ring of these (all watched) tracks; rings are opened, and told, where there are none."""
        for track, wanted in self.sizes().items():
            if not tracks or track in tracks:
                self.put(track, self.picture(track, *(size or wanted)))

    def put(self, track: str, picture: QImage) -> None:
        with self._lock:
            room_for = picture.bytesPerLine() * picture.height()
            ring = self.rings.get(track)
            new = ring is None or ring.slot_bytes < room_for
            if new:
                if ring is not None:
                    ring.close()
                ring = self.rings[track] = RingWriter(room_for)
            assert ring is not None
            size = bgrx_bytes(picture.width(), picture.height(), picture.bytesPerLine())
            ring.write_bgrx(bytes(picture.constBits())[:size], picture.width(), picture.height(), picture.bytesPerLine())
        if new:
            self._house.said(api.RingOpened(track, ring.name))

    def run(self) -> None:
        """Write into every open ring `FPS` times a second, until closed."""
        sizes = self.sizes()
        images = {track: self.picture(track, *size) for track, size in sizes.items()}
        pictures = {track: bytes(image.constBits()) for track, image in images.items()}

        def work() -> None:
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += 1 / FPS
                with self._lock:
                    for track, ring in self.rings.items():
                        width, height = sizes[track]
                        ring.write_bgrx(pictures[track], width, height, 4 * width)
                self._written.append(time.monotonic())

        self._thread = threading.Thread(target=work, name="films")
        self._thread.start()

    def fps(self) -> float:
        """What `run` really reached in the last seconds, on this machine, now."""
        since = time.monotonic() - WINDOW_S
        return sum(at > since for at in list(self._written)) / WINDOW_S

    def end(self, track: str) -> None:
        """The engine closes a ring without a word yet."""
        with self._lock:
            self.rings.pop(track).close()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        for ring in self.rings.values():
            ring.close()
        self.rings.clear()


@contextmanager
def house(state: ClientState, width: int = 960, height: int = 560) -> Iterator[House]:
    made = House(state, width, height)
    try:
        yield made
    finally:
        made.close()


def near(a: QColor, b: QColor, by: int = 12) -> bool:
    return max(abs(a.red() - b.red()), abs(a.green() - b.green()), abs(a.blue() - b.blue())) <= by


def at(image: QImage, tile: QRect, x: float, y: float) -> QColor:
    """The colour at a share of the tile."""
    return image.pixelColor(tile.x() + round((tile.width() - 1) * x), tile.y() + round((tile.height() - 1) * y))


def shows(house: House, key: str, colour: QColor, x: float = 0.3, y: float = 0.4) -> bool:
    return near(at(house.grab(), house.tile(key).geometry(), x, y), colour)

"""What test_stage_gpu runs on a screen, one scene a process: `gpu_scenes.py SCENE [PICTURES' FOLDER]`. Fails by an exception.

The stage as it is, real rings, written by the engine's own `TileWriter` from decoded-like pictures in the format the stage asks for.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from gui import states
from gui.recording import RecordingActions, go_to
from gui.stage_room import House, room, with_person
from PySide6.QtCore import QEventLoop, QPoint, QRect, QSize, QTimer, QtMsgType, qInstallMessageHandler
from PySide6.QtGui import QColor, QImage, QSurface
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget
from shiboken6 import getCppPointer

from vidconf import words
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.engine.scaling import TileWriter
from vidconf.gui import theme
from vidconf.gui.main_window import MainWindow
from vidconf.gui.stage import graphics as graphics_module
from vidconf.gui.stage.gpu import GpuCanvas
from vidconf.gui.stage.graphics import KEY, Graphics
from vidconf.gui.stage.raster import RasterCanvas
from vidconf.gui.stage.stage import BEAT_S, Stage

COLOURS = {"cam3": (1, 1), "cam4": (1, 2), "cam5": (5, 2)}
"""Of some tracks: BT.709, BT.709 in full range, BT.601 in full range; by FFmpeg's numbers."""
complaints: list[str] = []


def on_message(kind: QtMsgType, context: object, message: str) -> None:
    if kind != QtMsgType.QtDebugMsg and "propagateSizeHints" not in message:
        complaints.append(message)


def spin(ms: int) -> None:
    loop = QEventLoop()
    QTimer.singleShot(ms, loop.quit)
    loop.exec()


def until(reached: Callable[[], bool], what: str, limit_s: float = 15.0) -> None:
    ends = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < ends, f"waited in vain for {what}"
        spin(20)


def film(number: int, width: int, height: int) -> av.VideoFrame:
    """Soft slopes, another one for each number: what scaling filters do to edges is no subject here."""
    y, x = np.mgrid[0:height, 0:width]
    u, v = x[: (height + 1) // 2, : (width + 1) // 2] / width, y[: (height + 1) // 2, : (width + 1) // 2] / height
    luma = 40 + 150 * (0.5 + 0.5 * np.sin(3 * x / width + number)) * (0.4 + 0.6 * y / height)
    planes = (luma, 90 + 20 * (number % 4) + 60 * u, 110 + 15 * (number % 5) + 50 * v)
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = np.clip(values, 16, 235)[: plane.height, : plane.width]
        plane.update(rows.tobytes())
    return frame


class Engine:
    """Writes what the stage has asked for."""

    def __init__(self, house: House, sizes: dict[str, tuple[int, int]] | None = None) -> None:
        self.house, self.sizes = house, sizes or {}
        self.tiles: dict[str, TileWriter] = {}
        self.films: dict[str, av.VideoFrame] = {}

    def write(self) -> None:
        for track, width, height, visible, fill in self.house.watcher.take():
            if track not in self.tiles:
                self.tiles[track] = TileWriter(lambda name, track=track: self.house.said(api.RingOpened(track, name)))  # type: ignore[misc]
                self.films[track] = film(sum(map(ord, track)), *self.sizes.get(track, (640, 360)))
                self.films[track].colorspace, self.films[track].color_range = COLOURS.get(track, (2, 0))
            size = (width, height) if visible else (0, 0)
            self.tiles[track].watch(*size, self.house.watcher.formats[track], fill)  # type: ignore[arg-type]
        for track, tile in self.tiles.items():
            tile.show(self.films[track])

    def close(self) -> None:
        for tile in self.tiles.values():
            tile.close()


@contextlib.contextmanager
def stage(painter: str, state: ClientState, width: int, height: int, sizes: dict[str, tuple[int, int]] | None = None) -> Iterator[tuple[House, Engine]]:
    graphics = Graphics(Settings(command_line={KEY: painter}))
    house = House(state, width, height, graphics)
    engine = Engine(house, sizes)
    until(lambda: house.stage._exposure.seen, "the window")
    assert isinstance(house.stage._canvas, GpuCanvas if painter == "gpu" else RasterCanvas)
    try:
        settle(house, engine)
        yield house, engine
    finally:
        house.close()
        engine.close()
        graphics.let_go()


def settle(house: House, engine: Engine) -> None:
    """Everything that is on has been painted at its size."""
    for _ in range(6):
        engine.write()
        spin(60)

    def painted() -> bool:
        engine.write()
        return all(one["painted"] > 0 for one in house.stage.painted())

    until(painted, "all pictures")
    spin(60)


def pixels(image: QImage) -> np.ndarray:
    image = image.convertToFormat(QImage.Format.Format_RGB32)
    return np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine() // 4, 4)[:, : image.width(), :3].astype(int)


def compare(name: str, a: QImage, b: QImage, folder: Path | None) -> None:
    """Alike to the eye: nearly no pixel differs by more than a shade."""
    if folder is not None:
        a.save(str(folder / f"{name}-raster.png"))
        b.save(str(folder / f"{name}-gpu.png"))
    first, second = pixels(a), pixels(b)
    assert first.shape == second.shape, (first.shape, second.shape)
    apart = np.abs(first - second).max(axis=2)
    told = f"{name}: mean {apart.mean():.2f}, over 8: {100 * (apart > 8).mean():.2f} %, over 40: {100 * (apart > 40).mean():.3f} %"
    print(told)
    assert apart.mean() < 2, told
    assert (apart > 8).mean() < 0.01, told
    assert (apart > 40).mean() < 0.002, told


def rich(count: int = 9) -> ClientState:
    """Marks of every kind, a camera that is off, one who speaks, one whose network is weak, a hand."""
    state = room(count, hands=("p4",), speaking=(("p3", 0.3),), quality={"p5": "poor", "p6": "lost"})
    state = with_person(state, "p2", role="secretary")
    assert state.meeting is not None
    tracks = dict(state.tracks)
    tracks["cam7"] = replace(tracks["cam7"], muted=True)
    return replace(state, tracks=tracks, meeting=replace(state.meeting, spotlight="p8"))


CASES: dict[str, tuple[Callable[[], ClientState], int, int, dict[str, tuple[int, int]]]] = {
    "grid": (rich, 1280, 720, {}),
    "odd": (lambda: room(5), 811, 457, {"cam0": (641, 361), "cam2": (320, 240), "cam3": (360, 640), "cam4": (1920, 1080)}),
    "share": (lambda: room(4, shares=(3,)), 1000, 620, {"page3": (1280, 900)}),
    "alone": (lambda: room(1, me="p0"), 700, 500, {}),
    "crowd": (lambda: room(25), 1280, 720, {}),
}


def same(folder: Path | None, *names: str) -> None:
    """Both painters, the same scenes."""
    for name in names or CASES:
        make, width, height, sizes = CASES[name]
        taken = []
        for painter in ("raster", "gpu"):
            with stage(painter, make(), width, height, sizes) as (house, _):
                house.stage._clock.stop()
                house.stage._canvas.beat(-1, {"p3": 0.3})
                spin(80)
                taken.append(house.grab())
        compare(name, *taken, folder)


def scaled(folder: Path | None) -> None:
    """Where a device pixel is none of ours."""
    same(folder, "odd", "share")


def moves(folder: Path | None) -> None:
    """Another size, another window (and so another device), hidden and back, another theme, a camera off and on."""
    state = rich()
    with stage("gpu", state, 1280, 720) as (house, engine), stage("raster", state, 1280, 720) as (other, other_engine):
        houses = ((house, engine), (other, other_engine))

        def both(name: str) -> None:
            taken = []
            for one, its in reversed(houses):
                settle(one, its)
                one.stage._beat(time.monotonic())
                one.stage._clock.stop()
                one.stage._canvas.beat(-1, {"p3": 0.3})
                spin(80)
                taken.append(one.grab())
                one.stage._clock.start()
            compare(name, *taken, folder)

        for one, _ in houses:
            one.window.resize(900, 640)
        both("smaller")
        canvas = house.stage._canvas
        assert isinstance(canvas, GpuCanvas)
        device = getCppPointer(canvas.rhi())[0]  # type: ignore[index]
        shells = [QWidget(), QWidget()]
        for (one, _), shell in zip(houses, shells, strict=True):
            layout = QVBoxLayout(shell)
            layout.setContentsMargins(0, 0, 0, 0)
            shell.resize(900, 640)
            layout.addWidget(one.stage)
            shell.show()
            until(lambda one=one: one.stage._exposure.seen, "the other window")  # type: ignore[misc]
        both("elsewhere")
        assert house.stage._canvas is canvas
        print("another device:", getCppPointer(canvas.rhi())[0] != device)  # type: ignore[index]
        for one, _ in houses:
            one.stage.hide()
            spin(50)
            assert not one.stage._clock.isActive()
            one.stage.show()
        both("back")
        for one, _ in houses:
            one.said(api.TrackMuted("cam2", True))
        both("off")
        for one, _ in houses:
            one.said(api.TrackMuted("cam2", False))
        both("on")
        canvas.releaseResources()  # as Qt does when the device is lost
        canvas.update()
        spin(50)
        both("lost")
        for (one, _), shell in zip(houses, shells, strict=True):
            one.window.layout().addWidget(one.stage)  # type: ignore[union-attr]
            shell.close()
            shell.deleteLater()
        spin(50)


def passes(folder: Path | None) -> None:
    """A pass is made when there is something new, and at no other time."""
    with stage("gpu", room(4), 960, 560) as (house, engine):
        canvas = house.stage._canvas
        assert isinstance(canvas, GpuCanvas)
        made: list[float] = []
        canvas.frameSubmitted.connect(lambda: made.append(time.monotonic()))

        def quiet() -> bool:
            """Whatever was on its way has been painted."""
            before = len(made)
            spin(300)
            return len(made) == before

        until(quiet, "the end of passes without anything new")
        made.clear()
        engine.write()
        until(lambda: len(made) > 0, "a pass")
        until(quiet, "the end of passes")
        assert len(made) <= 1 + len(engine.tiles), made
        made.clear()
        began = time.monotonic()
        house.change(speaking=(("p2", 0.3),))
        until(lambda: len(made) >= 5, "moving bars")
        assert len(made) <= 3 + (time.monotonic() - began) / BEAT_S, made
        house.change(speaking=())
        until(quiet, "the end of the bars")
        fps = {one["track"]: one["painted"] for one in house.stage.painted()}
        engine.write()
        until(quiet, "the last passes")
        assert all(one["painted"] == fps[one["track"]] + 1 for one in house.stage.painted())


def slow(folder: Path | None) -> None:
    """Nobody has asked for the card, and it turns out to be slow: the processor paints on, and the window is its own again."""
    graphics_module.SLOW_MS = 0.0
    graphics = Graphics(Settings())
    graphics._find("gpu", "a card")
    house = House(room(4), 960, 560, graphics)
    engine = Engine(house)
    until(lambda: house.stage._exposure.seen, "the window")
    assert isinstance(house.stage._canvas, GpuCanvas)
    assert house.watcher.formats["cam2"] == "i420"

    def given_up() -> bool:
        engine.write()
        return isinstance(house.stage._canvas, RasterCanvas)

    until(given_up, "the verdict")
    assert house.watcher.formats["cam2"] == "bgrx"
    settle(house, engine)
    tile = house.tile("p2").geometry()
    assert house.grab().pixelColor(tile.center()) != QColor(theme.T["tile"])
    assert graphics.painter == "raster"
    assert surface(house) == QSurface.SurfaceType.RasterSurface
    house.close()
    engine.close()
    graphics.let_go()


def named(folder: Path | None) -> None:
    """The card is asked for by name while it is on trial, and turns out to be slow: then it paints on, slowly."""
    graphics_module.SLOW_MS = 0.0
    settings = Settings()
    graphics = Graphics(settings)
    graphics._find("gpu", "a card")
    house = House(room(4), 960, 560, graphics)
    engine = Engine(house)
    until(lambda: house.stage._exposure.seen, "the window")
    canvas = house.stage._canvas
    assert isinstance(canvas, GpuCanvas)
    settings.set(KEY, "gpu")

    def judged() -> bool:
        engine.write()
        return canvas._trial is None

    until(judged, "the verdict")
    settle(house, engine)
    assert house.stage._canvas is canvas
    tile = house.tile("p2").geometry()
    assert house.grab().pixelColor(tile.x() + 20, tile.y() + 60) not in (QColor(theme.T["tile"]), QColor(theme.T["stage"]))
    house.close()
    engine.close()
    graphics.let_go()


def surface(house: House) -> QSurface.SurfaceType:
    handle = house.window.windowHandle()
    assert handle is not None
    return handle.surfaceType()


def turns(folder: Path | None) -> None:
    """The user turns from one painter to the other and back: same window, same size, same focus, pictures come on."""
    settings = Settings()
    settings.set(KEY, "raster")
    graphics = Graphics(settings)
    house = House(room(4), 960, 560, graphics)
    engine = Engine(house)
    until(lambda: house.stage._exposure.seen, "the window")
    settle(house, engine)
    first, area = house.grab(), house.window.geometry()
    house.window.activateWindow()
    house.tile("p2").setFocus()
    for chosen, kind, made_of in (
        ("gpu", GpuCanvas, QSurface.SurfaceType.OpenGLSurface), ("raster", RasterCanvas, QSurface.SurfaceType.RasterSurface),
        ("gpu", GpuCanvas, QSurface.SurfaceType.OpenGLSurface), ("auto", RasterCanvas, QSurface.SurfaceType.RasterSurface),
    ):  # fmt: skip
        settings.set(KEY, chosen)
        spin(150)
        assert isinstance(house.stage._canvas, kind)
        settle(house, engine)
        compare(chosen, first, house.grab(), folder)
        assert surface(house) == made_of, chosen
        assert house.window.geometry().size() == area.size()
        assert house.window.focusWidget() is house.tile("p2")
        assert house.window.isVisible()
    house.close()
    engine.close()
    graphics.let_go()


def enters(folder: Path | None) -> None:
    """The real window: from home into a meeting, another theme in the middle, out again and in once more."""
    store = Store(states.home())
    window = MainWindow(store, RecordingActions(store), Settings(command_line={KEY: "gpu"}))
    window.resize(1100, 700)
    window.show()
    spin(100)
    window.activateWindow()

    def stage_of() -> Stage:
        found = window.findChildren(Stage)
        assert found
        return found[-1]

    for _ in range(2):
        go_to(store, states.in_meeting())
        until(lambda: stage_of()._exposure.seen, "the meeting")
        assert isinstance(stage_of()._canvas, GpuCanvas)
        assert window.size() == QSize(1100, 700)
        theme.apply(QApplication.instance(), "dark")  # type: ignore[arg-type]
        window.rebuild()
        until(lambda: stage_of()._exposure.seen, "the new page")
        assert window.size() == QSize(1100, 700)
        spin(150)
        image = window.grab()
        if folder is not None:
            image.save(str(folder / "enters.png"))
        ground = image.toImage().pixelColor(stage_of().mapTo(window, QPoint(3, 3)))
        assert ground == QColor(theme.T["stage"]), ground.name()
        tile = stage_of().findChild(QWidget, "p3")
        assert tile is not None
        disc = image.toImage().pixelColor(tile.mapTo(window, QPoint(tile.width() // 2, tile.height() // 4)))
        assert disc != QColor(theme.T["stage"])
        go_to(store, states.home())
        spin(150)
        assert window.isVisible()
        theme.apply(QApplication.instance(), "light")  # type: ignore[arg-type]
        window.rebuild()
    window.let_go()
    window.hide()
    window.deleteLater()


def hostile(folder: Path | None) -> None:
    """Pictures larger than the card takes (which it shows), of no size, of the other format, rings that vanish."""
    with stage("gpu", room(4), 960, 560) as (house, engine):
        canvas = house.stage._canvas
        assert isinstance(canvas, GpuCanvas)
        engine.films["cam2"] = film(3, 322, 180)
        tile = house.tile("p2").geometry()
        part, seen_whole = QRect(tile.x(), tile.y() + 40, tile.width(), tile.height() - 80), None
        for most in (16384, 200, 64):
            canvas._most = most
            engine.write()
            spin(100)
            seen = pixels(house.grab().copy(part))
            seen_whole = seen if seen_whole is None else seen_whole
            assert np.abs(seen - seen_whole).max() <= 8, f"with textures of {most} the same picture, but for sharpness"
        canvas._most = 16384
        engine.tiles["cam2"].watch(320, 180, "bgrx")
        engine.write()
        spin(100)
        assert house.grab().pixelColor(tile.x() + 20, tile.y() + 60) == QColor(theme.T["tile"])
        engine.tiles["cam2"].watch(320, 180, "i420")
        engine.write()
        spin(100)
        seen = house.grab().pixelColor(tile.x() + 20, tile.y() + 60)
        assert seen != QColor(theme.T["tile"])
        engine.tiles["cam2"].close()
        house.said(api.RingClosed("cam2"))
        gc.collect()
        spin(200)
        assert house.grab().pixelColor(tile.x() + 20, tile.y() + 60) == seen  # the last picture stands in
        del engine.tiles["cam2"]

        def broken(*args: object) -> None:
            raise RuntimeError("the driver says no")

        canvas._upload = broken  # type: ignore[method-assign]
        engine.write()
        until(lambda: isinstance(house.stage._canvas, RasterCanvas), "the processor")
        settle(house, engine)


def main() -> None:
    app = QApplication([])
    qInstallMessageHandler(on_message)
    words.set_language("vi")
    theme.apply(app, "light")
    scene = {"same": same, "scaled": scaled, "moves": moves, "passes": passes, "slow": slow, "named": named, "turns": turns, "enters": enters, "hostile": hostile}[sys.argv[1]]
    scene(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    spin(50)
    assert complaints == [], complaints
    print("done")


if __name__ == "__main__":
    main()


"""Shared screens and windows on a real X server: what is listed, what is grabbed, where it is, and how a share ends."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import pytest
from fakes.x_desktop import XWindows, needs_x, x_server, x_session
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.hearing import until

from vidconf.engine import capture, screen, screen_capture
from vidconf.engine.api import Screens, Thumbnail
from vidconf.engine.desktop import MAX_NAME, Area, clean_name
from vidconf.engine.screen_capture import ScreenCapture
from vidconf.engine.screen_list import ScreenLister
from vidconf.engine.sources import SourceError
from vidconf.engine.x11 import XDisplay

RED, GREEN, BLUE, GREY = 0xD02020, 0x20B040, 0x2040D0, 0x808080


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with x_server("2560x1440") as name:
        yield name


@pytest.fixture
def windows(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[XWindows]:
    with x_session(server, monkeypatch) as made:
        yield made


class Seen:
    """What one capture gives."""

    def __init__(self, device: str, fps: int = 15, size: tuple[int, int] = (1920, 1080)) -> None:
        self.frames: list[tuple[float, av.VideoFrame]] = []
        self.areas: list[Area] = []
        self.errors: list[str] = []
        self.capture = ScreenCapture(
            device, *size, fps, lambda frame, at: self.frames.append((at, frame)), lambda code, detail: self.errors.append(code), self.areas.append
        )
        self.capture.start()

    def shows(self, colour: int, x: float = 0.5, y: float = 0.5) -> bool:
        return bool(self.frames) and near(pixel(self.frames[-1][1], x, y), colour)

    def end(self) -> None:
        self.capture.stop()
        self.capture.join(5)
        assert not self.capture.is_alive()


@pytest.fixture
def see() -> Iterator[Callable[..., Seen]]:
    made: list[Seen] = []

    def start(*args: Any, **kwargs: Any) -> Seen:
        made.append(Seen(*args, **kwargs))
        return made[-1]

    yield start
    for one in made:
        one.end()


def pixel(frame: av.VideoFrame, x: float, y: float) -> tuple[int, int, int]:
    plane = frame.reformat(format="rgb24").planes[0]
    at = int(y * (frame.height - 1)) * plane.line_size + 3 * int(x * (frame.width - 1))
    r, g, b = bytes(plane)[at : at + 3]
    return r, g, b


def near(found: tuple[int, int, int], colour: int) -> bool:
    return all(abs(a - b) < 16 for a, b in zip(found, (colour >> 16, colour >> 8 & 255, colour & 255), strict=True))


# ---- what can be shared ----------------------------------------------------------------------------------------------------


@needs_x
def test_screens_and_windows_are_listed_the_uppermost_first(windows: XWindows) -> None:
    below = windows.add("Dự thảo nghị định", RED, 0, 0, 300, 200)
    above = windows.add("Bảng tính\n\u202etxt.exe", GREEN, 100, 50, 401, 303, pid=4321)
    windows.add("", BLUE, 0, 0, 200, 200, unmanaged=True)
    windows.add("a dot", BLUE, 0, 0, 8, 8)
    desktop = screen.open_desktop()
    try:
        found = desktop.listed(0)
        assert [(one.kind, one.name) for one in found] == [("screen", "screen"), ("window", "Bảng tính txt.exe"), ("window", "Dự thảo nghị định")]
        assert (found[0].id, found[0].width, found[0].height) == ("screen:0", 2560, 1440)
        assert (found[1].id, found[1].left, found[1].top, found[1].width, found[1].height) == (f"window:{above}", 100, 50, 401, 303)
        assert [one.id for one in desktop.listed(4321)] == ["screen:0", f"window:{below}"], "not one's own"
    finally:
        desktop.close()


@needs_x
def test_the_window_managers_list_is_believed_and_its_panels_left_out(windows: XWindows) -> None:
    import struct

    panel = windows.add("Panel", GREY, 0, 0, 400, 40)
    windows.put(panel, "_NET_WM_WINDOW_TYPE", "ATOM", struct.pack("<I", windows.atom("_NET_WM_WINDOW_TYPE_DOCK")), 32)
    hidden = windows.add("Thu nhỏ", GREY, 0, 0, 400, 300)
    windows.unmap(hidden)
    windows.put(windows.root, "_NET_CLIENT_LIST", "WINDOW", struct.pack("<III", panel, hidden, 0x7FFFFFF), 32)
    desktop = screen.open_desktop()
    try:
        assert [(one.id, one.hidden) for one in desktop.listed(0)[1:]] == [(f"window:{hidden}", True)], "one in the list has gone meanwhile"
    finally:
        desktop.close()
        windows.put(windows.root, "_NET_CLIENT_LIST", "WINDOW", b"", 32)


@needs_x
def test_small_pictures_are_whole_though_windows_lie_over_each_other(windows: XWindows) -> None:
    red = windows.add("Red", RED, 0, 0, 640, 360)
    windows.add("Blue", BLUE, 100, 100, 640, 360)
    told: list[Screens | Thumbnail] = []
    lister = ScreenLister(told.append, idle_s=0.3)
    try:
        for _ in range(2):
            told.clear()
            lister.look(0)
            assert until(lambda: len(told) == 4)
        assert isinstance(told[0], Screens)
        pictures = {one.id: base64.b64decode(one.picture) for one in told[1:] if isinstance(one, Thumbnail)}
        assert all(len(picture) < screen.MAX_THUMBNAIL for picture in pictures.values())
        with av.open(io.BytesIO(pictures[f"window:{red}"]), format="jpeg_pipe") as container:
            frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (320, 180)
        assert near(pixel(frame, 0.9, 0.9), RED), "the blue one covers it there"
        assert until(lambda: lister._thread is None), "the desktop is let go when nobody asks"
    finally:
        lister.close()


@needs_x
def test_a_server_that_goes_is_told_and_closing_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    told: list[Screens | Thumbnail] = []
    lister = ScreenLister(told.append)
    with x_server("640x480") as name:
        monkeypatch.setenv("DISPLAY", name)
        lister.look(0)
        assert until(lambda: any(isinstance(one, Thumbnail) for one in told))
    told.clear()
    lister.look(0)
    assert until(lambda: bool(told))
    assert told == [Screens(trouble="no_display", sound=told[0].sound)]  # type: ignore[union-attr]
    lister.close()
    lister.join(5)
    lister.look(0)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("environment", "code"),
    [({"DISPLAY": ""}, "no_display"), ({"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0"}, "wayland"), ({"DISPLAY": ":0", "XDG_SESSION_TYPE": "wayland"}, "wayland"),
     ({"DISPLAY": ":87654"}, "no_display")],
)  # fmt: skip
def test_where_nothing_can_be_shared_it_is_said_why(environment: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError) as raised:
        screen.open_grab("screen:0")
    assert raised.value.code == code


@given(st.text())
def test_a_title_is_one_line_that_turns_nothing_around(title: str) -> None:
    shown = clean_name(title)
    assert len(shown) <= MAX_NAME
    assert not any(c in shown for c in "\n\r\t\0\u202e\u2066\u200f\u2028")


# ---- what is grabbed ---------------------------------------------------------------------------------------------------------


@needs_x
@pytest.mark.parametrize("device", ["window:", "window:x", "window:٣", "window:12345678901", "window:" + "9" * 30, "screen:-1", "window:305419896", "screen:7"])
def test_what_is_not_there_is_told(windows: XWindows, see: Callable[..., Seen], device: str) -> None:
    seen = see(device)
    assert until(lambda: bool(seen.errors))
    assert seen.errors in (["not_found"], ["window_closed"], ["screen_gone"])
    assert not seen.frames


@needs_x
def test_a_screen_comes_as_it_is_and_a_larger_one_smaller(windows: XWindows, see: Callable[..., Seen]) -> None:
    windows.add("Red", RED, 0, 0, 1280, 1440)
    windows.add("Blue", BLUE, 1280, 0, 1280, 1440)
    seen = see("screen:0")
    assert until(lambda: bool(seen.frames))
    frame = seen.frames[0][1]
    assert (frame.width, frame.height, frame.format.name) == (1920, 1080, "yuv420p")
    assert near(pixel(frame, 0.25, 0.5), RED)
    assert near(pixel(frame, 0.75, 0.5), BLUE)
    assert seen.areas == [Area(0, 0, 2560, 1440)]


@needs_x
def test_each_of_two_screens_is_itself_also_when_one_is_unplugged(monkeypatch: pytest.MonkeyPatch, see: Callable[..., Seen]) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    with x_server("1600x600") as name:
        monkeypatch.setenv("DISPLAY", name)
        windows = XWindows()
        windows.monitor("DP-1", 0, 0, 1000, 600, claims_output=True)
        windows.monitor("HDMI-1", 1000, 0, 600, 600, primary=True)
        windows.add("Red", RED, 0, 0, 1000, 600)
        windows.add("Blue", BLUE, 1000, 0, 600, 600)
        desktop = screen.open_desktop()
        screens = [one for one in desktop.listed(0) if one.kind == "screen"]
        desktop.close()
        assert [(one.id, one.name, one.left, one.width) for one in screens] == [("screen:0", "HDMI-1", 1000, 600), ("screen:1", "DP-1", 0, 1000)]
        first, second = see("screen:0"), see("screen:1")
        for x in (0.01, 0.99):
            assert until(lambda x=x: first.shows(BLUE, x) and second.shows(RED, x))  # type: ignore[misc]
        windows.forget_monitor("HDMI-1")
        assert until(lambda: first.errors == ["screen_gone"]), "and the other one, which is the first now, is not shown in its place"
        assert first.shows(BLUE)
        count = len(second.frames)
        assert until(lambda: len(second.frames) > count + 2)
        assert second.shows(RED)
        second.end()
        windows.close()


@needs_x
def test_a_window_is_seen_without_what_covers_it(windows: XWindows, see: Callable[..., Seen]) -> None:
    red = windows.add("Red", RED, 200, 100, 401, 303)
    seen = see(f"window:{red}")
    assert until(lambda: seen.shows(RED))
    assert (seen.frames[-1][1].width, seen.frames[-1][1].height) == (400, 302)
    windows.add("Secret", BLUE, 0, 0, 1000, 1000)
    whole = see("screen:0")
    assert until(lambda: whole.shows(BLUE, 0.15, 0.15)), "it lies over the red one"
    count = len(seen.frames)
    assert until(lambda: len(seen.frames) > count + 3)
    for x in (0.02, 0.5, 0.98):
        assert seen.shows(RED, x, x)


@needs_x
def test_a_window_is_followed_wherever_it_goes_until_it_closes(windows: XWindows, see: Callable[..., Seen]) -> None:
    window = windows.add("Green", GREEN, 0, 0, 400, 300)
    seen = see(f"window:{window}")
    assert until(lambda: seen.shows(GREEN))
    windows.move(window, 300, 200, 400, 300)
    assert until(lambda: seen.areas[-1] == Area(300, 200, 400, 300))
    windows.move(window, -100, 200, 640, 480)
    assert until(lambda: seen.frames[-1][1].width == 640), "the whole of it, also what is outside the screen"
    assert seen.shows(GREEN, 0.01)
    windows.move(window, 0, 0, 200, 100)
    assert until(lambda: seen.frames[-1][1].width == 200)
    windows.unmap(window)
    assert until(lambda: not seen.areas[-1].shown)
    count = len(seen.frames)
    assert until(lambda: len(seen.frames) > count + 2), "the last picture goes on: who joins now needs one"
    assert seen.shows(GREEN)
    windows.map(window)
    windows.colour(window, BLUE)
    assert until(lambda: seen.shows(BLUE))
    assert seen.areas[-1].shown
    windows.destroy(window)
    assert until(lambda: seen.errors == ["window_closed"])
    assert until(lambda: not seen.capture.is_alive())
    assert not [one for one in threading.enumerate() if one.name.startswith("screen")]


@needs_x
def test_another_window_under_the_number_of_the_shared_one_is_never_seen(windows: XWindows, see: Callable[..., Seen]) -> None:
    """A program ends and another begins at once: the X server gives it the same numbers."""
    window = windows.add("Shared", GREEN, 0, 0, 400, 300)
    seen = see(f"window:{window}")
    assert until(lambda: seen.shows(GREEN))
    windows.destroy(window)
    windows._made -= 1
    assert windows.add("Secret", BLUE, 0, 0, 400, 300) == window
    assert until(lambda: not seen.capture.is_alive())
    assert seen.errors == ["window_closed"]
    assert all(near(pixel(frame, 0.5, 0.5), GREEN) for _, frame in seen.frames)


@needs_x
def test_a_window_larger_than_memory_has_no_picture(windows: XWindows, see: Callable[..., Seen]) -> None:
    window = windows.add("Huge", RED, 0, 0, 32_000, 32_000)
    desktop = screen.open_desktop()
    assert [one.hidden for one in desktop.listed(0) if one.id == f"window:{window}"] == [True]
    assert [one for one in screen.thumbnails(desktop, desktop.listed(0)) if one.id == f"window:{window}"] == []
    desktop.close()
    seen = see(f"window:{window}")
    assert until(lambda: bool(seen.areas))
    assert not seen.areas[-1].shown
    time.sleep(0.3)
    assert (seen.frames, seen.errors) == ([], [])


@needs_x
def test_a_window_that_is_minimised_at_first_is_waited_for(windows: XWindows, see: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a device may take to open: it is there, only not to be seen."""
    window = windows.add("Green", GREEN, 0, 0, 400, 300)
    windows.unmap(window)
    monkeypatch.setattr(capture, "OPENS_S", 0.1)
    monkeypatch.setattr(capture, "DEAD_AFTER_S", 0.5)
    seen = see(f"window:{window}")
    assert until(lambda: bool(seen.areas))
    assert not seen.areas[0].shown
    time.sleep(0.5)
    assert not seen.errors
    windows.map(window)
    assert until(lambda: seen.shows(GREEN))


@needs_x
def test_what_does_not_move_comes_seldom_and_is_not_converted_again(windows: XWindows, see: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    window = windows.add("Grey", GREY, 0, 0, 400, 300)
    seen = see(f"window:{window}", 15)
    assert until(lambda: len(seen.frames) > 2)
    first = seen.frames[-1][1]
    assert until(lambda: len(seen.frames) > 8)
    still = seen.frames[3:9]
    assert all(frame is first for _, frame in still), "the same picture, converted once"
    assert (still[-1][0] - still[0][0]) / 5 > 0.12, "about five a second"
    count, ends, colours = len(seen.frames), time.monotonic() + 1.5, 0
    while time.monotonic() < ends:
        colours += 1
        windows.colour(window, 0x101010 * (1 + colours % 15))
        time.sleep(0.01)
    moving = [at for at, _ in seen.frames[count:]]
    assert len({id(frame) for _, frame in seen.frames[count:]}) > 6
    assert len(moving) / 1.5 < 20


@needs_x
def test_a_grab_that_fails_again_and_again_is_given_up(windows: XWindows, see: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    window = windows.add("Grey", GREY, 0, 0, 400, 300)
    monkeypatch.setattr(screen_capture, "LOOK_S", 0.01)
    tries: list[str] = []

    def refuse(*args: Any, **kwargs: Any) -> Any:
        tries.append(args[0])
        raise av.FFmpegError(5, "Input/output error")

    monkeypatch.setattr(screen.av, "open", refuse)
    seen = see(f"window:{window}")
    assert until(lambda: seen.errors == ["device_lost"])
    assert len(tries) == screen_capture.MAX_FAILURES + 1


@needs_x
def test_a_connection_that_is_closed_says_so(windows: XWindows) -> None:
    from vidconf.engine.x11 import XError

    display = XDisplay()
    assert display.viewable(display.root)
    with pytest.raises(XError) as raised:
        display.place(0x1234567)
    assert raised.value.code == 9
    display.close()
    display.close()
    with pytest.raises(XError) as raised:
        display.viewable(display.root)
    assert raised.value.code == 0

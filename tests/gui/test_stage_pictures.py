"""Rings that come, are replaced, vanish and never were; and how painting is counted. Real segments."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from gui.stage_room import flat
from PySide6.QtGui import QColor

from vidconf.engine.frame_ring import RingWriter
from vidconf.gui.stage.pictures import KEEP_S, OPEN_AGAIN_S, WINDOW_S, Picture, Pictures

RED, BLUE = QColor("#AA1010"), QColor("#1010AA")

pytestmark = pytest.mark.usefixtures("qapp")


def write(ring: RingWriter, colour: QColor, width: int = 32, height: int = 18) -> None:
    picture = flat(width, height, colour)
    assert ring.write_bgrx(bytes(picture.constBits()), width, height, picture.bytesPerLine())


def colour(picture: Picture) -> QColor | None:
    image = picture.image()
    return image.pixelColor(3, 3) if image is not None else None


@pytest.fixture
def ring() -> RingWriter:
    return RingWriter(32 * 18 * 4)


def mapped(name: str) -> int:
    return sum(name.lstrip("/") in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_the_newest_is_taken_once(ring: RingWriter) -> None:
    picture = Picture("t")
    picture.follow(ring.name, 0.0)
    assert picture.take(0.0) is False
    write(ring, BLUE)
    write(ring, RED)
    assert picture.take(0.1) is True
    assert colour(picture) == RED
    assert picture.take(0.2) is False
    picture.close()
    ring.close()


def test_a_ring_that_is_not_there_is_tried_again_but_not_all_the_time(ring: RingWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    import vidconf.gui.stage.pictures as module

    tries: list[str] = []
    real = module.RingReader

    def counted(name: str) -> object:
        tries.append(name)
        return real(name)

    monkeypatch.setattr(module, "RingReader", counted)
    picture = Picture("t")
    picture.follow("no-such-ring", 0.0)
    for now in (0.0, 0.1, OPEN_AGAIN_S - 0.01, OPEN_AGAIN_S + 0.01):
        assert picture.take(now) is False
    assert len(tries) == 2
    picture.follow(ring.name, 1.0)
    write(ring, RED)
    assert picture.take(1.0) is True
    picture.close()
    ring.close()


def test_a_segment_that_is_no_ring_is_left_alone() -> None:
    from multiprocessing.shared_memory import SharedMemory

    segment = SharedMemory(create=True, size=8192)
    picture = Picture("t")
    picture.follow(segment.name, 0.0)
    assert picture.take(0.0) is False
    assert picture.live is False
    picture.close()
    segment.close()
    segment.unlink()


def test_between_two_rings_the_last_picture_stands_in(ring: RingWriter) -> None:
    picture, later = Picture("t"), RingWriter(64 * 36 * 4)
    picture.follow(ring.name, 0.0)
    write(ring, RED)
    picture.take(0.0)
    assert picture.follow(later.name, 1.0) is True
    ring.close()
    assert picture.take(1.1) is False
    assert colour(picture) == RED
    write(later, BLUE, 64, 36)
    assert picture.take(1.2) is True
    assert colour(picture) == BLUE
    picture.close()
    later.close()


def test_a_picture_whose_ring_has_gone_does_not_pass_for_live_for_long(ring: RingWriter) -> None:
    picture = Picture("t")
    picture.follow(ring.name, 0.0)
    write(ring, RED)
    picture.take(0.0)
    picture.follow("", 10.0)
    ring.close()
    assert picture.take(10.0 + KEEP_S - 0.1) is False
    assert colour(picture) == RED
    assert picture.flowing
    assert picture.take(10.0 + KEEP_S + 0.1) is True  # a change to paint
    assert colour(picture) is None
    assert not picture.flowing


def test_a_camera_that_is_switched_off_shows_nothing_of_before(ring: RingWriter) -> None:
    picture = Picture("t")
    picture.expect(True, 0.0)
    picture.follow(ring.name, 0.0)
    write(ring, RED)
    picture.take(0.0)
    picture.expect(False, 1.0)
    assert picture.image() is None
    picture.expect(True, 2.0)
    assert picture.take(2.0) is False
    assert picture.image() is None
    write(ring, BLUE)
    assert picture.take(2.1) is True
    assert colour(picture) == BLUE
    picture.close()
    ring.close()


def test_waiting_is_counted_from_when_a_picture_was_expected(ring: RingWriter) -> None:
    picture = Picture("t")
    assert picture.waited_s(5.0) == 0.0
    picture.expect(True, 5.0)
    picture.expect(True, 6.0)
    assert picture.waited_s(7.0) == 2.0
    picture.follow(ring.name, 7.0)
    write(ring, RED)
    picture.take(7.0)
    assert picture.waited_s(9.0) == 0.0
    picture.close()
    ring.close()


def test_only_distinct_pictures_that_were_painted_count(ring: RingWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    import vidconf.gui.stage.pictures as module

    clock = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    picture = Picture("t")
    picture.follow(ring.name, clock[0])
    for _ in range(120):
        clock[0] += 1 / 30
        write(ring, RED)
        picture.take(clock[0])
        picture.shown()
        picture.shown()  # painted again, for a name that changed
    assert picture.painted == 120
    assert picture.painted_fps(clock[0]) == pytest.approx(30, abs=0.6)
    assert picture.painted_fps(clock[0] + WINDOW_S / 2) == pytest.approx(15, abs=0.6)  # it has stalled
    assert picture.painted_fps(clock[0] + WINDOW_S + 0.1) == 0.0
    ages = picture.ages_ms(clock[0])
    assert 0 <= ages["p50"] <= ages["p95"] < 1000
    picture.close()
    ring.close()


def test_a_short_life_is_counted_over_its_own_length(ring: RingWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    import vidconf.gui.stage.pictures as module

    clock = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    picture = Picture("t")
    picture.follow(ring.name, clock[0])
    for _ in range(16):
        write(ring, RED)
        picture.take(clock[0])
        picture.shown()
        clock[0] += 1 / 30
    assert picture.painted_fps(clock[0]) == pytest.approx(30, abs=2)
    picture.close()
    ring.close()


def test_what_is_followed_is_all_that_is_open(ring: RingWriter) -> None:
    other = RingWriter(32 * 18 * 4)
    pictures = Pictures()
    pictures.follow({"a": ring.name, "b": other.name}, 0.0)
    write(ring, RED)
    write(other, BLUE)
    assert pictures.take(0.0) == {"a", "b"}
    pictures.follow({"b": other.name}, 1.0)
    name, other_name = ring.name, other.name
    ring.close()
    other.close()
    gc.collect()
    assert mapped(name) == 0
    assert mapped(other_name) > 0
    pictures.close()
    pictures.close()
    assert mapped(other_name) == 0

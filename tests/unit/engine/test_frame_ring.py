"""Rings of pictures between two processes: newest wins, nothing torn, nobody waits."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine import frame_ring
from vidconf.engine.frame_ring import BGRX, BT709, I420, RingError, RingReader, RingWriter, bgrx_bytes, i420_bytes, i420_stride


def picture(width: int, height: int, stride: int, value: int) -> bytes:
    return bytes((value,)) * bgrx_bytes(width, height, stride)


def test_newest_wins_and_what_is_held_stays() -> None:
    writer = RingWriter(64 * 8)
    reader = RingReader(writer.name)
    assert reader.newest() is None
    assert not reader.fresh()
    writer.write_bgrx(picture(16, 8, 64, 1), 16, 8, 64, 1000)
    held = reader.newest()
    assert held is not None
    assert (held.width, held.height, held.stride, held.format, held.pts_us) == (16, 8, 64, BGRX, 1000)
    for value in range(2, 12):
        assert writer.write_bgrx(picture(16, 8, 64, value), 16, 8, 64)
        assert reader.whole()
        assert held.data[0] == 1
    newest = reader.newest()
    assert newest is not None
    assert newest.data[63] == 11
    assert reader.missed == 9
    assert reader.newest() is None
    reader.close()
    writer.close()


def test_a_cropped_picture_lies_with_its_stride() -> None:
    writer = RingWriter(64 * 4)
    reader = RingReader(writer.name)
    source = bytes(range(256))
    writer.write_bgrx(memoryview(source)[8 : 8 + bgrx_bytes(10, 4, 64)], 10, 4, 64)
    frame = reader.newest()
    assert frame is not None
    assert bytes(frame.data[64:104]) == source[72:112]
    reader.close()
    writer.close()


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 20))
def test_i420_lies_side_by_side(width: int, height: int, spare: int) -> None:
    stride = i420_stride(width)
    columns, rows = (width + 1) // 2, (height + 1) // 2
    writer = RingWriter(i420_bytes(height, stride))
    reader = RingReader(writer.name)
    planes = tuple((memoryview(bytes((v,)) * ((w + spare) * h)), w + spare) for v, w, h in ((1, width, height), (2, columns, rows), (3, columns, rows)))
    assert writer.write_i420(planes, width, height, 7, BT709)
    frame = reader.newest()
    assert frame is not None
    assert frame.format == I420 | BT709
    lines = [bytes(frame.data[y * stride : (y + 1) * stride]) for y in range(height + rows)]
    assert all(line[:width] == b"\1" * width for line in lines[:height])
    for line in lines[height:]:
        assert line[:columns] == b"\2" * columns
        assert line[stride // 2 : stride // 2 + columns] == b"\3" * columns
    reader.close()
    writer.close()


def test_what_is_no_ring_is_refused() -> None:
    with pytest.raises(RingError):
        RingReader("vidconf-no-such-ring")
    writer = RingWriter(4096)
    with pytest.raises(RingError):
        writer.write_bgrx(bytes(8192), 32, 64, 128)
    with pytest.raises(RingError):
        writer.write_bgrx(bytes(8192), 32, 4, 64)
    writer._words[0] = 0
    with pytest.raises(RingError):
        RingReader(writer.name)
    writer.close()


def test_a_writer_gone_mad_does_not_lead_the_reader_out_of_the_slot() -> None:
    writer = RingWriter(4096)
    reader = RingReader(writer.name)
    writer.write_bgrx(bytes(4096), 32, 32, 128)
    words = writer._words
    at = frame_ring.FIRST_SLOT + 8 * (words[frame_ring.NEWEST] & 3)
    for height, stride in ((64, 128), (32, 64), (1 << 40, 1 << 20)):
        words[at + 2], words[at + 3] = height, stride
        assert reader.newest() is None
    words[frame_ring.NEWEST] = 99 << 2 | 3
    assert reader.newest() is None
    reader.close()
    writer.close()


def test_leftovers_are_removed_and_closing_twice_over_is_no_matter() -> None:
    writer = RingWriter(4096)
    frame_ring.remove_leftover(writer.name)
    frame_ring.remove_leftover(writer.name)
    with pytest.raises(RingError):
        RingReader(writer.name)
    writer.close()


def _write(pipe: Connection, seconds: float) -> None:
    """Every picture filled with its number, as fast as it can or at a random pace, sizes changing."""
    rnd = random.Random(1)
    ring = RingWriter(640 * 4 * 90)
    pipe.send(ring.name)
    pipe.recv()
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        number += 1
        width, height = ((160, 90), (80, 45), (107, 60))[number // 50 % 3]
        ring.write_bgrx(picture(width, height, 640, number % 251), width, height, 640, number % 251)
        if number % 7 == 0:
            time.sleep(rnd.random() * 0.002)
    pipe.send(number)
    pipe.recv()
    ring.close()


def test_nothing_is_torn_between_two_processes() -> None:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    engine = spawn.Process(target=_write, args=(theirs, 1.5))
    engine.start()
    ring = RingReader(ours.recv())
    ours.send("attached")
    rnd = random.Random(2)
    taken = 0
    while not ours.poll():
        frame = ring.newest()
        if frame is None:
            continue
        taken += 1
        if taken % 5 == 0:
            time.sleep(rnd.random() * 0.003)  # hold it while the writer laps us
        seen = frame.data[: bgrx_bytes(frame.width, frame.height, frame.stride)]
        assert seen == bytes((frame.pts_us,)) * len(seen)
        seen.release()
        assert ring.whole()
    assert ours.recv() > 100
    assert taken > 50
    ring.close()
    ours.send("done")
    engine.join(10)
    assert engine.exitcode == 0
    ours.close()
    theirs.close()
    engine.close()

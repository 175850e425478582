"""Two layers made one stream: timestamps by report or by arrival, VP8 numbers in their own widths; RED made and undone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidconf.relay.redundancy import primary_of, wrapped
from vidconf.relay.renumbering import Heard, Pictures, Shift, picture_shift, shifted_vp8, timestamp_shift, vp8_pictures
from vidconf.rtp.packets import PacketError
from vidconf.rtp.red import Block, build, parse
from vidconf.rtp.vp8 import parse_descriptor

U32 = st.integers(0, (1 << 32) - 1)


def ntp(seconds: float) -> int:
    return int(seconds * (1 << 32)) & (1 << 64) - 1


@given(U32, U32, U32, st.floats(0, 3600), st.floats(-4, 4), st.floats(0.005, 30))
def test_reports_place_a_picture_where_it_was_taken(base: int, other: int, shift: int, at: float, apart: float, later: float) -> None:
    """Two layers of one clock with other beginnings: after the switch each picture keeps its time."""
    left_ticks, joined_ticks = round(at * 90_000), round((at + later) * 90_000)
    left = Heard((base + left_ticks) & 0xFFFFFFFF, at, ntp(5000 + at), (base + left_ticks) & 0xFFFFFFFF)
    report_at = max(0.0, at + apart)
    joined = Heard((other + joined_ticks) & 0xFFFFFFFF, at + later, ntp(5000 + report_at), (other + round(report_at * 90_000)) & 0xFFFFFFFF)
    added = timestamp_shift(shift, left, joined, at + later + 0.02, 90_000)
    out = (joined.timestamp + added) & 0xFFFFFFFF
    true = (base + shift + joined_ticks) & 0xFFFFFFFF
    assert abs((out - true + (1 << 31)) % (1 << 32) - (1 << 31)) <= 2


@given(U32, U32, U32, st.floats(0, 100), st.booleans())
def test_without_reports_or_with_lies_arrival_places_it(newest: int, timestamp: int, shift: int, pause: float, lies: bool) -> None:
    reports = (ntp(100), 0, ntp(7), 5 * 90_000) if lies else (0, 0, 0, 0)
    left, joined = Heard(newest, 10.0, *reports[:2]), Heard(timestamp, 10.0 + pause, *reports[2:])
    added = timestamp_shift(shift, left, joined, 10.0 + pause, 90_000)
    step = (timestamp + added - newest - shift) & 0xFFFFFFFF
    assert step >= 1
    if not lies:
        assert abs(step - pause * 90_000) <= 1


def test_it_never_goes_back() -> None:
    """The same moment in the larger layer, a little later: after it, not at it."""
    left = Heard(1000, 10.0, ntp(50), 1000)
    joined = Heard(777, 10.002, ntp(50), 777)
    assert timestamp_shift(5, left, joined, 10.002, 90_000) == 1006 - 777


def payload(picture: int | None, tl0: int | None, key: int | None, wide: bool = True, tail: bytes = b"\x10" + bytes(20)) -> bytes:
    extended = 0x80 * (picture is not None) | 0x40 * (tl0 is not None) | 0x10 * (key is not None)
    if not extended:
        return b"\x10" + tail
    head = bytes((0x90, extended))
    if picture is not None:
        head += (0x8000 | picture).to_bytes(2, "big") if wide else bytes((picture & 0x7F,))
    head += bytes((tl0,)) if tl0 is not None else b""
    return head + (bytes((0x40 | key,)) if key is not None else b"") + tail


numbers = st.tuples(st.none() | st.integers(0, 0x7FFF), st.none() | st.integers(0, 255), st.none() | st.integers(0, 31))


@given(numbers, numbers, st.booleans())
def test_the_next_picture_has_the_next_numbers(last: tuple, first: tuple, wide: bool) -> None:  # type: ignore[type-arg]
    data = payload(*first, wide=wide)
    there = vp8_pictures(data)
    moved = shifted_vp8(data, Shift(0, *picture_shift(Pictures(*last), there)))
    assert len(moved) == len(data)
    for before, were, now, mask in zip(last, there, vp8_pictures(moved), (0x7FFF if wide else 0x7F, 255, 31), strict=True):
        if were is None or before is None:
            assert now == were
        else:
            assert now == (before + 1) & mask
    _, at = parse_descriptor(data)
    assert moved[at:] == data[at:]
    assert moved[:2] == data[:2]


@given(st.binary(min_size=1, max_size=40), st.integers(0, 0x7FFF), st.integers(0, 255), st.integers(0, 31))
def test_any_bytes_are_taken(data: bytes, picture: int, tl0: int, key: int) -> None:
    vp8_pictures(data)
    moved = shifted_vp8(data, Shift(0, picture, tl0, key))
    assert len(moved) == len(data)
    assert shifted_vp8(moved, Shift(0, -picture, -tl0, -key)) == data


@given(st.binary(min_size=1, max_size=600), st.lists(st.tuples(st.integers(-2000, 40_000), st.binary(max_size=1100)), max_size=2))
def test_red_is_what_its_reader_reads(newest: bytes, before: list[tuple[int, bytes]]) -> None:
    timestamp = 100_000
    made = wrapped(timestamp, newest, [(timestamp - back, block) for back, block in before], 111)
    fit = []
    for back, block in reversed(before):
        if not (0 < back < 1 << 14 and 0 < len(block) < 1 << 10 and sum(len(b) + 4 for _, b in fit) + len(block) + 4 + len(newest) <= 1100):
            break
        fit.append((back, block))
    if not fit:
        assert made is None
        return
    assert made is not None
    assert parse(made) == [*(Block(111, back, block) for back, block in reversed(fit)), Block(111, 0, newest)]
    assert primary_of(made, 111) == newest
    assert primary_of(made, 110) == b""


@given(st.binary(max_size=60))
def test_the_primary_of_any_bytes(data: bytes) -> None:
    try:
        blocks = parse(data)
    except PacketError:
        assert primary_of(data, 111) in (b"", data[-1:])
        return
    if all(b.payload_type == 111 for b in blocks):
        assert primary_of(data, 111) == blocks[-1].payload


def test_red_of_another_hand() -> None:
    made = build([Block(111, 1920, b"aa"), Block(111, 960, b"bbb"), Block(111, 0, b"cccc")])
    assert primary_of(made, 111) == b"cccc"
    assert primary_of(made[:-5], 111) == b""
    assert primary_of(build([Block(96, 960, b"x"), Block(111, 0, b"y")]), 111) == b""

"""One stream out of several: what is added to timestamps and VP8 numbers when a subscriber goes over to another layer. Pure.

Each layer of a simulcast track has timestamps of its own and, in VP8, picture ids of its own (RFC 7741 §4.2). To a receiver it
must be one stream: the picture after the last one, in time where it was taken. Sender reports say which timestamps of two
layers are of the same moment (as LiveKit's pkg/sfu/forwarder.go); before they have come, arrival has to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

BELIEVED_S = 0.5
"""Reports that place a picture further from its arrival than this are not believed."""


class Heard(NamedTuple):
    """Of one layer: the newest timestamp and when it came (monotonic seconds), and its last sender report: NTP time (32.32
    fixed point, 0: none yet) and the timestamp of that moment."""

    timestamp: int
    at: float
    report_ntp: int = 0
    report_timestamp: int = 0


class Pictures(NamedTuple):
    """The running numbers of a VP8 payload; None where its descriptor has none."""

    picture_id: int | None = None
    tl0picidx: int | None = None
    keyidx: int | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """What is added to each number of a layer on its way to one subscriber, modulo the number's width."""

    timestamp: int = 0
    picture_id: int = 0
    tl0picidx: int = 0
    keyidx: int = 0

    @property
    def is_plain(self) -> bool:
        """Nothing is added: the packet goes as it came."""
        return not (self.timestamp or self.picture_id or self.tl0picidx or self.keyidx)


def timestamp_shift(shift: int, left: Heard, joined: Heard, now: float, clock_hz: int) -> int:
    """What to add to the timestamps of the layer `joined`, whose keyframe with `joined.timestamp` has just come, after the
    layer `left` went out with `shift` added. The result places it at its own moment and after the last picture."""
    last = left.timestamp + shift
    expected = last + round(max(0.0, now - left.at) * clock_hz)
    placed = expected
    if left.report_ntp and joined.report_ntp:
        apart = (joined.report_ntp - left.report_ntp + (1 << 63)) % (1 << 64) - (1 << 63)
        # The timestamp of `left` at the moment of the other's report, and from there to the keyframe.
        then = left.report_timestamp + (apart * clock_hz >> 32)
        reported = then + shift + joined.timestamp - joined.report_timestamp
        if abs(_signed(reported - expected)) <= BELIEVED_S * clock_hz:
            placed = reported
    if _signed(placed - last) <= 0:
        placed = last + 1
    return (placed - joined.timestamp) & 0xFFFFFFFF


def _signed(difference: int) -> int:
    return (difference + 0x80000000) % 0x100000000 - 0x80000000


def picture_shift(last: Pictures, first: Pictures) -> tuple[int, int, int]:
    """What to add to (picture id, TL0PICIDX, KEYIDX) of a layer that begins with `first`, so that it goes on after `last`, the
    numbers last sent. A number that either lacks is left alone."""
    return (
        _after(last.picture_id, first.picture_id, 0x7FFF),
        _after(last.tl0picidx, first.tl0picidx, 0xFF),
        _after(last.keyidx, first.keyidx, 0x1F),
    )


def _after(last: int | None, first: int | None, mask: int) -> int:
    return 0 if last is None or first is None else (last + 1 - first) & mask


def vp8_pictures(payload: bytes) -> Pictures:
    """The numbers in a VP8 payload's descriptor; none of them when it is cut short."""
    found: list[int | None] = [None, None, None]
    try:
        if payload[0] & 0x80:
            x, at = payload[1], 2
            if x & 0x80:
                found[0] = payload[at]
                at += 1
                if payload[at - 1] & 0x80:
                    found[0] = (payload[at - 1] & 0x7F) << 8 | payload[at]
                    at += 1
            if x & 0x40:
                found[1] = payload[at]
                at += 1
            if x & 0x10:
                found[2] = payload[at] & 0x1F
    except IndexError:
        return Pictures()
    return Pictures(*found)


def shifted_vp8(payload: bytes, shift: Shift) -> bytes:
    """The payload with `shift` added to its descriptor's numbers, each in the width it has there; as it is when it has none."""
    if not payload[0] & 0x80 or len(payload) < 6:
        return payload
    x, at = payload[1], 2
    head = bytearray(payload[:6])
    if x & 0x80:
        if payload[2] & 0x80:
            number = (payload[2] << 8 | payload[3]) + shift.picture_id
            head[2], head[3] = 0x80 | number >> 8 & 0x7F, number & 0xFF
            at = 4
        else:
            head[2] = payload[2] + shift.picture_id & 0x7F
            at = 3
    if x & 0x40:
        head[at] = payload[at] + shift.tl0picidx & 0xFF
        at += 1
    if x & 0x10:
        head[at] = payload[at] & 0xE0 | payload[at] + shift.keyidx & 0x1F
    return b"".join((head, payload[6:]))

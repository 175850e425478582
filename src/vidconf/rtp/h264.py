"""H.264 over RTP: single NAL units, STAP-A and FU-A (RFC 6184, packetization modes 0 and 1), keyframes and sizes (H.264 §7.3.2.1).

Pure; any thread. Malformed input raises PacketError. Frames are byte streams (H.264 annex B): each NAL unit behind a start code.
A keyframe begins with its sequence parameter set: RTP senders to browsers repeat it before each IDR picture (RFC 7742 §6.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vidconf.rtp.bits import BitReader
from vidconf.rtp.packets import HeldPacket, PacketError

IDR, SPS, PPS = 5, 7, 8
STAP_A, FU_A = 24, 28
START_CODE = b"\0\0\0\1"
MAX_UNITS, MAX_HEAD = 64, 1 << 16
"""So many NAL units, and bytes, are looked at in a frame for its parameter sets and the first slice."""
MAX_SETS = 4
"""Sequence parameter sets of a frame; who sends to browsers has one."""
MAX_MACROBLOCKS_KEPT = 184_320
"""What a decoder of level 5.1 keeps of earlier pictures (H.264 table A-1, MaxDpbMbs): five of 4096 × 2304."""

_START = re.compile(rb"\x00{2,}\x01")
"""A start code, with the zeros that may come before it."""
_FINE_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""Those whose parameter sets say a chroma format (H.264 §7.3.2.1.1)."""


def unpack(payload: bytes) -> tuple[bytes, bool, bool]:
    """The NAL units in a payload as a byte stream, whether a frame may begin here, and whether a keyframe does. A piece of a NAL
    unit is its bytes alone. Raises PacketError."""
    kind = payload[0] & 31
    if 0 < kind < STAP_A:
        return START_CODE + payload, True, kind == SPS
    if kind == FU_A:
        if len(payload) < 2:
            raise PacketError("FU-A is cut short")
        head = payload[1]
        if not head & 0x80:
            return payload[2:], False, False
        kind = head & 31
        if not 0 < kind < STAP_A:
            raise PacketError("FU-A of what is no NAL unit")
        return START_CODE + bytes((payload[0] & 0xE0 | kind,)) + payload[2:], True, kind == SPS
    if kind == STAP_A:
        return _aggregate(payload)
    raise PacketError("an H.264 payload of a kind that packetization modes 0 and 1 do not have")


def _aggregate(payload: bytes) -> tuple[bytes, bool, bool]:
    """STAP-A: each unit behind its size."""
    parts: list[bytes] = []
    key, at, size = False, 1, len(payload)
    while at < size:
        after = at + 2 + int.from_bytes(payload[at : at + 2], "big")
        if after > size:
            raise PacketError("a unit runs over its STAP-A")
        if after > at + 2:
            key = key or payload[at + 2] & 31 == SPS
            parts += START_CODE, payload[at + 2 : after]
        at = after
    if not parts:
        raise PacketError("STAP-A with nothing in it")
    return b"".join(parts), True, key


def join(packets: Sequence[HeldPacket]) -> bytes:
    """A frame is its packets' data, end to end."""
    return b"".join([packet[3] for packet in packets])


def units(frame: bytes) -> Iterator[int]:
    """Offsets of the NAL units of a byte stream: of the first MAX_UNITS within MAX_HEAD bytes."""
    at = 0
    for _ in range(MAX_UNITS):
        at = frame.find(b"\0\0\1", at, MAX_HEAD) + 3
        if at < 3 or at >= len(frame):
            return
        yield at


def is_keyframe(frame: bytes) -> bool:
    """Whether a whole frame is an IDR picture: its first slice says so."""
    for at in units(frame):
        kind = frame[at] & 31
        if 0 < kind <= IDR:
            return kind == IDR
    return False


def packetize(frame: bytes, picture_id: int = 0, limit: int = 1150) -> list[bytes]:
    """Payloads of one frame (a byte stream), none larger than `limit`: RFC 6184, packetization mode 1. Parameter sets and other
    small units that follow each other share a payload (STAP-A), large ones are cut evenly (FU-A). H.264 has no picture id."""
    parts = [unit for unit in _START.split(frame) if unit]
    payloads: list[bytes] = []
    waiting: list[bytes] = []
    room = 0
    for unit in parts:
        if 3 + len(unit) > limit:
            payloads += _together(waiting)
            waiting, room = [], 0
            payloads += [unit] if len(unit) <= limit else _cut(unit, limit)
        elif waiting and room + 2 + len(unit) <= limit:
            waiting.append(unit)
            room += 2 + len(unit)
        else:
            payloads += _together(waiting)
            waiting, room = [unit], 3 + len(unit)
    return payloads + _together(waiting)


def _together(parts: Sequence[bytes]) -> list[bytes]:
    """One payload for all of them, none for none."""
    if len(parts) < 2:
        return list(parts)
    importance = max(unit[0] & 0x60 for unit in parts)
    return [bytes((importance | STAP_A,)) + b"".join([len(unit).to_bytes(2, "big") + unit for unit in parts])]


def _cut(unit: bytes, limit: int) -> list[bytes]:
    """FU-A: the unit's header is in each piece's own two bytes."""
    head, body = unit[0], unit[1:]
    count = -(-len(body) // (limit - 2))
    size = -(-len(body) // count)
    indicator, kind = head & 0xE0 | FU_A, head & 31
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    last = len(pieces) - 1
    return [bytes((indicator, kind | (0x80 if k == 0 else 0) | (0x40 if k == last else 0))) + piece for k, piece in enumerate(pieces)]


def keyframe_size(payload: bytes) -> tuple[int, int] | None:
    """Width and height as shown, in pixels, as the RTP payload with which a keyframe begins says; None for anything else. Raises
    PacketError."""
    data = unpack(payload)[0] if payload else b""
    sets = (data[at : at + 512] for at in units(data) if data[at] & 31 == SPS)
    return next((parse_sps(unit).shown for unit in sets), None)


def starts_keyframe(payload: bytes) -> bool:
    """True for the RTP payload with which a keyframe's parameter sets begin. False for anything else, also garbage."""
    try:
        return payload != b"" and unpack(payload)[2]
    except PacketError:
        return False


@dataclass(frozen=True, slots=True)
class SequenceParameters:
    """Of an SPS: `width` × `height` as coded, whole macroblocks; the shown picture is the window cut out of it."""

    profile: int
    level: int
    width: int
    height: int
    shown: tuple[int, int]
    references: int
    """Earlier pictures a decoder keeps."""


def parse_sps(unit: bytes) -> SequenceParameters:
    """A sequence parameter set, its NAL header first (H.264 §7.3.2.1.1). Raises PacketError."""
    read = BitReader(unit[1:512].replace(b"\0\0\3", b"\0\0"))
    profile, level = read.bits(8), read.bits(16) & 255
    read.unsigned()
    chroma = 1
    separate = False
    if profile in _FINE_PROFILES:
        chroma = read.unsigned()
        if chroma > 3:
            raise PacketError("a chroma format that H.264 does not have")
        separate = chroma == 3 and read.flag()
        read.unsigned()
        read.unsigned()
        read.bits(1)
        if read.flag():
            _skip_scaling(read, 12 if chroma == 3 else 8)
    read.unsigned()
    order = read.unsigned()
    if order == 0:
        read.unsigned()
    elif order == 1:
        read.bits(1)
        read.signed()
        read.signed()
        cycle = read.unsigned()
        if cycle > 255:
            raise PacketError("an order cycle longer than H.264's")
        for _ in range(cycle):
            read.signed()
    references = read.unsigned()
    read.bits(1)
    columns, rows = read.unsigned() + 1, read.unsigned() + 1
    frames_only = read.flag()
    if not frames_only:
        rows *= 2
        read.bits(1)
    read.bits(1)
    if columns > 65_536 or rows > 65_536 or references > 16:
        raise PacketError("a sequence parameter set larger than H.264's")
    width, height = 16 * columns, 16 * rows
    across = down = 0
    if read.flag():
        across, down = read.unsigned() + read.unsigned(), read.unsigned() + read.unsigned()
        across *= 2 if chroma in (1, 2) and not separate else 1
        down *= (2 if chroma == 1 and not separate else 1) * (1 if frames_only else 2)
        if across >= width or down >= height:
            raise PacketError("nothing is left of a cropped picture")
    return SequenceParameters(profile, level, width, height, (width - across, height - down), references)


def _skip_scaling(read: BitReader, lists: int) -> None:
    """H.264 §7.3.2.1.1.1."""
    for k in range(lists):
        if not read.flag():
            continue
        last = following = 8
        for _ in range(16 if k < 6 else 64):
            if following:
                following = (last + read.signed()) % 256
            last = following or last


def frame_size(frame: bytes) -> tuple[int, int] | None:
    """Coded width and height of the largest sequence parameter set in the frame; None where it has none. Raises PacketError,
    also for one that asks for more earlier pictures than level 5.1 keeps, and for too many of them."""
    largest: tuple[int, int] | None = None
    sets = 0
    for at in units(frame):
        if frame[at] & 31 != SPS:
            continue
        sets += 1
        if sets > MAX_SETS:
            raise PacketError("a frame of more parameter sets than anyone sends")
        found = parse_sps(frame[at : at + 512])
        if (found.width // 16) * (found.height // 16) * found.references > MAX_MACROBLOCKS_KEPT:
            raise PacketError("more pictures to be kept than a decoder of level 5.1 does")
        if largest is None or found.width * found.height > largest[0] * largest[1]:
            largest = found.width, found.height
    return largest

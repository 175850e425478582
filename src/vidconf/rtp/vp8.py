"""VP8 over RTP: payload descriptors in and out (RFC 7741), keyframes and their size (RFC 6386 §9.1).

Pure; any thread. Malformed input raises PacketError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidconf.rtp.packets import HeldPacket, PacketError
from vidconf.rtp.temporal_layers import Place

CLOCK_HZ = 90_000


@dataclass(slots=True)
class Vp8Descriptor:
    """RFC 7741 §4.2. `start`: first packet of a frame's first partition. Missing fields are None."""

    start: bool
    partition: int
    non_reference: bool = False
    picture_id: int | None = None
    tl0picidx: int | None = None
    temporal: int | None = None


def parse_descriptor(payload: bytes) -> tuple[Vp8Descriptor, int]:
    """The descriptor and the offset of the VP8 data behind it. Raises PacketError."""
    try:
        first, at = payload[0], 1
        picture_id = tl0picidx = temporal = None
        if first & 0x80:
            x, at = payload[1], 2
            if x & 0x80:
                picture_id = payload[at]
                at += 1
                if picture_id & 0x80:
                    picture_id = (picture_id & 0x7F) << 8 | payload[at]
                    at += 1
            if x & 0x40:
                tl0picidx = payload[at]
                at += 1
            if x & 0x30:
                temporal = payload[at] >> 6
                at += 1
    except IndexError as error:
        raise PacketError("VP8 payload descriptor is cut short") from error
    partition = first & 7
    return Vp8Descriptor(bool(first & 0x10) and partition == 0, partition, bool(first & 0x20), picture_id, tl0picidx, temporal), at


def place(payload: bytes) -> Place | None:
    """Where the frame stands among temporal layers; None where the descriptor does not say all of it. Raises PacketError."""
    if len(payload) < 2 or not payload[0] & 0x80 or payload[1] & 0xE0 != 0xE0:
        return None
    described, at = parse_descriptor(payload)
    if described.picture_id is None or described.tl0picidx is None or described.temporal is None:
        return None
    mask = 0x7FFF if payload[2] & 0x80 else 0x7F
    sync = bool(payload[at - 1] & 0x20)
    return Place(described.picture_id, mask, described.tl0picidx, described.temporal, sync, not described.non_reference)


def unpack(payload: bytes) -> tuple[bytes, bool, bool]:
    """The VP8 data, whether a frame begins with it, and whether a keyframe does: what `parse_descriptor` says, at a third of its
    cost. Raises PacketError."""
    try:
        first, at = payload[0], 1
        if first & 0x80:
            x, at = payload[1], 2
            if x & 0x80:
                at = 4 if payload[2] & 0x80 else 3
            if x & 0x40:
                at += 1
            if x & 0x30:
                at += 1
    except IndexError:
        first, at = 0, len(payload) + 1
    if at > len(payload):
        raise PacketError("VP8 payload descriptor is cut short")
    data = payload[at:]
    if first & 0x17 != 0x10:
        return data, False, False
    return data, True, data != b"" and not data[0] & 1


def join(packets: Sequence[HeldPacket]) -> bytes:
    """A frame is its packets' data, end to end."""
    return b"".join([packet[3] for packet in packets])


def packetize(frame: bytes, picture_id: int, limit: int = 1150) -> list[bytes]:
    """Payloads of one frame, each descriptor (15-bit picture id) and at most `limit` bytes of it, evenly filled."""
    count = max(1, -(-len(frame) // limit))
    size = max(1, -(-len(frame) // count))
    tail = bytes((0x80, 0x80 | picture_id >> 8 & 0x7F, picture_id & 0xFF))
    later = b"\x80" + tail
    return [b"\x90" + tail + frame[:size], *[later + frame[at : at + size] for at in range(size, len(frame), size)]]


def starts_keyframe(payload: bytes) -> bool:
    """True for the first RTP payload of a keyframe: the P bit of the frame tag is 0. False for anything else, also garbage."""
    try:
        return unpack(payload)[2]
    except PacketError:
        return False


def is_keyframe(frame: bytes) -> bool:
    """Whether a whole frame (without descriptors) is a keyframe."""
    return len(frame) >= 10 and not frame[0] & 1


def keyframe_size(frame: bytes) -> tuple[int, int]:
    """Width and height from a keyframe's header. Raises PacketError when it is none."""
    if not is_keyframe(frame) or frame[3:6] != b"\x9d\x01\x2a":
        raise PacketError("not a VP8 keyframe")
    return int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF


def frame_size(frame: bytes) -> tuple[int, int] | None:
    """`keyframe_size` of a keyframe; None for another frame: it keeps the size. Raises PacketError."""
    return keyframe_size(frame) if is_keyframe(frame) else None

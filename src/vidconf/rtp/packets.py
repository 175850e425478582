"""RTP packets: bytes <-> slots objects (RFC 3550, header extensions RFC 8285).

Pure; any thread. Malformed input raises PacketError and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

ONE_BYTE_PROFILE = 0xBEDE
TWO_BYTE_PROFILE = 0x1000

HeldPacket = tuple[int, bool, bool, bytes]
"""A video packet on its way into a frame: timestamp, marker, a frame may begin here, the codec's bytes (b"" for padding)."""

_FIXED = struct.Struct("!BBHII")
_WORDS = struct.Struct("!HH")


class PacketError(ValueError):
    """The bytes are no packet of the kind they claim to be."""


@dataclass(slots=True)
class RtpPacket:
    """One RTP packet. `payload` is without padding; `extensions` by local id; `padding` in bytes."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool
    payload: bytes
    extensions: dict[int, bytes] = field(default_factory=dict)
    padding: int = 0


def parse_rtp(data: bytes | memoryview) -> RtpPacket:
    """Read one packet (no SRTP). Raises PacketError."""
    if not isinstance(data, bytes):
        data = bytes(data)
    size = len(data)
    if size < 12:
        raise PacketError("shorter than an RTP header")
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
    if first >> 6 != 2:
        raise PacketError("not RTP version 2")
    at = 12 + 4 * (first & 15)
    extensions: dict[int, bytes] = {}
    if first & 0x10:
        if size < at + 4:
            raise PacketError("header extension is cut short")
        profile, words = _WORDS.unpack_from(data, at)
        at += 4
        end = at + 4 * words
        if size < end:
            raise PacketError("header extension is cut short")
        if profile == ONE_BYTE_PROFILE:
            extensions = _one_byte(data, at, end)
        elif profile & 0xFFF0 == TWO_BYTE_PROFILE:
            extensions = _two_byte(data, at, end)
        at = end
    padding = 0
    if first & 0x20:
        padding = data[-1] if size > at else 0
        if padding == 0 or padding > size - at:
            raise PacketError("padding is longer than the packet")
    elif size < at:
        raise PacketError("contributing sources are cut short")
    return RtpPacket(second & 127, sequence, timestamp, ssrc, second > 127, data[at : size - padding], extensions, padding)


def _one_byte(data: bytes, at: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at < end:
        head = data[at]
        at += 1
        if not head:
            continue
        if head >= 0xF0:
            break
        after = at + (head & 15) + 1
        if after > end:
            raise PacketError("an extension runs over its block")
        found[head >> 4] = data[at:after]
        at = after
    return found


def _two_byte(data: bytes, at: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while at < end:
        name = data[at]
        at += 1
        if name == 0:
            continue
        if at >= end or at + 1 + data[at] > end:
            raise PacketError("an extension runs over its block")
        found[name] = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return found


def build_rtp(
    payload_type: int, sequence: int, timestamp: int, ssrc: int, marker: bool, payload: bytes, extensions: Sequence[tuple[int, bytes]] = ()
) -> bytes:
    """Serialise one packet. Sequence and timestamp are taken modulo their width. One-byte extensions where they fit."""
    second = (0x80 if marker else 0) | payload_type
    if not extensions:
        return _FIXED.pack(0x80, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload
    profile, block = ONE_BYTE_PROFILE, b""
    for name, value in extensions:
        if not (0 < name < 15 and 0 < len(value) <= 16):
            profile = TWO_BYTE_PROFILE
            block = b"".join(bytes((name, len(value))) + value for name, value in extensions)
            break
        block += bytes((name << 4 | len(value) - 1,)) + value
    block += bytes(-len(block) % 4)
    return (
        _FIXED.pack(0x90, second, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + _WORDS.pack(profile, len(block) // 4) + block + payload
    )

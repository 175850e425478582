"""VP9 over RTP: payload descriptors (RFC 9628), pictures of several spatial layers, keyframes and sizes (VP9 bitstream §6.2, §7.2).

Pure; any thread. Malformed input raises PacketError. Profile 0 only (8 bits, 4:2:0): what we ask for in our answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from vidconf.rtp.bits import BitReader
from vidconf.rtp.packets import HeldPacket, PacketError

MAX_LAYERS = 8
"""Spatial layers of a picture (RFC 9628 §4.2: three bits), and frames of a superframe (VP9 bitstream, annex B)."""
MAX_REFERENCES = 3
"""P_DIFFs a packet in flexible mode may carry."""
_SYNC_CODE = 0x498342
_SRGB = 7


@dataclass(slots=True)
class Vp9Descriptor:
    """RFC 9628 §4.2. Fields that are not in the packet are None."""

    begins: bool
    """First packet of a layer's frame …"""
    ends: bool
    """… and the last one."""
    inter_picture: bool
    """Needs earlier pictures."""
    flexible: bool
    not_for_upper: bool
    """No higher spatial layer of this picture is predicted from this one."""
    picture_id: int | None = None
    temporal: int | None = None
    switching_up: bool = False
    """From here on a higher temporal layer may be received."""
    spatial: int | None = None
    inter_layer: bool = False
    """Needs the next lower spatial layer of this picture."""
    tl0picidx: int | None = None
    references: tuple[int, ...] = ()
    """Flexible mode: how many pictures back the ones it needs are."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Scalability structure: width and height of each spatial layer, lowest first."""


def parse_descriptor(payload: bytes) -> tuple[Vp9Descriptor, int]:
    """The descriptor and the offset of the VP9 data behind it. Raises PacketError."""
    try:
        first, at = payload[0], 1
        flexible, inter_picture = bool(first & 0x10), bool(first & 0x40)
        found = Vp9Descriptor(bool(first & 0x08), bool(first & 0x04), inter_picture, flexible, bool(first & 0x01))
        if first & 0x80:
            found.picture_id = payload[at]
            at += 1
            if found.picture_id & 0x80:
                found.picture_id = (found.picture_id & 0x7F) << 8 | payload[at]
                at += 1
        if first & 0x20:
            layer = payload[at]
            at += 1
            found.temporal, found.switching_up = layer >> 5, bool(layer & 0x10)
            found.spatial, found.inter_layer = layer >> 1 & 7, bool(layer & 1)
            if not flexible:
                found.tl0picidx = payload[at]
                at += 1
        if flexible and inter_picture:
            back: list[int] = []
            more = True
            while more:
                if len(back) == MAX_REFERENCES:
                    raise PacketError("more references than VP9 has")
                back.append(payload[at] >> 1)
                more = bool(payload[at] & 1)
                at += 1
            found.references = tuple(back)
        if first & 0x02:
            found.sizes, at = _structure(payload, at)
    except IndexError:
        at = len(payload) + 1
    if at > len(payload):
        raise PacketError("VP9 payload descriptor is cut short")
    return found, at


def _structure(payload: bytes, at: int) -> tuple[tuple[tuple[int, int], ...], int]:
    """RFC 9628 §4.2.1: the sizes in a scalability structure, and the offset behind it. Past the end is IndexError."""
    first = payload[at]
    layers = (first >> 5) + 1
    at += 1
    sizes: list[tuple[int, int]] = []
    if first & 0x10:
        for k in range(at, at + 4 * layers, 4):
            sizes.append((payload[k] << 8 | payload[k + 1], payload[k + 2] << 8 | payload[k + 3]))
        at += 4 * layers
    if first & 0x08:
        pictures = payload[at]
        at += 1
        for _ in range(pictures):
            at += 1 + (payload[at] >> 2 & 3)
    return tuple(sizes), at


def data_start(payload: bytes) -> int:
    """Offset of the VP9 data: what `parse_descriptor` says, at a third of its cost. Raises PacketError."""
    try:
        first, at = payload[0], 1
        if first & 0x80:
            at = 3 if payload[1] & 0x80 else 2
        if first & 0x20:
            at += 1 if first & 0x10 else 2
        if first & 0x50 == 0x50:
            if payload[at] & 1:
                if payload[at + 1] & 1:
                    if payload[at + 2] & 1:
                        raise PacketError("more references than VP9 has")
                    at += 1
                at += 1
            at += 1
        if first & 0x02:
            at = _structure(payload, at)[1]
    except IndexError:
        at = len(payload) + 1
    if at > len(payload):
        raise PacketError("VP9 payload descriptor is cut short")
    return at


def spatial_layer(payload: bytes) -> int:
    """The spatial layer of a payload; 0 where it has none. Raises PacketError."""
    try:
        first = payload[0]
        if not first & 0x20:
            return 0
        at = 1 if not first & 0x80 else 3 if payload[1] & 0x80 else 2
        return payload[at] >> 1 & 7
    except IndexError as error:
        raise PacketError("VP9 payload descriptor is cut short") from error


def unpack(payload: bytes) -> tuple[bytes, bool, bool]:
    """The VP9 data, whether a layer's frame begins with it, and whether a keyframe does: the lowest layer's, of a picture that
    needs no other. Raises PacketError."""
    data = payload[data_start(payload) :]
    first = payload[0]
    if first & 0x48 != 0x08:
        return data, bool(first & 0x08), False
    return data, True, _is_key_header(data) and (not first & 0x20 or spatial_layer(payload) == 0)


def join(packets: Sequence[HeldPacket]) -> bytes:
    """The picture. One of several spatial layers is made a superframe (VP9 bitstream, annex B), so that a decoder knows where
    each layer begins. Raises PacketError when there are more layers than VP9 has."""
    whole = b"".join([packet[3] for packet in packets])
    sizes: list[int] = []
    for _, _, begins, data in packets:
        if begins or not sizes:
            sizes.append(len(data))
        else:
            sizes[-1] += len(data)
    sizes = [size for size in sizes if size]
    if len(sizes) < 2:
        return whole
    if len(sizes) > MAX_LAYERS:
        raise PacketError("a picture of more layers than VP9 has")
    width = (max(sizes).bit_length() + 7) // 8
    if width > 4:
        raise PacketError("a layer larger than VP9 can say")
    marker = bytes((0xC0 | width - 1 << 3 | len(sizes) - 1,))
    return whole + marker + b"".join([size.to_bytes(width, "little") for size in sizes]) + marker


def frames_of(picture: bytes) -> list[bytes]:
    """The frames of a superframe, as decoders split it; [picture] where it is none. Raises PacketError."""
    marker = picture[-1] if picture else 0
    if marker & 0xE0 != 0xC0:
        return [picture]
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = len(picture) - 2 - count * width
    if index < 0 or picture[index] != marker:
        return [picture]
    frames: list[bytes] = []
    at = 0
    for k in range(index + 1, len(picture) - 1, width):
        size = int.from_bytes(picture[k : k + width], "little")
        if at + size > index:
            raise PacketError("a superframe's index says more than there is")
        frames.append(picture[at : at + size])
        at += size
    return frames


def _is_key_header(data: bytes) -> bool:
    """Frame marker, a profile below 3, not an earlier frame shown again, frame type 0 (VP9 bitstream §6.2)."""
    return data != b"" and data[0] & 0xCC == 0x80


def is_keyframe(frame: bytes) -> bool:
    """Whether a whole picture (as `join` makes it) needs none before it: its lowest layer is a keyframe."""
    return _is_key_header(frame)


def packetize(frame: bytes, picture_id: int, limit: int = 1150) -> list[bytes]:
    """Payloads of one picture of one layer: each a descriptor (15-bit picture id) and at most `limit` bytes of it, evenly filled.

    RFC 9628 §4.2, not flexible: each picture needs the one before it, which a keyframe's scalability structure says (a group of
    one picture, as libwebrtc's kTemporalStructureMode1). Raises PacketError for what is no VP9 frame.
    """
    if not frame:
        raise PacketError("no VP9 frame")
    key = is_keyframe(frame)
    structure = b""
    if key and (size := frame_size(frame)) is not None:
        structure = bytes((0x18, size[0] >> 8, size[0] & 255, size[1] >> 8, size[1] & 255, 1, 0x14, 1))
    count = max(1, -(-(len(frame) + len(structure)) // limit))
    each = max(1, -(-(len(frame) + len(structure)) // count))
    kind = 0x80 if key else 0xC0
    number = bytes((0x80 | picture_id >> 8 & 0x7F, picture_id & 0xFF))
    cuts = [0, *range(max(1, each - len(structure)), len(frame), each), len(frame)]
    payloads: list[bytes] = []
    for at, end in itertools.pairwise(cuts):
        begins, ends = at == 0, end == len(frame)
        first = kind | (0x08 if begins else 0) | (0x04 if ends else 0) | (0x02 if begins and structure else 0)
        payloads.append(bytes((first,)) + number + (structure if begins else b"") + frame[at:end])
    return payloads


def starts_keyframe(payload: bytes) -> bool:
    """True for the first RTP payload of a keyframe. False for anything else, also garbage."""
    try:
        return unpack(payload)[2]
    except PacketError:
        return False


def frame_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height of the largest layer that says one; None where all keep the sizes of what they are predicted from.
    Raises PacketError."""
    sizes = [size for part in frames_of(frame) if part and (size := _header_size(part)) is not None]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _header_size(frame: bytes) -> tuple[int, int] | None:
    """From the uncompressed header of one frame (VP9 bitstream §6.2), which says the size in a keyframe and wherever it is not
    a reference's. Raises PacketError."""
    read = BitReader(frame, 32)
    if read.bits(2) != 2:
        raise PacketError("not a VP9 frame")
    if read.bits(2):
        raise PacketError("a VP9 profile that nobody was asked for")
    if read.flag():
        return None     # an earlier frame, shown again
    inter, shown, resilient = read.flag(), read.flag(), read.flag()
    if not inter:
        _sync(read)
        if read.bits(3) == _SRGB:
            raise PacketError("RGB in VP9's profile 0")
        read.bits(1)
        return read.bits(16) + 1, read.bits(16) + 1
    intra_only = not shown and read.flag()
    if not resilient:
        read.bits(2)
    if intra_only:
        _sync(read)
        read.bits(8)
        return read.bits(16) + 1, read.bits(16) + 1
    read.bits(8 + 3 * 4)
    if read.flag() or read.flag() or read.flag():
        return None     # as large as one of its references
    return read.bits(16) + 1, read.bits(16) + 1


def _sync(read: BitReader) -> None:
    if read.bits(24) != _SYNC_CODE:
        raise PacketError("a VP9 keyframe without its sync code")

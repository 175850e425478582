"""Real frames of each codec, and payloads made of them by packetisers that share nothing with the code under test."""

from __future__ import annotations

import fractions
import functools
from dataclasses import dataclass

import av

ENCODERS: dict[str, tuple[str, dict[str, str]]] = {
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "annexb=1:repeat-headers=1:aud=0"}),
}


@functools.cache
def encoded(codec: str, width: int = 320, height: int = 180, count: int = 40, key_every: int = 20) -> tuple[bytes, ...]:
    """Frames of something that moves; every `key_every`-th is a keyframe."""
    name, options = ENCODERS[codec]
    context = av.VideoCodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = fractions.Fraction(1, 30), fractions.Fraction(30)
    context.bit_rate, context.gop_size, context.thread_count, context.options = 800_000, key_every, 1, options
    frames = []
    with av.open(f"testsrc2=s={width}x{height}:r=30,noise=alls=12:allf=t,format=yuv420p", format="lavfi") as source:
        for k, picture in enumerate(source.decode(video=0)):
            if k == count:
                break
            picture.pts, picture.time_base, picture.pict_type = k, context.time_base, 1 if k % key_every == 0 else 0
            frames += [bytes(packet) for packet in context.encode(picture)]
    assert len(frames) == count
    return tuple(frames)


@dataclass(frozen=True)
class Packet:
    sequence: int
    timestamp: int
    marker: bool
    payload: bytes


def packets(codec: str, frames: tuple[bytes, ...], limit: int = 700, first_sequence: int = 65_500) -> list[Packet]:
    """A stream of them at 30 fps; its numbers wrap early on."""
    cut = {"vp8": vp8_payloads, "vp9": vp9_payloads, "h264": h264_payloads}[codec]
    found: list[Packet] = []
    for k, frame in enumerate(frames):
        payloads = cut(frame, k, limit)
        for n, payload in enumerate(payloads):
            found.append(Packet((first_sequence + len(found)) & 0xFFFF, 3000 * k, n == len(payloads) - 1, payload))
    return found


def vp8_payloads(frame: bytes, number: int, limit: int) -> list[bytes]:
    """RFC 7741, the short descriptor: S on the first."""
    pieces = [frame[at : at + limit] for at in range(0, len(frame), limit)]
    return [(b"\x00" if n else b"\x10") + piece for n, piece in enumerate(pieces)]


def vp9_payloads(frame: bytes, number: int, limit: int) -> list[bytes]:
    """RFC 9628, one layer, not flexible, 15-bit picture id; a scalability structure with each keyframe."""
    is_key = not frame[0] & 0x04
    pieces = [frame[at : at + limit] for at in range(0, len(frame), limit)]
    payloads = []
    for n, piece in enumerate(pieces):
        starts, ends = n == 0, n == len(pieces) - 1
        flags = 0x80 | (0 if is_key else 0x40) | (8 if starts else 0) | (4 if ends else 0)
        head = bytes((0x80 | number >> 8 & 0x7F, number & 0xFF))
        if is_key and starts:
            flags |= 0x02
            head += bytes((0x18,)) + (320).to_bytes(2, "big") + (180).to_bytes(2, "big") + b"\x01\x04\x01"
        payloads.append(bytes((flags,)) + head + piece)
    return payloads


def nal_units(frame: bytes) -> list[bytes]:
    """Annex B, by its start codes of three and four bytes."""
    units, at = [], frame.find(b"\0\0\1")
    while at >= 0:
        following = frame.find(b"\0\0\1", at + 3)
        end = len(frame) if following < 0 else following - (1 if frame[following - 1] == 0 else 0)
        units.append(frame[at + 3 : end])
        at = following
    return units


def h264_payloads(frame: bytes, number: int, limit: int) -> list[bytes]:
    """RFC 6184, packetization mode 1: small units that follow one another in a STAP-A, what is too large in FU-As."""
    payloads: list[bytes] = []
    small: list[bytes] = []

    def flush() -> None:
        if len(small) == 1:
            payloads.append(small[0])
        elif small:
            payloads.append(bytes((max(u[0] & 0x60 for u in small) | 24,)) + b"".join(len(u).to_bytes(2, "big") + u for u in small))
        small.clear()

    for unit in nal_units(frame):
        if len(unit) > limit:
            flush()
            body = [unit[at : at + limit] for at in range(1, len(unit), limit)]
            for n, piece in enumerate(body):
                mark = (0x80 if n == 0 else 0) | (0x40 if n == len(body) - 1 else 0)
                payloads.append(bytes((unit[0] & 0xE0 | 28, mark | unit[0] & 31)) + piece)
        else:
            if sum(len(u) + 2 for u in small) + len(unit) > limit:
                flush()
            small.append(unit)
    flush()
    return payloads

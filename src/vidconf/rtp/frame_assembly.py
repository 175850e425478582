"""Packets of a video stream -> whole VP8 frames, in order: complete on marker and contiguity, time-bounded waiting.

Pure; one thread an object. A frame leaves when all before it have left. A gap is waited for until `wait_s`; then everything
up to the next keyframe is dropped and `needs_keyframe` is set (the caller sends a PLI and goes on showing the last picture).
"""

from __future__ import annotations

from dataclasses import dataclass

from vidconf.rtp.packets import PacketError
from vidconf.rtp.statistics import sequence_unwrapper
from vidconf.rtp.vp8 import Vp8Descriptor, is_keyframe, parse_descriptor

MAX_PACKETS = 2000
"""Held at most; more means that nothing is being completed."""
MAX_FRAME_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class AssembledFrame:
    """`first` and `last` are unwrapped sequence numbers; `arrived` is when its last packet came."""

    timestamp: int
    data: bytes
    keyframe: bool
    first: int
    last: int
    arrived: float


class FrameAssembler:
    """For VP8. `push` takes what came, `poll` gives up on what did not."""

    def __init__(self, wait_s: float = 0.5) -> None:
        self.wait_s = wait_s
        self.needs_keyframe = True
        """True until a keyframe has left; set again when a frame was given up."""
        self.dropped_frames = 0
        self.malformed = 0
        self._unwrap = sequence_unwrapper()
        self._packets: dict[int, tuple[int, bool, Vp8Descriptor, bytes]] = {}
        self._next: int | None = None
        """First sequence number that has not left (None before the first keyframe)."""
        self._stuck_since: float | None = None

    def push(self, sequence: int, timestamp: int, marker: bool, payload: bytes, now: float) -> list[AssembledFrame]:
        """Take one packet (padding-only ones with an empty payload too: they fill their number). Whole frames out."""
        number = self._unwrap.unwrap(sequence)
        if (self._next is not None and number < self._next) or number in self._packets:
            return []
        if payload:
            try:
                descriptor, at = parse_descriptor(payload)
            except PacketError:
                self.malformed += 1
                return []
            self._packets[number] = (timestamp, marker, descriptor, payload[at:])
        else:
            self._packets[number] = (timestamp, False, Vp8Descriptor(False, 0), b"")
        if len(self._packets) > MAX_PACKETS:
            self._restart()
            return []
        return self._leave(now)

    def poll(self, now: float) -> bool:
        """True when waiting has been given up since the last call: a keyframe is needed now."""
        if self._stuck_since is None or now - self._stuck_since < self.wait_s:
            return False
        self._stuck_since = None
        if self._next is None:
            return False
        self.dropped_frames += 1
        self.needs_keyframe = True
        self._next = None
        return True

    def _restart(self) -> None:
        self._packets.clear()
        self._next, self._stuck_since, self.needs_keyframe = None, None, True
        self.dropped_frames += 1

    def _leave(self, now: float) -> list[AssembledFrame]:
        frames: list[AssembledFrame] = []
        while True:
            if self._next is None:
                start = self._keyframe_start()
                if start is None:
                    return frames
                self._next = start
            frame = self._whole(now)
            if frame is None:
                break
            if frame.data:
                frames.append(frame)
                if frame.keyframe:
                    self.needs_keyframe = False
            self._next = frame.last + 1
            self._stuck_since = None
        waiting = any(n > self._next for n in self._packets) and self._next not in self._packets
        if not waiting and self._packets:
            waiting = max(self._packets) - self._next + 1 > len(self._packets)
        if not waiting:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        return frames

    def _keyframe_start(self) -> int | None:
        """The newest keyframe whose packets are all here; before one, nothing can be decoded. Older packets are let go."""
        for number in sorted(self._packets, reverse=True):
            _, _, descriptor, data = self._packets[number]
            if descriptor.start and data and not data[0] & 1 and self._last_of(number) is not None:
                for old in [n for n in self._packets if n < number]:
                    del self._packets[old]
                return number
        if len(self._packets) > MAX_PACKETS // 2:
            for old in sorted(self._packets)[: MAX_PACKETS // 4]:
                del self._packets[old]
        return None

    def _last_of(self, number: int) -> int | None:
        timestamp = self._packets[number][0]
        while True:
            packet = self._packets.get(number)
            if packet is None or packet[0] != timestamp:
                return None
            if packet[1]:
                return number
            number += 1

    def _whole(self, now: float) -> AssembledFrame | None:
        assert self._next is not None
        first = self._next
        head = self._packets.get(first)
        if head is None:
            return None
        if not head[3] and not head[1]:
            del self._packets[first]
            return AssembledFrame(head[0], b"", False, first, first, now)
        last = self._last_of(first)
        if last is None:
            return None
        data = b"".join(self._packets.pop(n)[3] for n in range(first, last + 1))
        if not head[2].start or len(data) > MAX_FRAME_BYTES:
            self.malformed += 1
            data = b""
        return AssembledFrame(head[0], data, is_keyframe(data), first, last, now)

"""Packets of a video stream -> whole frames, in order: complete on marker and contiguity, time-bounded waiting.

Pure; one thread an object. A frame leaves when all before it have left. A gap is waited for until `wait_s`, or until a later
keyframe is whole; then everything before that keyframe is dropped, and while there is none `needs_keyframe` is set (the caller
sends a PLI and goes on showing the last picture). Work a packet is bounded, and constant on the whole, whatever comes.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidconf.rtp import vp8
from vidconf.rtp.packets import PacketError
from vidconf.rtp.payload_format import HeldPacket, PayloadFormat
from vidconf.rtp.statistics import sequence_unwrapper

MAX_PACKETS = 2000
"""Held at most; more means that nothing is being completed."""
MAX_EARLY = 128
"""Held at most while no keyframe has begun: a keyframe's packets that overtook its first."""
LATE_RUN = 200
"""So many late packets with none in time between are no retransmissions."""
MAX_FRAME_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class AssembledFrame:
    """`first` and `last` are unwrapped sequence numbers; `arrived` is when its last missing packet came."""

    timestamp: int
    data: bytes
    keyframe: bool
    first: int
    last: int
    arrived: float


class FrameAssembler:
    """For one codec. `push` takes what came, `poll` gives up on what did not."""

    __slots__ = (
        "_codec", "_key", "_key_scan", "_late_run", "_next", "_packets", "_scan", "_stuck_since", "_unpack", "_unwrap",
        "dropped_frames", "malformed", "needs_keyframe", "wait_s",
    )  # fmt: skip

    def __init__(self, codec: PayloadFormat = vp8, wait_s: float = 0.5) -> None:
        self.wait_s = wait_s
        self.needs_keyframe = True
        """True until a keyframe has left; set again when a frame was given up."""
        self.dropped_frames = 0
        """Times that something had to be left out."""
        self.malformed = 0
        self._unwrap = sequence_unwrapper()
        self._codec, self._unpack = codec, codec.unpack
        self._packets: dict[int, HeldPacket] = {}
        self._next: int | None = None
        """First sequence number that has not left; None while waiting for a keyframe."""
        self._scan = 0
        """Everything from `_next` up to here, exclusive, is held."""
        self._key: int | None = None
        """Where the newest keyframe that has not left begins …"""
        self._key_scan = 0
        """… and how far it is held."""
        self._stuck_since: float | None = None
        self._late_run = 0

    def push(self, sequence: int, timestamp: int, marker: bool, payload: bytes, now: float) -> list[AssembledFrame]:
        """Take one packet (padding-only ones with an empty payload too: they fill their number). Whole frames out."""
        number = self._unwrap.unwrap(sequence)
        packets = self._packets
        first = self._key if self._next is None else self._next
        if first is not None and number < first:
            self._late_run += 1
            if self._late_run > LATE_RUN:
                # not late but numbered anew
                self._unwrap, self._key, self._late_run = sequence_unwrapper(), None, 0
                self._lose()
            return []
        self._late_run = 0
        if number in packets:
            return []
        if len(packets) >= MAX_PACKETS or (self._next is not None and number - self._next > MAX_PACKETS):
            self._key = None
            self._lose()
        if payload:
            try:
                data, begins, key = self._unpack(payload)
            except PacketError:
                self.malformed += 1
                return []
            packets[number] = (timestamp, marker, begins, data)
            if key and self._is_newest_key(number, timestamp):
                self._key = self._key_scan = number
                if self._next is None:
                    self._drop_before(number)
        else:
            packets[number] = (timestamp, False, False, b"")
        if self._next is None:
            if self._key is None:
                if len(packets) > MAX_EARLY:
                    del packets[next(iter(packets))]
                return []
        elif number == self._scan:
            return self._leave(now)
        elif self._stuck_since is None:
            self._stuck_since = now
        if self._key is not None and self._keyframe_is_whole(self._key):
            return self._jump(self._key, now)
        return []

    def poll(self, now: float) -> bool:
        """True when waiting has been given up since the last call: a keyframe is needed now."""
        if self._stuck_since is None or now - self._stuck_since < self.wait_s:
            return False
        self._lose()
        return True

    def _lose(self) -> None:
        """Nothing before the next keyframe can be used any more."""
        self.dropped_frames += 1
        self.needs_keyframe = True
        self._next = self._stuck_since = None
        if self._key is None:
            self._packets.clear()
        else:
            self._drop_before(self._key)

    def _drop_before(self, number: int) -> None:
        for old in [n for n in self._packets if n < number]:
            del self._packets[old]

    def _is_newest_key(self, number: int, timestamp: int) -> bool:
        """Whether the newest keyframe begins here; of several places in one picture, the first does."""
        if self._key is None:
            return True
        return number > self._key if timestamp != self._packets[self._key][0] else number < self._key

    def _keyframe_is_whole(self, key: int) -> bool:
        """Whether all of the newest keyframe is held. Goes on where it stopped the last time."""
        packets, at = self._packets, self._key_scan
        timestamp = packets[key][0]
        while (packet := packets.get(at)) is not None:
            if packet[0] != timestamp:
                self._key_scan = at
                return True     # the next frame has begun: its marker was left out
            at += 1
            if packet[1]:
                return True
        self._key_scan = at
        return False

    def _jump(self, key: int, now: float) -> list[AssembledFrame]:
        """Go on with a whole keyframe and leave out what was being waited for."""
        if self._next is not None:
            self.dropped_frames += 1
        self._drop_before(key)
        self._next = self._scan = key
        return self._leave(now)

    def _leave(self, now: float) -> list[AssembledFrame]:
        """Let out every frame that is whole now."""
        assert self._next is not None
        packets = self._packets
        frames: list[AssembledFrame] = []
        first, at = self._next, self._scan
        while (packet := packets.get(at)) is not None:
            if at > first and packet[3] and packet[0] != packets[first][0]:
                frame = self._join(first, at - 1, now)      # a frame whose marker was left out
                first = at
            elif packet[1] or (at == first and not packet[3]):
                frame = self._join(first, at, now)
                first = at = at + 1
            else:
                at += 1
                continue
            if frame is None:
                self._lose()
                return frames
            if frame.data:
                frames.append(frame)
                self.needs_keyframe = self.needs_keyframe and not frame.keyframe
        self._next, self._scan = first, at
        self._stuck_since = now if len(packets) > at - first else None
        return frames

    def _join(self, first: int, last: int, now: float) -> AssembledFrame | None:
        """Takes the packets out; None when they make no frame. Padding makes an empty one."""
        held = [self._packets.pop(n) for n in range(first, last + 1)]
        timestamp, _, begins, data = held[0]
        if self._key is not None and self._key <= last:
            self._key = None
        try:
            if first != last:
                data = self._codec.join(held)
            if data and (not begins or len(data) > MAX_FRAME_BYTES):
                raise PacketError("no frame begins here, or one larger than anyone sends")
        except PacketError:
            self.malformed += 1
            return None
        return AssembledFrame(timestamp, data, self._codec.is_keyframe(data), first, last, now)

"""Packets of a video stream -> whole frames, in order: complete on marker and contiguity, time-bounded waiting.

Pure; one thread an object. A frame leaves when all before it have left, so that what leaves can be decoded: after a loss nothing
does that would show grey. A gap is waited for until it is filled, or a later keyframe is whole, or a later frame is that does not
need what is missing (temporal layers) and has waited for `skip_s`. After `wait_s` without progress `needs_keyframe` is set (the
caller sends a PLI and goes on showing the last picture), but what is held is kept: the repair may still come first.
Work a packet is bounded, and constant on the whole, whatever comes.
"""

from __future__ import annotations

from typing import NamedTuple

from vidconf.rtp import vp8
from vidconf.rtp.packets import HeldPacket, PacketError
from vidconf.rtp.payload_format import PayloadFormat
from vidconf.rtp.statistics import sequence_unwrapper
from vidconf.rtp.temporal_layers import LayerChain, Place

MAX_PACKETS = 2000
"""Held at most; more means that nothing is being completed."""
MAX_EARLY = 128
"""Held at most while no keyframe has begun: a keyframe's packets that overtook its first."""
LATE_RUN = 200
"""So many late packets with none in time between are no retransmissions."""
MAX_FRAME_BYTES = 8 << 20
MAX_STUCK_S = 3.0
"""Nothing that is so old is repaired any more."""
SKIP_S = 0.1
MAX_SKIPPED = 32
"""Frames behind a gap that are looked at for one to go on with: a second of them."""


class AssembledFrame(NamedTuple):
    """`first` and `last` are unwrapped sequence numbers; `arrived` is when the last of its own packets came, however long it waited
    for others; `repaired`: one of them was asked for again; `disposable`: no other frame is predicted from it."""

    timestamp: int
    data: bytes
    keyframe: bool
    first: int
    last: int
    arrived: float
    repaired: bool = False
    disposable: bool = False


class FrameAssembler:
    """For one codec. `push` takes what came, `poll` gives up on what did not."""

    __slots__ = (
        "_arrived", "_chain", "_codec", "_key", "_key_scan", "_late_run", "_next", "_packets", "_place", "_places", "_repaired", "_scan",
        "_stuck_since", "_unpack", "_unwrap", "dropped_frames", "malformed", "needs_keyframe", "skip_s", "wait_s",
    )  # fmt: skip

    def __init__(self, codec: PayloadFormat = vp8, wait_s: float = 0.5) -> None:
        self.wait_s, self.skip_s = wait_s, SKIP_S
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
        self._arrived: dict[int, float] = {}
        """When the packets came that wait behind a gap."""
        self._repaired: set[int] = set()
        self._place = getattr(codec, "place", None)
        self._places: dict[int, Place] = {}
        """Of held packets that begin a frame, where the codec tells them."""
        self._chain = LayerChain()

    @property
    def first_needed(self) -> int | None:
        """The lowest number that is still waited for; None while waiting for a keyframe to begin."""
        return self._key if self._next is None else self._next

    @property
    def is_stuck(self) -> bool:
        """Whether packets wait behind a gap."""
        return self._stuck_since is not None

    def push(
        self, sequence: int, timestamp: int, marker: bool, payload: bytes, now: float, repaired: bool = False
    ) -> list[AssembledFrame]:
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
            if begins and self._place is not None and (place := self._place(payload)) is not None:
                self._places[number] = place
            if key and self._is_newest_key(number, timestamp):
                self._key = self._key_scan = number
                if self._next is None:
                    self._drop_before(number)
        else:
            packets[number] = (timestamp, False, False, b"")
        if repaired:
            self._repaired.add(number)
        if self._next is None:
            if self._key is None:
                if len(packets) > MAX_EARLY:
                    self._forget(next(iter(packets)))
                return []
        elif number == self._scan:
            return self._leave(now)
        elif self._stuck_since is None:
            self._stuck_since = now
        self._arrived[number] = now
        if self._key is not None and self._keyframe_is_whole(self._key):
            return self._jump(self._key, now)
        return []

    def poll(self, now: float) -> list[AssembledFrame]:
        """Every 20 ms or so: frames that need not wait any longer for what is missing before them."""
        if self._stuck_since is None or self._next is None:
            return []
        if self._places and (frames := self._skip(now)):
            return frames
        stuck_s = now - self._stuck_since
        if stuck_s >= MAX_STUCK_S:
            self._lose()
        elif stuck_s >= self.wait_s:
            self.needs_keyframe = True
        return []

    def require_keyframe(self) -> None:
        """The decoder lost its way: nothing but a keyframe is of use to it."""
        self._lose()

    def _skip(self, now: float) -> list[AssembledFrame]:
        """Go on with the first whole frame behind the gap that does not need what is missing, if it has waited long enough."""
        assert self._next is not None
        lost = [self._places[self._next]] if self._next in self._places else []
        for number in sorted([n for n in self._places if n > self._scan])[:MAX_SKIPPED]:
            place = self._places[number]
            broken = self._chain.after(lost, place)
            last = None if broken is None else self._last_of(number)
            if broken is None or last is None:
                lost.append(place)
                continue
            if now - max(self._arrived.get(n, now) for n in range(number, last + 1)) < self.skip_s:
                return []
            self._chain.leave_out(broken)
            return self._jump(number, now)
        return []

    def _last_of(self, number: int) -> int | None:
        """The last packet of the frame that begins here, when all of it is held."""
        packets, at = self._packets, number
        while (packet := packets.get(at)) is not None and (at == number or at not in self._places):
            if packet[1]:
                return at
            at += 1
        return None

    def _lose(self) -> None:
        """Nothing before the next keyframe can be used any more."""
        self.dropped_frames += 1
        self.needs_keyframe = True
        self._next = self._stuck_since = None
        if self._key is None:
            for held in (self._packets, self._places, self._arrived, self._repaired):
                held.clear()
        else:
            self._drop_before(self._key)

    def _forget(self, number: int) -> None:
        del self._packets[number]
        self._places.pop(number, None)
        self._arrived.pop(number, None)
        self._repaired.discard(number)

    def _drop_before(self, number: int) -> None:
        for old in [n for n in self._packets if n < number]:
            self._forget(old)

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

    def _jump(self, number: int, now: float) -> list[AssembledFrame]:
        """Go on with the whole frame that begins here and leave out what was being waited for."""
        if self._next is not None:
            self.dropped_frames += 1
        self._drop_before(number)
        self._next = self._scan = number
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
                self.needs_keyframe = False     # what it needs has left before it, or is left out for good
                if self._chain.take(self._places.pop(frame.first, None), frame.keyframe):
                    frames.append(frame)
                else:
                    self.dropped_frames += 1
        if len(self._places) > len(packets):
            self._places = {n: place for n, place in self._places.items() if n >= first}
        self._next, self._scan = first, at
        if len(packets) > at - first:
            self._stuck_since = now
        else:
            self._stuck_since = None
            if self._arrived:
                self._arrived.clear()
        return frames

    def _join(self, first: int, last: int, now: float) -> AssembledFrame | None:
        """Takes the packets out; None when they make no frame. Padding makes an empty one."""
        held = [self._packets.pop(n) for n in range(first, last + 1)]
        timestamp, _, begins, data = held[0]
        if self._key is not None and self._key <= last:
            self._key = None
        arrived, repaired = now, False
        if self._arrived:
            arrived = max([self._arrived.pop(n, now) for n in range(first, last + 1)])
        if self._repaired:
            numbers = range(first, last + 1)
            repaired = not self._repaired.isdisjoint(numbers)
            self._repaired.difference_update(numbers)
        try:
            if first != last:
                data = self._codec.join(held)
            if data and (not begins or len(data) > MAX_FRAME_BYTES):
                raise PacketError("no frame begins here, or one larger than anyone sends")
        except PacketError:
            self.malformed += 1
            self._places.pop(first, None)
            return None
        place = self._places.get(first) if self._places else None
        disposable = place is not None and not place.reference
        return AssembledFrame(timestamp, data, self._codec.is_keyframe(data), first, last, arrived, repaired, disposable)

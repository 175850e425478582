"""Redundant audio (RFC 2198): one packet carries itself and copies of those before it.

Pure; any thread. `parse` raises PacketError and nothing else. As libwebrtc and LiveKit send it (`red/48000/2` over Opus): every
packet before it, newest last, at most a few; the copies have no numbers of their own, `recover` finds them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vidconf.rtp.packets import PacketError

MAX_BLOCKS = 8
"""More would be no speech: libwebrtc sends two or three."""
MAX_OFFSET, MAX_SIZE = (1 << 14) - 1, (1 << 10) - 1
MAX_BYTES = 1100
"""A packet that would be larger goes with fewer copies: it must fit into any network's."""


@dataclass(frozen=True, slots=True)
class Block:
    """One payload. `offset`: by how many timestamp units it is older than the packet; 0 for the primary, which comes last."""

    payload_type: int
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """A block as the packet that it (once) was. `copy`: it comes again, another packet may have carried it."""

    sequence: int
    timestamp: int
    payload_type: int
    payload: bytes
    copy: bool


def parse(payload: bytes) -> list[Block]:
    """The blocks, oldest first, the primary last. Raises PacketError."""
    heads: list[tuple[int, int, int]] = []
    at, size = 0, len(payload)
    while True:
        if at >= size:
            raise PacketError("redundant headers are cut short")
        first = payload[at]
        if not first & 0x80:
            break
        if at + 4 > size or len(heads) + 1 >= MAX_BLOCKS:
            raise PacketError("redundant headers are cut short, or too many")
        rest = int.from_bytes(payload[at + 1 : at + 4], "big")
        heads.append((first & 127, rest >> 10, rest & 1023))
        at += 4
    primary = payload[at] & 127
    at += 1
    blocks = []
    for payload_type, offset, length in heads:
        if at + length > size:
            raise PacketError("a redundant block runs over its packet")
        if length:
            blocks.append(Block(payload_type, offset, payload[at : at + length]))
        at += length
    blocks.append(Block(primary, 0, payload[at:]))
    return blocks


def build(blocks: Iterable[Block]) -> bytes:
    """The payload for blocks, oldest first, the primary last. Raises ValueError for one that cannot be written down."""
    *copies, primary = blocks
    heads = b""
    for block in copies:
        if not (0 <= block.payload_type < 128 and 0 <= block.offset <= MAX_OFFSET and len(block.payload) <= MAX_SIZE):
            raise ValueError("a block too old or too large to be sent again")
        heads += bytes((0x80 | block.payload_type,)) + (block.offset << 10 | len(block.payload)).to_bytes(3, "big")
    return heads + bytes((primary.payload_type,)) + b"".join(b.payload for b in copies) + primary.payload


class Copies:
    """What a sender remembers to say it again: `wrap` each packet as it leaves. One SSRC's, one connection's."""

    def __init__(self, payload_type: int) -> None:
        """`payload_type`: of what is carried."""
        self._payload_type = payload_type
        self._earlier: deque[tuple[int, bytes]] = deque(maxlen=MAX_BLOCKS - 1)

    def wrap(self, timestamp: int, payload: bytes, copies: int = 1) -> bytes:
        """The packet with the `copies` before it, as far as they can be written down and do not make it too large; at least itself.
        Across a pause longer than an offset can say nothing is repeated."""
        blocks = [Block(self._payload_type, 0, payload)]
        total = len(payload)
        for then, before in list(self._earlier)[::-1][: max(0, copies)]:
            offset = (timestamp - then) & 0xFFFFFFFF
            total += len(before) + 4
            if not 0 < offset <= MAX_OFFSET or not 0 < len(before) <= MAX_SIZE or total > MAX_BYTES:
                break
            blocks.insert(0, Block(self._payload_type, offset, before))
        self._earlier.append((timestamp, payload))
        return build(blocks)


def recover(sequence: int, timestamp: int, payload: bytes, duration: Callable[[bytes], int]) -> list[Recovered]:
    """All packets in a packet: itself, then the copies, newest first. Raises PacketError.

    A copy's number is the packet's less its place from the end, if what it and those after it last (`duration`, timestamp
    units) agrees with its offset; where a block between was left out, the offset alone tells, if it is whole packets. One
    that fits neither way is left out: in the wrong place it would do harm.
    """
    *copies, primary = parse(payload)
    found = [Recovered(sequence, timestamp, primary.payload_type, primary.payload, copy=False)]
    lasted = 0
    for place, block in enumerate(reversed(copies), 1):
        length = duration(block.payload)
        if not length or not block.offset:
            continue
        lasted += length
        if block.offset != lasted:
            lasted = block.offset
            back = block.offset // length
            if block.offset % length or back > MAX_BLOCKS or back < place:
                # across a pause the offset is long: the one just before is still known by its place
                if place != 1:
                    continue
                back = 1
        else:
            back = place
        found.append(Recovered((sequence - back) & 0xFFFF, (timestamp - block.offset) & 0xFFFFFFFF, block.payload_type, block.payload, copy=True))
    return found

"""RED made and undone on the way through (RFC 2198). Pure; any thread. Once a packet, however many receive it.

What LiveKit does (pkg/sfu/redreceiver.go, redprimaryreceiver.go): a subscriber that takes `red/48000/2` gets Opus with the two
packets before it, also from a publisher that sends none; one that does not gets the primary block. Reading all blocks is
`rtp.red`; here is the little that every packet costs.
"""

from __future__ import annotations

from collections.abc import Sequence

COPIES = 2
MAX_OFFSET, MAX_BLOCK = 1 << 14, 1 << 10
MAX_BYTES = 1100
"""A packet that would be larger goes without copies: it must fit into any network's."""

Earlier = tuple[int, bytes]
"""Timestamp and payload of a packet before."""


def primary_of(payload: bytes, opus_type: int) -> bytes:
    """The newest block, b"" when the payload is malformed or holds anything but Opus."""
    at = copies = 0
    size = len(payload)
    while at + 4 <= size and payload[at] & 0x80:
        if payload[at] & 127 != opus_type:
            return b""
        copies += (payload[at + 2] & 3) << 8 | payload[at + 3]
        at += 4
    if at >= size or payload[at] != opus_type:
        return b""
    return payload[at + 1 + copies :]


def wrapped(timestamp: int, payload: bytes, earlier: Sequence[Earlier], opus_type: int) -> bytes | None:
    """`payload` with copies of those `earlier`, oldest first, as far as they can be written down; None when none can."""
    heads, blocks = bytearray(), list[bytes]()
    total = len(payload)
    for then, block in reversed(earlier):
        offset, length = (timestamp - then) & 0xFFFFFFFF, len(block)
        total += length + 4
        if not 0 < offset < MAX_OFFSET or not 0 < length < MAX_BLOCK or total > MAX_BYTES:
            break
        word = 0x80000000 | opus_type << 24 | offset << 10 | length
        heads[:0] = word.to_bytes(4, "big")
        blocks.insert(0, block)
    if not blocks:
        return None
    heads.append(opus_type)
    return b"".join((heads, *blocks, payload))

"""What an Opus packet says of itself without being decoded (RFC 6716 §3, RFC 7587).

Pure; any thread. For any bytes: what is no packet lasts 0 samples.
"""

from __future__ import annotations

CLOCK_HZ = 48_000
MAX_SAMPLES = 5760
"""120 ms: no packet lasts longer (RFC 6716 §3.2.5)."""
DTX_BYTES = 2
"""A packet that is no larger carries no speech: its sender has said that there is none (RFC 6716 §3.1, libopus's DTX)."""

_SILK, _HYBRID, _CELT = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)
_FRAME = (*_SILK * 3, *_HYBRID * 2, *_CELT * 4)
"""Samples in a frame at 48 kHz, by the five bits of the configuration (table 2)."""


def duration(payload: bytes) -> int:
    """Samples at 48 kHz; 0 for what cannot be a packet (empty, no frame, over 120 ms)."""
    if not payload:
        return 0
    head = payload[0]
    code = head & 3
    if code == 3:
        if len(payload) < 2:
            return 0
        total = _FRAME[head >> 3] * (payload[1] & 63)
        return total if total <= MAX_SAMPLES else 0
    return _FRAME[head >> 3] * (2 if code else 1)


def is_silence(payload: bytes) -> bool:
    """Whether the sender says that nobody speaks (DTX)."""
    return len(payload) <= DTX_BYTES


def has_repair(payload: bytes) -> bool:
    """Whether it carries the packet before it once more, coarser (LBRR, RFC 6716 §4.2.4). Only SILK and hybrid packets of one
    frame are looked into: the flag follows the voice activity flags of each channel."""
    if len(payload) <= DTX_BYTES or payload[0] >= 0x80 or payload[0] & 3:
        return False
    head, flags = payload[0], payload[1]
    frames = 1 if head >= 0x60 else (1, 1, 2, 3)[head >> 3 & 3]
    channels = 2 if head & 4 else 1
    return any(flags & 0x80 >> (k + 1) * (frames + 1) - 1 for k in range(channels))

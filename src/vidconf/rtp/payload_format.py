"""How a video codec's frames are cut into RTP payloads: what frame assembly, and whoever waits for a keyframe, must know of one.

Pure; any thread. The modules `vp8`, `vp9` and `h264` are payload formats; nothing else of a codec shows in the assembler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vidconf.rtp import h264, vp8, vp9
from vidconf.rtp.packets import HeldPacket

VIDEO_CLOCK_HZ = 90_000
"""Of every format here (RFC 7741 §4.1, RFC 9628 §4.1, RFC 6184 §5.1)."""


class PayloadFormat(Protocol):
    """A codec's payload format. What is malformed raises PacketError and nothing else, or is answered False."""

    def unpack(self, payload: bytes, /) -> tuple[bytes, bool, bool]:
        """One payload that is not empty: the codec's bytes in it, whether a frame may begin here, and whether a keyframe does.
        Raises PacketError."""

    def join(self, packets: Sequence[HeldPacket], /) -> bytes:
        """The frame that consecutive packets make, as the decoder takes it. Raises PacketError."""

    def is_keyframe(self, frame: bytes, /) -> bool:
        """Whether a whole frame, as `join` makes it, can be decoded with nothing before it."""

    def starts_keyframe(self, payload: bytes, /) -> bool:
        """Whether a keyframe begins with this payload: who joins here misses nothing. False for anything else, also garbage."""

    def packetize(self, frame: bytes, picture_id: int, limit: int = ..., /) -> list[bytes]:
        """One of our own frames as RTP payloads, the marker for the last of them; `picture_id` counts frames (15 bits). Raises
        PacketError for what is no frame of this codec."""

    def frame_size(self, frame: bytes, /) -> tuple[int, int] | None:
        """Width and height in pixels of the largest picture that decoding this frame makes room for; None where it keeps the
        size it had. Raises PacketError for what is no frame of this codec."""


FORMATS: dict[str, PayloadFormat] = {"vp8": vp8, "vp9": vp9, "h264": h264}
"""By the encoding name of `a=rtpmap`, lower case."""

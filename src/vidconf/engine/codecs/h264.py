"""H.264 received: FFmpeg's decoder through PyAV, each picture out as soon as it is in."""

from __future__ import annotations

from typing import ClassVar

import av
from av.codec.context import Flags

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.rtp import h264
from vidconf.rtp.payload_format import PayloadFormat


class H264Decoder(VideoDecoder):
    NAME = "h264"
    FORMAT: ClassVar[PayloadFormat] = h264

    def _set_up(self, context: av.VideoCodecContext) -> None:
        # without it pictures wait for others that might come to be shown before them
        context.flags |= Flags.low_delay

    def decode(self, data: bytes) -> av.VideoFrame | None:
        picture = super().decode(data)
        if picture is not None and picture.is_corrupt:
            raise CodecError("h264 decoder: parts of a picture were missing or unreadable")
        return picture

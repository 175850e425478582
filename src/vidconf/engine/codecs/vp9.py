"""VP9 received: FFmpeg's decoder through PyAV. Of a picture of several spatial layers the highest is shown."""

from __future__ import annotations

from typing import ClassVar

from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.rtp import vp9
from vidconf.rtp.payload_format import PayloadFormat


class Vp9Decoder(VideoDecoder):
    NAME = "vp9"
    FORMAT: ClassVar[PayloadFormat] = vp9

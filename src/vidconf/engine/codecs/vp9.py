"""VP9 received: FFmpeg's decoder through PyAV. Of a picture of several spatial layers the highest is shown."""

from __future__ import annotations

from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.rtp import vp9


class Vp9Decoder(VideoDecoder):
    NAME, FORMAT = "vp9", vp9

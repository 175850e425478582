"""Video decoders over PyAV (FFmpeg): whole frames of one codec in, pictures out. One object a stream, one thread at a time.

`decoders` makes them, on its workers; decoding gives up the interpreter while it works. A stranger's stream is held to a size
before the decoder makes room for it, by its own headers; FFmpeg's `max_pixels` holds what those do not say.
"""

from __future__ import annotations

from typing import ClassVar, cast

import av
import av.video

from vidconf.engine.codecs import CodecError
from vidconf.rtp.packets import PacketError
from vidconf.rtp.payload_format import PayloadFormat

MAX_SIDE = 4096
MAX_PIXELS = 4096 * 2304
PIXEL_FORMATS = ("yuv420p", "yuvj420p")


class VideoDecoder:
    """Begin with a keyframe. After a CodecError the object is of no more use: begin with a new one."""

    NAME: ClassVar[str]
    """FFmpeg's, and the encoding name of `a=rtpmap` in lower case."""
    FORMAT: ClassVar[PayloadFormat]

    def __init__(self) -> None:
        """Raises CodecError where this FFmpeg has no such decoder."""
        try:
            context = cast(av.VideoCodecContext, av.VideoCodecContext.create(self.NAME, "r"))
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"no {self.NAME} decoder: {error}") from error
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
        self._context = context
        self._set_up(context)

    def _set_up(self, context: av.VideoCodecContext) -> None:
        """What one codec needs besides, before it is opened."""

    def decode(self, data: bytes) -> av.VideoFrame | None:
        """The picture (4:2:0, 8 bits, planar), None for a frame that shows nothing. Raises CodecError."""
        if not data:
            return None     # to FFmpeg it would be the end of the stream
        try:
            size = self.FORMAT.frame_size(data)
        except PacketError as error:
            raise CodecError(str(error)) from error
        if size is not None:
            width, height = size
            if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
                raise CodecError(f"a picture of {width}×{height} is larger than anyone sends")
        try:
            frames = self._context.decode(av.Packet(data))
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"{self.NAME} decoder: {error}") from error
        if not frames:
            return None
        picture: av.VideoFrame = frames[-1]
        if picture.format.name not in PIXEL_FORMATS:
            raise CodecError(f"a picture of {picture.format.name}, which nobody was asked for")
        return picture

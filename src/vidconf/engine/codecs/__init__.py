"""Opus, VP8, VP9 and H.264 behind faces of our own, over PyAV (FFmpeg with libopus and libvpx). One object a stream, one thread at a time."""


class CodecError(ValueError):
    """A codec could not be opened, or could not use what it was given."""

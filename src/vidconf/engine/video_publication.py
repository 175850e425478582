"""One's own pictures: camera or share -> the sizes it is sent in -> encoders -> packets. Muted: the device is closed.

Methods on the loop's thread; capture and encoding run on threads of their own, with one picture between them. The valve is
`_send_frame` (see `engine.publication`), for all layers alike.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

import av

from vidconf.engine import codec_choice, stamp
from vidconf.engine.allocation import Need
from vidconf.engine.api import SharedArea, Source
from vidconf.engine.codecs import libvpx
from vidconf.engine.codecs.vp9 import Vp9Encoder
from vidconf.engine.desktop import Area
from vidconf.engine.ladder import HIGH, LOW, MEDIUM, Layer, layers
from vidconf.engine.layer_encoder import LayerEncoder, PictureEncoder
from vidconf.engine.outgoing import OutgoingStream
from vidconf.engine.pacer import Pacer
from vidconf.engine.publication import Owner, Publication
from vidconf.engine.scaling import TileWriter
from vidconf.engine.screen_capture import picture_capture
from vidconf.rtp.payload_format import FORMATS

log = logging.getLogger("vidconf.publication")

ALL = frozenset((LOW, MEDIUM, HIGH))
QUALITIES = {1: (HIGH,), 2: (LOW, MEDIUM), 3: (LOW, MEDIUM, HIGH)}
"""What the server calls the layers of a track that has so many."""


@dataclasses.dataclass(frozen=True, slots=True)
class VideoShape:
    """Limits of a picture source."""

    width: int
    height: int
    fps: int
    max_bps: int

    def within(self, height: int) -> VideoShape:
        """The same in no more than `height` lines, even; 0: as it is."""
        if not height or height >= self.height:
            return self
        return dataclasses.replace(self, width=max(2, self.width * height // self.height & ~1), height=max(2, height & ~1))


SHAPES: dict[str, VideoShape] = {
    "camera": VideoShape(1280, 720, 30, 2_500_000),
    "screen_share": VideoShape(1920, 1080, 15, 2_500_000),
}


class VideoPublication(Publication):
    """Camera or share: a capture thread, an encoder thread with one picture between them. Muted: the device is closed.

    How many layers there are is settled with the connection; which of them are sent, by who watches (`want`), by the rate
    (`set_rates`) and by how large the picture is: a small one has fewer (`ladder`).
    """

    kind = "video"

    def __init__(self, owner: Owner, source: Source, device: str, *, muted: bool, stamped: bool = False, shape: VideoShape | None = None,
                 codec: str = "", on_ring: Callable[[str], None] | None = None) -> None:
        """`codec`: which of a camera's is preferred (`codec_choice`)."""
        super().__init__(owner, source, device, muted=muted)
        self._asked_codec = codec
        self.shape = shape or SHAPES[source]
        self.stamped = stamped
        self.preview = TileWriter(on_ring or (lambda name: None))
        self.frames = 0
        """Encoded and handed to the connection, in all sizes together."""
        self.left_out = 0
        """Pictures that came while the one before was still being encoded."""
        self.width, self.height = self.shape.width, self.shape.height
        """Of the source; until it has shown a picture, what it was asked for."""
        self.shown = False
        self.senders: tuple[LayerEncoder, ...] = ()
        """Those of the present connection, smallest first."""
        self.ladder: tuple[Layer, ...] = self.plan()
        """Those of the present picture: the first so many of `senders`."""
        self._encoder_thread: threading.Thread | None = None
        self._slot: tuple[int, av.VideoFrame, float] | None = None
        self._wake = threading.Condition()
        self._enabled: frozenset[int] = ALL

    def start(self) -> None:
        self.error = ""
        if self._encoder_thread is None:
            self._encoder_thread = threading.Thread(target=self._encode, name=f"encoder {self.source}", daemon=True)
            self._encoder_thread.start()
        if not self.muted:
            self._start_capture()
        self.announce()

    def threads(self) -> list[threading.Thread]:
        encoder = self._encoder_thread
        return [*super().threads(), *([encoder] if encoder is not None and encoder.is_alive() else [])]

    def _closed(self) -> None:
        with self._wake:
            self._wake.notify()
        self.preview.close()

    # ---- layers
    @property
    def knows_size(self) -> bool:
        """False while the device is being opened: a moment later it is known how large its pictures are. True also where that cannot
        be known now."""
        return self.shown or self.muted or self.closed or bool(self.error)

    def plan(self, codec: str = "") -> tuple[Layer, ...]:
        """The layers that a picture of the present size should be sent in, by `codec` (else the one that suits it best)."""
        return self._steps(self.width, self.height, codec_choice.most_layers(codec or self.codecs[0]))

    @functools.cached_property
    def codecs(self) -> tuple[str, ...]:
        """Those it can be sent by, the best first."""
        screen = self.source == "screen_share"
        return codec_choice.suitable(self.source, self._asked_codec, vp9=screen and bool(libvpx.usable(Vp9Encoder)))

    @property
    def codec(self) -> str:
        """What it is sent by, or would be."""
        return next((sender.codec for sender in self.senders), self.codecs[0])

    def bind_layers(self, streams: Sequence[tuple[str, OutgoingStream]], pacer: Pacer, codec: str = "vp8") -> None:
        """The connection is up: send through these from now on, smallest first, each with its rid, by `codec`."""
        self._drop()        # a mute would not reach what still waits in a former connection's pacer
        super().bind(streams[0][1], pacer)
        made = tuple(LayerEncoder(stream, rid, screen=self.source == "screen_share", codec=codec) for rid, stream in streams)
        self.ladder = self._steps(self.width, self.height, len(made))
        self._want(made)
        self.senders = made     # from here on the encoder's thread sees them

    def bind(self, stream: OutgoingStream, pacer: Pacer) -> None:
        self.bind_layers([("", stream)], pacer)

    def unbind(self) -> None:
        super().unbind()
        self.senders, self._enabled = (), ALL

    @property
    def streams(self) -> Sequence[OutgoingStream]:
        return [sender.stream for sender in self.senders]

    def want(self, enabled: Collection[int]) -> None:
        """The qualities that anybody takes (LiveKit's dynacast); none: nothing is encoded."""
        self._enabled = frozenset(enabled)
        self._want(self.senders)
        self._let_go()

    def _want(self, senders: Sequence[LayerEncoder]) -> None:
        qualities = QUALITIES.get(len(senders), ())
        top = len(self.ladder) - 1
        for k, (sender, quality) in enumerate(zip(senders, qualities, strict=True)):
            # the largest there is stands for those that would be larger; one alone for all
            sender.wanted = quality in self._enabled or bool(self._enabled and (len(qualities) == 1 or (k >= top and max(self._enabled) > quality)))
        self.wanted = bool(self._enabled)

    def need(self) -> Need | None:
        """What rate is of use; None while nothing is sent."""
        senders = self.senders[: len(self.ladder)]
        if self.muted or self.closed or self.stream is None or len(senders) < len(self.ladder):
            return None
        return Need(self.ladder, tuple(sender.wanted for sender in senders), self.source == "screen_share")

    def set_rates(self, rates: Sequence[int]) -> None:
        """What the rate control allows each layer, bits a second; 0: it is not sent."""
        for sender, rate in zip(self.senders, rates, strict=False):
            sender.rate_bps = rate
        self._let_go()

    def _let_go(self) -> None:
        """What still waits of layers that are no longer sent stands in the way of the others."""
        for sender in self.senders:
            if not sender.sends:
                sender.broken = True
                if self.pacer is not None:
                    self.pacer.drop(sender.stream)

    def request_keyframe(self, ssrc: int = 0) -> None:
        """Somebody needs a picture of this stream, or of all, that stands alone."""
        for sender in self.senders:
            if ssrc in (0, sender.stream.ssrc):
                sender.request_keyframe()

    def _steps(self, width: int, height: int, at_most: int) -> tuple[Layer, ...]:
        return layers(width, height, screen=self.source == "screen_share", most_bps=self.shape.max_bps, at_most=max(1, at_most))

    def _resized(self, width: int, height: int) -> None:
        """The source shows another size (loop's thread)."""
        if not self.closed and (not self.shown or (self.width, self.height) != (width, height)):
            self.width, self.height, self.shown = width, height, True
            self.ladder = self._steps(width, height, len(self.senders))
            self._want(self.senders)
            self._let_go()
            self.owner.publication_changed(self)

    def reshape(self, shape: VideoShape) -> None:
        """Other limits from now on: a device that is open is opened anew."""
        if shape == self.shape:
            return
        self.shape = shape
        if not self.shown:
            self.width, self.height = shape.width, shape.height
        if self._capture is not None:
            self._stop_capture()
            self._start_capture()

    # ---- capture
    def _start_capture(self) -> None:
        self._generation += 1
        generation = self._generation
        self._capture = picture_capture(
            self.device, self.shape.width, self.shape.height, self.shape.fps,
            lambda frame, at: self._captured(generation, frame, at),
            lambda code, detail: self._post(self._failed, generation, code, detail),
            lambda area: self._post(self._lies, generation, area),
        )
        self._capture.start()

    def _lies(self, generation: int, area: Area) -> None:
        """Where a shared screen or window is now (loop's thread)."""
        if generation == self._generation and not self.closed:
            self.owner.emit(SharedArea(self.device, area.left, area.top, area.width, area.height, area.shown))

    def _stop_capture(self) -> None:
        super()._stop_capture()
        with self._wake:
            self._slot = None

    def _mute_changed(self) -> None:
        if self.muted:
            self._stop_capture()
        else:
            for sender in self.senders:
                sender.broken = True
            self.error = ""
            self._start_capture()

    def _bound(self) -> None:
        """Each connection has senders of its own, which begin with a picture that stands alone."""

    # capture thread
    def _captured(self, generation: int, frame: av.VideoFrame, at: float) -> None:
        with self._wake:
            if generation != self._generation:
                return
            if self._slot is not None:
                self.left_out += 1
            self._slot = (generation, frame, at)
            self._wake.notify()

    # encoder thread
    def _encode(self) -> None:
        mine: tuple[LayerEncoder, ...] = ()
        encoder, size = PictureEncoder(self.shape.fps, self.shape.max_bps, screen=self.source == "screen_share"), (0, 0)
        while True:
            with self._wake:
                while self._slot is None and not self.closed:
                    self._wake.wait()
                taken, self._slot = self._slot, None
            senders = () if taken is None or self.closed or self.muted else self.senders
            if senders is not mine:
                for sender in mine:
                    sender.rest()
                mine = senders
            if taken is None or self.closed:
                return
            generation, frame, at = taken
            try:
                if self.stamped:
                    frame = _stamped(frame, at)
                self.preview.show(frame)
                if size != (frame.width, frame.height):
                    size = frame.width, frame.height
                    self._post(self._resized, *size)
                if self._held():
                    continue
                error = encoder.encode(frame, senders, time.monotonic, functools.partial(self._encoded, generation, at))
                if error is not None:
                    self._post(self._failed, generation, "encoder_failed", str(error))
            except Exception as error:      # whatever it is, it costs this picture and not the thread
                log.exception("%s: a picture could not be encoded", self.source)
                self._post(self._failed, generation, "encoder_failed", repr(error))

    def _held(self) -> bool:
        """Nothing may leave now: a picture would be old by the time it did."""
        pacer = self.pacer
        return pacer is not None and time.monotonic() < pacer.held_until

    def _encoded(self, generation: int, at: float, sender: LayerEncoder, data: bytes) -> None:
        with self._wake:
            sender.in_flight += 1
        self._post(self._send_frame, generation, sender, data, at)

    # loop
    def _send_frame(self, generation: int, sender: LayerEncoder, data: bytes, at: float) -> None:
        with self._wake:
            sender.in_flight -= 1
        pacer = self.pacer
        if self.muted or self.closed or pacer is None or generation != self._generation or sender not in self.senders or not sender.sends:
            sender.broken = True
            return
        sender.picture_id = (sender.picture_id + 1) & 0x7FFF
        sender.frames += 1
        self.frames += 1
        stream, payloads = sender.stream, FORMATS[sender.codec].packetize(data, sender.picture_id)
        timestamp = stream.timestamp(at)
        last = len(payloads) - 1
        packets = [stream.packet(p, timestamp, marker=k == last) for k, p in enumerate(payloads)]
        pacer.push(stream, packets, keyframe=FORMATS[sender.codec].is_keyframe(data))


def _stamped(frame: av.VideoFrame, at: float) -> av.VideoFrame:
    """A copy with the instant of its capture painted in: a decoder still looks at the original."""
    copy = av.VideoFrame(frame.width, frame.height, "yuv420p")
    for target, source in zip(copy.planes, frame.planes, strict=True):
        if target.line_size == source.line_size and target.buffer_size == source.buffer_size:
            target.update(bytes(source))
            continue
        to, of, width = memoryview(target).cast("B"), memoryview(source).cast("B"), min(target.line_size, source.line_size)
        for y in range(target.height):
            to[y * target.line_size : y * target.line_size + width] = of[y * source.line_size : y * source.line_size + width]
    return stamp.paint(copy, int((time.time() - (time.monotonic() - at)) * 1000))

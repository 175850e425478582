"""A track that a participant publishes, from its AddTrackRequest on. The loop's thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from vidconf.relay import codecs, limits
from vidconf.relay.description import Agreed
from vidconf.relay.dynacast import Watched, enabled
from vidconf.relay.forwarder import Upstream
from vidconf.relay.layers import MAX_LAYERS, OFF, Layer, described
from vidconf.relay.simulcast import Layers

if TYPE_CHECKING:
    from vidconf.relay.participant import Participant

_SID_LETTER = {
    models.TrackSource.CAMERA: "C",
    models.TrackSource.MICROPHONE: "M",
    models.TrackSource.SCREEN_SHARE: "S",
    models.TrackSource.SCREEN_SHARE_AUDIO: "s",
}
MAX_SIDE = 1 << 14
"""Larger pictures than VP8 can carry are not believed (RFC 6386 §9.1)."""


class PublishedTrack:
    """`mid` is set once its section is there."""

    def __init__(self, owner: Participant, request: rtc.AddTrackRequest, on_gap: Callable[[], None]) -> None:
        self.owner, self.cid = owner, request.cid
        self.kind = "video" if request.type == models.TrackType.VIDEO else "audio"
        self.sid = f"TR_{self.kind[0].upper()}{_SID_LETTER.get(request.source, 'U')}{secrets.token_urlsafe(9)}"
        self.info = models.TrackInfo(
            sid=self.sid, type=request.type, name=request.name[: limits.NAME_CHARS], source=request.source, muted=request.muted,
            width=request.width, height=request.height, disable_dtx=request.disable_dtx, stereo=request.stereo,
            disable_red=request.disable_red, encryption=request.encryption, stream=request.stream[: limits.NAME_CHARS],
            audio_features=request.audio_features[:8],
        )  # fmt: skip
        self.info.codecs.add(cid=request.cid)
        wanted = next(iter(request.simulcast_codecs), None)
        self._said = (wanted.layers if wanted and wanted.layers else request.layers)[:MAX_LAYERS]
        self.codec = (wanted and codecs.named(wanted.codec)) or codecs.FIRST[self.kind]
        """Which codec the publisher means to send; in `agreed`, which one it does."""
        if self.codec.kind != self.kind:
            self.codec = codecs.FIRST[self.kind]
        self.mid = ""
        self.agreed: Agreed | None = None
        self._on_gap = on_gap
        self.layers = Layers(self._upstream())
        self.layers.block(request.muted)
        self.subscribed_said = False
        self.watched = Watched()
        self.told_layers = True
        """The room knows `info.layers` as they are."""
        self.info.simulcast = len(self._said) > 1
        self.info.mime_type = self.info.codecs[0].mime_type = self.codec.mime
        self.note_layers()
        self.told_layers = True

    def _upstream(self) -> Upstream:
        return Upstream(self.kind, self.owner.room.relay.counters, asyncio.get_running_loop(), self._on_gap)

    @property
    def source(self) -> int:
        return self.info.source

    @property
    def has_red(self) -> bool:
        """Whether RED may be made of it: its sound is Opus, and not encrypted end to end."""
        return self.kind == "audio" and not self.info.disable_red and self.info.encryption == models.Encryption.NONE

    def mute(self, muted: bool) -> bool:
        """Whether that was news."""
        if self.info.muted == muted:
            return False
        self.info.muted = muted
        self.layers.block(muted)
        return True

    # ---- what the offer says

    def agree(self, agreed: Agreed, rids: Sequence[str]) -> None:
        """Its section was answered, for the first time or again. `rids`, smallest layer first; one empty name without simulcast.
        How many layers there are is settled the first time."""
        first = self.agreed is None
        self.agreed, self.codec = agreed, agreed.codec
        if first:
            if len(rids) > 1:
                self.layers.divide([self._upstream() for _ in rids])
                self.layers.block(self.info.muted)
            declared = [_read(layer) for layer in self._said]
            for up, layer in zip(self.layers.all, described(rids, declared, self.info.width, self.info.height), strict=True):
                up.layer = layer
            self.info.simulcast = len(rids) > 1
            self.note_layers()
        for up in self.layers.all:
            up.use(agreed.codec)
            up.payload_type = agreed.payload_type
            up.red_payload_type = -1 if agreed.red_payload_type is None else agreed.red_payload_type
            up.rtx_payload_type = -1 if agreed.rtx_payload_type is None else agreed.rtx_payload_type
        self.info.mime_type = self.info.codecs[0].mime_type = "audio/red" if agreed.red_payload_type is not None else agreed.codec.mime

    def note_layers(self) -> None:
        """Write down what is known of the layers; `told_layers` is False until the room has heard what is new."""
        if self.kind == "audio":
            return
        before = list(self.info.layers)
        del self.info.layers[:]
        if len(self.layers.all) == 1:
            # One stream, perhaps with layers inside it (SVC), which are the publisher's and the receiver's own matter.
            self.info.layers.extend(self._said)
            for layer in self.info.layers:
                layer.ssrc = self.layers.all[0].ssrc
        else:
            for k, up in enumerate(self.layers.all):
                known = up.layer
                self.info.layers.add(
                    quality=known.quality, width=known.width, height=known.height, bitrate=known.bitrate, ssrc=up.ssrc,
                    rid=known.rid, spatial_layer=k, repair_ssrc=up.rtx_ssrc,
                )  # fmt: skip
        del self.info.codecs[0].layers[:]
        self.info.codecs[0].layers.extend(self.info.layers)
        self.told_layers = self.told_layers and before == list(self.info.layers)

    # ---- dynacast

    def look_at_watchers(self, now: float) -> rtc.SubscribedQualityUpdate | None:
        """What the publisher must be told of who watches; None when it knows."""
        if self.kind != "video" or not self.watched.look(self.layers.wanted(), now):
            return None
        qualities = [rtc.SubscribedQuality(quality=q, enabled=on) for q, on in enabled(self.watched.told)]  # type: ignore[arg-type]
        codec = rtc.SubscribedCodec(codec=self.codec.name, qualities=qualities)
        return rtc.SubscribedQualityUpdate(track_sid=self.sid, subscribed_qualities=qualities, subscribed_codecs=[codec])


def _read(layer: models.VideoLayer) -> Layer:
    """What a client says of one layer, as far as it can be true."""
    quality = layer.quality if layer.quality < OFF else 0
    return Layer(layer.rid[:16], quality, min(layer.width, MAX_SIDE), min(layer.height, MAX_SIDE), layer.bitrate)

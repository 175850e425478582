"""A participant at the SFU: its commands, one's own publications with their mute; the others are its `room`'s.

Loop's thread only. All of it outlives a connection; joining and coming back is `stay`'s, which makes a `transport.Connection` for each attempt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from livekit.protocol import rtc

from vidconf.engine import api
from vidconf.engine.audio_publication import AudioPublication
from vidconf.engine.decoders import DecoderPool
from vidconf.engine.own_sounds import own_sound
from vidconf.engine.playout import Playout
from vidconf.engine.publication import Publication
from vidconf.engine.room import PastTrack, Room
from vidconf.engine.stay import Stay
from vidconf.engine.subscription import Subscription
from vidconf.engine.transport import Connection
from vidconf.engine.video_publication import SHAPES, VideoPublication, VideoShape
from vidconf.network.options import DEFAULTS, NetworkOptions

log = logging.getLogger("vidconf.session")

THREADS_S = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between the window's engine and a bot's."""

    decode_unwatched: bool = False
    """Decode pictures nobody has asked to see, and read their stamps (bots, tests)."""
    speaker: str = "default"
    shapes: dict[str, VideoShape] = field(default_factory=dict)
    camera_codec: str = ""
    """Preferred for a camera (`codec_choice`), as far as the server takes it."""
    decoders: int | None = None


class Session:
    """Commands in by `handle`, events out by `emit`."""

    def __init__(self, emit: Callable[[api.EngineEvent], None], options: Options | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options or Options()
        self._emit = emit
        self.publications: dict[str, Publication] = {}
        self.pool = DecoderPool(self.options.decoders)
        self.playout = Playout(self.options.speaker, self._playout_failed)
        self._watched: dict[str, api.WatchTrack] = {}
        self._voice = api.SetVoice()
        self.network: NetworkOptions = DEFAULTS
        self.limits = api.SetLimits()
        self.stay = Stay(self, adaptive=not self.options.decode_unwatched)
        self.room = Room(self, decode_unwatched=self.options.decode_unwatched)
        self.malformed = 0

    @property
    def identity(self) -> str:
        """One's own, as the server knows it; "" before it let us in."""
        return self.room.identity

    @property
    def past_tracks(self) -> Sequence[PastTrack]:
        """Tracks that have gone, the last of them."""
        return self.room.past_tracks

    @property
    def state(self) -> api.MediaState:
        return self.stay.state

    @property
    def reconnects(self) -> int:
        return self.stay.reconnects

    @property
    def times(self) -> dict[str, float]:
        return self.stay.times

    @property
    def way(self) -> str:
        """By which media comes, or came last (`transport.Connection.way`); "" before it did."""
        return self.stay.way

    @property
    def _connection(self) -> Connection | None:
        return self.stay.connection

    # ---- commands
    def handle(self, command: api.Command) -> None:
        """Carry out one command; never blocks. `ListDevices` and `Quit` are the engine's, not the session's."""
        match command:
            case api.Join():
                self.playout.start()
                self.stay.start(command)
            case api.Leave():
                self.stay.stop()
                for publication in list(self.publications.values()):
                    self._close_publication(publication)
            case api.OpenSource(source, device, muted, stamped):
                self._open_source(source, device, muted, stamped)
            case api.CloseSource(source):
                if source in self.publications:
                    self._close_publication(self.publications[source])
            case api.MuteSource(source, muted):
                if source in self.publications:
                    self.publications[source].set_muted(muted)
            case api.WatchTrack():
                self._watch(command)
            case api.Subscribe(identity, wanted):
                self.room.subscribe(identity, wanted)
            case api.SetVolume(None, gain):
                self.playout.set_gain(None, gain)
            case api.SetVolume(str(identity), gain):
                self.room.set_volume(identity, gain)
            case api.SelectSpeaker(device):
                self.playout.select(device)
            case api.SetVoice():
                self._set_voice(command)
            case api.SetNetwork():
                self.network = command
            case api.SetLimits():
                self._set_limits(command)
            case api.Record(path):
                self._record(path)
            case api.PlaySound(sound):
                self.playout.start()
                self.playout.play_once(own_sound(sound))
                if self.stay.is_over:
                    self.playout.rest()

    async def close(self) -> None:
        """Leave and end every thread and task. The session is of no use afterwards."""
        self.stay.stop()
        await self.stay.wait(5)
        threads = []
        for publication in list(self.publications.values()):
            self._close_publication(publication)
            threads += publication.threads()
        self.room.close()
        self.pool.close()
        self.playout.close()
        await asyncio.to_thread(_wait_for, threads)

    # ---- own sources
    def _open_source(self, source: api.Source, device: str, muted: bool, stamped: bool) -> None:
        old = self.publications.get(source)
        if old is not None and not old.closed:
            stamped_before = old.stamped if isinstance(old, VideoPublication) else False
            if stamped_before == stamped:
                # the mute first: a device that opens live for an instant because it is about to be muted would be the worst
                if muted:
                    old.set_muted(True)
                if old.device != device or old.error:
                    old.switch(device)
                if not muted:
                    old.set_muted(False)
                return
            self._close_publication(old)
        if source in ("microphone", "screen_share_audio"):
            publication: Publication = AudioPublication(
                self, source, device, muted=muted, far=self.playout.far if source == "microphone" else None, settings=self._voice
            )
        else:
            publication = VideoPublication(
                self, source, device, muted=muted, stamped=stamped, shape=self._shape(source), codec=self.options.camera_codec,
                on_ring=lambda name: self._post(self._preview_opened, source, name),
            )
        self.publications[source] = publication
        if isinstance(publication, VideoPublication) and (watched := self._watched.get(f"local:{source}")):
            self._watch_preview(publication, watched)
        publication.start()
        if self._connection is not None:
            self._connection.publishing.changed()

    def _shape(self, source: str) -> VideoShape:
        shape = self.options.shapes.get(source) or SHAPES[source]
        return shape.within(self.limits.max_height) if source == "camera" else shape

    def _set_limits(self, limits: api.SetLimits) -> None:
        self.limits = limits
        camera = self.publications.get("camera")
        if isinstance(camera, VideoPublication):
            camera.reshape(self._shape("camera"))
        self.room.limit_height(limits.max_height)
        if self._connection is not None:
            self._connection.limits_changed()

    def switch_device(self, source: str, device: str) -> None:
        """The same source from another device; whether it is muted is not asked and not changed."""
        publication = self.publications.get(source)
        if publication is not None and not publication.closed:
            publication.switch(device)

    def _close_publication(self, publication: Publication) -> None:
        if self.publications.get(publication.source) is publication:
            del self.publications[publication.source]
        had_ring = isinstance(publication, VideoPublication) and publication.preview.ring is not None
        publication.close()
        if had_ring:
            self.emit(api.RingClosed(f"local:{publication.source}"))

    def publication_changed(self, publication: Publication) -> None:
        """From the publication: its mute has changed, or it was closed."""
        if self._connection is None:
            return
        if publication.closed:
            self._connection.publishing.changed()
        else:
            self._connection.publishing.state_changed(publication)

    def publication_refused(self, publication: Publication, code: str) -> None:
        """The server does not let us send this."""
        self.emit(api.SourceChanged(publication.source, publication.state, publication.device, code))

    def _preview_opened(self, source: str, name: str) -> None:
        publication = self.publications.get(source)
        if isinstance(publication, VideoPublication) and publication.preview.ring == name:
            self.emit(api.RingOpened(f"local:{source}", name))
            self.emit(api.FirstFrame(f"local:{source}"))

    # ---- watching and hearing
    def _watch(self, command: api.WatchTrack) -> None:
        if command.track.startswith("local:"):
            self._watched[command.track] = command
            publication = self.publications.get(command.track.removeprefix("local:"))
            if isinstance(publication, VideoPublication):
                self._watch_preview(publication, command)
            return
        self.room.watch(command)

    @staticmethod
    def _watch_preview(publication: VideoPublication, command: api.WatchTrack) -> None:
        width, height = (command.width, command.height) if command.visible else (0, 0)
        publication.preview.watch(width, height, command.format, command.fill)

    def _set_voice(self, settings: api.SetVoice) -> None:
        self._voice = settings
        for publication in self.publications.values():
            if isinstance(publication, AudioPublication):
                publication.set_voice(settings)

    def _record(self, path: str | None) -> None:
        try:
            self.playout.record(path)
        except OSError as error:
            self.emit(api.Failed("recording_failed", str(error)))

    def _playout_failed(self, code: str, detail: str) -> None:
        """Playout's thread."""
        self._post(self.emit, api.Failed(code, detail))

    def _post(self, callback: Callable[..., None], *values: object) -> None:
        try:
            self.loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("the loop is gone")

    def emit(self, event: api.EngineEvent) -> None:
        self._emit(event)

    # ---- the stay
    def new_connection(self) -> Connection:
        """For the stay: another one, for what is ours."""
        return Connection(self)

    def joined(self, join: rtc.JoinResponse) -> None:
        """From the stay: the server has let us in."""
        self.room.joined(join)

    def let_go(self, connection: Connection) -> None:
        """From the stay: what was said on this connection has to be said anew on the next."""
        self.malformed += connection.malformed + connection.signalling.malformed
        self.room.connection_lost()

    def ended(self) -> None:
        """From the stay: it is over."""
        self.room.clear()
        self.playout.rest()

    # ---- from the connection
    def subscription(self, sid: str, kind: str) -> Subscription:
        """The subscription of a track; made when it is new. Raises ValueError when a server tells of too many."""
        return self.room.subscription(sid, kind)

    def subscriptions(self) -> Sequence[Subscription]:
        return self.room.subscriptions()

    def drop_unnamed(self, named: Collection[str]) -> None:
        """An offer names these tracks and no others."""
        self.room.drop_unnamed(named)

    def on_message(self, message: rtc.SignalResponse) -> None:
        """What is about the room, and about what is ours in it."""
        match message.WhichOneof("message"):
            case "mute":
                self._muted_by_server(message.mute.sid, message.mute.muted)
            case "refresh_token":
                self.stay.take_token(message.refresh_token)
            case _:
                self.room.on_message(message)

    def _muted_by_server(self, sid: str, muted: bool) -> None:
        """A moderator's mute is obeyed; nobody opens a microphone but the one who sits before it."""
        connection = self._connection
        publication = connection.publishing.publication_of(sid) if connection is not None else None
        if publication is None or connection is None:
            return
        if muted:
            if not publication.muted:
                publication.set_muted(True)
                self.emit(api.MutedByServer(publication.source))
        elif publication.muted:
            connection.publishing.insist_on_mute(publication)

    # ---- numbers
    def each_second(self) -> None:
        self.room.each_second()

    def tracks_report(self, *, past: bool = False) -> list[dict[str, Any]]:
        """One entry a track (`bot --json`'s fields); `past`: also those that have gone."""
        return self.room.report(past=past)

    def sent_report(self) -> dict[str, Any]:
        return self._connection.publishing.sent() if self._connection is not None else {}

    def uplink_report(self) -> dict[str, Any]:
        """What the way from us is believed to carry (`SendControl.report`); empty until the server has said something about it."""
        connection = self._connection
        return connection.send_control.report() if connection is not None and connection.send_control.rate.heard else {}


def _wait_for(threads: Sequence[Any]) -> None:
    ends = time.monotonic() + THREADS_S
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))

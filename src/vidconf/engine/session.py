"""A participant at the SFU: what outlives a connection, one's own publications with their mute, the others' tracks with their tiles.

Loop's thread only. Commands come here; joining and coming back is `stay`'s, which makes a `transport.Connection` for each attempt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from livekit.protocol import models, rtc

from vidconf.engine import api
from vidconf.engine.audio_publication import AudioPublication
from vidconf.engine.decoders import DecoderPool
from vidconf.engine.own_sounds import own_sound
from vidconf.engine.playout import Playout
from vidconf.engine.publication import Publication
from vidconf.engine.stay import Stay
from vidconf.engine.subscription import Subscription
from vidconf.engine.synchroniser import Synchroniser
from vidconf.engine.transport import Connection
from vidconf.engine.video_publication import VideoPublication, VideoShape
from vidconf.protocol.livekit import SOURCE_NAMES

log = logging.getLogger("vidconf.session")

MAX_TRACKS = 1000
"""Remote tracks a server may tell us of; more is a broken or hostile one."""
THREADS_S = 2.0
UNWATCHED_S = 3.0

_QUALITIES = {
    models.ConnectionQuality.POOR: "poor",
    models.ConnectionQuality.GOOD: "good",
    models.ConnectionQuality.EXCELLENT: "excellent",
    models.ConnectionQuality.LOST: "lost",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What differs between the window's engine and a bot's."""

    decode_unwatched: bool = False
    """Decode pictures nobody has asked to see, and read their stamps (bots, tests)."""
    speaker: str = "default"
    shapes: dict[str, VideoShape] = field(default_factory=dict)
    decoders: int | None = None


@dataclass(frozen=True, slots=True)
class PastTrack:
    """What is kept of a track that has gone."""

    kind: str
    report: dict[str, Any]
    first_at: float | None
    first_sound_at: float | None


@dataclass(slots=True)
class _Participant:
    sid: str
    identity: str
    version: int = -1


class Session:
    """Commands in by `handle`, events out by `emit`."""

    def __init__(self, emit: Callable[[api.EngineEvent], None], options: Options | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options or Options()
        self._emit = emit
        self.publications: dict[str, Publication] = {}
        self.pool = DecoderPool(self.options.decoders)
        self.playout = Playout(self.options.speaker, self._playout_failed)
        self.synchroniser = Synchroniser()
        self.identity = ""
        self._own_sid = ""
        self._subscriptions: dict[str, Subscription] = {}
        self._participants: dict[str, _Participant] = {}
        self._speaking: dict[str, float] = {}
        self._watched: dict[str, api.WatchTrack] = {}
        self._gains: dict[str, float] = {}
        self._voice = api.SetVoice()
        self._wanted: dict[str, bool] = {}
        """Identity -> whether its tracks are taken, where that was said."""
        self.stay = Stay(self, adaptive=not self.options.decode_unwatched)
        self.past_tracks: deque[PastTrack] = deque(maxlen=200)
        """For a bot's report."""
        self._permission: tuple[bool, tuple[int, ...]] | None = None
        self.malformed = 0

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
                self._wanted[identity] = wanted
                sids = [s.sid for s in self._subscriptions.values() if s.identity == identity]
                self._say_subscription(sids, wanted)
            case api.SetVolume(identity, gain):
                self._set_volume(identity, gain)
            case api.SelectSpeaker(device):
                self.playout.select(device)
            case api.SetVoice():
                self._set_voice(command)
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
        for subscription in list(self._subscriptions.values()):
            subscription.close()
        self._subscriptions.clear()
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
                self, source, device, muted=muted, stamped=stamped, shape=self.options.shapes.get(source),
                on_ring=lambda name: self._post(self._preview_opened, source, name),
            )
        self.publications[source] = publication
        if isinstance(publication, VideoPublication) and (watched := self._watched.get(f"local:{source}")):
            self._watch_preview(publication, watched)
        publication.start()
        if self._connection is not None:
            self._connection.publishing.changed()

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
        subscription = self._subscriptions.get(command.track)
        if subscription is not None:
            subscription.watch(command)
            self._say_wants(subscription)

    @staticmethod
    def _watch_preview(publication: VideoPublication, command: api.WatchTrack) -> None:
        width, height = (command.width, command.height) if command.visible else (0, 0)
        publication.preview.watch(width, height, command.format, command.fill)

    def _say_wants(self, subscription: Subscription) -> None:
        """Tell the server which size we show, or that we show nothing."""
        video = subscription.video
        if self._connection is None or video is None:
            return
        wants = video.wants(time.monotonic())
        if wants == video.wants_sent:
            return
        video.wants_sent = wants
        disabled, width, height = wants
        self._connection.send(track_setting=rtc.UpdateTrackSettings(
            track_sids=[subscription.sid], disabled=disabled, width=width, height=height, quality=models.VideoQuality.HIGH,
        ))

    def _set_volume(self, identity: str | None, gain: float) -> None:
        if identity is None:
            self.playout.set_gain(None, gain)
            return
        self._gains[identity] = gain
        for subscription in self._subscriptions.values():
            if subscription.identity == identity and subscription.kind == "audio":
                self.playout.set_gain(subscription.sid, gain)

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
        self.identity, self._own_sid = join.participant.identity, join.participant.sid
        self._took_room(join)

    def let_go(self, connection: Connection) -> None:
        """From the stay: what was said on this connection has to be said anew on the next."""
        self.malformed += connection.malformed + connection.signalling.malformed
        for subscription in self._subscriptions.values():
            if subscription.video is not None:
                subscription.video.wants_sent = None
                subscription.video.size.forget()

    def ended(self) -> None:
        """From the stay: it is over."""
        for subscription in list(self._subscriptions.values()):
            self._remove_track(subscription.sid)
        self._participants.clear()
        self._set_speakers({})
        self.playout.rest()

    # ---- the room
    def _took_room(self, join: rtc.JoinResponse) -> None:
        """What the server says at joining is the whole truth: what is not in it is gone."""
        self._participants.clear()
        self._set_speakers({})
        present = {t.sid for p in join.other_participants for t in p.tracks}
        for sid in [s for s in self._subscriptions if s not in present]:
            self._remove_track(sid)
        for info in join.other_participants:
            self._take_participant(info)

    def on_message(self, message: rtc.SignalResponse) -> None:
        """From the connection: what is about the room."""
        match message.WhichOneof("message"):
            case "update":
                for info in message.update.participants:
                    self._take_participant(info)
            case "mute":
                self._muted_by_server(message.mute.sid, message.mute.muted)
            case "speakers_changed":
                self._take_speakers(message.speakers_changed.speakers)
            case "connection_quality":
                for update in message.connection_quality.updates:
                    participant = self._participants.get(update.participant_sid)
                    identity = self.identity if update.participant_sid == self._own_sid else participant.identity if participant else ""
                    if identity:
                        self.emit(api.Quality(identity, _QUALITIES.get(update.quality, "good")))
            case "stream_state_update":
                for said in message.stream_state_update.stream_states:
                    if (held := self._subscriptions.get(said.track_sid)) is not None:
                        held.set_held_back(said.state == rtc.StreamState.PAUSED)
            case "refresh_token":
                self.stay.take_token(message.refresh_token)

    def _take_participant(self, info: models.ParticipantInfo) -> None:
        if info.sid == self._own_sid or info.identity == self.identity:
            if info.sid == self._own_sid and self._connection is not None and info.HasField("permission") and info.permission.can_publish:
                self._note_permission(info.permission)
            return
        known = self._participants.get(info.sid)
        if known is not None and info.version < known.version:
            return
        if info.state == models.ParticipantInfo.State.DISCONNECTED:
            if self._participants.pop(info.sid, None) is not None:
                self._remove_unlisted(info.identity, set())
                self._set_speakers({who: level for who, level in self._speaking.items() if who != info.identity})
            return
        if known is None:
            # someone who came back under a new sid: the old one's farewell, which may come later, must not touch the new
            for sid in [p.sid for p in self._participants.values() if p.identity == info.identity]:
                del self._participants[sid]
            if len(self._participants) >= MAX_TRACKS:
                return
        self._participants[info.sid] = _Participant(info.sid, info.identity, info.version)
        for track in info.tracks:
            self._take_track(info, track)
        self._remove_unlisted(info.identity, {t.sid for t in info.tracks})

    def _remove_unlisted(self, identity: str, listed: set[str]) -> None:
        for sid in [s.sid for s in self._subscriptions.values() if s.identity == identity and s.sid not in listed]:
            self._remove_track(sid)

    def _note_permission(self, permission: models.ParticipantPermission) -> None:
        key = (permission.can_publish, tuple(permission.can_publish_sources))
        if self._permission not in (None, key) and self._connection is not None:
            self._connection.publishing.permission_changed()
        self._permission = key

    def _take_track(self, info: models.ParticipantInfo, track: models.TrackInfo) -> None:
        if track.type not in (models.TrackType.AUDIO, models.TrackType.VIDEO):
            return
        kind: Literal["audio", "video"] = "video" if track.type == models.TrackType.VIDEO else "audio"
        subscription = self.subscription(track.sid, kind)
        if subscription.video is not None:
            subscription.video.size.set_layers([layer.height for layer in track.layers])
        if subscription.announced:
            if subscription.muted != track.muted:
                subscription.set_muted(track.muted)
                self.emit(api.TrackMuted(track.sid, track.muted))
            if subscription.video is not None and subscription.video.watching is not None:
                self._say_wants(subscription)
            return
        subscription.announced = True
        subscription.identity = info.identity
        subscription.source = cast(api.Source, SOURCE_NAMES.get(track.source, "microphone" if kind == "audio" else "camera"))
        subscription.set_muted(track.muted)
        if kind == "audio" and info.identity in self._gains:
            self.playout.set_gain(track.sid, self._gains[info.identity])
        self.emit(api.TrackAdded(track.sid, info.identity, subscription.source, kind, track.muted))
        if subscription.first_at is not None:
            self.emit(api.FirstFrame(track.sid))
        if info.identity in self._wanted and self.stay.join is not None and self._wanted[info.identity] != self.stay.join.subscribe:
            self._say_subscription([track.sid], self._wanted[info.identity])

    def subscription(self, sid: str, kind: str) -> Subscription:
        """The subscription of a track; made when it is new. Raises ValueError when a server tells of too many."""
        found = self._subscriptions.get(sid)
        if found is None:
            if len(self._subscriptions) >= MAX_TRACKS:
                raise ValueError("more tracks than any room has")
            decode = self.options.decode_unwatched
            found = Subscription(self, sid, "video" if kind == "video" else "audio", decode_unwatched=decode)
            self._subscriptions[sid] = found
        return found

    def subscriptions(self) -> Sequence[Subscription]:
        return list(self._subscriptions.values())

    def drop_unnamed(self, named: Collection[str]) -> None:
        """An offer names these tracks and no others. One that nobody has announced and no offer names any more was made by an offer
        that was answered after its removal had been told."""
        for sid in [s.sid for s in self._subscriptions.values() if not s.announced and s.sid not in named]:
            self._remove_track(sid)

    def _remove_track(self, sid: str) -> None:
        subscription = self._subscriptions.pop(sid, None)
        if subscription is None:
            return
        if subscription.announced:
            report = subscription.report(time.monotonic())
            self.past_tracks.append(PastTrack(subscription.kind, report, subscription.first_at, subscription.first_sound_at()))
        subscription.close()
        if subscription.announced:
            self.emit(api.TrackRemoved(sid))

    def _say_subscription(self, sids: list[str], wanted: bool) -> None:
        if sids and self._connection is not None:
            self._connection.send(subscription=rtc.UpdateSubscription(track_sids=sids, subscribe=wanted))

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

    def _take_speakers(self, speakers: Sequence[models.SpeakerInfo]) -> None:
        """Deltas, by participant."""
        active = dict(self._speaking)
        for speaker in speakers:
            participant = self._participants.get(speaker.sid)
            identity = self.identity if speaker.sid == self._own_sid else participant.identity if participant else ""
            if not identity:
                continue
            if speaker.active and speaker.level > 0:
                active[identity] = round(min(1.0, speaker.level), 3)
            else:
                active.pop(identity, None)
        self._set_speakers(active)

    def _set_speakers(self, active: dict[str, float]) -> None:
        if active != self._speaking:
            self._speaking = active
            self.emit(api.Speakers(tuple(sorted(active.items(), key=lambda item: -item[1]))))

    # ---- numbers
    def each_second(self) -> None:
        """Sound and pictures are brought together; pictures that nobody has asked to see for a while need not come."""
        now = time.monotonic()
        self.synchroniser.look(self._subscriptions.values(), now)
        for subscription in self._subscriptions.values():
            if subscription.video is not None:
                subscription.video.forget_old(now)
            if subscription.announced and now - subscription.since > UNWATCHED_S:
                self._say_wants(subscription)

    def tracks_report(self, *, past: bool = False) -> list[dict[str, Any]]:
        """One entry a track (`bot --json`'s fields); `past`: also those that have gone."""
        now = time.monotonic()
        gone = [t.report for t in self.past_tracks] if past else []
        return gone + [s.report(now) for s in self._subscriptions.values() if s.announced]

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

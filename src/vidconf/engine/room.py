"""Who else is at the SFU: participants, their tracks, who speaks; what of it is taken, and in which size.

Loop's thread only. `Session` owns it and hands it what signalling says about the room; it outlives the connections.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from livekit.protocol import models, rtc

from vidconf.engine import api
from vidconf.engine.stay import Stay
from vidconf.engine.subscription import Owner as SubscriptionOwner
from vidconf.engine.subscription import Subscription
from vidconf.engine.synchroniser import Synchroniser
from vidconf.engine.transport import Connection
from vidconf.protocol.livekit import SOURCE_NAMES

MAX_TRACKS = 1000
"""Remote tracks a server may tell us of, and people; more is a broken or hostile one."""
UNWATCHED_S = 3.0
"""After which the server is told that a track is shown nowhere."""

_QUALITIES = {
    models.ConnectionQuality.POOR: "poor",
    models.ConnectionQuality.GOOD: "good",
    models.ConnectionQuality.EXCELLENT: "excellent",
    models.ConnectionQuality.LOST: "lost",
}


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


class Owner(SubscriptionOwner, Protocol):
    """What a room needs of its session."""

    stay: Stay


class Room:
    """What the server says comes in by `joined` and `on_message`; events go out by the owner's `emit`."""

    def __init__(self, owner: Owner, *, decode_unwatched: bool) -> None:
        self._owner, self._decode_unwatched = owner, decode_unwatched
        self.identity = self.own_sid = ""
        """One's own, once the server has let us in."""
        self.synchroniser = Synchroniser()
        self.past_tracks: deque[PastTrack] = deque(maxlen=200)
        """For a bot's report."""
        self._subscriptions: dict[str, Subscription] = {}
        self._participants: dict[str, _Participant] = {}
        self._speaking: dict[str, float] = {}
        self._gains: dict[str, float] = {}
        self._wanted: dict[str, bool] = {}
        """Identity -> whether its tracks are taken, where that was said."""
        self._permission: tuple[bool, tuple[int, ...]] | None = None
        self._height_limit = 0

    @property
    def _connection(self) -> Connection | None:
        return self._owner.stay.connection

    # ---- what is wanted of it
    def watch(self, command: api.WatchTrack) -> None:
        """In which size a track is shown, or that it is not."""
        subscription = self._subscriptions.get(command.track)
        if subscription is not None:
            subscription.watch(command)
            self._say_wants(subscription)

    def limit_height(self, height: int) -> None:
        """Cameras are asked for with no more lines than this; 0: with any number."""
        self._height_limit = height
        for subscription in self._subscriptions.values():
            if subscription.video is not None and subscription.source == "camera":
                subscription.video.size.limit(height)
                if subscription.video.watching is not None:
                    self._say_wants(subscription)

    def subscribe(self, identity: str, wanted: bool) -> None:
        """Whether the tracks of `identity` are taken: those that are here, and those to come."""
        self._wanted[identity] = wanted
        self._say_subscription([s.sid for s in self._subscriptions.values() if s.identity == identity], wanted)

    def set_volume(self, identity: str, gain: float) -> None:
        """How loud `identity` is; also on tracks that are still to come."""
        self._gains[identity] = gain
        for subscription in self._subscriptions.values():
            if subscription.identity == identity and subscription.kind == "audio":
                self._owner.playout.set_gain(subscription.sid, gain)

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

    def _say_subscription(self, sids: list[str], wanted: bool) -> None:
        if sids and self._connection is not None:
            self._connection.send(subscription=rtc.UpdateSubscription(track_sids=sids, subscribe=wanted))

    # ---- from the session
    def joined(self, join: rtc.JoinResponse) -> None:
        """What the server says at joining is the whole truth: what is not in it is gone."""
        self.identity, self.own_sid = join.participant.identity, join.participant.sid
        self._participants.clear()
        self._set_speakers({})
        present = {t.sid for p in join.other_participants for t in p.tracks}
        for sid in [s for s in self._subscriptions if s not in present]:
            self._remove_track(sid)
        for info in join.other_participants:
            self._take_participant(info)

    def connection_lost(self) -> None:
        """What was said on the connection has to be said anew on the next."""
        for subscription in self._subscriptions.values():
            if subscription.video is not None:
                subscription.video.wants_sent = None
                subscription.video.size.forget()

    def clear(self) -> None:
        """The stay is over: nobody is here."""
        for subscription in list(self._subscriptions.values()):
            self._remove_track(subscription.sid)
        self._participants.clear()
        self._set_speakers({})

    def close(self) -> None:
        """End what decodes and plays; nothing is told of it."""
        for subscription in list(self._subscriptions.values()):
            subscription.close()
        self._subscriptions.clear()

    def each_second(self) -> None:
        """Sound and pictures are brought together; pictures that nobody has asked to see for a while need not come."""
        now = time.monotonic()
        self.synchroniser.look(self._subscriptions.values(), now)
        for subscription in self._subscriptions.values():
            if subscription.video is not None:
                subscription.video.forget_old(now)
            if subscription.announced and now - subscription.since > UNWATCHED_S:
                self._say_wants(subscription)

    def report(self, *, past: bool = False) -> list[dict[str, Any]]:
        """One entry a track (`bot --json`'s fields); `past`: also those that have gone."""
        now = time.monotonic()
        gone = [t.report for t in self.past_tracks] if past else []
        return gone + [s.report(now) for s in self._subscriptions.values() if s.announced]

    # ---- from the server
    def on_message(self, message: rtc.SignalResponse) -> None:
        """What is about the others, and the quality of one's own line."""
        match message.WhichOneof("message"):
            case "update":
                for info in message.update.participants:
                    self._take_participant(info)
            case "speakers_changed":
                self._take_speakers(message.speakers_changed.speakers)
            case "connection_quality":
                for update in message.connection_quality.updates:
                    participant = self._participants.get(update.participant_sid)
                    identity = self.identity if update.participant_sid == self.own_sid else participant.identity if participant else ""
                    if identity:
                        self._owner.emit(api.Quality(identity, _QUALITIES.get(update.quality, "good")))
            case "stream_state_update":
                for said in message.stream_state_update.stream_states:
                    if (held := self._subscriptions.get(said.track_sid)) is not None:
                        held.set_held_back(said.state == rtc.StreamState.PAUSED)

    def _take_participant(self, info: models.ParticipantInfo) -> None:
        if info.sid == self.own_sid or info.identity == self.identity:
            if info.sid == self.own_sid and self._connection is not None and info.HasField("permission") and info.permission.can_publish:
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
            subscription.video.size.limit(self._height_limit if track.source == models.TrackSource.CAMERA else 0)
        if subscription.announced:
            if subscription.muted != track.muted:
                subscription.set_muted(track.muted)
                self._owner.emit(api.TrackMuted(track.sid, track.muted))
            if subscription.video is not None and subscription.video.watching is not None:
                self._say_wants(subscription)
            return
        subscription.announced = True
        subscription.identity = info.identity
        subscription.source = cast(api.Source, SOURCE_NAMES.get(track.source, "microphone" if kind == "audio" else "camera"))
        subscription.set_muted(track.muted)
        if kind == "audio" and info.identity in self._gains:
            self._owner.playout.set_gain(track.sid, self._gains[info.identity])
        self._owner.emit(api.TrackAdded(track.sid, info.identity, subscription.source, kind, track.muted))
        if subscription.first_at is not None:
            self._owner.emit(api.FirstFrame(track.sid))
        join = self._owner.stay.join
        if info.identity in self._wanted and join is not None and self._wanted[info.identity] != join.subscribe:
            self._say_subscription([track.sid], self._wanted[info.identity])

    def subscription(self, sid: str, kind: str) -> Subscription:
        """The subscription of a track; made when it is new. Raises ValueError when a server tells of too many."""
        found = self._subscriptions.get(sid)
        if found is None:
            if len(self._subscriptions) >= MAX_TRACKS:
                raise ValueError("more tracks than any room has")
            found = Subscription(self._owner, sid, "video" if kind == "video" else "audio", decode_unwatched=self._decode_unwatched)
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
            self._owner.emit(api.TrackRemoved(sid))

    def _take_speakers(self, speakers: Sequence[models.SpeakerInfo]) -> None:
        """Deltas, by participant."""
        active = dict(self._speaking)
        for speaker in speakers:
            participant = self._participants.get(speaker.sid)
            identity = self.identity if speaker.sid == self.own_sid else participant.identity if participant else ""
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
            self._owner.emit(api.Speakers(tuple(sorted(active.items(), key=lambda item: -item[1]))))

"""A room of the relay: who is in it, who gets what of whom, what is told to whom. The loop's thread."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc

from vidconf.protocol.livekit import RELIABLE
from vidconf.relay import limits
from vidconf.relay.codecs import CODECS
from vidconf.relay.participant import Action, Participant, Reason, State
from vidconf.relay.permission import Permission
from vidconf.relay.quality import score
from vidconf.relay.speakers import Speakers
from vidconf.relay.tasks import spawn
from vidconf.relay.track import PublishedTrack

if TYPE_CHECKING:
    from vidconf.relay.registry import Relay

log = logging.getLogger("vidconf.relay")

QUALITY_EVERY_S = 5.0


class Room:
    def __init__(self, relay: Relay, name: str, *, empty_timeout: int = 300, departure_timeout: int = 20, max_participants: int = 0) -> None:
        self.relay, self.name, self.sid = relay, name, "RM_" + secrets.token_urlsafe(9)
        self.empty_timeout, self.departure_timeout, self.max_participants = empty_timeout, departure_timeout, max_participants
        self.metadata = ""
        self.created_at = time.time()
        self.participants: dict[str, Participant] = {}
        """By identity."""
        self.empty_since = time.monotonic()
        self.had_participants = False
        self.closed = False
        self._speakers = Speakers()
        self._quality_at = 0.0

    def info(self) -> models.Room:
        people = [p for p in self.participants.values() if not p.permission.hidden]
        return models.Room(
            sid=self.sid, name=self.name, empty_timeout=self.empty_timeout, departure_timeout=self.departure_timeout,
            max_participants=self.max_participants, creation_time=int(self.created_at), creation_time_ms=int(self.created_at * 1000),
            metadata=self.metadata, num_participants=len(people), num_publishers=sum(bool(p.publisher.tracks) for p in people),
            enabled_codecs=[models.Codec(mime=codec.mime) for codec in CODECS.values()],
        )  # fmt: skip

    # ---- telling

    def broadcast(self, but: Participant | None = None, **message: object) -> None:
        """One SignalResponse to all, serialised once."""
        data = rtc.SignalResponse(**message).SerializeToString()  # type: ignore[arg-type]
        for p in self.participants.values():
            if p is not but:
                p.say_bytes(data)

    def tell(self, about: Participant) -> None:
        """Its state to all, itself included; of a hidden one only to itself."""
        update = rtc.ParticipantUpdate(participants=[about.info()])
        if about.permission.hidden:
            about.say(update=update)
        else:
            self.broadcast(update=update)

    def changed(self, about: Participant) -> None:
        about.version += 1
        self.tell(about)

    def notify(self, event: str, participant: Participant | None = None, track: PublishedTrack | None = None) -> None:
        self.relay.webhooks.put(
            event, self.info(), participant.info() if participant is not None else None, track.info if track is not None else None
        )

    # ---- coming and going

    def join(self, participant: Participant) -> None:
        """A new participant, whose first words (join) are said here; an older one of its identity goes."""
        older = self.participants.get(participant.identity)
        if older is not None:
            self.remove(older, Reason.DUPLICATE_IDENTITY, Action.DISCONNECT)
        self.participants[participant.identity] = participant
        self.had_participants = True
        participant.state = State.JOINED
        others = [p.info() for p in self.participants.values() if p is not participant and not p.permission.hidden]
        participant.say(join=self.relay.join_response(self, participant, others))
        participant.refresh_token()
        self.tell(participant)
        self.reconcile(participant)
        participant.subscriber.begin()
        log.info("participant %s joins %s", participant.sid, self.sid)

    def remove(self, participant: Participant, reason: int, action: int) -> None:
        """Out at once: not one packet more in either direction. Closing its connections goes on by itself."""
        if participant.gone:
            return
        if self.participants.get(participant.identity) is participant:
            del self.participants[participant.identity]
        participant.leave(reason, action)
        participant.gone = True
        for track in participant.publisher.all():
            self._withdraw(track)
        for sid in participant.subscriber.tracks:
            participant.subscriber.unsubscribe(sid)
        participant.state = State.DISCONNECTED
        participant.version += 1
        if not participant.permission.hidden:
            info = participant.info()
            info.disconnect_reason = reason  # type: ignore[assignment]
            self.broadcast(update=rtc.ParticipantUpdate(participants=[info]))
        self._speakers.forget(participant.sid)
        self.notify("participant_left" if participant.was_active else "participant_connection_aborted", participant)
        if not self.participants:
            self.empty_since = time.monotonic()
        log.info("participant %s leaves %s: %s", participant.sid, self.sid, Reason.Name(reason))
        spawn(participant.close(), "participant closes")

    def close(self, reason: int = Reason.ROOM_DELETED, action: int = Action.DISCONNECT) -> None:
        for p in list(self.participants.values()):
            self.remove(p, reason, action)
        if not self.closed:
            self.closed = True
            self.notify("room_finished")
            log.info("room %s closed", self.sid)

    def activated(self, participant: Participant) -> None:
        """Its media is up. Who speaks is told only now: said right behind the join, browsers do not know the names yet."""
        self.tell(participant)
        self.notify("participant_joined", participant)
        if speaking := self._speakers.active():
            speakers = [models.SpeakerInfo(sid=sid, level=level, active=True) for sid, level in speaking]
            participant.say(speakers_changed=rtc.SpeakersChanged(speakers=speakers))

    # ---- tracks

    def publish(self, track: PublishedTrack) -> None:
        """A track's section is there: tell, then offer it."""
        owner = track.owner
        if owner.gone:
            return
        log.info("participant %s publishes %s", owner.sid, track.sid)
        self.changed(owner)
        self.notify("track_published", owner, track)
        for p in self.participants.values():
            if p is not owner:
                self._reconcile_one(p, track)

    def unpublish(self, track: PublishedTrack, tell_owner: bool = False) -> None:
        """By its owner's offer, or because it may no longer be."""
        self._withdraw(track)
        if tell_owner:
            track.owner.say(track_unpublished=rtc.TrackUnpublishedResponse(track_sid=track.sid))
        self.changed(track.owner)

    def _withdraw(self, track: PublishedTrack) -> None:
        published = track.sid in track.owner.publisher.tracks
        for p in self.participants.values():
            p.subscriber.unsubscribe(track.sid)
            p.asked.pop(track.sid, None)
            p.wishes.pop(track.sid, None)
        track.owner.publisher.drop(track)
        if published:
            log.info("participant %s no longer publishes %s", track.owner.sid, track.sid)
            self.notify("track_unpublished", track.owner, track)

    def find_track(self, sid: str) -> PublishedTrack | None:
        for p in self.participants.values():
            if (track := p.publisher.tracks.get(sid)) is not None:
                return track
        return None

    def reconcile(self, participant: Participant) -> None:
        """Make what `participant` receives what it should."""
        for other in self.participants.values():
            if other is not participant:
                for track in other.publisher.tracks.values():
                    self._reconcile_one(participant, track)

    def reconcile_publisher(self, owner: Participant) -> None:
        for p in self.participants.values():
            if p is not owner:
                for track in owner.publisher.tracks.values():
                    self._reconcile_one(p, track)

    def _reconcile_one(self, participant: Participant, track: PublishedTrack) -> None:
        if participant.wants(track):
            participant.subscriber.subscribe(track, participant.wishes.get(track.sid, participant.first_wish))
        else:
            participant.subscriber.unsubscribe(track.sid)
        self.watching(track)

    def subscribed(self, track: PublishedTrack) -> None:
        """A subscriber's way for a track is open."""
        if not track.subscribed_said:
            track.subscribed_said = True
            track.owner.say(track_subscribed=rtc.TrackSubscribed(track_sid=track.sid))

    def set_muted(self, track: PublishedTrack, muted: bool) -> None:
        if track.mute(muted):
            log.info("track %s is %s", track.sid, "muted" if muted else "unmuted")
            if track.sid in track.owner.publisher.tracks:
                self.changed(track.owner)

    def watching(self, track: PublishedTrack) -> None:
        """Tell the publisher which layers of its video anybody takes, when that has changed (dynacast)."""
        update = track.look_at_watchers(time.monotonic())
        if update is not None:
            track.owner.say(subscribed_quality_update=update)

    # ---- rights

    def permit(self, participant: Participant, permission: Permission) -> None:
        """Replace what a participant may do; what it may no longer publish is taken down now."""
        was_hidden = participant.permission.hidden
        participant.permission = permission
        for track in participant.publisher.all():
            if not permission.permits(track.source):
                self.unpublish(track, tell_owner=True)
        if permission.hidden and not was_hidden:
            info = participant.info()
            info.state = State.DISCONNECTED
            self.broadcast(but=participant, update=rtc.ParticipantUpdate(participants=[info]))
        self.reconcile(participant)
        self.changed(participant)
        participant.refresh_token()

    # ---- data

    def data_from(self, sender: Participant, label: str, message: bytes | str) -> None:
        """A message on a data channel. A label that is not LiveKit's makes it a user packet, as there."""
        now = time.monotonic()
        counters = self.relay.counters
        if sender.gone or not sender.permission.can_publish_data or not sender.data.take(now) or len(message) > limits.DATA_BYTES:
            counters.data_refused += 1
            return
        reliable = label == RELIABLE
        try:
            if isinstance(message, str) or label not in (RELIABLE, "_lossy"):
                payload = message.encode() if isinstance(message, str) else message
                packet = models.DataPacket(user=models.UserPacket(payload=payload))
            else:
                packet = models.DataPacket.FromString(message)
        except DecodeError:
            counters.data_refused += 1
            return
        if packet.WhichOneof("value") in (None, "speaker"):
            counters.data_refused += 1
            return
        packet.kind = models.DataPacket.Kind.RELIABLE if reliable else models.DataPacket.Kind.LOSSY
        seen = not sender.permission.hidden
        packet.participant_sid, packet.participant_identity = (sender.sid, sender.identity) if seen else ("", "")
        if packet.WhichOneof("value") == "user":
            packet.user.participant_sid, packet.user.participant_identity = packet.participant_sid, packet.participant_identity
        self.send_data(packet, but=sender)

    def send_data(self, packet: models.DataPacket, but: Participant | None = None) -> None:
        """To its destinations, all when it names none."""
        user = packet.user if packet.WhichOneof("value") == "user" else None
        identities = set(packet.destination_identities) or (set(user.destination_identities) if user is not None else set())
        sids = set(user.destination_sids) if user is not None else set()
        data = packet.SerializeToString()
        reliable = packet.kind == models.DataPacket.Kind.RELIABLE
        for p in list(self.participants.values()):
            if p is but or not p.was_active or ((identities or sids) and p.identity not in identities and p.sid not in sids):
                continue
            p.subscriber.send_data(data, reliable)

    # ---- from time to time

    def set_metadata(self, metadata: str) -> None:
        self.metadata = metadata
        self.broadcast(room_update=rtc.RoomUpdate(room=self.info()))

    def look_for_speakers(self) -> None:
        windows = []
        for p in self.participants.values():
            for track in p.publisher.tracks.values():
                if track.kind == "audio":
                    up = track.layers.all[0]
                    windows.append((p.sid, up.heard, up.loud, up.level_sum))
                    up.heard = up.loud = up.level_sum = 0
        changes = self._speakers.heard(windows) if windows else []
        if changes:
            speakers = [models.SpeakerInfo(sid=sid, level=level, active=active) for sid, level, active in changes]
            self.broadcast(speakers_changed=rtc.SpeakersChanged(speakers=speakers))

    def look_at_layers(self, now: float) -> None:
        """Every LOOK_S: what is being sent, and what of it each subscriber's line carries."""
        for p in self.participants.values():
            for track in p.publisher.tracks.values():
                track.layers.look(now)
        for p in self.participants.values():
            p.subscriber.delivery.look(now)

    def tick(self, now: float) -> None:
        """Once a second."""
        for p in list(self.participants.values()):
            p.publisher.report(now)
            if why := p.overdue(now):
                log.info("participant %s: %s", p.sid, why)
                self.remove(p, Reason.SIGNAL_CLOSE if p.lost_at is not None else Reason.CONNECTION_TIMEOUT, Action.RECONNECT)
                continue
            if now >= p.refresh_at:
                p.refresh_token()
            for track in p.publisher.tracks.values():
                self.watching(track)
                if not track.told_layers:
                    track.told_layers = True
                    self.changed(p)
        if now - self._quality_at >= QUALITY_EVERY_S:
            self._quality_at = now
            self._look_at_quality(now)

    def _look_at_quality(self, now: float) -> None:
        changed = []
        for p in self.participants.values():
            if not p.was_active:
                continue
            silent_s = now - max(p.subscriber.session.checked_at, p.publisher.session.checked_at)
            quality, points = score(max(p.publisher.fraction_lost, p.subscriber.fraction_lost), silent_s)
            if quality != p.quality:
                p.quality = quality
                changed.append(rtc.ConnectionQualityInfo(participant_sid=p.sid, quality=quality, score=points))
        if changed:
            self.broadcast(connection_quality=rtc.ConnectionQualityUpdate(updates=changed))

    def is_over(self, now: float) -> bool:
        """Empty for longer than it may be."""
        allowed = self.departure_timeout if self.had_participants else self.empty_timeout
        return not self.participants and now - self.empty_since > allowed

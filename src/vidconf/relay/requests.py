"""What a client asks on its signalling socket: one function a message, chosen by its name in SignalRequest. The loop's thread.

Unknown requests are ignored: newer clients send more than we know. What is refused is answered by `request_response`, so that
clients need not wait for their time-outs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from livekit.protocol import models, rtc

from vidconf.relay import limits
from vidconf.relay.layers import HIGH, Wish
from vidconf.relay.participant import Action, Participant, Reason
from vidconf.relay.track import MAX_SIDE

Why = rtc.RequestResponse.Reason
KIND = {
    models.TrackSource.CAMERA: models.TrackType.VIDEO,
    models.TrackSource.MICROPHONE: models.TrackType.AUDIO,
    models.TrackSource.SCREEN_SHARE: models.TrackType.VIDEO,
    models.TrackSource.SCREEN_SHARE_AUDIO: models.TrackType.AUDIO,
}
"""Sound that calls itself a camera would be heard of one who may not speak."""
MAX_PRIORITY = 255
MAX_OVERRIDES = 4000
"""Track sids a client may have spoken of."""


def handle(participant: Participant, request: rtc.SignalRequest) -> None:
    """Carry out one request. Raises DescriptionError for an offer or answer that cannot be read."""
    name = request.WhichOneof("message")
    action = _ACTIONS.get(name or "")
    if action is not None and not participant.gone:
        action(participant, getattr(request, name or ""))


def _refuse(p: Participant, reason: int, message: str, request_id: int = 0, **request: object) -> None:
    p.say(request_response=rtc.RequestResponse(request_id=request_id, reason=reason, message=message, **request))  # type: ignore[arg-type]


def _offer(p: Participant, offer: rtc.SessionDescription) -> None:
    p.publisher.take_offer(offer.sdp, offer.id)


def _answer(p: Participant, answer: rtc.SessionDescription) -> None:
    p.subscriber.take_answer(answer.sdp, answer.id)


def _trickle(p: Participant, trickle: rtc.TrickleRequest) -> None:
    """An ICE-lite agent learns addresses from checks; the client's candidates are not needed."""


def _add_track(p: Participant, asked: rtc.AddTrackRequest) -> None:
    if asked.type not in (models.TrackType.AUDIO, models.TrackType.VIDEO):
        _refuse(p, Why.UNSUPPORTED_TYPE, "only audio and video", add_track=asked)
    elif not asked.cid or len(asked.cid) > limits.NAME_CHARS:
        _refuse(p, Why.INVALID_REQUEST, "a cid is needed", add_track=asked)
    elif KIND.get(asked.source, asked.type) != asked.type:
        _refuse(p, Why.INVALID_REQUEST, "this source is of the other kind", add_track=asked)
    elif not p.permission.permits(asked.source):
        _refuse(p, Why.NOT_ALLOWED, "no permission to publish this source", add_track=asked)
    elif asked.cid in p.publisher.pending:
        _refuse(p, Why.QUEUED, "asked for already", add_track=asked)
    elif len(p.publisher.all()) >= limits.TRACKS:
        _refuse(p, Why.LIMIT_EXCEEDED, f"at most {limits.TRACKS} tracks", add_track=asked)
    else:
        track = p.publisher.add(asked)
        p.say(track_published=rtc.TrackPublishedResponse(cid=asked.cid, track=track.info))


def _mute(p: Participant, mute: rtc.MuteTrackRequest) -> None:
    track = p.publisher.find(mute.sid)
    if track is None:
        _refuse(p, Why.NOT_FOUND, "no such track of yours", mute=mute)
    elif not mute.muted and not p.permission.permits(track.source):
        _refuse(p, Why.NOT_ALLOWED, "no permission to publish this source", mute=mute)
    else:
        p.room.set_muted(track, mute.muted)


def _sids(track_sids: list[str], participant_tracks: list[models.ParticipantTracks]) -> list[str]:
    return [*track_sids, *(sid for entry in participant_tracks for sid in entry.track_sids)]


def subscribe(p: Participant, sids: list[str], wanted: bool) -> None:
    """Also for UpdateSubscriptions by the API."""
    for sid in dict.fromkeys(sids[:MAX_OVERRIDES]):
        track = p.room.find_track(sid)
        if track is None or track.owner is p:
            p.say(subscription_response=rtc.SubscriptionResponse(track_sid=sid, err=models.SubscriptionError.SE_TRACK_NOTFOUND))
            continue
        if sid in p.asked or len(p.asked) < MAX_OVERRIDES:
            p.asked[sid] = wanted
    p.room.reconcile(p)


def _subscription(p: Participant, asked: rtc.UpdateSubscription) -> None:
    subscribe(p, _sids(list(asked.track_sids), list(asked.participant_tracks)), asked.subscribe)


def _track_setting(p: Participant, settings: rtc.UpdateTrackSettings) -> None:
    """`disabled` pauses; a size or a quality chooses among the layers; `priority` says what a narrow line is for first."""
    sides = min(settings.width, MAX_SIDE), min(settings.height, MAX_SIDE)
    wish = Wish(settings.disabled, min(settings.quality, HIGH), *sides, min(settings.priority, MAX_PRIORITY))
    for sid in dict.fromkeys(settings.track_sids[:MAX_OVERRIDES]):
        track = p.room.find_track(sid)
        if track is None or p.wishes.get(sid) == wish or (sid not in p.wishes and len(p.wishes) >= MAX_OVERRIDES):
            continue
        p.wishes[sid] = wish
        p.subscriber.wish(sid, wish)
        p.room.watching(track)


def _subscription_permission(p: Participant, permission: rtc.SubscriptionPermission) -> None:
    p.permits_all = permission.all_participants
    p.permitted = {
        entry.participant_identity: None if entry.all_tracks else frozenset(entry.track_sids)
        for entry in permission.track_permissions[: limits.PARTICIPANTS]
    }
    before = {other.sid: set(other.subscriber.tracks) for other in p.room.participants.values()}
    p.room.reconcile_publisher(p)
    for other in p.room.participants.values():
        for sid in before.get(other.sid, set()) ^ set(other.subscriber.tracks):
            update = rtc.SubscriptionPermissionUpdate(participant_sid=p.sid, track_sid=sid, allowed=sid in other.subscriber.tracks)
            other.say(subscription_permission_update=update)


def _leave(p: Participant, leave: rtc.LeaveRequest) -> None:
    p.room.remove(p, Reason.CLIENT_INITIATED, Action.DISCONNECT)


def _ping(p: Participant, ping: int) -> None:
    p.say(pong=int(time.time() * 1000))


def _ping_req(p: Participant, ping: rtc.Ping) -> None:
    p.say(pong_resp=rtc.Pong(last_ping_timestamp=ping.timestamp, timestamp=int(time.time() * 1000)))


def _update_metadata(p: Participant, update: rtc.UpdateParticipantMetadata) -> None:
    request_id = update.request_id
    if not p.permission.can_update_metadata:
        _refuse(p, Why.NOT_ALLOWED, "no permission to update own metadata", request_id, update_metadata=update)
    elif len(update.metadata) > limits.METADATA_BYTES or len(update.name) > limits.NAME_CHARS or not p.set_attributes(update.attributes):
        _refuse(p, Why.LIMIT_EXCEEDED, "too large", request_id, update_metadata=update)
    else:
        p.metadata, p.name = update.metadata or p.metadata, update.name or p.name
        p.say(request_response=rtc.RequestResponse(request_id=request_id, reason=Why.OK))
        p.room.changed(p)
        p.refresh_token()


def _update_video_track(p: Participant, update: rtc.UpdateLocalVideoTrack) -> None:
    track = p.publisher.find(update.track_sid)
    if track is None:
        _refuse(p, Why.NOT_FOUND, "no such track of yours", update_video_track=update)
        return
    track.info.width, track.info.height = update.width, update.height
    p.room.changed(p)


def _update_audio_track(p: Participant, update: rtc.UpdateLocalAudioTrack) -> None:
    track = p.publisher.find(update.track_sid)
    if track is None:
        _refuse(p, Why.NOT_FOUND, "no such track of yours", update_audio_track=update)
        return
    del track.info.audio_features[:]
    track.info.audio_features.extend(update.features[:8])
    p.room.changed(p)


_ACTIONS: dict[str, Callable[[Participant, Any], None]] = {
    "offer": _offer, "answer": _answer, "trickle": _trickle, "add_track": _add_track, "mute": _mute, "subscription": _subscription,
    "track_setting": _track_setting, "subscription_permission": _subscription_permission, "leave": _leave, "ping": _ping,
    "ping_req": _ping_req, "update_metadata": _update_metadata, "update_video_track": _update_video_track,
    "update_audio_track": _update_audio_track,
}  # fmt: skip

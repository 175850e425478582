"""Sound and picture of each participant together: measures how far apart they come out and holds one of them back.

Loop's thread. `session` calls `look` once a second with what is subscribed. A microphone goes with the camera of the same
participant, a share's sound with the share; where the SFU names streams, only within one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from vidconf.engine.subscription import Subscription
from vidconf.rtp.lip_sync import LipSync, Shown, skew_s

PAIRS = {"microphone": "camera", "screen_share_audio": "screen_share"}
SCREEN_S = 0.012
"""From the ring to the glass: half a refresh until it is painted, one until it is shown."""
FRESH_S = 1.0
"""What came out longer ago says nothing of now."""
LONG_S = 3.0
"""So long without one of the two, and the other is free."""


class _Pair:
    def __init__(self) -> None:
        self.sync = LipSync()
        self.measured_at = 0.0
        self.skews_s: deque[float] = deque(maxlen=600)


class Synchroniser:
    """All pairs of one session."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], _Pair] = {}
        """By the sids of sound and picture."""

    def look(self, subscriptions: Iterable[Subscription], now: float) -> None:
        """Measure every pair, correct where it is due."""
        announced = [s for s in subscriptions if s.announced]
        by_source = {(s.identity, str(s.source)): s for s in announced}
        living: dict[tuple[str, str], _Pair] = {}
        for (identity, source), sound in by_source.items():
            picture = by_source.get((identity, PAIRS.get(source, "")))
            if picture is None or not _same_stream(sound, picture):
                continue
            key = (sound.sid, picture.sid)
            pair = living[key] = self._pairs.get(key) or _Pair()
            self._look_at(pair, sound, picture, now)
        paired = {sid for key in living for sid in key}
        for key, pair in self._pairs.items():
            if key not in living:
                pair.sync.release()
                _apply(pair.sync, *(s for s in announced if s.sid in key and s.sid not in paired))
        self._pairs = living

    def skews_s(self, sound_sid: str) -> tuple[float, ...]:
        """What was measured for a sound, newest last; positive: the picture is later."""
        return tuple(s for (sid, _), pair in self._pairs.items() if sid == sound_sid for s in pair.skews_s)

    def _look_at(self, pair: _Pair, sound: Subscription, picture: Subscription, now: float) -> None:
        heard, seen = _heard(sound), _seen(picture)
        if heard is None or seen is None or now - seen.at_s > FRESH_S or now - heard.at_s > FRESH_S:
            if now - pair.measured_at > LONG_S and (pair.sync.least_sound_s or pair.sync.least_picture_s):
                pair.sync.release()
                _apply(pair.sync, sound, picture)
            return
        pair.measured_at = now
        skew = skew_s(heard, seen)
        pair.skews_s.append(skew)
        assert sound.audio is not None
        assert picture.video is not None
        sound_delay_s = float(sound.audio.statistics()["jitter_buffer_ms"]) / 1000
        if pair.sync.update(skew, sound_delay_s, picture.video.render.delay_s):
            _apply(pair.sync, sound, picture)


def _same_stream(sound: Subscription, picture: Subscription) -> bool:
    """RFC 3550 §6.5.1: one CNAME, one clock. Where a CNAME is not known the participant's word that both are its own is enough."""
    return not sound.cname or not picture.cname or sound.cname == picture.cname


def _heard(sound: Subscription) -> Shown | None:
    point = sound.audio.playout_point() if sound.audio is not None and not sound.muted else None
    captured_s = sound.capture.at(point[0]) if point is not None else None
    return Shown(captured_s, point[1]) if point is not None and captured_s is not None else None


def _seen(picture: Subscription) -> Shown | None:
    video = picture.video
    point = video.shown_point if video is not None and not picture.muted else None
    captured_s = picture.capture.at(point[0]) if point is not None else None
    if video is None or point is None or captured_s is None:
        return None
    return Shown(captured_s, point[1] + (SCREEN_S if video.watching is not None else 0.0))


def _apply(sync: LipSync, *subscriptions: Subscription) -> None:
    for subscription in subscriptions:
        if subscription.audio is not None:
            subscription.audio.set_least_delay(sync.least_sound_s)
        if subscription.video is not None:
            subscription.video.render.least_delay_s = sync.least_picture_s

"""What one subscriber is sent of all that it wants, where its line does not carry all. The loop's thread; made by its `Subscribing`.

While the line has not been found narrow nothing is done here but to listen. Then, a few times a second, what it carries (`line`) is
shared out (`shares`): each Down is told the largest layer it may have, or that it is paused, which the client hears of
(StreamStateUpdate). Whether the line has become wide again is asked by padding, on the SSRC of repairs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from livekit.protocol import rtc

from vidconf.relay.downstream import NO_LIMIT, Down
from vidconf.relay.layers import importance
from vidconf.relay.line import Line
from vidconf.relay.shares import PAUSED, Want, next_step, share

PADDING_S = 0.02
PADDING_PACKET = 255
"""Octets: as many as one packet of nothing else may have (RFC 3550 §5.1)."""
HEAD = 20
"""Octets of a header with its extension, which estimates count."""
PADDING_AT_ONCE = 20
"""Packets in one turn."""
PAUSE_AFTER_S = 1.0
"""A picture is paused when it has not fitted for so long: an estimate may be low for a moment."""
FREE_AFTER_S = 20.0
"""A line that has carried all that is wanted for so long is a narrow one no longer."""

State = rtc.StreamState


class Delivery:
    """`downs` are those of this subscriber; `owner_of` an SSRC's (participant's sid, track's sid); `say` a SignalResponse to it."""

    def __init__(self, downs: Callable[[], Collection[Down]], owner_of: Callable[[Down], tuple[str, str]], say: Callable[..., None]) -> None:
        self._downs, self._owner_of, self._say = downs, owner_of, say
        self._line = Line()
        self._lacking_since: dict[Down, float] = {}
        """Which pictures do not fit, and since when."""
        self._whole_since: float | None = None
        """Since when everything wanted has been sent."""
        self._padding_bps, self._padded_at, self._padding_owed = 0.0, 0.0, 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit_bps(self) -> float | None:
        """What its line is thought to carry; None: enough."""
        return self._line.limit_bps

    # ---- what the subscriber tells
    def told(self, bps: int, now: float) -> None:
        """Its estimate."""
        if self._line.told(bps, self._sending_bps(), now):
            self.look(now, cut=True)

    def reported(self, fraction_lost: float, round_trip_s: float, now: float) -> None:
        """Its receiver report: the worst of its streams; a `round_trip_s` of 0 is not known."""
        pictures = any(d.is_open and d.upstream.kind == "video" for d in self._downs())
        sending_bps = self._sending_bps() if pictures else 0.0
        if self._line.reported(fraction_lost, round_trip_s, sending_bps, now):
            self.look(now, cut=True)

    # ---- a few times a second
    def look(self, now: float, *, cut: bool = False) -> None:
        """Share out what the line carries; `cut`: which has just been found to be less."""
        limit_bps = self._line.limit_bps
        if limit_bps is None:
            return
        sound_bps, downs = 0.0, []
        for down in self._downs():
            if down.upstream.kind == "audio":
                sound_bps += down.costs_bps
            elif down.accepted and down.enabled and down.layers is not None:
                downs.append(down)
        wants = [_want(down) for down in downs]
        given = share(wants, limit_bps - sound_bps, cut=cut)
        needed_bps = next_step(wants, given)
        self._give(downs, given, now)
        if needed_bps is None:
            self._pad(0.0, now)
            if self._whole_since is None:
                self._whole_since = now
            elif now - self._whole_since >= FREE_AFTER_S:
                self._free(now)
            return
        self._whole_since = None
        needed_bps += sound_bps
        if self._padder() is not None:
            self._pad(self._line.padding(needed_bps, self._sending_bps(), now), now)
        elif needed_bps > limit_bps and self._line.may_try(now):
            self._line.raise_to(needed_bps, now)

    def _free(self, now: float) -> None:
        """There is no limit any more; nor for what is hidden just now."""
        self._line.free()
        self._whole_since = None
        downs = [down for down in self._downs() if down.upstream.kind == "video" and down.layers is not None]
        self._give(downs, [NO_LIMIT] * len(downs), now)

    def _give(self, downs: Sequence[Down], given: Sequence[int], now: float) -> None:
        changed = []
        self._lacking_since = {down: since for down, since in self._lacking_since.items() if down in downs}
        for down, layer in zip(downs, given, strict=True):
            if layer == PAUSED:
                since = self._lacking_since.setdefault(down, now)
                if down.most != PAUSED and now - since < PAUSE_AFTER_S:
                    layer = 0
            else:
                self._lacking_since.pop(down, None)
            if layer == down.most:
                continue
            if PAUSED in (layer, down.most):
                participant, track = self._owner_of(down)
                state = State.PAUSED if layer == PAUSED else State.ACTIVE
                changed.append(rtc.StreamStateInfo(participant_sid=participant, track_sid=track, state=state))
            down.most = layer
            assert down.layers is not None
            if down.is_open and 0 <= layer < down.layers.all.index(down.upstream):
                down.upstream.stop(down)
            down.layers.update(down)
        if changed:
            self._say(stream_state_update=rtc.StreamStateUpdate(stream_states=changed))

    def _sending_bps(self) -> float:
        """What is on its way to this subscriber, padding aside."""
        return sum(down.costs_bps for down in self._downs() if down.is_open)

    # ---- padding
    def _padder(self) -> Down | None:
        """Whose SSRC of repairs carries it."""
        return next((d for d in self._downs() if d.takes_rtx and d.accepted and d.enabled), None)

    def _pad(self, bps: float, now: float) -> None:
        self._padding_bps = bps
        if bps <= 0.0:
            self._padding_owed = 0.0
        elif self._timer is None:
            self._padded_at = now
            self._timer = asyncio.get_running_loop().call_later(PADDING_S, self._send_padding)

    def _send_padding(self) -> None:
        self._timer = None
        down, now = self._padder(), time.monotonic()
        if self._padding_bps <= 0.0 or down is None:
            return
        self._padding_owed += self._padding_bps * min(now - self._padded_at, 5 * PADDING_S) / 8
        self._padded_at = now
        count = min(PADDING_AT_ONCE, int(self._padding_owed / (PADDING_PACKET + HEAD)))
        self._padding_owed -= count * (PADDING_PACKET + HEAD)
        for _ in range(count):
            down.upstream.send_padding(down, PADDING_PACKET, now)
        self._timer = asyncio.get_running_loop().call_later(PADDING_S, self._send_padding)

    def close(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self._padding_bps = 0.0


def _want(down: Down) -> Want:
    layers = down.layers
    assert layers is not None
    rates = [layer.rate_bps if layer.alive and not layer.blocked else None for layer in layers.all]
    flows = layers.all.index(down.upstream) if down.is_open else PAUSED
    return Want(rates, layers.wished(down), flows, importance(down.wish))

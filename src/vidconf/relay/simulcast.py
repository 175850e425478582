"""The layers of one published track, and which subscriber gets which. The loop's thread.

What a subscriber asked for (layers.choose) and what is being sent (`look`) make its target. Where another flows, it flows on
until the target's next keyframe, which is asked for at once. Who has nothing yet begins with the first keyframe of any layer
up to its target: a small picture at once, the right one a moment later. A track without simulcast has one layer, and nothing
here costs it anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vidconf.relay.downstream import Down
from vidconf.relay.dynacast import NOTHING
from vidconf.relay.forwarder import Upstream
from vidconf.relay.layers import Layer, Wish, choose, living

LOOK_S = 0.2
QUICK_S, SILENT_S = 0.25, 0.8
SILENT_FRAMES = 4
"""A layer that stays silent for so many of its own pictures' time, within these bounds, while the others go on with so many frames, is no
longer sent. The others are the clock: a shared screen that nobody touches may send one frame a second in all layers."""
USUAL_S = 1.0
"""How often a layer's pictures come is counted over so long."""
RETURNED_LOOKS = 3
"""A dead layer whose packets are seen in so many looks, never silent for long between them, lives; at a keyframe it lives at once."""


class _Pulse:
    """What `look` remembers of a layer."""

    __slots__ = ("_counted", "_since", "frames", "looks", "others", "silent_s", "size")

    def __init__(self) -> None:
        self.frames = self.others = self.looks = 0
        self.size = (0, 0)
        self.silent_s = SILENT_S
        """Silent for so long it is missed."""
        self._since, self._counted = float("-inf"), 0

    def beats(self, frames: int, now: float) -> None:
        """So many frames have come in all, more than at the last look."""
        if now - self._since > USUAL_S:
            known, more = now - self._since < 2 * USUAL_S, frames - self._counted
            self.silent_s = min(SILENT_S, max(QUICK_S, SILENT_FRAMES * (now - self._since) / more)) if known else SILENT_S
            self._since, self._counted = now, frames
        self.frames = frames


class Layers:
    """One track's. `all` is smallest first; made with one, before the publisher's offer says how many."""

    def __init__(self, first: Upstream) -> None:
        self.all: list[Upstream] = [first]
        self.downs: list[Down] = []
        self._pulses: dict[Upstream, _Pulse] = {}

    def divide(self, layers: Sequence[Upstream]) -> None:
        """The offer has come: these, smallest first, nobody subscribed yet. Each is dead until its first keyframe."""
        assert not self.downs
        self.all = list(layers)
        if len(self.all) > 1:
            for layer in self.all:
                layer.is_layer = True
                layer.on_alive, layer.on_opened = self._place_all, self._place
                layer.died()
            self._pulses = {layer: _Pulse() for layer in self.all}

    # ---- subscribers

    def add(self, down: Down) -> None:
        self.downs.append(down)
        down.layers = self
        if len(self.all) == 1:
            self.all[0].add(down)
        else:
            self._place(down)

    def remove(self, down: Down) -> None:
        """It is no longer subscribed: not one packet more."""
        if down in self.downs:
            self.downs.remove(down)
        for layer in self.all:
            layer.remove(down)
        down.accepted, down.layers = False, None

    def update(self, down: Down) -> None:
        """`accepted`, `enabled`, what it wishes for or what its line carries has changed."""
        if len(self.all) == 1:
            self.all[0].update(down)
            return
        if not down.is_wanted:
            down.upstream.update(down)
        self._place(down)

    def wish(self, down: Down, wish: Wish) -> None:
        """UpdateTrackSettings."""
        if wish != down.wish:
            down.wish, down.enabled = wish, not wish.disabled
            self.update(down)

    def lost(self, down: Down, fraction: float, now: float) -> None:
        """A receiver report: the share that did not arrive."""
        if len(self.all) > 1 and down.is_open and down.downlink.reported(fraction, self.wished(down), now):
            self.update(down)

    def wished(self, down: Down) -> int:
        """The index of the layer it wishes for, sent or not, carried by its line or not."""
        return choose(self._sizes(), down.wish)

    def _sizes(self) -> list[Layer]:
        """As the pictures say them, when all do: publishers have been seen that declare what they do not send."""
        known = [layer.layer for layer in self.all]
        if not all(layer.seen[1] for layer in self.all):
            return known
        return [replace(layer, width=up.seen[0], height=up.seen[1]) for layer, up in zip(known, self.all, strict=True)]

    def _target(self, down: Down) -> Upstream | None:
        wanted = min(self.wished(down) - down.downlink.less, down.most)
        index = living([layer.alive for layer in self.all], max(0, wanted))
        return None if index is None else self.all[index]

    def _place(self, down: Down) -> None:
        """Where it waits and what it gets, after anything has changed."""
        target = self._target(down)
        reached = False
        for layer in self.all:
            if down.is_open:
                among = layer is target or layer is down.upstream
            else:
                among = target is not None and not reached and (layer.alive or layer is target)
            reached = reached or layer is target
            layer.seat(down, among)

    def _place_all(self) -> None:
        for down in self.downs:
            self._place(down)

    # ---- the publisher

    def block(self, blocked: bool) -> None:
        """Muted or not permitted."""
        for layer in self.all:
            layer.block(blocked)
        if len(self.all) > 1:
            self._place_all()

    def wanted(self) -> int:
        """The best quality that anybody takes now; NOTHING when nobody takes any."""
        found = NOTHING
        for down in self.downs:
            if down.enabled:
                found = max(found, self.all[self.wished(down)].layer.quality)
        return found

    def look(self, now: float) -> None:
        """Every LOOK_S: which layers are being sent, and how large they are. One that has fallen silent, for want of bandwidth or
        because nobody took it, leaves its subscribers to the next below."""
        for layer in self.all:
            layer.measure(now)
        if len(self.all) == 1:
            return
        changed = False
        total = sum(layer.frames for layer in self.all)
        for layer, pulse in self._pulses.items():
            others = total - layer.frames
            if layer.seen != pulse.size:
                pulse.size, changed = layer.seen, True
            if layer.frames != pulse.frames:
                pulse.beats(layer.frames, now)
                pulse.others = others
                pulse.looks += 1
                if not layer.alive and pulse.looks >= RETURNED_LOOKS and not layer.blocked:
                    layer.alive = changed = True
                continue
            if now - layer.last_packet_at < pulse.silent_s:
                continue        # it may send fewer pictures than there are looks
            pulse.looks = 0
            if layer.alive and others - pulse.others >= SILENT_FRAMES:
                layer.died()
                changed = True
        if changed:
            self._place_all()

    def close(self) -> None:
        for layer in self.all:
            layer.close()
        self.downs.clear()

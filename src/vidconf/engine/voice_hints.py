"""When to tell who sits before the microphone that nobody hears them: they speak while muted, or nothing comes from the device.

Pure; `at` in monotonic seconds, a block of sound at a time, by the microphone's thread. A hint that comes for a cough, a keyboard or
each sentence to a neighbour is soon not read any more: so it takes a second of speech, and comes once in a while.
"""

from __future__ import annotations

from vidconf.engine.api import MicrophoneHint

SPEAKS_S = 1.0
"""Speech, gaps between words left out, before the hint."""
FORGETS_S = 3.0
"""A second of it is forgotten in so long without."""
SHOWN_S = 6.0
"""The hint goes when nobody has spoken for so long."""
REST_S = 60.0
"""It does not come again sooner."""
NOTHING = 3
"""Of 32,767: a microphone that is on has a louder noise of its own."""
SILENT_FIRST_S, SILENT_LATER_S = 5.0, 30.0
"""Nothing for so long is told: from a device that never gave a sound, and from one that did. Headsets that take all noise out
themselves are silent between two sentences."""
HEARD_S = 0.1


class MutedSpeech:
    """`note` each block; answers the hint when it changes."""

    def __init__(self) -> None:
        self._spoken_s = 0.0
        self._last: float | None = None
        self._spoke_at = 0.0
        self._told_at: float | None = None
        self._shown = False

    def note(self, speech: bool, muted: bool, at: float) -> MicrophoneHint | None:
        since_s = 0.0 if self._last is None else max(0.0, min(0.1, at - self._last))
        self._last = at
        if not muted:
            self._spoken_s, self._told_at = 0.0, None
            return self._change(False)
        if speech:
            self._spoken_s, self._spoke_at = min(SPEAKS_S, self._spoken_s + since_s), at
        else:
            self._spoken_s = max(0.0, self._spoken_s - since_s * SPEAKS_S / FORGETS_S)
        if self._shown:
            return self._change(at - self._spoke_at < SHOWN_S)
        if self._spoken_s >= SPEAKS_S and (self._told_at is None or at - self._told_at >= REST_S):
            self._told_at = at
            return self._change(True)
        return None

    def _change(self, shown: bool) -> MicrophoneHint | None:
        if shown == self._shown:
            return None
        self._shown, self._spoken_s = shown, 0.0
        return MicrophoneHint("speaking_muted", shown)


class SilentMicrophone:
    """`note` each block as the device gave it; answers the hint when it changes. One for each opening of a device."""

    def __init__(self) -> None:
        self._quiet_since: float | None = None
        self._heard_s = 0.0
        self._last: float | None = None
        self._ever = self._shown = False

    def note(self, peak: int, muted: bool, at: float) -> MicrophoneHint | None:
        """`peak`: the largest sample, 0…32,768."""
        since_s = 0.0 if self._last is None else max(0.0, min(0.1, at - self._last))
        self._last = at
        if peak > NOTHING:
            self._heard_s += since_s
            if self._heard_s >= HEARD_S:        # the click of its opening is no sound yet
                self._ever, self._quiet_since = True, None
                return self._change(False)
        else:
            self._heard_s = 0.0
        if self._quiet_since is None:
            self._quiet_since = at
        if muted:
            return self._change(False)
        return self._change(self._shown or at - self._quiet_since >= (SILENT_LATER_S if self._ever else SILENT_FIRST_S))

    def _change(self, shown: bool) -> MicrophoneHint | None:
        if shown == self._shown:
            return None
        self._shown = shown
        return MicrophoneHint("silent", shown)

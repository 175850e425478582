"""How one's own microphone and camera look on a button: a word that says the state, a tooltip that says what a click does.

For pre-join, lobby, toolbar and tray; the window's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from vidconf import words
from vidconf.client.state import LocalSource
from vidconf.gui.parts import set_tool, tool

OwnSource = Literal["microphone", "camera"]
_WORD = {"microphone": "mic", "camera": "camera"}
_SYMBOL = {"microphone": ("mic!", "mic_off"), "camera": ("video!", "video_off")}


class Look(NamedTuple):
    symbol: str
    text: str
    state: str
    tip: str


def look(kind: OwnSource, source: LocalSource, key: str = "") -> Look:
    """Of a source as it is; while what was asked is not yet so, the word says what is happening."""
    on, off = _SYMBOL[kind]
    word = _WORD[kind]
    is_on = source.state == "on"
    if source.waits and source.wanted == "on":
        return Look(off, words.text(f"{word}.waiting"), "pending", words.text(f"{word}.waiting.tip"))
    if source.pending and not source.waits:
        wanted = source.wanted == "on"
        return Look(on if wanted else off, words.text(f"{word}.turning_{'on' if wanted else 'off'}"), "pending", _tip(word, wanted, key))
    return Look(on if is_on else off, words.text(f"{word}.{'on' if is_on else 'off'}"), "live" if is_on else "off", _tip(word, is_on, key))


def _tip(word: str, on: bool, key: str) -> str:
    tip = words.text(f"{word}.{'on' if on else 'off'}.tip", key=key)
    return tip if key else tip.replace(" ()", "")


def wanted_on(source: LocalSource) -> bool:
    """What a click should turn round: the wish, where it is not yet true."""
    return (source.wanted if source.pending else source.state) == "on"


def trouble(kind: str, source: LocalSource) -> tuple[str, str] | None:
    """(what happened, what to do) when a source could not open or died, or gives nothing; None when nothing is wrong."""
    if not source.error:
        if "silent" in source.hints and source.state == "on":
            return words.text("device.microphone.silent"), words.text("device.help.silent")
        return None
    if words.has(f"refusal.{source.error}"):
        return words.refusal(source.error), ""
    key = f"device.{kind}.{source.error}"
    what = words.text(key) if words.has(key) else words.text(f"device.{kind}.unknown", code=source.error[:40])
    cure = f"device.help.{source.error}"
    help_ = words.text(cure) if words.has(cure) else words.text("device.help.unknown")
    return what, f"{help_} {words.text('device.waits')}" if source.waits else help_


class OwnButtons:
    """The pair of big buttons on pre-join and lobby."""

    def __init__(self, actions: Any, keys: Mapping[str, str]) -> None:
        self.actions, self.keys = actions, keys
        self._sources: dict[str, LocalSource] = {}
        self.microphone = tool("mic_off", "…", "off", size=24, do=lambda: self._turn("microphone"))
        self.camera = tool("video_off", "…", "off", size=24, do=lambda: self._turn("camera"))
        for made in (self.microphone, self.camera):
            made.setMinimumSize(76, 60)

    def show(self, sources: Mapping[str, LocalSource]) -> None:
        for kind, made in (("microphone", self.microphone), ("camera", self.camera)):
            source = sources.get(kind, LocalSource())
            before = self._sources.get(kind)
            if before is not None and (before.state, before.wanted, before.waits) == (source.state, source.wanted, source.waits):
                continue
            self._sources[kind] = source
            shown = look("microphone" if kind == "microphone" else "camera", source, self.keys.get(kind, ""))
            set_tool(made, *shown)

    def _turn(self, kind: str) -> None:
        on = not wanted_on(self._sources.get(kind, LocalSource()))
        if kind == "microphone":
            self.actions.set_microphone(on)
        else:
            self.actions.set_camera(on)

"""The lists of microphones, speakers and cameras, the test of the loudspeaker, and the level with its mark. For pre-join, popover and
settings; the window's thread."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from vidconf import words
from vidconf.client.devices import Kind, chosen, listed, name_of
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui.painted import SPEECH_LEVEL, Gauge, loudness
from vidconf.gui.parts import Choice, Text, button, mark

TOO_LOUD = 0.97


def entries(state: ClientState, kind: Kind, *, may_be_none: bool = False) -> list[tuple[str, str]]:
    """(id, words): the default first, with what it is now, then what is plugged in; what was chosen and is away stays in the list, by its
    name and said so."""
    devices, held = state.devices, chosen(state, kind)
    if _is_file(held):  # a film instead of a device, for demonstrations
        return [("default", words.text("prejoin.device.default")), (held, PurePath(held).name)]
    if devices is None:
        return [(held, words.text("prejoin.device.loading"))]
    there = listed(devices, kind)
    items = [("default", _default(state, kind))]
    items += [(device.id, device.name) for device in there if device.id != "default"]
    if may_be_none:
        items.append(("none", words.text("prejoin.device.none")))
    if held not in [id_ for id_, _ in items]:
        name = name_of(state, kind, held)
        items.append((held, words.text("device.away", name=name) if name else words.text("device.away_unnamed")))
    return items


def _default(state: ClientState, kind: Kind) -> str:
    if not listed(state.devices, kind):
        return words.text("prejoin.device.missing")
    assert state.devices is not None
    ids = {"microphone": state.devices.default_microphone, "speaker": state.devices.default_speaker, "camera": ""}
    name = name_of(state, kind, ids[kind]) if ids[kind] else ""
    return words.text("device.default_is", name=name) if name else words.text("prejoin.device.default")


def _is_file(device: str) -> bool:
    return PurePath(device).suffix in (".mp4", ".wav", ".flac", ".mkv", ".webm")


class DeviceLists:
    """Three lists that follow the state, also while one is open, and the loudspeaker's test; choosing goes through the actions."""

    def __init__(self, actions: Any) -> None:
        self.microphone = Choice("mic", words.text("prejoin.microphone"))
        self.speaker = Choice("sound", words.text("prejoin.speaker"))
        self.camera = Choice("video", words.text("prejoin.camera"))
        self.microphone.chosen.connect(lambda id_: actions.choose_device("microphone", id_))
        self.camera.chosen.connect(lambda id_: actions.choose_device("camera", id_))
        self.speaker.chosen.connect(actions.choose_speaker)
        self.test = button(words.text("device.test"), "quiet", "sound", do=actions.test_speaker, name=words.text("device.test.name"))
        self.test.setToolTip(words.text("device.test.tip"))
        self.speaker_trouble = mark(Text("", wrap=True), ink="warn")
        self.speaker_trouble.hide()

    def show(self, state: ClientState) -> None:
        self.microphone.show_items(entries(state, "microphone"), chosen(state, "microphone"))
        self.speaker.show_items(entries(state, "speaker", may_be_none=True), chosen(state, "speaker"))
        self.camera.show_items(entries(state, "camera"), chosen(state, "camera"))
        silent = state.chosen.speaker == "none"
        self.test.setEnabled(not silent)
        error = "" if silent else state.speaker_error
        key = f"error.{error}"
        self.speaker_trouble.setText(f"{words.text(key)} {words.text('device.waits')}" if error and words.has(key) else "")
        self.speaker_trouble.setVisible(bool(self.speaker_trouble.text()))


def devices_changed(old: ClientState | None, new: ClientState) -> bool:
    """Whether the lists have to be shown anew."""
    return old is None or (old.devices, old.chosen, old.device_names, old.speaker_error) != (new.devices, new.chosen, new.device_names, new.speaker_error)


class Level:
    """The gauge and the word beside it. The word stays as wide as its longest, so that nothing jumps."""

    def __init__(self, bars: int = 20) -> None:
        self.gauge = Gauge(words.text("prejoin.level"), bars)
        self.word = Text("", "small")
        said = [words.text(f"prejoin.level.{name}") for name in ("low", "good", "loud", "off")]
        self.word.ensurePolished()
        self.word.setMinimumWidth(max(self.word.fontMetrics().horizontalAdvance(one) for one in said) + 4)
        self._heard = False

    def show(self, microphone: LocalSource) -> None:
        level = loudness(microphone.level) if microphone.state != "off" else 0.0
        self.gauge.show_level(level)
        if microphone.state == "off":
            self._heard = False
            self.word.setText(words.text("prejoin.level.off"))
            return
        self._heard = self._heard or level >= SPEECH_LEVEL
        loud = level >= TOO_LOUD
        self.word.setText(words.text("prejoin.level.loud" if loud else "prejoin.level.good" if self._heard else "prejoin.level.low"))
        self.gauge.setAccessibleName(f"{words.text('prejoin.level')}: {self.word.text()}")

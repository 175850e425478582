"""The lists of microphones, speakers and cameras, and the level with its mark. For pre-join and settings; the window's thread."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.engine.api import Device
from vidconf.gui.painted import SPEECH_LEVEL, Gauge, loudness
from vidconf.gui.parts import Choice, Text

TOO_LOUD = 0.97


def entries(devices: tuple[Device, ...] | None, chosen: str, *, may_be_none: bool = False) -> list[tuple[str, str]]:
    """(id, words): the default first, then what is plugged in; what was chosen and is away stays in the list, said so."""
    if _is_file(chosen):  # a film instead of a device, for demonstrations
        return [("default", words.text("prejoin.device.default")), (chosen, PurePath(chosen).name)]
    if devices is None:
        return [(chosen, words.text("prejoin.device.loading"))]
    listed = [("default", words.text("prejoin.device.default" if devices else "prejoin.device.missing"))]
    listed += [(device.id, device.name) for device in devices if device.id != "default"]
    if may_be_none:
        listed.append(("none", words.text("prejoin.device.none")))
    if chosen not in [id_ for id_, _ in listed]:
        listed.append((chosen, f"{chosen} ({words.text('prejoin.device.missing').lower()})"))
    return listed


def _is_file(device: str) -> bool:
    return PurePath(device).suffix in (".mp4", ".wav", ".flac", ".mkv", ".webm")


class DeviceLists:
    """Three lists that follow the state; choosing goes through the actions."""

    def __init__(self, actions: Any) -> None:
        self.microphone = Choice("mic", words.text("prejoin.microphone"))
        self.speaker = Choice("sound", words.text("prejoin.speaker"))
        self.camera = Choice("video", words.text("prejoin.camera"))
        self.microphone.chosen.connect(lambda id_: actions.choose_device("microphone", id_))
        self.camera.chosen.connect(lambda id_: actions.choose_device("camera", id_))
        self.speaker.chosen.connect(actions.choose_speaker)

    def show(self, state: ClientState) -> None:
        devices, chosen = state.devices, state.chosen
        self.microphone.show_items(entries(devices.microphones if devices else None, chosen.microphone), chosen.microphone)
        self.speaker.show_items(entries(devices.speakers if devices else None, chosen.speaker, may_be_none=True), chosen.speaker)
        self.camera.show_items(entries(devices.cameras if devices else None, chosen.camera), chosen.camera)


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

"""What the arrows beside microphone and camera open: the devices, switched at once, and the level one is heard with."""

from __future__ import annotations

from typing import Any, Literal

from PySide6.QtWidgets import QWidget

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui.device_lists import DeviceLists, Level, devices_changed
from vidconf.gui.own_sources import trouble
from vidconf.gui.parts import Text, button, mark, row
from vidconf.gui.popover import Popover

WIDTH = 340


class DevicePopover(Popover):
    """`what`: `microphone` (with the speaker) or `camera`. Closed by who opened it when the page goes."""

    def __init__(self, page: QWidget, actions: Any, what: Literal["microphone", "camera"]) -> None:
        super().__init__(page, words.text("devices.sound" if what == "microphone" else "devices.picture"), WIDTH)
        self._what = what
        self.lists = DeviceLists(actions)
        self.level: Level | None = None
        self._trouble = mark(Text("", wrap=True), ink="warn")
        margins = (0, 0, 8, 0)
        if what == "microphone":
            self.level = Level()
            for made in (Text(words.text("prejoin.microphone"), "strong"), row((self.lists.microphone, 1), margins=margins)):
                self._put(made)
            self._put(row((self._trouble, 1), margins=margins))
            self._put(row(Text(words.text("prejoin.level"), "small"), (self.level.gauge, 1), self.level.word, gap=10, margins=margins))
            self.body.addSpacing(4)
            self._put(row(Text(words.text("prejoin.speaker"), "strong"), None, self.lists.test, margins=margins))
            self._put(row((self.lists.speaker, 1), margins=margins))
            self._put(row((self.lists.speaker_trouble, 1), margins=margins))
        else:
            self._put(Text(words.text("prejoin.camera"), "strong"))
            self._put(row((self.lists.camera, 1), margins=margins))
            self._put(row((self._trouble, 1), margins=margins))
        again = button(words.text("devices.refresh"), "quiet", "arrow_sync", do=actions.refresh_devices)
        self._put(row(again, None, margins=(0, 4, 8, 0)))
        actions.refresh_devices()

    def _put(self, made: Any) -> None:
        if isinstance(made, QWidget):
            self.body.addWidget(made)
        else:
            self.body.addLayout(made)

    def first_focus(self) -> QWidget:
        return self.lists.microphone if self._what == "microphone" else self.lists.camera

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        if devices_changed(old, new):
            said = self.lists.speaker_trouble.text()
            self.lists.show(new)
            if self.lists.speaker_trouble.text() != said:
                self.place()
        if old is None or old.sources is not new.sources:
            source = new.sources.get(self._what, LocalSource())
            if self.level is not None:
                self.level.show(source)
            wrong = trouble(self._what, source)
            text = " ".join(wrong) if wrong is not None else ""
            if text != self._trouble.text():
                self._trouble.setText(text)
                self._trouble.setVisible(bool(text))
                self.place()
            elif old is None:
                self._trouble.setVisible(bool(text))

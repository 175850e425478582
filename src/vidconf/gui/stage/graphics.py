"""Who paints the stage: the graphics card, or the processor. One `Graphics` a window; the window's thread.

The setting `stage_renderer` says `gpu` or `raster`, or leaves it to what is found: old PCs and remote desktops have no card, and
nobody should have to know. Which renderer there is, is asked in a process of its own (`probe.py`, `vidconf graphics`), for a bad
driver ends who asks; until it has answered, and where it does not, the processor paints. What the answer cannot tell is seen in the
first second of real passes (`Trial`), and a card that fails or is slow is not tried again in this run.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Literal

from PySide6.QtCore import QObject, QProcess, QTimer, Signal
from PySide6.QtGui import QGuiApplication

from vidconf.client.settings import Settings
from vidconf.starting import own_command

log = logging.getLogger("vidconf.stage")

Painter = Literal["gpu", "raster"]
KEY = "stage_renderer"
SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software", "microsoft basic render", "gdi generic", "warp")
"""Parts of the names of renderers that are the processor in disguise."""
WITHOUT = ("offscreen", "minimal", "minimalegl", "vnc", "linuxfb")
"""Qt's platforms that have no renderer to ask for."""
ASK_AFTER_MS = 800
"""The window itself comes first."""
ANSWER_MS = 15_000
SLOW_MS, BUSY_MS = 30.0, 10.0
"""A pass that takes longer (a good one may wait for the screen's next refresh, 17 ms), or so much of the processor, is the raster
stage's work to do: that needs 1 ms for 25 tiles."""
WARM_UP, PASSES = 10, 30
"""Passes that are not counted, for shaders and caches are made in them; and about a second of those that are."""


def is_software(name: str) -> bool:
    """Whether a renderer of this name paints by the processor."""
    low = name.lower()
    return any(part in low for part in SOFTWARE)


class Trial:
    """The first second of passes: how long each takes until the window is on its way to the screen, and what of the processor."""

    def __init__(self) -> None:
        self._passes: list[tuple[float, float]] = []
        self._skipped = 0

    def add(self, took_ms: float, cpu_ms: float) -> Literal["good", "slow"] | None:
        """One more pass. None while it is too early to tell."""
        if self._skipped < WARM_UP:
            self._skipped += 1
            return None
        self._passes.append((took_ms, cpu_ms))
        if len(self._passes) < PASSES:
            return None
        took, cpu = (sorted(values)[PASSES // 2] for values in zip(*self._passes, strict=True))
        log.info("painting by the graphics card: a pass takes %.1f ms, %.1f ms of the processor", took, cpu)
        return "slow" if took > SLOW_MS or cpu > BUSY_MS else "good"


def probe_command() -> list[str]:
    """How this installation asks for its renderer."""
    return own_command("graphics")


class Graphics(QObject):
    """`painter` is who paints now, `changed` when that is another. Begin with `start`."""

    changed = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None, command: Sequence[str] = ()) -> None:
        """`command`: what to ask with, for tests."""
        super().__init__(parent)
        self._settings = settings
        self._command = list(command)
        self._process: QProcess | None = None
        self._found: Painter | None = None
        self._failed = ""
        self.renderer = ""
        """Its name, once it is known."""
        self._told: Painter = self.painter
        self._unsubscribe = settings.subscribe(self._on_setting)

    @property
    def painter(self) -> Painter:
        wanted = self._settings.text(KEY)
        if wanted == "raster" or self._failed or self._without:
            return "raster"
        return "gpu" if wanted == "gpu" else self._found or "raster"

    @property
    def on_trial(self) -> bool:
        """Nobody has asked for the card by name: it must show what it can."""
        return self._settings.text(KEY) == "auto"

    def start(self) -> None:
        """Ask for the renderer, soon, where the answer matters. Harmless to call again."""
        if self._settings.text(KEY) != "auto" or self._found is not None or self._process is not None or self._without:
            return
        if sys.platform == "darwin":  # Metal is always there, and a second program would show itself in the dock
            self._find("gpu", "Metal")
            return
        self._process = QProcess(self)
        self._process.finished.connect(self._on_answered)
        self._process.errorOccurred.connect(self._on_error)
        QTimer.singleShot(ASK_AFTER_MS, self._process, self._ask)

    def failed(self, why: str) -> None:
        """The card could not paint: it is left alone in this run, whatever the setting says. `slow`: unless it is asked for by name."""
        log.warning("the processor paints from now on: the graphics card (%s) is %s", self.renderer or "of unknown name", why)
        if why == "slow":
            self._found = "raster"
        else:
            self._failed = why
        self._tell()

    def let_go(self) -> None:
        """Harmless to call twice."""
        self._unsubscribe()
        process, self._process = self._process, None
        if process is not None:
            process.finished.disconnect(self._on_answered)
            process.errorOccurred.disconnect(self._on_error)
            process.kill()
            process.waitForFinished(1000)
            process.deleteLater()

    @property
    def _without(self) -> bool:
        return QGuiApplication.platformName() in WITHOUT

    # ---- asking
    def _ask(self) -> None:
        process = self._process
        if process is not None:
            program, *arguments = self._command or probe_command()
            process.start(program, arguments)
            QTimer.singleShot(ANSWER_MS, process, process.kill)

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._find("raster", "")

    def _on_answered(self) -> None:
        process = self._process
        if process is None:
            return
        said = bytes(process.readAllStandardOutput().data()[:4096])
        try:
            answer = json.loads(said)
            name = answer["renderer"].strip()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            log.warning("no renderer was found (exit code %d)", process.exitCode())
            self._find("raster", "")
            return
        self._find("raster" if not name or is_software(name) else "gpu", name)

    def _find(self, painter: Painter, name: str) -> None:
        self._found, self.renderer = painter, name
        log.info("renderer: %s; by itself the stage is painted by %s", name or "none", painter)
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        self._tell()

    def _on_setting(self, key: str) -> None:
        if key == KEY:
            self.start()
            self._tell()

    def _tell(self) -> None:
        if self.painter != self._told:
            self._told = self.painter
            self.changed.emit()

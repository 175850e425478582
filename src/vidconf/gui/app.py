"""The window's process put together: settings, look, client, window, tray; how they start and stop. The window's thread.

    raise SystemExit(run(link))                      what `vidconf [LINK]` does
    shell = Shell(app, settings, …); await shell.start(link); …; await shell.close()      the same for the demo and the tests

Order of start: settings (the language and look come from them), the one-instance check, Qt with its loop, client, window; the
window is on the screen before the engine or a server is asked anything. Order of stop: no more clicks, the meeting is left,
settings written, the engine ended, then the window let go.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

from PySide6.QtCore import QObject, QSocketNotifier
from PySide6.QtWidgets import QApplication

from vidconf import __version__, words
from vidconf.client.autostart import system_autostart
from vidconf.client.changes import Told
from vidconf.client.core import Client, Identity
from vidconf.client.crash_files import CrashReports
from vidconf.client.credentials import Credentials
from vidconf.client.log_files import log_plan, start_logging
from vidconf.client.settings import Settings
from vidconf.engine import api
from vidconf.gui import shortcuts, theme
from vidconf.gui.bridge import ActionTasks, make_loop
from vidconf.gui.faults import hear_qt, tell_of_faults
from vidconf.gui.garbage import keep_what_is_there
from vidconf.gui.icons import program_icon
from vidconf.gui.main_window import MainWindow
from vidconf.gui.opened_links import OpenedLinks
from vidconf.gui.single_instance import SingleInstance, hand_over, runs_already
from vidconf.gui.tray import Tray
from vidconf.gui.upkeep import Upkeep

log = logging.getLogger("vidconf.window")


def make_application(arguments: list[str] | None = None) -> QApplication:
    """The process's QApplication, named; the one there is already when there is one."""
    held = QApplication.instance()
    if isinstance(held, QApplication):
        return held
    app = QApplication(arguments or ["vidconf"])
    app.setApplicationName("vidconf")
    app.setApplicationDisplayName("vidconf")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("vidconf")
    app.setWindowIcon(program_icon())
    return app


class Shell(QObject):
    """One window with its client. `over` is set when the user has quit."""

    def __init__(
        self, app: QApplication, settings: Settings, engine: api.Engine, credentials: Credentials | None = None, *,
        instance: SingleInstance | None = None, tray: bool = True, identity: Identity | None = None, upkeep: Upkeep | None = None,
    ) -> None:  # fmt: skip
        """`upkeep`: what is kept in step with the settings outside the window; None: nothing is (the demo, tests)."""
        super().__init__()
        self.settings, self._app, self._instance = settings, app, instance
        self.over = asyncio.Event()
        words.set_language(settings.text("language"))
        shortcuts.load(settings.mapping("shortcuts"))
        theme.apply(app, self._theme())
        self.client = Client(engine, settings, credentials or Credentials(), identity=identity)
        self.do = ActionTasks(self.client.actions, self.client.store)
        self.window = MainWindow(self.client.store, self.do, settings)
        self.window.quit_wanted.connect(self.over.set)
        self.window.hide_wanted.connect(self._on_hide)
        self.tray: Tray | None = None
        if tray and Tray.available():
            self.tray = Tray(self.client.store, self.do)
            self.tray.show_wanted.connect(self.window.come_forward)
            self.tray.quit_wanted.connect(self._on_quit)
            self.window.stays_in_tray = True
        if instance is not None:
            instance.handed.connect(self._on_handed)
        if sys.platform == "darwin":  # it sees every event of the program: nowhere else is there a reason
            self._opened = OpenedLinks(app)
            self._opened.opened.connect(self._on_handed)
        self._unsubscribe = settings.subscribe(self._on_setting)
        app.styleHints().colorSchemeChanged.connect(self._on_scheme)
        self._closed = False
        self._upkeep = upkeep
        if upkeep is not None:
            upkeep.follow(self.client)
            self.window.log_folder = upkeep.plan.folder

    async def start(self, link: str = "", *, hidden: bool = False) -> None:
        """Show the window, then begin to work. `hidden`: only in the tray, and where there is none, minimised."""
        if not hidden or link:
            self.window.come_forward()
        elif self.tray is None:
            self.window.showMinimized()
        if self.tray is not None:
            self.tray.start()
        await self.client.start()
        if self._upkeep is not None:
            self._upkeep.start()
        if link:
            await self.client.actions.open_link(link)

    async def close(self) -> None:
        """Harmless to call twice."""
        if self._closed:
            return
        self._closed = True
        self._app.styleHints().colorSchemeChanged.disconnect(self._on_scheme)
        self._unsubscribe()
        if self._upkeep is not None:
            self._upkeep.let_go()
        self.settings.remember("window", self.window.size_to_keep())
        self.window.sharing.let_go()
        self.window.hide()
        if self.tray is not None:
            self.tray.close()
        if self._instance is not None:
            self._instance.close()
        await self.do.close()
        await self.client.close()
        self.window.let_go()
        self.window.deleteLater()

    # ---- what changes the whole window

    def _theme(self) -> theme.ThemeName:
        match self.settings.text("theme"):
            case "dark":
                return "dark"
            case "light":
                return "light"
        return theme.system_theme()

    def _on_setting(self, key: str) -> None:
        match key:
            case "language":
                words.set_language(self.settings.text("language"))
                self._draw_again()
            case "theme":
                theme.apply(self._app, self._theme())
                self._draw_again()
            case "shortcuts":
                shortcuts.load(self.settings.mapping("shortcuts"))
                self.window.keys.bind()
                self._draw_again()

    def _draw_again(self) -> None:
        self.window.rebuild()
        if self.tray is not None:
            self.tray.refresh(self.client.store.state, again=True)

    def _on_scheme(self) -> None:
        if self.settings.text("theme") == "system" and self._theme() != theme.current():
            theme.apply(self._app, self._theme())
            self._draw_again()

    # ---- tray, second start

    def _on_hide(self) -> None:
        self.window.hide()
        if self.tray is not None:
            self.tray.say_still_here()

    def _on_quit(self) -> None:
        """From the tray: as the window's X, but never only hiding."""
        if self.client.store.state.phase in ("lobby", "meeting"):
            self.window.come_forward()
            self.window.ask_leave(closing=True)
        else:
            self.over.set()

    def _on_handed(self, link: str) -> None:
        self.window.come_forward()
        if link:
            self.do.open_link(link)

    def tell_fault(self) -> None:
        """A mistake of the program itself, said where the user is."""
        if not self._closed:
            self.client.store.dispatch(Told("error", "internal", {}, time.time()))


class _Signals(QObject):
    """SIGINT and SIGTERM while Qt's loop waits: the wake-up socket rouses it, and Python's handler runs."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop = stop
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._before = signal.set_wakeup_fd(self._far.fileno(), warn_on_full_buffer=False)
        self._notifier = QSocketNotifier(self._near.fileno(), QSocketNotifier.Type.Read)
        self._notifier.activated.connect(self._on_woken)
        self._held = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        log.info("asked to end (signal %d)", number)
        self._stop()

    def _on_woken(self) -> None:
        try:
            self._near.recv(64)
        except BlockingIOError:
            return

    def close(self) -> None:
        for number, held in self._held.items():
            signal.signal(number, held)
        signal.set_wakeup_fd(self._before)
        self._notifier.setEnabled(False)
        self._near.close()
        self._far.close()


def run(link: str = "", command_line: dict[str, object] | None = None, *, background: bool = False) -> int:
    """Until the user quits. `background`: in the tray only, until somebody asks for the window. The exit code; 0 also when a window that
    runs already took the link."""
    settings = Settings.of_user(command_line)
    plan = log_plan(settings)
    files = start_logging("window", plan.folder, plan.level, plan.days)
    reports = CrashReports(plan.folder, "window", on=plan.crash_reports)
    reports.listen()
    hear_qt(reports)
    try:
        app = make_application()
        if runs_already() if background and not link else hand_over(link):
            log.info("the window that runs already shows it")
            return 0
        instance = SingleInstance()
        instance.listen()
        loop = make_loop(app)
        keep_what_is_there()
        try:
            return loop.run_until_complete(_live(app, settings, instance, link, Upkeep(plan, files, reports, system_autostart()), background))
        finally:
            loop.close()
    finally:
        reports.close()


async def _live(app: QApplication, settings: Settings, instance: SingleInstance, link: str, upkeep: Upkeep, background: bool) -> int:
    from vidconf.engine.host import EngineHost

    engine = EngineHost(speaker=settings.text("speaker"), logs=upkeep.plan.for_engine())
    shell = Shell(app, settings, engine, instance=instance, upkeep=upkeep)
    signals = _Signals(shell.over.set)
    tell_of_faults(upkeep.reports, shell.tell_fault)
    app.commitDataRequest.connect(lambda _: shell.over.set())  # the desktop session ends
    try:
        await shell.start(link, hidden=background)
        await shell.over.wait()
    finally:
        await shell.close()
        signals.close()
    return 0

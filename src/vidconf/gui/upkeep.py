"""What the window's process keeps in step with the settings outside of itself: log files, crash reports, starting at login.

The window's thread; files and the registry are touched in threads of the client's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from vidconf.client.autostart import Autostart, AutostartError, keep_in_step
from vidconf.client.core import Client
from vidconf.client.crash_files import CrashReports
from vidconf.client.log_files import DayFiles, LogPlan

log = logging.getLogger("vidconf.window")


@dataclass
class Upkeep:
    """`follow` a client, then `start` once it works. `files` None: no log file could be opened."""

    plan: LogPlan
    files: DayFiles | None
    reports: CrashReports
    autostart: Autostart
    _client: Client | None = None
    _stop: Callable[[], None] = field(default=lambda: None)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def follow(self, client: Client) -> None:
        self._client = client
        self._stop = client.settings.subscribe(self._on_setting)

    def start(self) -> None:
        assert self._client is not None
        if self.plan.refused:
            log.warning("no log can be written in %s: it is in %s", self.plan.refused, self.plan.folder)
            self._client.tell("warn", "log_dir_refused", {}, "error")
        elif self.files is None:
            self._client.tell("warn", "no_log_file", {}, "error")
        self._keep_autostart()

    def let_go(self) -> None:
        self._stop()

    def _on_setting(self, key: str) -> None:
        assert self._client is not None
        settings = self._client.settings
        match key:
            case "log_level":
                logging.getLogger().setLevel(settings.text("log_level").upper())
            case "log_days" if self.files is not None:
                self.files.days = int(settings["log_days"])
            case "crash_reports":
                self.reports.turn(settings.on("crash_reports"))
            case "autostart":
                self._keep_autostart()

    def _keep_autostart(self) -> None:
        assert self._client is not None
        self._client.spawn(self._kept(self._client), "start at login")

    async def _kept(self, client: Client) -> None:
        """One after the other: the last word is what stays."""
        async with self._turn:
            try:
                await asyncio.to_thread(keep_in_step, client.settings, self.autostart)
            except AutostartError as error:
                log.warning("starting at login could not be changed: %s", error)
                client.tell("warn", "autostart_failed", {}, "error")

"""What the window's process keeps in step with the settings outside of itself, with the real window, client and files."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine
from fakes.toy_server import until
from gui.conftest import Run
from gui.finding import shown, texts
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QCheckBox

from vidconf import words
from vidconf.client.autostart import DesktopFile
from vidconf.client.crash_files import CrashReports
from vidconf.client.credentials import Credentials
from vidconf.client.log_files import DayFiles, log_plan
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings
from vidconf.gui.app import Shell
from vidconf.gui.faults import tell_of_faults
from vidconf.gui.prejoin import PrejoinPage
from vidconf.gui.tray import Tray
from vidconf.gui.upkeep import Upkeep


class House:
    """A user's folders, policies, and what the program keeps there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "policies" / "managed").mkdir(parents=True)
        self.settings = Settings(policies=FilePolicies(folder / "policies", trusted=(os.getuid(),)))
        self.autostart = DesktopFile(folder / "autostart")

    def rule(self, **policies: Any) -> None:
        (self.folder / "policies" / "managed" / "1.json").write_text(json.dumps(policies))
        self.settings.reload_policies()

    def upkeep(self) -> Upkeep:
        plan = replace(log_plan(self.settings), folder=self.folder / "logs")
        files = DayFiles(plan.folder, "vidconf", plan.days)
        return Upkeep(plan, files, CrashReports(plan.folder, "window", on=plan.crash_reports), self.autostart)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@asynccontextmanager
async def living(upkeep: Upkeep, settings: Settings, *, tray: bool = False, **start: Any) -> AsyncIterator[Shell]:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    shell = Shell(app, settings, FakeEngine(), Credentials(None), tray=tray, upkeep=upkeep)
    await shell.start(**start)
    try:
        yield shell
    finally:
        await shell.close()
        upkeep.reports.close()
        if upkeep.files is not None:
            upkeep.files.close()


def test_the_switch_on_the_settings_page_writes_and_removes_the_entry(run: Run, house: House) -> None:
    async def work() -> None:
        async with living(house.upkeep(), house.settings) as shell:
            shell.window.open_settings("window")
            await asyncio.sleep(0.05)  # Qt draws meanwhile
            assert shell.window._sheet is not None
            (switch,) = [
                one for one in shown(shell.window._sheet, QCheckBox) if one.accessibleName().startswith(words.text("settings.autostart"))
            ]
            assert not switch.isChecked()
            switch.click()
            await until(house.autostart.held)
            assert "--background" in house.autostart.file.read_text()
            switch.click()
            await until(lambda: not house.autostart.held())

    run(work)


def test_policy_rules_the_entry_while_the_program_runs(run: Run, house: House) -> None:
    async def work() -> None:
        async with living(house.upkeep(), house.settings) as shell:
            house.rule(AutoStart=True)
            await until(house.autostart.held)
            shell.window.open_settings("window")
            await asyncio.sleep(0.05)  # Qt draws meanwhile
            assert words.text("settings.locked") in texts(shell.window)
            house.rule(AutoStart=False)
            await until(lambda: not house.autostart.held())

    run(work)


def test_each_start_writes_where_the_program_lies_now(run: Run, house: House) -> None:
    async def work() -> None:
        house.settings.set("autostart", True)
        house.autostart.put(["/old/vidconf", "--background"], by_policy=False)
        async with living(house.upkeep(), house.settings):
            await until(lambda: "/old/vidconf" not in house.autostart.file.read_text())

    run(work)


def test_an_entry_that_cannot_be_written_is_told(run: Run, house: House) -> None:
    async def work() -> None:
        (house.folder / "autostart").write_text("a file")
        async with living(house.upkeep(), house.settings) as shell:
            shell.do.change_setting("autostart", True)
            await until(lambda: words.error("autostart_failed") in texts(shell.window))

    run(work)


def test_a_refused_folder_for_logs_is_told(run: Run, house: House) -> None:
    async def work() -> None:
        upkeep = house.upkeep()
        upkeep.plan = replace(upkeep.plan, refused=r"\\server\logs")
        async with living(upkeep, house.settings) as shell:
            await until(lambda: words.error("log_dir_refused") in texts(shell.window))

    run(work)


def test_level_days_and_reports_follow_policy(run: Run, house: House) -> None:
    async def work() -> None:
        upkeep = house.upkeep()
        before = logging.getLogger().level
        try:
            async with living(upkeep, house.settings):
                house.rule(LogLevel="error", LogDays=3, CrashReports=True)
                assert logging.getLogger().level == logging.ERROR
                assert upkeep.files is not None
                assert upkeep.files.days == 3
                assert upkeep.reports.on
        finally:
            logging.getLogger().setLevel(before)

    run(work)


def test_a_mistake_in_a_task_is_told_and_reported_where_reports_are_on(run: Run, house: House, logged_errors: list[str]) -> None:
    said_there = "điều được nói trong cuộc họp"

    async def fails() -> None:
        raise LookupError(said_there)

    async def forgotten() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0.01)
        assert task.done()

    async def work() -> None:
        house.rule(CrashReports=True)
        upkeep = house.upkeep()
        async with living(upkeep, house.settings) as shell:
            tell_of_faults(upkeep.reports, shell.tell_fault)
            await forgotten()
            await until(lambda: list((house.folder / "logs").glob("vidconf-crash-*.txt")))
            await until(lambda: words.text("notice.internal") in texts(shell.window))
        (file,) = (house.folder / "logs").glob("vidconf-crash-*.txt")
        said = file.read_text(encoding="utf-8")
        assert "builtins.LookupError" in said
        assert said_there not in said

    run(work)
    assert len(logged_errors) == 1
    logged_errors.clear()


def test_in_the_tray_nothing_is_on_the_screen_until_it_is_wanted(run: Run, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A desktop with a tray, which Qt's offscreen platform is not."""
    monkeypatch.setattr(Tray, "available", staticmethod(lambda: True))
    monkeypatch.setattr(Tray, "start", lambda self: None)  # it has no place to show an icon

    async def work() -> None:
        async with living(house.upkeep(), house.settings, tray=True, hidden=True) as shell:
            assert shell.tray is not None
            assert not shell.window.isVisible()
            shell.tray.show_wanted.emit()
            assert shell.window.isVisible()
            shell.window.close()
            assert not shell.window.isVisible(), "and back"
            shell._on_handed("https://hop.example.vn/m/abcd-efgh")
            assert shell.window.isVisible()
            await until(lambda: isinstance(shell.window.page, PrejoinPage))

    run(work)


def test_in_the_background_the_window_waits_until_it_is_wanted(run: Run, house: House) -> None:
    async def work() -> None:
        async with living(house.upkeep(), house.settings, hidden=True) as shell:
            assert shell.window.isMinimized() or not shell.window.isVisible()
            shell._on_handed("")
            await until(lambda: shell.window.isVisible() and not shell.window.isMinimized())
        began = time.monotonic()
        async with living(house.upkeep(), house.settings, hidden=True, link="https://hop.example.vn/m/abcd-efgh") as shell:
            assert shell.window.isVisible(), "who comes with a link wants to see it"
            assert not shell.window.windowState() & Qt.WindowState.WindowMinimized
        assert time.monotonic() - began < 10

    run(work)

"""The window's process as a whole: Qt and asyncio on one loop, the real client, a server in the test's own loop, an engine without media."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine
from fakes.toy_server import CODE, ToyServer, toy_server, until
from gui.conftest import Run
from gui.finding import button, texts
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.client.credentials import Credentials
from vidconf.client.settings import Settings
from vidconf.client.store import Store
from vidconf.gui import shortcuts, theme
from vidconf.gui.app import Shell
from vidconf.gui.bridge import ActionTasks
from vidconf.gui.ended import EndedPage
from vidconf.gui.home import HomePage
from vidconf.gui.lobby import LobbyPage
from vidconf.gui.meeting_page import MeetingPage
from vidconf.gui.own_door import Door
from vidconf.gui.prejoin import PrejoinPage
from vidconf.gui.single_instance import SingleInstance
from vidconf.meeting import messages as m


@asynccontextmanager
async def shell(toy: ToyServer, *, settings: Settings | None = None, link: str = "", **more: Any) -> AsyncIterator[tuple[Shell, FakeEngine]]:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    engine = FakeEngine()
    settings = settings or Settings()
    settings.set("known_servers", (toy.origin,))
    made = Shell(app, settings, engine, Credentials(None), tray=False, **more)
    await made.start(link)
    try:
        yield made, engine
    finally:
        await made.close()


def test_from_a_link_through_the_lobby_into_the_meeting_and_out(run: Run) -> None:
    async def work() -> None:
        async with toy_server() as toy, shell(toy, link=f"{toy.origin}/m/{CODE}") as (made, engine):
            window = made.window
            assert isinstance(window.page, PrejoinPage)
            await until(lambda: "Giao ban" in texts(window))
            window.page.name.setText("Lê Văn An")
            window.page.name.textEdited.emit("Lê Văn An")
            button(window, "Xin vào họp").click()
            await until(lambda: isinstance(window.page, LobbyPage))
            assert engine.joined is None
            (who,) = [p.id for p in toy.state.participants.values() if p.name == "Lê Văn An"]
            toy.do("server", m.Admit((who,)))
            await until(lambda: isinstance(window.page, MeetingPage) and engine.joined is not None)
            assert window.windowTitle() == "Giao ban – vidconf"
            window.close()
            await until(lambda: window._sheet is not None)
            button(window._sheet, "Rời họp").click()  # type: ignore[arg-type]
            await until(lambda: isinstance(window.page, EndedPage))
            await asyncio.wait_for(made.over.wait(), 5)
        assert toy.state.participants[who].place == "left"

    run(work)


def test_language_theme_and_keys_hold_at_once(run: Run) -> None:
    async def work() -> None:
        async with toy_server() as toy, shell(toy) as (made, _):
            assert isinstance(made.window.page, HomePage)
            made.window.page.link.setText("abcd-efgh")
            made.do.change_setting("language", "en")
            await until(lambda: "Today" in texts(made.window))
            assert made.window.page.link.text() == "abcd-efgh"
            made.do.change_setting("theme", "dark")
            assert theme.current() == "dark"
            made.do.change_setting("shortcuts", {"hand": "Ctrl+K"})
            assert shortcuts.keys("hand") == "Ctrl+K"
            made.do.change_setting("language", "fr")
            await until(lambda: words.error("setting_invalid") in texts(made.window))

    run(work)


def test_a_link_handed_over_is_opened_and_never_ends_a_meeting(run: Run) -> None:
    async def work() -> None:
        instance = SingleInstance(Door("vidconf-test-handed"))
        async with toy_server() as toy, shell(toy, instance=instance) as (made, _):
            made.client.actions.set_name("Lê Văn An")
            instance.handed.emit("")
            assert isinstance(made.window.page, HomePage)
            instance.handed.emit(f"{toy.origin}/m/{CODE}")
            await until(lambda: isinstance(made.window.page, PrejoinPage))
            made.do.join()
            await until(lambda: isinstance(made.window.page, LobbyPage))
            instance.handed.emit(f"{toy.origin}/m/zzzz-zzzz")
            await until(lambda: words.text("notice.in_meeting") in texts(made.window))
            assert isinstance(made.window.page, LobbyPage)
            made._on_quit()
            await until(lambda: made.window._sheet is not None)
            button(made.window._sheet, "Rời phòng chờ").click()  # type: ignore[arg-type]
            await asyncio.wait_for(made.over.wait(), 5)

    run(work)


def test_quitting_on_home_asks_nothing(run: Run) -> None:
    async def work() -> None:
        async with toy_server() as toy, shell(toy) as (made, _):
            made._on_quit()
            assert made.over.is_set()

    run(work)


def test_the_windows_size_is_kept(run: Run, tmp_path: Path) -> None:
    async def work() -> None:
        settings = Settings(tmp_path / "settings.json")
        async with toy_server() as toy, shell(toy, settings=settings) as (made, _):
            made.window.resize(777, 555)
        assert Settings(tmp_path / "settings.json").mapping("window") == {"width": "777", "height": "555", "maximized": "no"}
        await made.close()

    run(work)


def test_a_mistake_of_the_program_is_told_and_the_window_goes_on(run: Run, logged_errors: list[str]) -> None:
    class Broken:
        def now(self) -> None:
            raise RuntimeError("at once")

        async def later(self) -> None:
            await asyncio.sleep(0)
            raise RuntimeError("later")

        async def well(self) -> None:
            done.append(True)

    done: list[bool] = []

    async def work() -> None:
        store = Store()
        do = ActionTasks(Broken(), store)
        do.now()
        assert [n.code for n in store.state.notices] == ["internal"]
        do.later()
        await until(lambda: store.state.noticed == 2)
        do.well()
        await until(lambda: done == [True])
        with pytest.raises(AttributeError):
            do.no_such_action()
        await do.close()
        do.well()
        await asyncio.sleep(0.01)
        assert done == [True], "closed, it takes no more"

    run(work)
    assert len(logged_errors) == 2
    logged_errors.clear()


def test_what_is_still_running_is_given_up_at_the_end(run: Run) -> None:
    class Slow:
        async def wait(self) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                given_up.append(True)
                raise

    given_up: list[bool] = []

    async def work() -> None:
        do = ActionTasks(Slow(), Store())
        do.wait()
        await asyncio.sleep(0.01)
        await do.close()
        assert given_up == [True]

    run(work)

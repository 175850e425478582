"""The whole window with an update site behind a real web server: what a person sees of a newer version, and of being too old to join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine
from fakes.toy_server import CODE, toy_server, until
from fakes.update_site import UpdateSite, update_site
from gui.conftest import Run
from gui.finding import button, texts
from PySide6.QtWidgets import QApplication

from vidconf import __version__, words
from vidconf.client.credentials import Credentials
from vidconf.client.settings import Settings
from vidconf.client.updates.watch import Place
from vidconf.gui.app import Shell
from vidconf.gui.lobby import LobbyPage
from vidconf.gui.prejoin import PrejoinPage


def shell(site: UpdateSite, folder: Path, **settings: Any) -> Shell:
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    (folder / "update-root.json").write_bytes(site.root)
    held = Settings()
    for key, value in {"update_url": site.url, **settings}.items():
        held.set(key, value)
    made = Shell(app, held, FakeEngine(), Credentials(None), tray=False)
    made.client.updates.place = Place(folder / "memory", (folder / "update-root.json",), first_s=(0, 0))
    return made


def test_a_newer_version_is_a_card_until_it_is_put_away(run: Run, tmp_path: Path) -> None:
    async def work() -> None:
        made = shell(site, tmp_path)
        await made.start()
        try:
            await until(lambda: "Đã có phiên bản 99.0" in texts(made.window))
            assert words.text("home.update.by_it") in texts(made.window)
            button(made.window, words.text("notice.dismiss")).click()
            await until(lambda: "Đã có phiên bản 99.0" not in texts(made.window))
        finally:
            await made.close()

    with update_site(tmp_path) as site:
        site.publish("99.0")
        run(work)


@pytest.mark.parametrize("by", ["site", "policy"])
def test_who_is_too_old_is_told_at_the_join_button(run: Run, tmp_path: Path, by: str) -> None:
    async def work() -> None:
        async with toy_server() as toy:
            made = shell(site, tmp_path, known_servers=(toy.origin,), **({"min_version": "98.0"} if by == "policy" else {}))
            await made.start(f"{toy.origin}/m/{CODE}")
            try:
                await until(lambda: made.client.updates.needed() and "Giao ban" in texts(made.window))
                assert isinstance(made.window.page, PrejoinPage)
                made.window.page.name.setText("Lê Văn An")
                made.window.page.name.textEdited.emit("Lê Văn An")
                button(made.window, "Xin vào họp").click()
                said = words.error("version_too_old", {"needed": "98.0.0" if by == "policy" else "98.0", "own": __version__})
                await until(lambda: said in texts(made.window))
                assert toy.state.participants == {}, "the server was not even asked"
                made.client.updates.own = "98.0"  # as after an installation
                button(made.window, "Xin vào họp").click()
                await until(lambda: isinstance(made.window.page, LobbyPage))
            finally:
                await made.close()

    with update_site(tmp_path) as site:
        site.publish("99.0", minimum="98.0" if by == "site" else "")
        run(work)

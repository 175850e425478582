"""What Windows makes of a link: it puts the text between the handler's quotation marks as it came, whatever stands in it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from click.testing import CliRunner
from winbuild import product, wxs

from vidconf.cli.main import cli
from vidconf.gui import app


def followed(link: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[tuple[Any, ...]]]:
    """Exit code, and with what the window would have been opened, when somebody follows `link`."""
    opened: list[tuple[Any, ...]] = []

    def run(link: str = "", told: dict[str, object] | None = None, *, background: bool = False) -> int:
        opened.append((link, told, background))
        return 0

    monkeypatch.setattr(app, "run", run)
    handler = next(text for key, _, text in wxs.MAIN_VALUES if key == rf"Software\Classes\{product.SCHEME}\shell\open\command")
    line = handler.replace("[INSTALLDIR]", "C:/Program Files/Vidconf/").replace("%1", link)
    _, *words = shlex.split(line)  # as Windows splits: what is quoted is one word
    return CliRunner().invoke(cli, words).exit_code, opened


def test_a_link_opens_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    assert followed("vidconf://hop.example.vn/m/abcd-efgh", monkeypatch) == (0, [("vidconf://hop.example.vn/m/abcd-efgh", {}, False)])


@pytest.mark.parametrize(
    "hidden",
    ['" --server "https://evil.example', '" "--background', '" --log-level "debug', '" "--at-login', '" "--help', '" "doctor', '" -- "x'],
)
def test_no_options_hide_in_a_link(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    """A browser escapes quotation marks; mail programs, chats and .url files hand them on."""
    code, opened = followed(f"vidconf://evil.example/m/abcd-efgh{hidden}", monkeypatch)
    assert (code, opened) == (2, []), "such a link is not followed at all"

"""`vidconf [LINK]`: the window. Hidden as a command of its own: a bare link, or nothing, means it."""

from __future__ import annotations

import sys
from typing import Any

import click


@click.command("window", hidden=True)
@click.argument("link", default="")
@click.option("--server", default=None, metavar="URL", help="The server to use for codes and signing in, this time.")
@click.option("--language", default=None, type=click.Choice(["vi", "en"]))
@click.option("--theme", default=None, type=click.Choice(["system", "light", "dark"]))
@click.option("--background", is_flag=True, help="Start without a window, in the tray, as at login.")
@click.option(
    "--at-login", is_flag=True, hidden=True, help="As --background, where the setting `autostart` agrees: an installer's entry for all."
)
@click.option("--log-level", default=None, type=click.Choice(["debug", "info", "warning", "error"]))
def command(link: str, background: bool, at_login: bool, **said: str | None) -> None:
    """The window. With a LINK (`-`: the first line of stdin) it goes straight to its pre-join page; a second start hands the link
    to the window that runs."""
    from vidconf.cli.link_argument import given_link
    from vidconf.client.settings_table import SettingError

    link = given_link(link)
    told: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    try:
        if at_login and not _starts_at_login(told):
            return
    except SettingError as error:
        raise click.UsageError(f"--{error.key}: not understood") from None
    try:
        from vidconf.gui.app import run
    except ImportError as error:
        raise click.ClickException(f"Qt cannot be loaded ({error}). `vidconf selftest` says what is missing.") from None
    try:
        sys.exit(run(link, told, background=background or at_login))
    except SettingError as error:
        raise click.UsageError(f"--{error.key}: not understood") from None


def _starts_at_login(told: dict[str, Any]) -> bool:
    """Whoever switched it off, or is not to have it, has the installer's entry all the same. Raises `SettingError`."""
    from vidconf.client.settings import Settings

    return Settings.of_user(told, looking=True).on("autostart")

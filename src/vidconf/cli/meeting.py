"""`vidconf meeting`: make a meeting, and let another LiveKit client into one; on the server's own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vidconf.cli.local_server import CallRefused, LocalServer, data_option, either, json_option, print_json, public_url, run
from vidconf.meeting.models import ROLES
from vidconf.server.rest import created_json
from vidconf.server.schedule import Schedule, ScheduleError
from vidconf.server.storage import Storage


@click.group("meeting")
def command() -> None:
    """Meetings, on the server's own machine."""


@command.command("create")
@click.option("--title", required=True, metavar="T")
@click.option("--start", default=None, metavar="ISO", help="When it begins: 2026-03-02T08:30+07:00. Default: any time.")
@click.option("--minutes", default=60, show_default=True, type=click.IntRange(1, 30 * 1440), help="How long it is planned to last.")
@click.option("--no-lobby", is_flag=True, help="Everybody with the link comes straight in.")
@data_option
@json_option
def create(title: str, start: str | None, minutes: int, no_lobby: bool, data: Path, as_json: bool) -> None:
    """A new meeting. Prints its link, and the chair's link and token, which are shown only now: keep them."""
    wanted: dict[str, Any] = {"title": title, "start": start, "duration_s": minutes * 60, "lobby": not no_lobby}

    async def running(server: LocalServer) -> dict[str, Any]:
        try:
            return await server.call("POST", "/api/v1/meetings", wanted)
        except CallRefused as refused:
            if refused.code == "malformed":
                raise click.UsageError(f"--{refused.detail.get('field')}: {refused.detail.get('reason')}") from None
            raise

    async def resting(storage: Storage) -> dict[str, Any]:
        try:
            created = await Schedule(storage).create(**wanted)
        except ScheduleError as error:
            raise click.UsageError(f"--{error.field}: {error}") from None
        return created_json(created, await public_url(storage))

    made = run(either(data, running, resting, make=True))
    if as_json:
        print_json(made)
        return
    for name in ("id", "code", "link", "chair_link", "chair_token"):
        print(f"{name:12} {made[name]}")


@command.command("token")
@click.argument("code")
@click.option("--identity", required=True, metavar="I", help="Letters, digits, - and _; the participant's id in the meeting.")
@click.option("--name", default="", metavar="N", help="Shown to others. Default: the identity.")
@click.option("--role", default="delegate", type=click.Choice(ROLES), show_default=True)
@click.option("--ttl", default=600, show_default=True, type=click.IntRange(1, 7 * 86400), metavar="SECONDS", help="To join within.")
@data_option
@json_option
def token(code: str, identity: str, name: str, role: str, ttl: int, data: Path, as_json: bool) -> None:
    """A media token for another LiveKit client (gateway, test) in meeting CODE: `url` and `token`.

    It becomes a visible participant of kind external, who may come and go until `remove` ends it like any other.
    """
    from urllib.parse import quote

    async def running(server: LocalServer) -> dict[str, Any]:
        body = {"identity": identity, "name": name or identity, "role": role, "ttl": ttl}
        return await server.call("POST", f"/api/v1/meetings/{quote(code, safe='')}/external", body)

    async def resting(storage: Storage) -> dict[str, Any]:
        raise click.ClickException("the server does not run: only a running one can open its media (`vidconf serve`)")

    granted = run(either(data, running, resting))
    if as_json:
        print_json(granted)
    else:
        print(f"{'url':12} {granted['url']}\n{'token':12} {granted['token']}")

"""A meeting on a real server as its organiser sees it: made, looked at, opened to another client by the command line."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from e2e.botproc import run_vidconf
from e2e.control_client import Api
from e2e.serverproc import ServeProcess

from vidconf.cli.bot_participant import Bot

TONE_HZ = 440
FILMS = {"camera": "lavfi:testsrc2=size=320x180:rate=30", "microphone": f"lavfi:sine=frequency={TONE_HZ}:sample_rate=48000"}
"""A picture that moves and a sound that never pauses, small enough for many in one process."""


async def meeting(admin: Api, **fields: Any) -> dict[str, Any]:
    reply = await admin.post("/api/v1/meetings", {"title": "Giao ban", **fields})
    assert reply.status == 201, reply
    made: dict[str, Any] = reply.body
    return made


async def people(api: Api, made: dict[str, Any], where: str = "participants") -> dict[str, dict[str, Any]]:
    """By name; other clients that are not there at the moment are left out."""
    found = (await api.state(made["id"]))[where]
    return {one["name"]: one for one in found if one["connected"] or one["kind"] != "external"}


async def came(api: Api, made: dict[str, Any], *names: str, where: str = "participants", timeout_s: float = 25) -> dict[str, dict[str, Any]]:
    """Waits until exactly these are there."""
    ends = time.monotonic() + timeout_s
    while set(found := await people(api, made, where)) != set(names):
        assert time.monotonic() < ends, (where, sorted(found), sorted(names))
        await asyncio.sleep(0.05)
    return found


async def external(server: ServeProcess, made: dict[str, Any], identity: str) -> tuple[str, str]:
    """URL and token by `vidconf meeting token`."""
    words = ("meeting", "token", made["code"], "--identity", identity, "--data", str(server.data))
    granted = await asyncio.to_thread(run_vidconf, *words)
    return granted["url"], granted["token"]


def tracks(bot: Bot) -> list[dict[str, Any]]:
    """What a bot in this process receives now; nothing before it is in."""
    return bot._engine.session.tracks_report() if bot.admitted.is_set() else []


def seen(bot: Bot) -> dict[str, set[str]]:
    """Of whom it has pictures and packets of sound, by source."""
    found: dict[str, set[str]] = {}
    for track in tracks(bot):
        if track["frames"] if track["kind"] == "video" else track["packets"]:
            found.setdefault(track["source"], set()).add(track["participant"])
    return found


def counted(bot: Bot) -> dict[str, int]:
    return {track["track"]: track["packets"] for track in tracks(bot)}


def newly(bot: Bot, before: dict[str, int], packets: int = 20) -> set[tuple[str, str]]:
    """(participant, source) of which so many packets have come since `counted`."""
    return {(track["participant"], track["source"]) for track in tracks(bot) if track["packets"] >= before.get(track["track"], 0) + packets}

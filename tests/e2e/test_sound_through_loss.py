"""Sound that loses a tenth of its packets on the way from either SFU: copies (RED) and answers to questions take their place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from e2e import sfuproc
from e2e.livekitproc import SdkPeer, token, until

from bench.network.doorway import Doorway
from bench.network.impairment import Settings
from bench.network.path import UdpPath
from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options

SINE = "lavfi:sine=frequency=440:sample_rate=48000"


async def engine(stack: AsyncExitStack, url: str, identity: str) -> LocalEngine:
    """One of ours in the room; what it says is read and dropped."""
    made = LocalEngine(Options(decode_unwatched=True, speaker="none"))
    await made.start()

    async def drain() -> None:
        async for _ in made.events():
            continue

    reader = asyncio.create_task(drain())

    async def end() -> None:
        await made.close()
        await reader

    stack.push_async_callback(end)
    made.send(api.Join(url, token("room", identity)))
    return made


async def sdk_speaks(stack: AsyncExitStack, url: str) -> None:
    peer = SdkPeer(url, token("room", "speaks"))
    await peer.join(publish=False)
    stack.push_async_callback(peer.leave)
    await peer.publish(video=False)


async def ours_speaks(stack: AsyncExitStack, url: str) -> None:
    speaks = await engine(stack, url, "speaks")
    speaks.send(api.OpenSource("microphone", SINE))


@pytest.mark.parametrize("speaker", [sdk_speaks, ours_speaks])
async def test_what_is_lost_is_made_good(sfu: Any, speaker: Callable[[AsyncExitStack, str], Any]) -> None:
    path = UdpPath(down=[(0.0, Settings(loss=0.1))], delay_ms=10)
    async with AsyncExitStack() as stack:
        stack.callback(path.close)
        doorway = await stack.enter_async_context(Doorway(sfu.url, path))
        hears = await engine(stack, doorway.url, "hears")
        await speaker(stack, sfu.url)

        def heard() -> dict[str, Any]:
            return next((t for t in hears.session.tracks_report() if t["kind"] == "audio"), {"packets": 0, "lost": 0})

        assert await until(lambda: heard()["packets"] > 50, 15), heard()
        path.begin()

        def lost() -> int:
            return sum(s["lost"] for s in path.report()["down"]["streams"] if s["packets"] > 50)

        assert await until(lambda: lost() >= 30, 30), path.report()
        found = heard()
        made_good = found["red"] / 20 + found["fec"] / 20 + found["nacks"]
        assert made_good > 0.5 * lost(), (found, lost())
        if speaker is sdk_speaks or isinstance(sfu, sfuproc.Relay):
            assert found["red"] > 0, "its publisher sends copies, or the SFU makes them"
        (stream,) = [s for s in hears.session.subscriptions() if s.kind == "audio"]
        assert stream.unknown_payloads == 0
        assert stream.audio is not None
        assert stream.audio.errors == 0
        assert stream.audio.level > 0.001

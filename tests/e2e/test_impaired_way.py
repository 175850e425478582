"""The laboratory's way between a client and either SFU: media come through it and through nothing else, later and fewer as told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from e2e import sfuproc
from e2e.livekitproc import token, until
from e2e.raw_client import RawClient

from bench.network.doorway import Doorway
from bench.network.impairment import Settings
from bench.network.path import UdpPath


@pytest.mark.parametrize("kind", ["relay", "livekit"])
async def test_what_is_lost_is_what_the_way_says(kind: str, tmp_path: Path) -> None:
    path = UdpPath(down=[(0.0, Settings(loss=0.3)), (2.0, Settings())], delay_ms=10)
    try:
        async with sfuproc.running(kind, tmp_path) as server, Doorway(server.url, path) as doorway:
            speaks, hears = RawClient(server.url, token("room", "speaks")), RawClient(doorway.url, token("room", "hears"))
            try:
                await speaks.join(auto_subscribe=0)
                await hears.join()
                sender = await speaks.publish("audio")
                assert await until(lambda: hears.count(sender.sid) > 20, 10)
                assert path.report()["flows"] >= 1
                before = hears.count(sender.sid)
                path.begin()
                await asyncio.sleep(2.6)
                await sender.stop()
                await asyncio.sleep(0.3)
                (stream,) = [s for s in path.report()["down"]["streams"] if s["packets"] > 50]
                assert doorway.kinds[stream["ssrc"]] == "audio"
                assert 15 <= stream["lost"] <= 50
                came = hears.count(sender.sid) - before
                # a packet or two was under way when it began
                assert abs(stream["packets"] - stream["lost"] - came) <= 3
            finally:
                await speaks.close()
                await hears.close()
    finally:
        path.close()


async def test_a_way_that_lets_nothing_through_has_no_way_around(tmp_path: Path) -> None:
    path = UdpPath(down=[(0.0, Settings(held=True))])
    path.begin()
    try:
        async with sfuproc.running("relay", tmp_path) as server, Doorway(server.url, path) as doorway:
            hears = RawClient(doorway.url, token("room", "hears"))
            try:
                await hears.join()
                assert await until(lambda: hears.offers > 0, 5)
                await asyncio.sleep(1.0)
                assert not hears.subscriber.connected.is_set()
            finally:
                await hears.close()
    finally:
        path.close()


async def test_a_refusal_comes_through(tmp_path: Path) -> None:
    import aiohttp

    path = UdpPath()
    try:
        async with sfuproc.running("relay", tmp_path) as server, Doorway(server.url, path) as doorway:
            client = RawClient(doorway.url, "no token")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.join()
            assert refused.value.status == 401
            await client.close()
    finally:
        path.close()

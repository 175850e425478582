"""livekit-server that estimates for itself (`use_send_side_bwe`): it is given transport-wide feedback, whole, and cuts nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.livekitproc import LiveKit, SdkPeer, needs_livekit_server, token, until

from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options


@pytest.fixture
def estimating(tmp_path: Path) -> Iterator[LiveKit]:
    needs_livekit_server()
    server = LiveKit(tmp_path)
    config = tmp_path / "livekit.yaml"
    config.write_text(config.read_text().replace("rtc: {", "rtc: {congestion_control: {use_send_side_bwe: true}, "))
    server.start()
    yield server
    server.stop()


@pytest.mark.livekit_server
async def test_transport_wide_feedback_is_what_it_gets(estimating: LiveKit) -> None:
    sdk = await SdkPeer(estimating.url, token("room", "sdk")).join()
    engine = LocalEngine(Options(decode_unwatched=True, speaker="none"))
    await engine.start()

    async def drain() -> None:
        async for _ in engine.events():
            continue

    reader = asyncio.create_task(drain())

    def picture() -> dict[str, object]:
        return next((t for t in engine.session.tracks_report() if t["kind"] == "video"), {"frames": 0})

    try:
        engine.send(api.Join(estimating.url, token("room", "ours")))
        assert await until(lambda: picture()["frames"] > 100, 20), picture()  # type: ignore[operator]
        connection = engine.session._connection
        assert connection is not None
        assert connection.feedback.octets > 0
        assert connection.feedback.rate.estimate(time.monotonic()) is None, "no figure of our own is told besides"
        assert (picture()["width"], picture()["height"], picture()["codec"]) == (320, 180, "VP8")
    finally:
        await engine.close()
        await reader
        await sdk.leave()

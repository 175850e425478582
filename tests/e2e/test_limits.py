"""What administrators let a client send and ask for, through a real SFU of either kind: no larger picture, no more kilobits."""

from __future__ import annotations

import asyncio
from typing import Any

from e2e.sdk_client import until
from e2e.test_engine_sfu import Ours

from vidconf.engine import api
from vidconf.engine.video_publication import VideoPublication

PICTURE = "lavfi:testsrc2=size=1280x720:rate=20"
MEASURED_S = 2.5


def seen(watcher: Ours) -> tuple[int, int]:
    track: dict[str, Any] = watcher.report().get(("ours", "camera"), {})
    return track.get("width", 0), track.get("height", 0)


def octets(ours: Ours) -> int:
    """All that has left of the camera: pictures, repairs, padding."""
    connection = ours.engine.session._connection
    assert connection is not None
    return sum(stream.wire_octets for stream, publication in connection.publishing.streams.values() if publication.source == "camera")


async def test_height_and_rate_hold_at_both_ends_and_are_lifted_again(sfu: Any, ours: Ours) -> None:
    watcher = await Ours(sfu, "watcher").start()
    try:
        watcher.join()
        ours.engine.send(api.SetLimits(max_kbps=400))
        ours.engine.send(api.OpenSource("camera", PICTURE))
        ours.join()
        assert await until(lambda: watcher.report().get(("ours", "camera"), {}).get("frames", 0) > 20, 15)
        await asyncio.sleep(0.5)
        before = octets(ours)
        await asyncio.sleep(MEASURED_S)
        kbps = (octets(ours) - before) * 8 / MEASURED_S / 1000
        assert 40 < kbps < 412, f"{kbps:.0f} kbit/s, with headers, repairs and probes"

        ours.engine.send(api.SetLimits())
        assert await until(lambda: seen(watcher) == (1280, 720), 20), seen(watcher)

        (sid,) = (t["track"] for t in watcher.engine.session.tracks_report() if t["kind"] == "video")
        watcher.engine.send(api.WatchTrack(sid, 1280, 720, format="i420"))
        watcher.engine.send(api.SetLimits(max_height=360))
        assert await until(lambda: seen(watcher) == (640, 360), 10), seen(watcher)

        watcher.engine.send(api.SetLimits())
        assert await until(lambda: seen(watcher) == (1280, 720), 10), seen(watcher)
        ours.engine.send(api.SetLimits(max_height=360))
        assert await until(lambda: seen(watcher) == (640, 360), 10), seen(watcher)
        camera = ours.engine.session.publications["camera"]
        assert isinstance(camera, VideoPublication)
        assert [layer.height for layer in camera.ladder] == [180, 360]
    finally:
        await watcher.close()

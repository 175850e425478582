"""A share is sent in VP9 through a real SFU of either kind, to our own engine and to the official SDK; a camera after it in VP8; where
libvpx is another than the one known, the share is VP8, too."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.livekitproc import token
from e2e.sdk_client import until
from e2e.test_engine_sfu import Ours
from e2e.test_relay_simulcast import Camera

from vidconf.engine import api
from vidconf.engine.codecs import libvpx

PAGE, PICTURE = "lavfi:testsrc2=size=1280x720:rate=10", "lavfi:testsrc2=size=320x180:rate=20"


def shown(watcher: Ours, source: str, codec: str, width: int) -> bool:
    track = watcher.report().get(("ours", source), {})
    return (track.get("codec"), track.get("width")) == (codec, width) and track.get("frames", 0) > 15 and not track["lost"]


async def test_a_share_is_vp9_and_what_comes_after_it_is_not(sfu: Any, ours: Ours) -> None:
    watcher, other = await Ours(sfu, "watcher").start(), Camera("other")
    try:
        await other.join(sfu.url, token("room", "other"))
        watcher.join()
        ours.engine.send(api.OpenSource("screen_share", PAGE))
        ours.join()
        assert await until(lambda: shown(watcher, "screen_share", "VP9", 1280), 10), str(watcher.report())
        assert await until(lambda: len(other.pictures) > 15 and other.pictures[-1][1:] == (1280, 720), 5), other.pictures[-1:]
        # who comes later begins with a keyframe of its own
        late = await Ours(sfu, "late").start()
        late.join()
        try:
            assert await until(lambda: shown(late, "screen_share", "VP9", 1280), 5), str(late.report())
        finally:
            await late.close()
        ours.engine.send(api.CloseSource("screen_share"))
        assert await until(lambda: ("ours", "screen_share") not in watcher.report(), 5)
        ours.engine.send(api.OpenSource("camera", PICTURE))
        assert await until(lambda: shown(watcher, "camera", "VP8", 320), 10), str(watcher.report())
        ours.engine.send(api.OpenSource("screen_share", PAGE))
        assert await until(lambda: shown(watcher, "screen_share", "VP9", 1280), 10), str(watcher.report())
        assert shown(watcher, "camera", "VP8", 320)
    finally:
        await watcher.close()
        await other.leave()


async def test_a_share_is_vp8_where_vp9_cannot_be_encoded(sfu: Any, ours: Ours, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvpx, "usable", lambda kind: None)
    watcher = await Ours(sfu, "watcher").start()
    try:
        watcher.join()
        ours.engine.send(api.OpenSource("screen_share", PAGE))
        ours.join()
        assert await until(lambda: shown(watcher, "screen_share", "VP8", 1280), 10), str(watcher.report())
    finally:
        await watcher.close()

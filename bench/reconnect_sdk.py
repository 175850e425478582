"""The official SDK as a receiver that tells of each picture and each audible block: a line `v` or `a` with the monotonic time.

    python bench/reconnect_sdk.py URL TOKEN

Its own reconnecting is left to itself; only where it has given up for good does it join anew, and says `gone`. Run by `bench/reconnect.py`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from livekit import rtc

AUDIBLE = 300


def say(what: str) -> None:
    print(what, time.monotonic(), flush=True)


async def watch(stream: Any, what: str) -> None:
    async for event in stream:
        if what == "v" or max(abs(value) for value in event.frame.data[::16]) > AUDIBLE:
            say(what)


async def stay(url: str, token: str) -> None:
    """One room, until the SDK itself says that it is over."""
    room, over, tasks = rtc.Room(), asyncio.Event(), set()

    def taken(track: Any, *_: Any) -> None:
        video = track.kind == rtc.TrackKind.KIND_VIDEO
        task = asyncio.create_task(watch(rtc.VideoStream(track) if video else rtc.AudioStream(track), "v" if video else "a"))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    room.on("track_subscribed", taken)
    room.on("disconnected", lambda *_: over.set())
    try:
        await room.connect(url, token, rtc.RoomOptions(single_peer_connection=False))
        say("joined")
        await over.wait()
    finally:
        for task in list(tasks):
            task.cancel()
        await room.disconnect()


async def main() -> None:
    while True:
        try:
            await stay(sys.argv[1], sys.argv[2])
        except rtc.ConnectError:
            await asyncio.sleep(0.2)
            continue
        say("gone")


asyncio.run(main())

"""The official SDK (libwebrtc) as a sender of the laboratory: says what it believes it may send.

    python -m bench.network.sender_sdk URL TOKEN --picture 1280x720 --bps 2500000 [--simulcast]

A child process: prints `ready` when it publishes, ends with its input, then prints [(when, bits a second), …].
"""

from __future__ import annotations

import asyncio
import json
import time

from livekit import rtc

from bench.network.publisher import publish_scene
from bench.network.sender_ours import SAMPLE_S, arguments, input_ended


async def target_bps(track: rtc.LocalVideoTrack) -> float:
    """Of the candidate pair in use, as libwebrtc estimates it; 0 before it does."""
    best = 0.0
    for stat in await track.get_stats():
        if stat.WhichOneof("stats") == "candidate_pair":
            best = max(best, stat.candidate_pair.candidate_pair.available_outgoing_bitrate)
    return best


async def main() -> None:
    told = arguments("The official SDK as a sender.")
    room = rtc.Room()
    await room.connect(told.url, told.token, rtc.RoomOptions(single_peer_connection=False, auto_subscribe=False))
    track, painting = await publish_scene(room, told.width, told.height, told.bps, simulcast=told.simulcast)
    print("ready", flush=True)
    ended, targets = input_ended(), []
    while not ended.done():
        targets.append((time.monotonic(), await target_bps(track)))
        await asyncio.wait([ended], timeout=SAMPLE_S)
    painting.cancel()
    await asyncio.gather(painting, return_exceptions=True)
    await room.disconnect()
    print(json.dumps(targets), flush=True)


if __name__ == "__main__":
    asyncio.run(main())

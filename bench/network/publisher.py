"""What all receivers of a row receive: the official SDK (libwebrtc) publishes the scene and the sentences, always the same way.

    python -m bench.network.publisher URL TOKEN [--picture 1280x720] [--bps 1500000] [--simulcast] [--sound] [--red]

A child process of the laboratory: prints `ready` when it publishes, ends with its input.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import numpy as np
from livekit import rtc

from bench.network.scene import Scene, packed
from bench.network.voices import loop

FPS = 30
BLOCK = 480


async def paint(source: rtc.VideoSource, scene: Scene) -> None:
    began, number = time.monotonic(), 0
    while True:
        picture = packed(scene.frame(number))
        source.capture_frame(rtc.VideoFrame(scene.width, scene.height, rtc.VideoBufferType.I420, picture))
        number += 1
        await asyncio.sleep(max(0.0, began + number / FPS - time.monotonic()))


async def publish_scene(room: rtc.Room, width: int, height: int, bps: int, *, simulcast: bool) -> tuple[rtc.LocalVideoTrack, asyncio.Task[None]]:
    """The scene as a camera's picture, VP8; and the task that paints it, to be cancelled."""
    scene = await asyncio.to_thread(Scene, width, height)
    source = rtc.VideoSource(width, height)
    track = rtc.LocalVideoTrack.create_video_track("scene", source)
    await room.local_participant.publish_track(
        track,
        rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, simulcast=simulcast, video_codec=rtc.VideoCodec.VP8,
            video_encoding=rtc.VideoEncoding(max_bitrate=bps, max_framerate=FPS),
        ),
    )  # fmt: skip
    return track, asyncio.create_task(paint(source, scene))


async def speak(source: rtc.AudioSource) -> None:
    said = np.clip(loop(48_000) * 32767, -32768, 32767).astype(np.int16)
    said = said[: len(said) // BLOCK * BLOCK]
    at = 0
    while True:
        await source.capture_frame(rtc.AudioFrame(said[at : at + BLOCK].tobytes(), 48_000, 1, BLOCK))
        at = (at + BLOCK) % len(said)


async def main() -> None:
    parser = argparse.ArgumentParser(description="The publisher of the laboratory.")
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--picture", default="")
    parser.add_argument("--bps", type=int, default=1_500_000)
    parser.add_argument("--simulcast", action="store_true")
    parser.add_argument("--sound", action="store_true")
    parser.add_argument("--red", action="store_true")
    told = parser.parse_args()
    room = rtc.Room()
    options = rtc.RoomOptions(single_peer_connection=False, auto_subscribe=False)
    await room.connect(told.url, told.token, options)
    tasks = []
    if told.picture:
        width, height = (int(part) for part in told.picture.split("x"))
        _, painting = await publish_scene(room, width, height, told.bps, simulcast=told.simulcast)
        tasks.append(painting)
    if told.sound:
        voice = rtc.AudioSource(48_000, 1, queue_size_ms=1000)       # so much of this process may be late and nobody hears it
        track = rtc.LocalAudioTrack.create_audio_track("voice", voice)
        await room.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, red=told.red, dtx=False)
        )
        tasks.append(asyncio.create_task(speak(voice)))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main())

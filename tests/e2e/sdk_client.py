"""The official `livekit` SDK as a participant: publishes a moving picture and a tone, counts what it receives.

Run as a program too (`sdk_client.py URL TOKEN SECONDS [--publish]`), so that a test can kill -9 it; prints JSON at the end.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import math
import sys
import time
from collections import Counter

from e2e.relayproc import KEY, SECRET
from livekit import api, rtc

WIDTH, HEIGHT, FPS = 640, 360, 30


def token(room: str, identity: str, ttl_s: float = 600, **grants: object) -> str:
    """As anyone else makes one: by the official package."""
    import datetime

    video = api.VideoGrants(room_join=True, room=room, **grants)  # type: ignore[arg-type]
    return (
        api.AccessToken(KEY, SECRET).with_identity(identity).with_name(f"name of {identity}")
        .with_ttl(datetime.timedelta(seconds=ttl_s)).with_grants(video).to_jwt()
    )  # fmt: skip


class SdkClient:
    """One participant. `frames` and `sounds` count per identity what arrived decoded."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.room = rtc.Room()
        self.frames: Counter[str] = Counter()
        self.sounds: Counter[str] = Counter()
        self.first_frame_s: dict[str, float] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.events: list[tuple[str, str]] = []
        self.data: list[tuple[str, bytes, str]] = []
        self.speakers: list[list[str]] = []
        self.disconnected: asyncio.Event = asyncio.Event()
        self.joined_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.publications: list[rtc.LocalTrackPublication] = []
        room = self.room
        room.on("track_subscribed", self._on_track)
        for name in ("participant_connected", "participant_disconnected"):
            room.on(name, lambda p, name=name: self.events.append((name, p.identity)))
        for name in ("track_muted", "track_unmuted"):
            room.on(name, lambda p, publication, name=name: self.events.append((name, p.identity)))
        for name in ("track_published", "track_unpublished"):
            room.on(name, lambda publication, p, name=name: self.events.append((name, p.identity)))
        room.on("data_received", lambda d: self.data.append((d.participant.identity if d.participant else "", d.data, d.topic or "")))
        room.on("active_speakers_changed", lambda speakers: self.speakers.append([p.identity for p in speakers]))
        room.on("disconnected", lambda reason: (self.events.append(("disconnected", str(reason))), self.disconnected.set()))

    async def join(self, url: str, access: str, **options: object) -> float:
        """Seconds it took."""
        began = time.monotonic()
        await self.room.connect(url, access, rtc.RoomOptions(**options))  # type: ignore[arg-type]
        self.joined_at = time.monotonic()
        return self.joined_at - began

    def _on_track(self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        self.events.append(("track_subscribed", participant.identity))
        work = self._watch(track, participant.identity) if track.kind == rtc.TrackKind.KIND_VIDEO else self._hear(track, participant.identity)
        self._keep(asyncio.create_task(work))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, track: rtc.Track, identity: str) -> None:
        async for event in (stream := rtc.VideoStream(track)):
            self.frames[identity] += 1
            self.first_frame_s.setdefault(identity, time.monotonic() - self.joined_at)
            self.sizes[identity] = (event.frame.width, event.frame.height)
        await stream.aclose()

    async def _hear(self, track: rtc.Track, identity: str) -> None:
        async for event in (stream := rtc.AudioStream(track)):
            samples = array.array("h", bytes(event.frame.data))
            if samples and max(samples) > 500:
                self.sounds[identity] += 1
        await stream.aclose()

    async def publish_video(
        self, source: int = rtc.TrackSource.SOURCE_CAMERA, simulcast: bool = False, codec: str = "VP8"
    ) -> rtc.LocalTrackPublication:
        video = rtc.VideoSource(WIDTH, HEIGHT)
        track = rtc.LocalVideoTrack.create_video_track("picture", video)
        options = rtc.TrackPublishOptions(source=source, simulcast=simulcast, video_codec=rtc.VideoCodec.Value(codec))  # type: ignore[arg-type]
        options.video_encoding.max_framerate, options.video_encoding.max_bitrate = FPS, 1_200_000
        publication = await self.room.local_participant.publish_track(track, options)
        self._keep(asyncio.create_task(self._paint(video)))
        self.publications.append(publication)
        return publication

    async def publish_audio(self, hz: float = 440.0) -> rtc.LocalTrackPublication:
        audio = rtc.AudioSource(48000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("sound", audio)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(track, options)
        self._keep(asyncio.create_task(self._sing(audio, hz)))
        self.publications.append(publication)
        return publication

    async def _paint(self, source: rtc.VideoSource) -> None:
        step, began = 0, time.monotonic()
        row = bytes(range(256)) * 3
        while True:
            step += 1
            luma = b"".join(row[(y + 3 * step) % 256 : (y + 3 * step) % 256 + 1] * WIDTH for y in range(HEIGHT))
            source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, luma + bytes([128]) * (WIDTH * HEIGHT // 2)))
            await asyncio.sleep(max(0.0, began + step / FPS - time.monotonic()))

    async def _sing(self, source: rtc.AudioSource, hz: float) -> None:
        samples = array.array("h", (int(8000 * math.sin(2 * math.pi * hz * i / 48000)) for i in range(48000)))
        at = 0
        while True:
            block = samples[at : at + 480]
            at = (at + 480) % 48000
            await source.capture_frame(rtc.AudioFrame(block.tobytes(), 48000, 1, 480))

    async def leave(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.room.disconnect(), 5)

    def report(self) -> dict[str, object]:
        return {"frames": dict(self.frames), "sounds": dict(self.sounds), "events": self.events, "first_frame_s": self.first_frame_s}


async def until(condition, timeout_s: float = 10.0) -> bool:  # type: ignore[no-untyped-def]
    """Whether `condition()` became true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


async def _main(url: str, access: str, seconds: float, publish: bool) -> None:
    client = SdkClient("program")
    joined_s = await client.join(url, access)
    if publish:
        await client.publish_video()
        await client.publish_audio()
    print("joined", flush=True)
    await asyncio.sleep(seconds)
    print(json.dumps({**client.report(), "joined_s": joined_s}), flush=True)
    await client.leave()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3]), "--publish" in sys.argv))

"""The official `livekit` SDK (libwebrtc) as a receiver of the laboratory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiRequest
from livekit.rtc._proto.video_frame_pb2 import VideoStreamType

from bench.network.receiving import Report, Told, arguments, until_told
from vidconf.engine import stamp
from vidconf.engine.recording import SoundFile


class EveryFrame(rtc.VideoStream):
    """The SDK keeps one picture for a reader who is late, and drops those that a repair lets go all at once: here none is dropped."""

    def _create_owned_stream(self) -> Any:
        request = FfiRequest()
        assert self._track is not None
        wanted = request.new_video_stream
        wanted.track_handle, wanted.type = self._track._ffi_handle.handle, VideoStreamType.VIDEO_STREAM_NATIVE
        wanted.normalize_stride, wanted.queue_size_frames = True, 0
        return FfiClient.instance.request(request).new_video_stream.stream


class Receiver:
    def __init__(self, told: Told) -> None:
        self.told, self.report = told, Report()
        self.room = rtc.Room()
        self.room.on("track_subscribed", self._on_track)
        self.room.on("disconnected", lambda reason: self.report.notes.__setitem__("disconnected", str(reason)))
        self._tracks: dict[str, Any] = {}
        self._sounds: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._last: dict[str, tuple[float, float]] = {}
        self._file = SoundFile(told.record) if told.record else None

    def _on_track(self, track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        self._tracks[track.sid] = track
        self._tasks.append(asyncio.create_task(self._watch(track) if track.kind == rtc.TrackKind.KIND_VIDEO else self._hear(track)))

    async def _watch(self, track: rtc.Track) -> None:
        stream = EveryFrame(track)
        try:
            async for event in stream:
                frame, age = event.frame, None
                if self.told.ages:
                    painted = stamp.read_luma(memoryview(frame.data).cast("B"), frame.width, frame.width)
                    age = None if painted is None else stamp.age_ms(painted)
                self.report.saw(track.sid, time.monotonic(), age)
        finally:
            await stream.aclose()

    async def _hear(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=48_000, num_channels=1)
        try:
            async for event in stream:
                self._sounds.add(track.sid)
                if self._file is not None:
                    if self.report.sound_began is None:
                        self.report.sound_began = time.monotonic()
                    self._file.write(bytes(event.frame.data))
        finally:
            await stream.aclose()

    def ready(self) -> bool:
        return len(self.report.pictures) >= self.told.pictures and len(self._sounds) >= self.told.sounds

    async def sample(self) -> dict[str, Any]:
        tracks = {}
        for sid, track in list(self._tracks.items()):
            for entry in await track.get_stats():
                if entry.WhichOneof("stats") != "inbound_rtp":
                    continue
                got, inbound = entry.inbound_rtp.received, entry.inbound_rtp.inbound
                before = self._last.get(sid, (0.0, 0.0))
                self._last[sid] = now = (inbound.jitter_buffer_delay, float(inbound.jitter_buffer_emitted_count))
                emitted = now[1] - before[1]
                tracks[sid] = {
                    "kind": "audio" if track.kind == rtc.TrackKind.KIND_AUDIO else "video", "packets": got.packets_received,
                    "lost": got.packets_lost, "nacks": inbound.nack_count, "plis": inbound.pli_count,
                    "buffer_ms": round(1000 * (now[0] - before[0]) / emitted, 1) if emitted else None,
                    "concealed": inbound.concealed_samples, "sounded": inbound.total_samples_received,
                    "own_freezes": inbound.freeze_count, "own_freeze_s": inbound.total_freeze_duration,
                }  # fmt: skip
        return {"tracks": tracks}

    async def run(self) -> None:
        await self.room.connect(self.told.url, self.told.token, rtc.RoomOptions(single_peer_connection=False))
        try:
            await until_told(self.report, self.ready, self.sample)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await self.room.disconnect()
            if self._file is not None:
                self._file.close()


async def main() -> None:
    await Receiver(arguments("The livekit SDK as a receiver.")).run()     # a room belongs to the loop that it is made on


if __name__ == "__main__":
    asyncio.run(main())

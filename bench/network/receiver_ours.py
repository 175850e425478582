"""Our engine as a receiver of the laboratory: what `vidconf bot --livekit-url` runs, with every picture's time kept."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Any

import uvloop

from bench.network.receiving import Report, Told, arguments, until_told
from vidconf.engine import api, stamp
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options


class Watcher:
    """Stands where a recording would: sees each picture when a tile would get it."""

    def __init__(self, report: Report, track: str, ages: bool) -> None:
        self._report, self._track, self._ages = report, track, ages

    def write(self, frame: Any, at_s: float) -> None:
        painted = stamp.read(frame) if self._ages else None
        self._report.saw(self._track, time.monotonic(), None if painted is None else stamp.age_ms(painted))


class Receiver:
    def __init__(self, told: Told) -> None:
        self.told, self.report = told, Report()
        self.engine = LocalEngine(Options(decode_unwatched=True, speaker="none"))
        self.sounds: set[str] = set()
        self._sounding_since: dict[str, float] = {}

    async def follow(self) -> None:
        async for event in self.engine.events():
            match event:
                case api.StateChanged("connected"):
                    if self.told.record:
                        self.engine.send(api.Record(self.told.record))
                        self.report.sound_began = time.monotonic()
                case api.StateChanged("closed", reason):
                    self.report.notes["closed"] = reason
                case api.TrackAdded(track, _, _, "video"):
                    video = self.engine.session.subscription(track, "video").video
                    assert video is not None
                    video.recorder = Watcher(self.report, track, self.told.ages)  # type: ignore[assignment]
                case api.FirstFrame(track):
                    self.sounds.add(track)

    def ready(self) -> bool:
        return len(self.report.pictures) >= self.told.pictures and len(self.sounds - self.report.pictures.keys()) >= self.told.sounds

    async def sample(self) -> dict[str, Any]:
        now = time.monotonic()
        tracks = {}
        for track in self.engine.session.tracks_report():
            since = self._sounding_since.setdefault(track["track"], now)
            sounded = 48_000 * (now - since)
            tracks[track["track"]] = {
                "kind": track["kind"], "packets": track["packets"], "lost": track["lost"], "nacks": track["nacks"], "plis": track["plis"],
                "buffer_ms": track["jitter_buffer_ms"], "concealed": track["concealed_percent"] / 100 * sounded, "sounded": sounded,
                "codec": track["codec"],
            }  # fmt: skip
        return {"tracks": tracks}

    async def run(self) -> None:
        await self.engine.start()
        follow = asyncio.create_task(self.follow())
        self.engine.send(api.Join(self.told.url, self.told.token))
        try:
            await until_told(self.report, self.ready, self.sample)
        finally:
            follow.cancel()
            await self.engine.close()


def main() -> None:
    told = arguments("Our engine as a receiver.")
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    uvloop.run(Receiver(told).run())


if __name__ == "__main__":
    main()

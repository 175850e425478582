"""What it costs to send a picture, and what of it arrives: our engine and the official SDK, the same scene at the same rate, in turns.

    python -m bench.encode [--picture 1280x720] [--bps 1500000] [--seconds 15] [--turns 2] [--simulcast] [--codec h264]

Each sender is a process of its own and all of it counts: taking pictures, scaling, encoding, packets. Ours reads them from a film
without compression, the SDK is handed them as bytes made ready beforehand. Who watches is ours, on the relay, through nothing; it
compares each fifteenth picture's brightness with the scene's (PSNR), whose every picture it can tell from its noise. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from livekit import rtc

from bench.network import precedence
from bench.network.scene import LOOP, Scene, packed
from bench.network.sender_ours import FPS, input_ended, scene_file
from bench.network.watch import Child, sfu, token
from vidconf.engine import api, codec_choice, stamp
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options
from vidconf.engine.video_publication import VideoShape

SETTLE_S = 8.0
EVERY = 15
COARSE = 16


async def ours(told: argparse.Namespace) -> None:
    width, height = sides(told.picture)
    film = await asyncio.to_thread(scene_file, told.scratch, width, height)
    if not told.simulcast:
        codec_choice.MAX_LAYERS = 1     # type: ignore[misc]
    engine = LocalEngine(Options(speaker="none", shapes={"camera": VideoShape(width, height, FPS, told.bps)}, camera_codec=told.codec))
    await engine.start()
    engine.send(api.Join(told.url, told.token))
    async for event in engine.events():
        if isinstance(event, api.StateChanged) and event.state == "connected":
            engine.send(api.OpenSource("camera", str(film)))
        if isinstance(event, api.SourceChanged) and event.state == "on":
            break
    print("ready", flush=True)
    await input_ended()
    print(json.dumps(engine.session.sent_report()), flush=True)
    await engine.close()


async def sdk(told: argparse.Namespace) -> None:
    width, height = sides(told.picture)
    scene = await asyncio.to_thread(Scene, width, height)
    pictures = [packed(scene.frame(number)) for number in range(LOOP)]
    room = rtc.Room()
    await room.connect(told.url, told.token, rtc.RoomOptions(single_peer_connection=False, auto_subscribe=False))
    source = rtc.VideoSource(width, height)
    track = rtc.LocalVideoTrack.create_video_track("scene", source)
    encoding = rtc.VideoEncoding(max_bitrate=told.bps, max_framerate=FPS)
    options = rtc.TrackPublishOptions(
        source=rtc.TrackSource.SOURCE_CAMERA, simulcast=told.simulcast, video_codec=rtc.VideoCodec.Value(told.codec.upper()), video_encoding=encoding
    )
    await room.local_participant.publish_track(track, options)
    print("ready", flush=True)
    ended, began, number = input_ended(), time.monotonic(), 0
    while not ended.done():
        source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, pictures[number % LOOP]))
        number += 1
        await asyncio.sleep(max(0.0, began + number / FPS - time.monotonic()))
    stats = [s for s in await track.get_stats() if s.WhichOneof("stats") == "outbound_rtp"]
    print(json.dumps([{"encoder": s.outbound_rtp.outbound.encoder_implementation, "width": s.outbound_rtp.outbound.frame_width} for s in stats]), flush=True)
    await room.disconnect()


class Judge:
    """Stands where a recording would: compares pictures with those of the scene. The decoder's thread."""

    def __init__(self, width: int, height: int) -> None:
        scene = Scene(width, height)
        self._top = stamp.ROWS * max(2, width // 40)
        """Below the time that is painted in."""
        self._scene = [np.frombuffer(frame[0], np.uint8).reshape(height, width)[self._top :] for frame in scene._frames]
        self._coarse = np.stack([luma[::COARSE, 1::COARSE] for luma in self._scene]).astype(np.float32)
        self.found: list[tuple[float, int, float]] = []
        """(when, width, PSNR; 0 for one that was not looked at)."""

    def write(self, frame: Any, at_s: float) -> None:
        decibels = 0.0
        if len(self.found) % EVERY == 0:
            height, width = self._top + self._scene[0].shape[0], self._scene[0].shape[1]
            whole = frame if (frame.width, frame.height) == (width, height) else frame.reformat(width=width, height=height)
            plane = whole.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[self._top : height, :width]
            apart = np.abs(self._coarse - luma[::COARSE, 1::COARSE]).sum(axis=(1, 2))
            # the coarse look may take a neighbour for it, the fine one not
            best = sorted(range(LOOP), key=lambda k: apart[k])[:4]
            error = min(float(((self._scene[k].astype(np.float32) - luma) ** 2).mean()) for k in best)
            decibels = 10 * math.log10(255**2 / max(error, 1e-3))
        self.found.append((time.monotonic(), frame.width, decibels))


async def watch(told: argparse.Namespace) -> None:
    judge = await asyncio.to_thread(Judge, *sides(told.picture))
    engine = LocalEngine(Options(decode_unwatched=True, speaker="none"))
    await engine.start()
    bits: list[tuple[float, int]] = []

    async def follow() -> None:
        async for event in engine.events():
            match event:
                case api.TrackAdded(track, _, _, "video"):
                    video = engine.session.subscription(track, "video").video
                    assert video is not None
                    video.recorder = judge  # type: ignore[assignment]
                case api.Stats(tracks):
                    bits.extend((time.monotonic(), track["bitrate_bps"]) for track in tracks if track["kind"] == "video")

    following = asyncio.create_task(follow())
    engine.send(api.Join(told.url, told.token))
    print("ready", flush=True)
    await input_ended()
    following.cancel()
    print(json.dumps({"pictures": judge.found, "bits": bits}), flush=True)
    await engine.close()


async def turn(server: Any, who: str, told: argparse.Namespace, folder: Path, number: int) -> dict[str, float]:
    """One sender, watched for `seconds` after it has settled."""
    room = f"encode-{who}-{number}"
    common = ("--picture", told.picture, "--bps", str(told.bps), "--codec", told.codec, "--scratch", str(told.scratch), *(["--simulcast"] if told.simulcast else []))
    log = folder / f"{room}.log"
    watcher = await Child.start(log, "bench.encode", "--be", "watch", "--url", server.url, "--token", token(room, "watches"), *common)
    assert await watcher.ready(), watcher.words()
    sender = await Child.start(log, "bench.encode", "--be", who, "--url", server.url, "--token", token(room, "sends"), *common)
    assert await sender.ready(), sender.words()
    await asyncio.sleep(SETTLE_S)
    begin, spent = time.monotonic(), sender.cpu_s()
    await asyncio.sleep(told.seconds)
    end, spent = time.monotonic(), sender.cpu_s() - spent
    said = (await sender.end()).decode().strip()
    report = json.loads((await watcher.end()).decode())
    seen = [entry for entry in report["pictures"] if begin <= entry[0] <= end]
    judged = [entry[2] for entry in seen if entry[2]]
    bits = [entry[1] for entry in report["bits"] if begin <= entry[0] <= end]
    print(f"{who}: {said}", file=sys.stderr)
    if not judged or not bits:
        raise SystemExit(f"nothing was seen of {who}: {watcher.words()}")
    return {
        "cpu": 100 * spent / (end - begin), "fps": len(seen) / (end - begin), "width": statistics.median(entry[1] for entry in seen),
        "psnr": statistics.mean(judged), "kbps": statistics.mean(bits) / 1000,
    }  # fmt: skip


def sides(picture: str) -> tuple[int, int]:
    width, height = picture.split("x")
    return int(width), int(height)


async def main(told: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        told.scratch = Path(scratch)
        await asyncio.to_thread(scene_file, told.scratch, *sides(told.picture))
        found: dict[str, list[dict[str, float]]] = {"ours": [], "sdk": []}
        async with sfu(told.sfu) as server:
            for number in range(told.turns):
                for who in sorted(found, reverse=bool(number % 2)):
                    found[who].append(await turn(server, who, told, told.scratch, number))
    print("| sender | CPU, % of a core | PSNR, dB | received, kb/s | pictures a second | width |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for who, turns in found.items():
        middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
        print(f"| {who} | {middle['cpu']:.1f} | {middle['psnr']:.2f} | {middle['kbps']:.0f} | {middle['fps']:.1f} | {middle['width']:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--picture", default="1280x720")
    parser.add_argument("--bps", type=int, default=1_500_000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--simulcast", action="store_true", help="the SDK sends several sizes; ours those that are taken")
    parser.add_argument("--codec", default="vp8", choices=codec_choice.CAMERA_CODECS)
    parser.add_argument("--sfu", default="relay", choices=("relay", "livekit"))
    parser.add_argument("--nice", type=int, default=0, help="-10 keeps a busy machine out of the figures; needs the right to it")
    parser.add_argument("--be", choices=("ours", "sdk", "watch"), help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--token", default="", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, default=Path("."), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.be:
        sys.setswitchinterval(0.0005)
        gc.collect()
        gc.freeze()
        uvloop.run({"ours": ours, "sdk": sdk, "watch": watch}[arguments.be](arguments))
    else:
        if arguments.nice:
            precedence.take(arguments.nice)
        asyncio.run(main(arguments))

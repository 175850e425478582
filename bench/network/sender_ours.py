"""Our engine as a sender of the laboratory: what `vidconf bot --livekit-url --camera FILE --stamp` runs, and its target.

    python -m bench.network.sender_ours URL TOKEN --picture 1280x720 --bps 2500000 --scratch FOLDER

A child process: prints `ready` when it publishes, ends with its input, then prints [(when, bits a second), …].
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import av
import uvloop

from bench.network.scene import LOOP, Scene
from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options
from vidconf.engine.video_publication import VideoShape

SAMPLE_S = 0.1
FPS = 30
READY_S = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    url: str
    token: str
    width: int
    height: int
    bps: int
    simulcast: bool
    scratch: Path


def arguments(what: str) -> Told:
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("--picture", default="1280x720")
    parser.add_argument("--bps", type=int, default=2_500_000)
    parser.add_argument("--simulcast", action="store_true")
    parser.add_argument("--scratch", type=Path, default=Path("."))
    given = parser.parse_args()
    width, height = (int(part) for part in given.picture.split("x"))
    return Told(given.url, given.token, width, height, given.bps, given.simulcast, given.scratch)


def input_ended() -> asyncio.Future[None]:
    """Done when the laboratory has closed our input."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        if not sys.stdin.readline() and not ended.done():
            loop.remove_reader(sys.stdin.fileno())
            ended.set_result(None)

    loop.add_reader(sys.stdin.fileno(), readable)
    return ended


def scene_file(folder: Path, width: int, height: int) -> Path:
    """The scene as a film without compression, so that reading it costs what taking a camera's picture does."""
    path = folder / f"scene-{width}x{height}.nut"
    if path.exists():
        return path
    scene, draft = Scene(width, height), path.with_suffix(".part")
    with av.open(str(draft), "w", format="nut") as container:
        stream = container.add_stream("rawvideo", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(LOOP):
            frame = scene.frame(number)
            frame.pts = number
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    draft.rename(path)
    return path


async def main() -> None:
    told = arguments("Our engine as a sender.")
    film = await asyncio.to_thread(scene_file, told.scratch, told.width, told.height)
    shape = VideoShape(told.width, told.height, FPS, told.bps)
    engine = LocalEngine(Options(speaker="none", shapes={"camera": shape}))
    await engine.start()
    published = asyncio.Event()

    async def follow() -> None:
        async for event in engine.events():
            match event:
                case api.StateChanged("connected"):
                    engine.send(api.OpenSource("camera", str(film), stamp=True))
                case api.SourceChanged("camera", "on"):
                    published.set()
                case api.Failed() | api.StateChanged("closed"):
                    print(event, file=sys.stderr, flush=True)

    following = asyncio.create_task(follow())
    engine.send(api.Join(told.url, told.token))
    try:
        async with asyncio.timeout(READY_S):
            await published.wait()
        print("ready", flush=True)
    except TimeoutError:
        print("not ready", flush=True)
    ended, targets = input_ended(), []
    while not ended.done():
        connection = engine.session._connection
        if connection is not None:
            targets.append((time.monotonic(), connection.send_control.target_bps))
        await asyncio.wait([ended], timeout=SAMPLE_S)
    following.cancel()
    await engine.close()
    print(json.dumps(targets), flush=True)


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    uvloop.run(main())

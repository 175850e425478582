"""Many participants to receive at once, cheaply: each sends the scene and the sentences, encoded once beforehand.

    python -m bench.network.load URL --tokens T1 T2 … [--picture 640x360] [--bps 400000]

Encoding nine pictures live would take the machine that is to be measured. A child process of the laboratory: prints `ready` when
all send, ends with its input. A keyframe is sent when it is asked for and every two seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import uvloop

from bench.network.scene import LOOP, Scene
from bench.network.voices import loop

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from e2e.raw_client import RawClient, Sender

from vidconf.rtp.vp8 import packetize
from vidconf.webrtc.description import EXTENSIONS, LEVEL, TRANSPORT_CC

FPS = 30


def pictures(width: int, height: int, bps: int) -> list[tuple[bool, bytes]]:
    """(keyframe, VP8 frame) of one loop of the scene."""
    scene = Scene(width, height)
    codec = av.CodecContext.create("libvpx", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.bit_rate = width, height, "yuv420p", bps
    codec.framerate, codec.gop_size = FPS, LOOP
    codec.options = {"deadline": "realtime", "cpu-used": "6", "lag-in-frames": "0", "error-resilient": "1"}
    found: list[tuple[bool, bytes]] = []
    for n in range(2 * LOOP):
        frame = scene.frame(n)
        frame.pts = n
        found += [(packet.is_keyframe, bytes(packet)) for packet in codec.encode(frame)]
    found += [(packet.is_keyframe, bytes(packet)) for packet in codec.encode(None)]
    return found[LOOP:] if found[LOOP][0] else found


def sounds() -> list[bytes]:
    """Opus packets of 20 ms of the sentences."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.format, codec.layout, codec.bit_rate = 48_000, "s16", "mono", 32_000
    codec.options = {"application": "voip", "frame_duration": "20"}
    said = np.clip(loop(48_000) * 32767, -32768, 32767).astype(np.int16)
    found = []
    for at in range(0, len(said) - 960, 960):
        frame = av.AudioFrame.from_ndarray(said[at : at + 960].reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, at
        found += [bytes(packet) for packet in codec.encode(frame)]
    return found


class Film:
    """One participant's picture and voice, beginning somewhere of its own."""

    def __init__(self, number: int, video: list[tuple[bool, bytes]], audio: list[bytes]) -> None:
        self.video, self.audio = video, audio
        self.picture, self.sound = 7 * number % len(video), 97 * number % len(audio)

    def send(self, sender: Sender) -> None:
        """Stands for `Sender.send_frame`."""
        if sender.section.kind == "audio":
            sender._send(self.audio[self.sound], False, [(EXTENSIONS[LEVEL], bytes((30,)))])
            self.sound = (self.sound + 1) % len(self.audio)
            sender.timestamp += 960
            return
        if sender.want_keyframe:
            sender.want_keyframe = False
            while not self.video[self.picture][0]:
                self.picture = (self.picture + 1) % len(self.video)
        sender.picture += 1
        payloads = packetize(self.video[self.picture][1], sender.picture)
        self.picture = (self.picture + 1) % len(self.video)
        for k, payload in enumerate(payloads):
            number = sender.client.next_transport_number()
            extension = [(EXTENSIONS[TRANSPORT_CC], number.to_bytes(2, "big"))] if TRANSPORT_CC in sender.extensions else []
            sender._send(payload, k == len(payloads) - 1, extension)
        sender.timestamp += 3000


async def participant(url: str, token: str, film: Film, picture: bool) -> RawClient:
    client = RawClient(url, token)
    await client.join(auto_subscribe=0)
    for kind in ("video", "audio") if picture else ("audio",):
        sender = await client.publish(kind, start=False)
        sender.send_frame = lambda sender=sender: film.send(sender)  # type: ignore[method-assign, misc]
        sender.start()
    return client


async def main() -> None:
    parser = argparse.ArgumentParser(description="Many participants to receive at once.")
    parser.add_argument("url")
    parser.add_argument("--tokens", nargs="+", required=True)
    parser.add_argument("--picture", default="640x360")
    parser.add_argument("--bps", type=int, default=400_000)
    told = parser.parse_args()
    video: list[tuple[bool, bytes]] = []
    if told.picture != "none":
        width, height = (int(part) for part in told.picture.split("x"))
        video = pictures(width, height, told.bps)
    audio = sounds()
    clients: list[Any] = []
    for number, token in enumerate(told.tokens):
        clients.append(await participant(told.url, token, Film(number, video or [(True, b"")], audio), bool(video)))
        await asyncio.sleep(0.013)      # their pictures do not come all at the same moment
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    began = time.monotonic()
    await asyncio.to_thread(sys.stdin.read)
    sent = sum(len(sender.sent) for client in clients for sender in client.senders.values())
    print(f"sent for {time.monotonic() - began:.1f} s, {sent} packets kept", file=sys.stderr)
    for client in clients:
        await client.close()


if __name__ == "__main__":
    uvloop.run(main())

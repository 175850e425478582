"""What receiving and decoding costs, ours beside the official SDK in the same room during the same seconds.

    python bench/receive.py [--publishers 9] [--size 640x360] [--kbps 500] [--sfu relay] [--seconds 20] [--rounds 3]
                            [--only ours|sdk] [--against CHECKOUT]

The publishers (Pion, in a process of their own) play one VP8 file and recorded speech; ours is `vidconf bot`, which decodes every
picture and mixes every sound, theirs a program that takes each VideoStream and AudioStream and counts. CPU is of one core, of
the whole process and its children, from when both have seen every picture. `--against`: instead of theirs, our receiver of another checkout, to see what a change is worth. Prints a table; needs
what bench/relay_load.py needs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src"), str(ROOT / "bench")]

import psutil  # noqa: E402
import relay_load  # noqa: E402
from e2e import livekitproc, relayproc  # noqa: E402

FIRST_S = 6.0
"""From the receivers' start to the first second that counts."""
SPEECH_S = 12


def make_sound(path: Path) -> None:
    """Vietnamese speech as Opus packets of 20 ms, each after its length."""
    import av

    from vidconf.engine.codecs.opus import BLOCK_BYTES, OpusEncoder
    from vidconf.resources import resource

    encoder, resampler = OpusEncoder(), av.AudioResampler(format="s16", layout="mono", rate=48_000)
    with av.open(str(resource("speech", "hue.flac"))) as source:
        pcm = b"".join(bytes(m.planes[0])[: 2 * m.samples] for f in source.decode(audio=0) for m in resampler.resample(f))
    packets = [encoder.encode(pcm[at : at + BLOCK_BYTES]) for at in range(0, len(pcm) - BLOCK_BYTES, BLOCK_BYTES)][: SPEECH_S * 50]
    path.write_bytes(b"".join(len(p).to_bytes(2, "big") + p for p in packets if p))


# ---- theirs
async def sdk_receiver(url: str, token: str) -> None:
    """Until SIGTERM; each line on stdin is answered with what has been counted so far."""
    from livekit import rtc

    frames: Counter[str] = Counter()
    blocks: Counter[str] = Counter()
    tasks: set[asyncio.Task[None]] = set()
    room = rtc.Room()

    async def count(stream: Any, into: Counter[str], name: str) -> None:
        async for _ in stream:
            into[name] += 1

    def subscribed(track: rtc.Track, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant) -> None:
        video = track.kind == rtc.TrackKind.KIND_VIDEO
        stream = rtc.VideoStream(track) if video else rtc.AudioStream(track)
        tasks.add(asyncio.create_task(count(stream, frames if video else blocks, participant.identity)))

    room.on("track_subscribed", subscribed)
    await room.connect(url, token, rtc.RoomOptions(single_peer_connection=False))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    print(json.dumps({"frames": dict(frames), "blocks": dict(blocks)}), flush=True)
    os._exit(0)     # what counts has been said; the library's threads need not be waited for


def cpu_s(process: psutil.Process) -> float:
    """User and system seconds of a process and its living children."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        times = one.cpu_times()
        total += times.user + times.system
    return total


class Receiver:
    """A process that receives everything; `cpu_percent` between `begin` and `end`."""

    def __init__(self, name: str, argv: list[str], checkout: Path = ROOT) -> None:
        self.name = name
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True)
        self._usage = psutil.Process(self._process.pid)
        self._from = (0.0, 0.0)
        self.cpu_percent = self.rss_mb = 0.0
        self.threads = 0

    def begin(self) -> None:
        self._from = (time.monotonic(), cpu_s(self._usage))

    def end(self) -> None:
        self.cpu_percent = 100 * (cpu_s(self._usage) - self._from[1]) / (time.monotonic() - self._from[0])
        self.threads, self.rss_mb = self._usage.num_threads(), self._usage.memory_info().rss / 1e6

    def report(self) -> dict[str, Any]:
        self._process.terminate()
        out, _ = self._process.communicate(timeout=20)
        said: dict[str, Any] = json.loads(out)
        return said

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def ours_argv(url: str, token: str) -> list[str]:
    return [
        sys.executable, "-m", "vidconf.cli.main", "bot", "--livekit-url", url, "--token", token,
        "--camera", "none", "--microphone", "none", "--json",
    ]  # fmt: skip


def measure(url: str, key: str, secret: str, told: argparse.Namespace, video: Path, sound: Path) -> dict[str, dict[str, float]]:
    os.environ["LIVEKIT_KEY"], os.environ["LIVEKIT_SECRET"] = key, secret
    seconds = FIRST_S + told.seconds + 10
    load = subprocess.Popen(
        [str(relay_load.generator()), "-url", url, "-participants", str(told.publishers), "-seconds", str(seconds), "-settle", "0.5",
         "-video", str(video), "-audio", str(sound), "-deaf"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    receivers: list[Receiver] = []
    try:
        assert load.stdout is not None
        if load.stdout.readline().strip() != "measuring":
            raise SystemExit("the publishers did not get so far")
        for name in ("ours", "other" if told.against else "sdk"):
            if told.only in (None, name):
                access = token(key, secret, f"receiver-{name}")
                argv = [sys.executable, __file__, "--sdk-receiver", url, access] if name == "sdk" else ours_argv(url, access)
                receivers.append(Receiver(name, argv, Path(told.against) if name == "other" else ROOT))
        time.sleep(FIRST_S)
        for receiver in receivers:
            receiver.begin()
        began = time.monotonic()
        time.sleep(told.seconds)
        for receiver in receivers:
            receiver.end()
        lived = time.monotonic() - began + FIRST_S
        return {r.name: {"cpu": r.cpu_percent, "rss": r.rss_mb, "threads": r.threads, **_counted(r, lived)} for r in receivers}
    finally:
        for receiver in receivers:
            receiver.kill()
        load.kill()
        load.wait()


def _counted(receiver: Receiver, lived_s: float) -> dict[str, float]:
    """How many pictures were seen, per stream the fewest, and a second on the whole."""
    said = receiver.report()
    if receiver.name == "sdk":
        frames = list(said["frames"].values())
    else:
        frames = [t["frames"] for t in said["tracks"] if t["kind"] == "video"]
    return {"streams": len(frames), "fewest": min(frames, default=0), "fps": sum(frames) / lived_s}


def token(key: str, secret: str, identity: str) -> str:
    from livekit import api

    grants = api.VideoGrants(room_join=True, room="load")
    return api.AccessToken(key, secret).with_identity(identity).with_grants(grants).to_jwt()


def one_round(told: argparse.Namespace, video: Path, sound: Path) -> dict[str, dict[str, float]]:
    if told.sfu == "relay":
        with relayproc.RelayProcess() as relay:
            return measure(relay.ws_url, relayproc.KEY, relayproc.SECRET, told, video, sound)
    with tempfile.TemporaryDirectory() as folder:
        server = livekitproc.LiveKit(Path(folder))
        server.start()
        try:
            return measure(server.url, livekitproc.KEY, livekitproc.SECRET, told, video, sound)
        finally:
            server.stop()


def main() -> None:
    if sys.argv[1:2] == ["--sdk-receiver"]:
        asyncio.run(sdk_receiver(sys.argv[2], sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishers", type=int, default=9)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--kbps", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sfu", choices=["relay", "livekit"], default="relay")
    parser.add_argument("--only", choices=["ours", "sdk"])
    parser.add_argument("--against", default="", metavar="CHECKOUT")
    told = parser.parse_args()
    width, _, height = told.size.partition("x")
    with tempfile.TemporaryDirectory() as folder:
        video, sound = Path(folder) / "moving.ivf", Path(folder) / "speech.opuspackets"
        relay_load.make_video(video, int(width), int(height), 1000 * told.kbps)
        make_sound(sound)
        print(f"{'receiver':<10}{'CPU %':>8}{'streams':>9}{'fps of all':>12}{'fewest':>8}{'RSS MB':>8}{'threads':>9}")
        ratios = []
        for _ in range(told.rounds):
            found = one_round(told, video, sound)
            for name, r in found.items():
                print(f"{name:<10}{r['cpu']:>8.1f}{r['streams']:>9}{r['fps']:>12.1f}{r['fewest']:>8}{r['rss']:>8.0f}{r['threads']:>9}", flush=True)
            if len(found) == 2:
                ratios.append(found["ours"]["cpu"] / found["other" if told.against else "sdk"]["cpu"])
                print(f"{'ratio':<10}{ratios[-1]:>8.2f}", flush=True)
        if ratios:
            print(f"median of {len(ratios)}: {statistics.median(ratios):.2f} x {'the other' if told.against else 'the SDK'}, {told.publishers} streams of {told.size}")


if __name__ == "__main__":
    main()

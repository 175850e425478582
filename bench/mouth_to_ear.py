"""From one mouth to the other's ear: `python bench/mouth_to_ear.py [--seconds N] [--sfu relay|livekit]` prints milliseconds.

Two `vidconf bot` processes at an SFU on loopback, with real devices: a PulseAudio of its own whose one null sink is the air. What is
said goes into its left channel, which the first bot's microphone hears; the second bot's loudspeaker is its right. One recording of
that sink holds both on one clock, so nothing but the way between them is measured: microphone, processing, Opus, SFU, jitter buffer,
mixing, loudspeaker. Each sweep is found in the right channel by cross-correlation.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "src")]

from e2e import sfuproc  # noqa: E402
from e2e.botproc import BotProcess  # noqa: E402
from e2e.livekitproc import token  # noqa: E402
from e2e.sound_server import SoundServer  # noqa: E402

RATE_HZ = 48_000
EVERY_S, SWEEP_S = 0.73, 0.08
"""Not a whole number of blocks apart: each falls elsewhere into them."""
SETTLES_S = 5.0
AIR = """load-module module-null-sink sink_name=air rate=48000 channels=2
load-module module-remap-sink sink_name=mouth master=air channels=1 channel_map=mono master_channel_map=front-left remix=no
load-module module-remap-sink sink_name=ear master=air channels=1 channel_map=mono master_channel_map=front-right remix=no
load-module module-remap-source source_name=desk master=air.monitor channels=1 channel_map=mono master_channel_map=front-left remix=no
"""


def sweep() -> Any:
    at = np.arange(round(SWEEP_S * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * (300 * at + (2500 / SWEEP_S) * at**2 / 2))
    return 0.3 * tone * np.sin(np.pi * at / SWEEP_S) ** 2


def said(seconds: float) -> bytes:
    samples = np.zeros(round(seconds * RATE_HZ))
    for k in range(int((seconds - 1) / EVERY_S)):
        first = round(k * EVERY_S * RATE_HZ)
        samples[first : first + len(sweep())] = sweep()
    return np.rint(samples * 32767).astype("<i2").tobytes()


def found(channel: Any) -> Any:
    """Where sweeps begin, samples: maxima of the correlation that stand out."""
    pattern = sweep()[::-1]
    size = 1 << (len(channel) + len(pattern)).bit_length()
    likeness = np.abs(np.fft.irfft(np.fft.rfft(channel, size) * np.fft.rfft(pattern, size), size)[len(pattern) - 1 : len(channel)])
    places, gap = [], round(0.5 * EVERY_S * RATE_HZ)
    least = 0.3 * np.sort(likeness)[-max(1, len(likeness) // 2000)]
    while (best := int(np.argmax(likeness))) or likeness[best] > 0:
        if likeness[best] < least:
            break
        places.append(best)
        likeness[max(0, best - gap) : best + gap] = 0
    return np.sort(np.array(places))


async def measured(folder: Path, seconds: float, kind: str) -> list[float]:
    """Milliseconds, sweep by sweep."""
    server = SoundServer(folder, AIR)
    place = sfuproc.made(kind, folder)
    server.start()
    os.environ["PULSE_SERVER"] = server.address
    try:
        place.start()
        bots: list[BotProcess] = []
        try:
            speaks = BotProcess(
                "--livekit-url", place.url, "--token", token("bench", "mouth"), "--camera", "none", "--microphone", "pulse:desk",
                "--seconds", str(seconds + SETTLES_S + 3),
            )  # fmt: skip
            hears = BotProcess(
                "--livekit-url", place.url, "--token", token("bench", "ear"), "--camera", "none", "--microphone", "none", "--speaker", "pulse:ear",
                "--seconds", str(seconds + SETTLES_S + 3),
            )  # fmt: skip
            bots += [speaks, hears]
            await asyncio.sleep(SETTLES_S)
            (folder / "said.raw").write_bytes(said(seconds))
            recorder = subprocess.Popen(
                ["parec", "-d", "air.monitor", "--raw", "--format=s16le", "--rate=48000", "--channels=2", "--latency-msec=50", str(folder / "heard.raw")]
            )
            playing = subprocess.Popen(
                ["pacat", "-p", "-d", "mouth", "--raw", "--format=s16le", "--rate=48000", "--channels=1", "--latency-msec=50", str(folder / "said.raw")]
            )
            await asyncio.sleep(seconds + 1)
            for process in (playing, recorder):
                process.terminate()
                process.wait(5)
            await speaks.stop()
            await hears.stop()
            track = (await hears.report())["tracks"][0]
            print(f"jitter buffer at the end {track['jitter_buffer_ms']} ms, concealed {track['concealed_percent']} %, lost {track['lost']}")
        finally:
            for bot in bots:
                await bot.stop()
            place.stop()
    finally:
        server.stop()
    both = np.fromfile(folder / "heard.raw", "<i2").reshape(-1, 2).astype(float)
    mouth, ear = found(both[:, 0]), found(both[:, 1])
    later = [ear[(ear > at) & (ear < at + EVERY_S * RATE_HZ)] for at in mouth]
    return [float(one[0] - at) / RATE_HZ * 1000 for at, one in zip(mouth, later, strict=True) if len(one)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--sfu", default="relay", choices=["relay", "livekit"])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        delays = asyncio.run(measured(Path(folder), chosen.seconds, chosen.sfu))
    if not delays:
        sys.exit("nothing was heard")
    print(f"{chosen.sfu}: {len(delays)} sweeps, ms: least {min(delays):.0f}, p50 {np.median(delays):.0f}, p95 {np.quantile(delays, 0.95):.0f}, most {max(delays):.0f}")


if __name__ == "__main__":
    main()

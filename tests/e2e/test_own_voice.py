"""One's own voice on real devices: the others hear it, and do not hear themselves out of our loudspeaker."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import math
import statistics
import wave
from pathlib import Path

import pytest
from e2e.botproc import BotProcess
from e2e.livekitproc import token
from e2e.sfuproc import made
from e2e.sound_server import SoundServer

from vidconf.resources import resource

pytest.importorskip("pywebrtc_audio")
RATE_HZ = 48_000
ROOM = """load-module module-null-sink sink_name=room rate=48000 channels=1
load-module module-remap-source source_name=desk master=room.monitor
"""
"""Its microphone hears all that is played in it: our loudspeaker, and who sits there."""


def levels(pcm: bytes, begin_s: float, end_s: float) -> list[float]:
    """Of each quarter of a second of a part, dB of full scale."""
    found = []
    for k in range(round(4 * begin_s), round(4 * end_s)):
        samples = array.array("h", pcm[k * RATE_HZ // 4 * 2 : (k + 1) * RATE_HZ // 4 * 2])
        if len(samples) == RATE_HZ // 4:
            found.append(10 * math.log10(sum(v * v for v in samples) / len(samples) / 32768**2 + 1e-12))
    return found


def seconds(wav: Path) -> float:
    return max(0, wav.stat().st_size - 44) / 2 / RATE_HZ if wav.exists() else 0.0


async def recorded(wav: Path, wanted_s: float) -> None:
    async with asyncio.timeout(30):
        while seconds(wav) < wanted_s:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["relay", "livekit"])
async def test_the_far_end_hears_us_and_not_itself(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six seconds in which only the far end speaks, out of a loudspeaker right before our microphone; then it is silent and we speak.
    Of those the best second: where other programs keep the sound server waiting, its echo jumps, and is let through
    until it is found again."""
    server, sfu, wav = SoundServer(tmp_path, ROOM), made(kind, tmp_path), tmp_path / "far.wav"
    server.start()
    monkeypatch.setenv("PULSE_SERVER", server.address)
    speech = str(resource("speech", "can-tho.flac"))
    (tmp_path / "script.json").write_text(json.dumps([{"at": 7.5, "local": "mute"}]))
    bots: list[BotProcess] = []
    try:
        sfu.start()
        near = BotProcess(
            "--livekit-url", sfu.url, "--token", token("voice", "near"), "--camera", "none", "--microphone", "pulse:desk", "--speaker", "pulse:room",
        )
        far = BotProcess(
            "--livekit-url", sfu.url, "--token", token("voice", "far"), "--camera", "none", "--microphone", speech, "--record-audio", str(wav),
            "--script", str(tmp_path / "script.json"),
        )  # fmt: skip
        bots += [far, near]
        async with asyncio.timeout(30):
            while server.playing_on() != ["room"]:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.1)
        await recorded(wav, 9.0)
        begun_s = seconds(wav)
        said = await asyncio.create_subprocess_exec("paplay", "-d", "room", str(resource("speech", "chair.flac")))
        await recorded(wav, begun_s + 2.5)
        with contextlib.suppress(ProcessLookupError):
            said.terminate()
        await said.wait()
        await far.stop()
        tracks = (await far.report())["tracks"]
    finally:
        for bot in bots:
            await bot.stop()
        sfu.stop()
        server.stop()
    assert [t["source"] for t in tracks] == ["microphone"]
    with wave.open(str(wav)) as file:
        back = file.readframes(file.getnframes())
    heard = levels(back, 2.0, 7.0)
    echo = min(statistics.median(heard[at : at + 4]) for at in range(len(heard) - 3))
    voice = max(levels(back, begun_s, begun_s + 2.5))
    assert voice > -35, "we are heard"
    assert echo < -40, "of what left at some -24 dB, and came out of the loudspeaker as loud"

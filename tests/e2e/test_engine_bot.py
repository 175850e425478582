"""`vidconf bot --livekit-url`: as other programs call it. And the engine's process at an SFU, killed while it is muted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
from e2e.livekitproc import SdkPeer, token, until

from vidconf.engine import api
from vidconf.engine.host import EngineHost

FIELDS = {"joined_s", "first_video_s", "first_audio_s", "reconnects", "cpu_percent", "rss_mb", "sent", "ended", "tracks"}
TRACK_FIELDS = {
    "participant", "source", "kind", "codec", "width", "height", "frames", "fps", "freezes", "freeze_s", "packets", "lost", "nacks", "plis",
    "jitter_buffer_ms", "concealed_percent", "bitrate_bps",
}  # fmt: skip


def bot(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vidconf.cli.main", "bot", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def ended(process: subprocess.Popen[str], timeout_s: float = 30) -> tuple[int, str, str]:
    out, err = await asyncio.to_thread(process.communicate, timeout=timeout_s)
    return process.returncode, out, err


async def test_two_bots_and_the_sdk(sfu: Any, tmp_path: Path) -> None:
    wav, film = tmp_path / "heard.wav", tmp_path / "seen.mp4"
    sdk = await SdkPeer(sfu.url, token("room", "sdk")).join()
    one = bot("--livekit-url", sfu.url, "--token", token("room", "one"), "--seconds", "6", "--json", "--stamp", "--codec", "h264")
    two = bot(
        "--livekit-url", sfu.url, "--token", token("room", "two"), "--seconds", "6", "--json", "--stamp", "--record-audio", str(wav),
        "--record-video", str(film),
    )  # fmt: skip
    results = await asyncio.gather(ended(one), ended(two))
    await sdk.leave()
    for code, out, err in results:
        assert code == 0, err[-2000:]
        report = json.loads(out)
        assert set(report) >= FIELDS
        assert report["ended"] == "done"
        assert report["joined_s"] < 2
        assert report["sent"]["camera"]["packets"] > 60
        assert report["sent"]["microphone"]["packets"] > 200
        assert report["uplink"]["target_bps"] >= 100_000, "the server has said what the way carries"
        assert report["uplink"]["loss"] < 0.1
        tracks = {(t["participant"], t["source"]): t for t in report["tracks"]}
        other = "two" if ("two", "camera") in tracks else "one"
        theirs, mine = ("VP8", "H264") if other == "two" else ("H264", "VP8")
        assert (report["sent"]["camera"]["codec"], tracks[(other, "camera")]["codec"]) == (mine, theirs)
        assert set(tracks) == {("sdk", "camera"), ("sdk", "microphone"), (other, "camera"), (other, "microphone")}
        assert all(set(t) >= TRACK_FIELDS for t in report["tracks"])
        picture = tracks[(other, "camera")]
        assert picture["frames"] > 60
        assert picture["fps"] > 24
        assert 0 < picture["latency_ms"]["p50"] < 200
        assert tracks[("sdk", "camera")]["frames"] > 20
        # livekit-server may leave one behind where it goes from one size of a picture to another
        assert all(t["lost"] <= (0 if t["kind"] == "audio" else 2) for t in report["tracks"]), report["tracks"]
    assert sdk.video_frames["one"] > 60
    assert sdk.video_frames["two"] > 60
    assert sdk.loud["one"] > 50
    with wave.open(str(wav)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (48_000, 1, 2)
        seconds = sound.getnframes() / 48_000
        pcm = sound.readframes(sound.getnframes())
    assert 4.5 < seconds < 7
    assert max(pcm[1::200]) > 5, "it is not silent"
    assert film.stat().st_size > 5_000


async def test_sigterm_still_reports(sfu: Any) -> None:
    watcher = await SdkPeer(sfu.url, token("room", "watcher")).join(publish=False)
    process = bot("--livekit-url", sfu.url, "--token", token("room", "one"), "--json", "--camera", "none", "--microphone", "none")
    assert await until(lambda: "one" in watcher.room.remote_participants, 20)
    await asyncio.sleep(1)
    process.send_signal(signal.SIGTERM)
    code, out, _ = await ended(process)
    await watcher.leave()
    assert code == 0
    report = json.loads(out)
    assert (report["ended"], report["tracks"], report["sent"]) == ("done", [], {})


async def test_a_token_that_is_refused(sfu: Any) -> None:
    code, out, _ = await ended(bot("--livekit-url", sfu.url, "--token", "no.good.token", "--json"))
    assert code == 1
    assert json.loads(out)["ended"] == "token_refused"


@pytest.mark.parametrize(
    "options",
    [(), ("--livekit-url", "ws://h"), ("https://h/m/x", "--livekit-url", "ws://h"), ("http://far.example/m/x",), ("https://h/nothing",),
     ("--livekit-url", "ftp://h", "--token", "t"), ("https://h/m/x", "--count", "0"), ("https://h/m/x", "--codec", "av1")],
)  # fmt: skip
def test_wrong_usage(options: tuple[str, ...]) -> None:
    process = bot(*options)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert out == ""
    assert "Usage" in err


@pytest.mark.timeout(60)
async def test_the_engines_process_killed_while_muted(sfu: Any) -> None:
    """The window's engine dies, comes back with a new token, and stays muted for everybody."""
    listener = await SdkPeer(sfu.url, token("room", "listener")).join(publish=False)
    host = EngineHost(speaker="none")
    heard: list[api.EngineEvent] = []

    async def collect() -> None:
        async for event in host.events():
            heard.append(event)
            if isinstance(event, api.TokenNeeded):
                host.send(api.Join(sfu.url, token("room", "ours")))

    task = asyncio.create_task(collect())
    await host.start()
    host.send(api.OpenSource("microphone", "lavfi:sine=frequency=440:sample_rate=48000"))
    host.send(api.OpenSource("camera", "lavfi:testsrc2=size=320x180:rate=25"))
    host.send(api.Join(sfu.url, token("room", "ours")))
    assert await until(lambda: listener.loud.get("ours", 0) > 10 and listener.video_frames.get("ours", 0) > 10, 15)
    host.send(api.MuteSource("microphone", True))
    assert await until(lambda: ("ours", True) in listener.muted, 3)
    await asyncio.sleep(0.3)
    loud, seen = listener.loud["ours"], listener.video_frames["ours"]
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    assert await until(lambda: api.StateChanged("closed", "engine_crashed") in heard, 5)
    assert await until(lambda: listener.video_frames["ours"] > seen + 20, 20)
    await asyncio.sleep(0.5)
    assert listener.loud["ours"] == loud, "a muted person came back live"
    await host.close()
    await task
    await listener.leave()

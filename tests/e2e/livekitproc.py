"""A real livekit-server on free loopback ports, and the official SDK as the other participant.

Skipped with the command that installs it where it is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from e2e.children import bound
from livekit import api

KEY, SECRET = "devkey", "a-secret-of-the-tests-that-is-long-enough"


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class LiveKit:
    """The server process; `restart` after `kill` keeps the ports. `host`: where it listens; `prefix`: before its command (another
    network namespace); `rtc`: more of that section, `more`: more sections."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = (), rtc: str = "", more: str = "") -> None:
        self.port, self.udp, self.tcp = free_port(), free_port(socket.SOCK_DGRAM), free_port()
        self.host, self._prefix = host, prefix
        self.url = f"ws://[{host}]:{self.port}" if ":" in host else f"ws://{host}:{self.port}"
        self.log = folder / "livekit.log"
        self._config = folder / "livekit.yaml"
        interfaces = "" if prefix else ", interfaces: {includes: [lo]}"
        self._config.write_text(
            f"port: {self.port}\nbind_addresses: ['{host}']\nkeys: {{{KEY}: {SECRET}}}\nlogging: {{level: info}}\n"
            f"rtc: {{udp_port: {self.udp}, tcp_port: {self.tcp}, node_ip: '{host}', enable_loopback_candidate: {'false' if prefix else 'true'}"
            f"{interfaces}{rtc}}}\n{more}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers. Whatever goes wrong meanwhile, a server that did not come up does not stay. Raises RuntimeError."""
        with self.log.open("ab") as log:
            command = bound(*self._prefix, "livekit-server", "--config", str(self._config))
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self._wait(self._process)
        except BaseException:
            self.stop()
            raise

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + 15
        while True:
            try:
                with urllib.request.urlopen(self.url.replace("ws", "http", 1), timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > ends or process.poll() is not None:
                    raise RuntimeError(self.log.read_text()[-3000:]) from None
                time.sleep(0.05)

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self.kill()


def needs_livekit_server() -> None:
    if shutil.which("livekit-server") is None:
        pytest.skip("livekit-server is missing: ./script/install-test-peers")


def token(room: str, identity: str, **grants: Any) -> str:
    return (
        api.AccessToken(KEY, SECRET)
        .with_identity(identity)
        .with_grants(api.VideoGrants(**{"room_join": True, "room": room, **grants}))
        .to_jwt()
    )


class SdkPeer:
    """A participant of the official SDK: publishes a moving picture and a tone, counts what it receives."""

    def __init__(self, url: str, token: str) -> None:
        from livekit import rtc

        self._rtc = rtc
        self._url, self._token = url, token
        self.room = rtc.Room()
        self.video_frames: dict[str, int] = {}
        self.audio_frames: dict[str, int] = {}
        self.loud: dict[str, int] = {}
        """Blocks that are not silence, by identity."""
        self.muted: list[tuple[str, bool]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._publishing: list[asyncio.Task[None]] = []
        self._sources: list[Any] = []
        self.room.on("track_subscribed", self._subscribed)
        self.room.on("track_muted", lambda p, pub: self.muted.append((p.identity, True)))
        self.room.on("track_unmuted", lambda p, pub: self.muted.append((p.identity, False)))

    async def join(self, *, publish: bool = True) -> SdkPeer:
        await self.room.connect(self._url, self._token, self._rtc.RoomOptions(single_peer_connection=False))
        if publish:
            await self.publish()
        return self

    async def publish(self, *, video: bool = True, audio: bool = True) -> None:
        rtc, me = self._rtc, self.room.local_participant
        if video:
            source = rtc.VideoSource(320, 180)
            track = rtc.LocalVideoTrack.create_video_track("camera", source)
            options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False)
            await me.publish_track(track, options)
            self._sources.append(source)
            self._publishing.append(asyncio.create_task(self._paint(source)))
        if audio:
            sound = rtc.AudioSource(48_000, 1)
            tone = rtc.LocalAudioTrack.create_audio_track("microphone", sound)
            await me.publish_track(tone, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
            self._sources.append(sound)
            self._publishing.append(asyncio.create_task(self._hum(sound)))

    async def unpublish(self) -> None:
        await self._stop_publishing()
        for publication in list(self.room.local_participant.track_publications.values()):
            await self.room.local_participant.unpublish_track(publication.sid)
        for source in self._sources:
            await source.aclose()
        self._sources.clear()

    async def _stop_publishing(self) -> None:
        tasks, self._publishing = self._publishing, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _paint(self, source: Any) -> None:
        number = 0
        due = time.monotonic()
        while True:
            number += 1
            shade = bytes((number * 3 & 255, number * 5 & 255, 128, 255))
            source.capture_frame(self._rtc.VideoFrame(320, 180, self._rtc.VideoBufferType.RGBA, shade * (320 * 180)))
            due += 1 / 25
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _hum(self, source: Any) -> None:
        import numpy as np

        block = (9000 * np.sin(2 * np.pi * 440 * np.arange(960) / 48_000)).astype(np.int16).tobytes()
        while True:
            await source.capture_frame(self._rtc.AudioFrame(block, 48_000, 1, 960))
            await asyncio.sleep(0)      # a full source answers at once, and would never let go

    def _subscribed(self, track: Any, publication: Any, participant: Any) -> None:
        count = self._count_video if track.kind == self._rtc.TrackKind.KIND_VIDEO else self._count_audio
        self._tasks.append(asyncio.create_task(count(track, participant.identity)))

    async def _count_video(self, track: Any, identity: str) -> None:
        stream = self._rtc.VideoStream(track)
        try:
            async for _ in stream:
                self.video_frames[identity] = self.video_frames.get(identity, 0) + 1
        finally:
            await stream.aclose()

    async def _count_audio(self, track: Any, identity: str) -> None:
        stream = self._rtc.AudioStream(track)
        try:
            async for event in stream:
                self.audio_frames[identity] = self.audio_frames.get(identity, 0) + 1
                if max(abs(v) for v in event.frame.data[::16]) > 300:
                    self.loud[identity] = self.loud.get(identity, 0) + 1
        finally:
            await stream.aclose()

    async def leave(self) -> None:
        await self._stop_publishing()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for source in self._sources:
            with contextlib.suppress(Exception):
                await source.aclose()
        await self.room.disconnect()


async def until(condition: Any, timeout_s: float = 5.0, step_s: float = 0.01) -> bool:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if condition():
            return True
        await asyncio.sleep(step_s)
    return bool(condition())

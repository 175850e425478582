"""The engine's process for real: start, sources, crash, stall, a wrong secret, the parent's death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import psutil
import pytest
from fakes.toy_server import until

from vidconf.engine import api
from vidconf.engine.frame_ring import RingReader
from vidconf.engine.host import EngineHost

SINE = "lavfi:sine=frequency=300:sample_rate=48000"
PICTURE = "lavfi:testsrc2=size=320x180:rate=15"


class Heard:
    """Collects events and waits for one."""

    def __init__(self, host: EngineHost) -> None:
        self.events: list[api.EngineEvent] = []
        self._task = asyncio.create_task(self._collect(host))

    async def _collect(self, host: EngineHost) -> None:
        async for event in host.events():
            self.events.append(event)

    async def wait(self, kind: type[Any], timeout_s: float = 15, **fields: Any) -> Any:
        ends, at = time.monotonic() + timeout_s, 0
        while time.monotonic() < ends:
            for event in self.events[at:]:
                at += 1
                if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items()):
                    del self.events[:at]
                    return event
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {kind.__name__} {fields}; last: {self.events[-5:]}")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def host():
    engine = EngineHost(speaker="none")
    await engine.start()
    yield engine
    await engine.close()


async def test_sources_and_preview_through_the_process(host: EngineHost) -> None:
    heard = Heard(host)
    host.send(api.WatchTrack("local:camera", 160, 90))
    host.send(api.OpenSource("camera", PICTURE))
    host.send(api.OpenSource("microphone", SINE))
    assert (await heard.wait(api.SourceChanged, source="camera")).state == "on"
    ring = (await heard.wait(api.RingOpened, track="local:camera")).ring
    reader = RingReader(ring)
    try:
        frame = reader.newest()
        assert frame is not None
        assert (frame.width, frame.height) == (160, 90)
        del frame
    finally:
        reader.close()
    assert (await heard.wait(api.LocalLevel)).level > 0.05
    assert (await heard.wait(api.Stats)).engine["rss_mb"] > 0


async def test_a_crash_is_told_and_mended_and_stays_muted(host: EngineHost) -> None:
    heard = Heard(host)
    host.send(api.OpenSource("microphone", SINE))
    host.send(api.MuteSource("microphone", True))
    host.send(api.Join("ws://127.0.0.1:9", "x.y.z"))
    await heard.wait(api.SourceChanged, source="microphone", state="muted")
    host.send(api.ListDevices())
    await heard.wait(api.Devices)
    first = host.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await heard.wait(api.StateChanged, state="closed", reason="engine_crashed")
    await heard.wait(api.TokenNeeded)
    changed = await heard.wait(api.SourceChanged, source="microphone")
    assert changed.state == "muted"
    assert host.pid not in (None, first)
    await heard.wait(api.Devices)       # the new one watches them as the first did


async def test_what_was_chosen_for_the_voice_and_what_is_allowed_outlives_a_crash(host: EngineHost) -> None:
    written: list[api.Command] = []
    write = host._write
    host._write = lambda command: (written.append(command), write(command))[1]  # type: ignore[method-assign]
    host.send(api.SetVoice(echo_cancellation=False))
    host.send(api.SetLimits(360, 500))
    host.send(api.SetNetwork(dscp=46, turn_urls=("turn:h",)))
    heard = Heard(host)
    await heard.wait(api.Stats)
    assert written.count(api.SetVoice(echo_cancellation=False)) == 1, "also when it was said before the process was there"
    assert written.count(api.SetLimits(360, 500)) == written.count(api.SetNetwork(dscp=46, turn_urls=("turn:h",))) == 1
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    await heard.wait(api.StateChanged, state="closed", reason="engine_crashed")
    await heard.wait(api.Stats)
    assert written.count(api.SetVoice(echo_cancellation=False)) == 2
    assert written.count(api.SetLimits(360, 500)) == written.count(api.SetNetwork(dscp=46, turn_urls=("turn:h",))) == 2


async def test_what_is_no_device_is_a_code(host: EngineHost) -> None:
    heard = Heard(host)
    host.send(api.OpenSource("camera", "/dev/video-that-is-not-there"))
    changed = await heard.wait(api.SourceChanged, source="camera", state="off")
    assert changed.error in ("no_device", "not_found")


async def test_an_unreachable_server_is_a_reason(host: EngineHost) -> None:
    heard = Heard(host)
    host.send(api.Join("not an address", "x"))
    assert (await heard.wait(api.StateChanged, state="closed")).reason == "bad_url"


async def test_close_leaves_no_process() -> None:
    engine = EngineHost(speaker="none")
    heard = Heard(engine)
    await engine.start()
    await heard.wait(api.Stats)
    pid = engine.pid
    assert pid is not None
    await engine.close()
    assert not alive(pid)


async def test_a_stalled_window_neither_blocks_nor_bloats_the_engine(host: EngineHost) -> None:
    heard = Heard(host)
    host.send(api.OpenSource("microphone", SINE))
    await heard.wait(api.Stats)
    time.sleep(1.5)     # noqa: ASYNC251 - the window hangs: this is its loop's thread
    before = len(heard.events)
    await heard.wait(api.Stats)
    assert len(heard.events) < before + 200


def test_the_engine_dies_with_its_parent() -> None:
    code = textwrap.dedent("""
        import asyncio, sys
        from vidconf.engine.host import EngineHost
        from vidconf.engine import api
        async def main():
            host = EngineHost(speaker="none")
            await host.start()
            async for event in host.events():
                if isinstance(event, api.Stats):
                    print(host.pid, flush=True)
                    await asyncio.sleep(60)
        asyncio.run(main())
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ends = time.monotonic() + 20
    while alive(pid) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not alive(pid)


async def test_garbage_lines_cost_nothing() -> None:
    """The engine's own side: lines that are no commands are counted, the process lives."""
    engine = EngineHost(speaker="none")
    heard = Heard(engine)
    await engine.start()
    await heard.wait(api.Stats)
    assert engine._writer is not None
    for line in (b"\n", b"{}\n", b"\xff\xfe\n", b'{"type": "Stats"}\n', b'{"type": "Join", "url": 5, "extra": 1}\n', b"[" * 5000 + b"\n"):
        engine._writer.write(line)
    heard.events.clear()
    await heard.wait(api.Stats)
    assert engine.starts == 1
    await engine.close()


async def test_one_that_is_still_starting_is_not_waited_for() -> None:
    """Who quits at once need not wait until the engine has come, only to be told to go."""
    slow = EngineHost([sys.executable, "-c", "import sys, time; sys.stdin.read(1); time.sleep(60)"])
    await slow.start()
    await until(lambda: slow.pid is not None)
    began = time.monotonic()
    await slow.close()
    assert time.monotonic() - began < 2

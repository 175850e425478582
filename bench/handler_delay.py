"""How long a datagram waits in the engine before its handler runs, with the window still and with the window dragged and resized.

    python bench/handler_delay.py [--participants 8] [--seconds 20]

The demo's meeting: server, relay, simulated participants with pictures and speech, and the window as the chair, its tiles live;
on a virtual X server where Xvfb is there, else on Qt's offscreen platform. The engine is the window's own, but that it also has
one more UDP socket on its loop: a process beside it sends 200 datagrams a second there, each with the instant of its sending
(CLOCK_MONOTONIC), and the engine takes the time when its handler runs. Every RTP packet waits as these do. Prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

EVERY_S = 0.005
STEP_S = 0.016
SETTLE_S = 6.0
STAMP = struct.Struct("!Q")
PORT = "VIDCONF_BENCH_PORT"


# ---- inside the engine
class Probe(asyncio.DatagramProtocol):
    """A stamp is timed; a word begins a new phase, or asks for what was measured."""

    def __init__(self) -> None:
        self._delays: dict[str, list[float]] = {}
        self._phase: list[float] = []
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) == STAMP.size:
            self._phase.append((time.monotonic_ns() - STAMP.unpack(data)[0]) / 1e6)
        elif data.startswith(b"phase "):
            self._phase = self._delays.setdefault(data[6:].decode(), [])
        elif data == b"report" and self._transport is not None:
            self._transport.sendto(json.dumps({name: figures(found) for name, found in self._delays.items() if found}).encode(), addr)


def figures(found: list[float]) -> dict[str, float]:
    found = sorted(found)
    at = {name: found[min(len(found) - 1, int(part * len(found)))] for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))}
    return {"count": len(found), **at}


def engine() -> int:
    from vidconf.engine import local, process

    start = local.LocalEngine.start

    async def started(self: local.LocalEngine) -> None:
        await start(self)
        await asyncio.get_running_loop().create_datagram_endpoint(Probe, local_addr=("127.0.0.1", int(os.environ[PORT])))

    local.LocalEngine.start = started  # type: ignore[method-assign]
    return process.run(process.read_config())


# ---- the window
def window(told: dict[str, Any]) -> None:
    from vidconf.cli.demo_cast import Part
    from vidconf.cli.demo_scene import Scene
    from vidconf.cli.demo_window import _Chair, _settings
    from vidconf.client.core import Identity
    from vidconf.client.credentials import Credentials
    from vidconf.engine.host import EngineHost
    from vidconf.gui.app import Shell, make_application
    from vidconf.gui.bridge import make_loop

    app = make_application()
    loop = make_loop(app)
    parts = tuple(Part(**part) for part in told["parts"])
    stage = Scene(told["chair_link"], told["origin"], parts, None, Path(told["data"]))  # type: ignore[arg-type]

    async def live() -> None:
        host = EngineHost([sys.executable, __file__, "--engine"], speaker="none")
        shell = Shell(app, _settings(stage, True), host, Credentials(None), tray=False, identity=Identity("person", "", ""))
        shell.window.resize(1280, 800)
        chair = _Chair(shell, host, stage, Path(told["data"]))
        await shell.start(stage.chair_link)
        await chair.join(picture=False)
        names = {part.name for part in parts if not part.knocks_late}
        await chair._wait("everybody", lambda state: chair._there(state, names), 30.0)
        await asyncio.sleep(SETTLE_S)
        print("still", flush=True)
        await asyncio.sleep(told["seconds"])
        print("dragged", flush=True)
        step, ends = 0, time.monotonic() + told["seconds"]
        while time.monotonic() < ends:
            step += 1
            swing = abs(step % 100 - 50)
            if step // 100 % 2:
                shell.window.move(40 + 4 * swing, 30 + 2 * swing)
            else:
                shell.window.resize(980 + 6 * swing, 620 + 4 * swing)
            await asyncio.sleep(STEP_S)
        await chair._measure(2.0)
        print("over " + json.dumps({"tiles": len(chair._measured), "slowest": round(min(chair._measured.values(), default=0.0), 1)}), flush=True)
        await shell.close()

    loop.run_until_complete(live())


# ---- around them
@contextlib.contextmanager
def display() -> Iterator[dict[str, str]]:
    """The environment of a screen of its own."""
    if shutil.which("Xvfb") is None:
        yield {"QT_QPA_PLATFORM": "offscreen"}
        return
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1920x1200x24", "-nolisten", "tcp"], pass_fds=[write],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    try:
        with os.fdopen(read) as number:
            yield {"DISPLAY": f":{number.readline().strip()}", "QT_QPA_PLATFORM": "xcb"}
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def run(participants: int, seconds: float) -> dict[str, Any]:
    from vidconf.cli.demo import set_up

    port = free_port()
    with display() as screen, set_up(participants) as stage, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        told = {
            "chair_link": stage.chair_link, "origin": stage.origin, "data": str(stage.data), "seconds": seconds,
            "parts": [dataclasses.asdict(part) for part in stage.parts],
        }  # fmt: skip
        child = subprocess.Popen(
            [sys.executable, __file__, "--window", json.dumps(told)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, **screen, PORT: str(port), "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        assert child.stdout is not None
        try:
            report: dict[str, Any] = {"platform": screen["QT_QPA_PLATFORM"]}
            while True:
                readable, _, _ = select.select([child.stdout], [], [], EVERY_S)
                if not readable:
                    with contextlib.suppress(ConnectionError):     # before the engine is there
                        sender.send(STAMP.pack(time.monotonic_ns()))
                    continue
                line = child.stdout.readline().strip()
                if line in ("still", "dragged"):
                    sender.send(b"phase " + line.encode())
                elif line.startswith("over "):
                    report |= json.loads(line[5:])
                    sender.send(b"report")
                    sender.settimeout(5)
                    return report | json.loads(sender.recv(65536))
                elif not line:
                    raise SystemExit("the window ended too early")
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            if child.poll() is None:
                child.kill()
                child.wait()


def main() -> None:
    if sys.argv[1:2] == ["--engine"]:
        sys.exit(engine())
    if sys.argv[1:2] == ["--window"]:
        window(json.loads(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    told = parser.parse_args()
    report = run(told.participants, told.seconds)
    print(f"{report['tiles']} tiles on {report['platform']}, the slowest at {report['slowest']} pictures a second")
    print(f"{'window':<10}{'datagrams':>11}{'p50 ms':>9}{'p95':>9}{'p99':>9}{'worst':>9}")
    for name in ("still", "dragged"):
        f = report[name]
        print(f"{name:<10}{f['count']:>11}{f['p50']:>9.2f}{f['p95']:>9.2f}{f['p99']:>9.2f}{f['max']:>9.2f}")


if __name__ == "__main__":
    main()

"""Either SFU under one face: livekit-server, or our relay as its own process on fixed ports (so that it can be killed and come back)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from e2e.children import bound
from e2e.livekitproc import KEY, SECRET, LiveKit, free_port, needs_livekit_server


class Relay:
    """`vidconf relay`; the same methods as `LiveKit`."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> None:
        self.port, self.udp = free_port(), free_port(socket.SOCK_DGRAM)
        self.host, self._prefix = host, prefix
        self.url = f"ws://[{host}]:{self.port}" if ":" in host else f"ws://{host}:{self.port}"
        self.log = folder / "relay.log"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [*self._prefix, sys.executable, "-m", "vidconf.cli.main", "relay"]
        command += ["--host", self.host, "--port", str(self.port), "--udp-port", str(self.udp)]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                bound(*command), stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "VIDCONF_RELAY_KEY": f"{KEY}:{SECRET}"}
            )
        assert self._process.stdout is not None
        try:
            if not self._process.stdout.readline().startswith("ready "):
                raise RuntimeError(self.log.read_text()[-3000:])
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()


def made(kind: str, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = ()) -> LiveKit | Relay:
    if kind == "livekit":
        needs_livekit_server()
        return LiveKit(folder, host, prefix)
    return Relay(folder, host, prefix)


@asynccontextmanager
async def running(kind: str, folder: Path) -> AsyncIterator[LiveKit | Relay]:
    """One of either kind while the block runs."""
    server = made(kind, folder)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.stop)

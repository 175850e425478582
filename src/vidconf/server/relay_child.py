"""The relay as a child process: started, watched, started again when it dies, stopped by its own pid. The loop's thread.

A new child has forgotten all rooms; the epoch stays, clients ask for media again and rejoin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from vidconf.starting import own_command

log = logging.getLogger("vidconf.relay_child")

READY_S = 20.0
STOP_S = 3.0
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0


class RelayChild:
    """`on_ready(url)` is called whenever a child listens, `on_gone()` when it has died."""

    def __init__(
        self, key: str, secret: str, udp_host: str, udp_port: int, webhook: str, on_ready: Callable[[str], None], on_gone: Callable[[], None],
        *, port_is_a_wish: bool = False, announce: Sequence[str] = (), tcp_port: int = 0,
    ) -> None:  # fmt: skip
        self._key, self._webhook = f"{key}:{secret}", webhook
        self._udp_host, self._udp_port, self._port_is_a_wish = udp_host, udp_port, port_is_a_wish
        self._tcp_port = tcp_port
        self._announce = [word for address in announce for word in ("--announce", address)]
        self._on_ready, self._on_gone = on_ready, on_gone
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.first_try = asyncio.Event()
        """Set when the first child is ready or has failed."""
        self.starts = 0
        self.url = ""
        self.media: tuple[tuple[str, int], ...] = ()
        """(host, port) of the UDP port as the present child tells it to its clients."""
        self.media_tcp: tuple[tuple[str, int], ...] = ()
        """The same of the TCP port."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="relay child")

    async def _watch(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                ready = await self._run_once()
            except OSError as error:
                log.error("the relay cannot be started: %s", error)
                ready = False
            if ready and time.monotonic() - began > STEADY_S:
                failures = 0
            if not ready and failures == 0 and self._port_is_a_wish and self._udp_port:
                log.warning("UDP port %d may be taken: the relay takes any free one", self._udp_port)
                self._udp_port = 0
            self.first_try.set()
            wait_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
            failures += 1
            log.warning("the relay has ended; it is started again in %.1f s", wait_s)
            await asyncio.sleep(wait_s)

    async def _run_once(self) -> bool:
        """One child's life; whether it was ever ready."""
        argv = [
            *own_command("relay"), "--host", "127.0.0.1", "--port", "0",
            "--udp-host", self._udp_host, "--udp-port", str(self._udp_port), "--tcp-port", str(self._tcp_port), "--no-auto-create", "--webhook", self._webhook,
            "--parent", str(os.getpid()), *self._announce,
        ]  # fmt: skip
        self.starts += 1
        ready = False
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "VIDCONF_RELAY_KEY": self._key},
        )  # fmt: skip
        self._process = process
        try:
            async with asyncio.timeout(READY_S):
                self.url = await self._ready_line(process)
            if self.url:
                ready = True
                log.info("the relay listens (pid %d)", process.pid)
                self._on_ready(self.url)
                self.first_try.set()
                assert process.stdout is not None
                self.media = _addresses(await process.stdout.readline())
                self.media_tcp = _addresses(await process.stdout.readline(), "media-tcp")
                while await process.stdout.read(65536):
                    pass  # nothing more is expected; read, so that the child never waits for us
        except TimeoutError:
            log.error("the relay said nothing for %.0f s", READY_S)
        finally:
            self.url, self.media, self.media_tcp = "", (), ()
            if ready:
                self._on_gone()
            await self._end(process)
        return ready

    async def _ready_line(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            word, _, url = line.decode("utf-8", "replace").strip().partition(" ")
            if word == "ready" and urlsplit(url).scheme in ("http", "https"):
                return url.rstrip("/")
        return ""

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def _addresses(line: bytes, name: str = "media") -> tuple[tuple[str, int], ...]:
    """`media 192.0.2.1:7882 [2001:db8::1]:7882`, what a relay says after it is ready; then the same of `media-tcp`."""
    word, *rest = line.decode("utf-8", "replace").split()[:33] or [""]
    parts = [address.rpartition(":") for address in rest if word == name]
    return tuple((host.strip("[]"), int(port)) for host, _, port in parts if host and port.isascii() and port.isdigit())

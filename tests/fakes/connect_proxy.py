"""A small real HTTP proxy: CONNECT, Basic credentials, spoken to in TLS if it has a certificate, a log of where it was asked to.
Streams only, as agencies' proxies are."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from base64 import b64encode
from collections.abc import Collection


class ConnectProxy:
    """`async with ConnectProxy(credentials="name:word") as proxy:`; `asked` holds (target, answered status). `ports`: the only ones
    that it lets through, as agencies' do."""

    def __init__(
        self, credentials: str = "", refuse: int = 0, host: str = "127.0.0.1", ports: Collection[int] = (), tls: ssl.SSLContext | None = None
    ) -> None:
        self.credentials, self.refuse, self.host, self.ports = credentials, refuse, host, ports
        self._tls = tls
        self.asked: list[tuple[str, int]] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        name = f"{self.credentials}@" if self.credentials else ""
        return f"{'https' if self._tls else 'http'}://{name}{self.host}:{self.port}"

    async def __aenter__(self) -> ConnectProxy:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass        # whoever asked has gone, or the proxy goes
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        verb, target, *_ = head.split()
        wanted = f"Proxy-Authorization: Basic {b64encode(self.credentials.encode()).decode()}"
        status = 405 if verb != "CONNECT" else 407 if self.credentials and wanted not in head else self.refuse or 200
        if status == 200 and self.ports and int(target.rpartition(":")[2]) not in self.ports:
            status = 403
        self.asked.append((target, status))
        if status != 200:
            writer.write(f"HTTP/1.1 {status} no\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        host, _, port = target.rpartition(":")
        there_reader, there = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        both = [asyncio.create_task(_copy(reader, there)), asyncio.create_task(_copy(there_reader, writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            there.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

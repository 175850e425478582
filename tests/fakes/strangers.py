"""Servers as a doctor meets them and the program has none of: with other certificates, behind proxies, half broken, far away."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vidconf.webrtc.ice_lite import is_probe, write_plain_answer

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Authority:
    """Issues certificates. `certificate` is what SSL_CERT_FILE must name for it to be trusted."""

    def __init__(self, folder: Path, name: str = "Cơ quan cấp thử") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder().subject_name(self._name).issuer_name(self._name).public_key(self._key.public_key()).serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=900)).not_valid_after(now + datetime.timedelta(days=900))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(self._key, hashes.SHA256())
        )  # fmt: skip
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def server(self, names: Sequence[str] = ("127.0.0.1",), *, since_days: float = -1, for_days: float = 90) -> ssl.SSLContext:
        """A server's context with a certificate for `names`, valid from `since_days` from now until `for_days` from now."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        made = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=since_days))
            .not_valid_after(now + datetime.timedelta(days=for_days))
            .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False).sign(self._key, hashes.SHA256())
        )  # fmt: skip
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem = self._folder / "server.pem"
        pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextlib.asynccontextmanager
async def tcp(talk: Talk, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A TCP server whose connections `talk`; its port."""

    talks: set[asyncio.Task[Any]] = set()

    async def kindly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
        finally:
            writer.transport.abort()
            talks.discard(task)

    server = await asyncio.start_server(kindly, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(talks):
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports let go of their sockets a turn later


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything, says nothing."""
    while await reader.read(4096):
        pass


@contextlib.asynccontextmanager
async def http(routes: Sequence[web.RouteDef], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """An HTTP server; its port."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def says(path: str, body: Any, status: int = 200) -> web.RouteDef:
    """One path's answer: text as it is, anything else as JSON."""

    async def handle(request: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(text=body, status=status)
        return web.json_response(body() if callable(body) else body, status=status)

    return web.get(path, handle)


class Proxy:
    """An HTTP proxy that knows CONNECT. `status` is what it says; everybody is led to 127.0.0.1:`port`, wherever they wanted to."""

    def __init__(self, port: int, status: str = "200 Connection established") -> None:
        self._port, self._status = port, status
        self.asked: list[str] = []
        self.authorizations: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.asked.append(head.split("\r\n", 1)[0])
        self.authorizations += [line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("proxy-authorization")]
        writer.write(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
        if not self._status.startswith("200"):
            await writer.drain()
            return
        there, to_there = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(_pump(reader, to_there), _pump(there, writer))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
    sink.close()


class Stun(asyncio.DatagramProtocol):
    """A port that answers plain STUN, each packet after `delay_s(number, size)` seconds; None: never."""

    def __init__(self, delay_s: Callable[[int, int], float | None]) -> None:
        self._delay_s, self._number = delay_s, 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert is_probe(data)
        after = self._delay_s(self._number, len(data))
        self._number += 1
        if after is not None:
            asyncio.get_running_loop().call_later(after, self._answer, write_plain_answer(data[8:20], addr), addr)

    def _answer(self, data: bytes, addr: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def stun(delay_s: Callable[[int, int], float | None]) -> AsyncIterator[int]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Stun(delay_s), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def stun_over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A TURN server's first answer, over TCP or TLS."""
    data = await reader.readexactly(20)
    data += await reader.readexactly(int.from_bytes(data[2:4], "big"))
    assert is_probe(data)
    writer.write(write_plain_answer(data[8:20], writer.get_extra_info("peername")))
    await writer.drain()
    await reader.read()

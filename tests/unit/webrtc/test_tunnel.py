"""Through a real CONNECT proxy, in the clear and in TLS, past it, and what happens when it says no. On asyncio's loop and on uvloop."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes import strangers
from fakes.connect_proxy import ConnectProxy
from fakes.strangers import Authority

from vidconf.network import options
from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.proxies import Proxy
from vidconf.webrtc import tunnel
from vidconf.webrtc.tunnel import ProxyRefused, connect_request, dial


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async with strangers.tcp(talk) as port:
        yield port


async def said_back(port: int, network: NetworkOptions = DEFAULTS, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> bytes:
    reader = asyncio.StreamReader()
    transport, _ = await dial(host, port, lambda: asyncio.StreamReaderProtocol(reader), network, tls=tls)
    try:
        transport.write(b"hello")
        async with asyncio.timeout(3):
            return await reader.readexactly(5)
    finally:
        transport.abort()
        await asyncio.sleep(0.01)


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for this machine, too: no test has another."""
    monkeypatch.setattr("vidconf.network.proxies.is_this_machine", lambda host: False)
    monkeypatch.setattr(options, "is_this_machine", lambda host: False)


def manual(proxy: ConnectProxy, **more: Any) -> NetworkOptions:
    return NetworkOptions(proxy_mode="manual", proxy_server=proxy.url, **more)


@pytest.mark.parametrize("credentials", ["", "nguyễn:mật khẩu@1"])
async def test_through_the_system_s_proxy(monkeypatch: pytest.MonkeyPatch, everywhere: None, echo: int, credentials: str) -> None:
    async with ConnectProxy(credentials) as proxy:
        name = "nguy%E1%BB%85n:m%E1%BA%ADt%20kh%E1%BA%A9u%401@" if credentials else ""
        monkeypatch.setenv("https_proxy", f"http://{name}127.0.0.1:{proxy.port}")
        assert await said_back(echo) == b"hello"
        assert proxy.asked == [(f"127.0.0.1:{echo}", 200)]


async def test_modes(monkeypatch: pytest.MonkeyPatch, everywhere: None, echo: int) -> None:
    async with ConnectProxy() as system, ConnectProxy() as ours:
        monkeypatch.setenv("https_proxy", system.url)
        assert await said_back(echo, NetworkOptions(proxy_mode="none")) == b"hello"
        assert await said_back(echo, manual(ours, proxy_bypass=("127.0.0.0/8",))) == b"hello"
        assert await said_back(echo, NetworkOptions(proxy_bypass=("127.0.0.1",))) == b"hello"
        assert (system.asked, ours.asked) == ([], [])
        assert await said_back(echo, manual(ours)) == b"hello"
        assert (len(system.asked), len(ours.asked)) == (0, 1)


async def test_to_this_machine_never_by_a_proxy(echo: int) -> None:
    async with ConnectProxy() as proxy:
        assert await said_back(echo, manual(proxy)) == b"hello"
        assert proxy.asked == []


async def inside_and_outside(folder: Path, outer: str, inner: str) -> list[tuple[str, int]]:
    """An echo through a proxy, either in TLS or not."""
    authority = Authority(folder)
    context = authority.server(("127.0.0.1",))
    async with strangers.tcp(talk, context if inner == "tls" else None) as port, ConnectProxy(tls=context if outer == "tls" else None) as proxy:
        network = manual(proxy, ca_file=str(authority.certificate))
        assert await said_back(port, network, network.ssl_context() if inner == "tls" else None) == b"hello"
        return proxy.asked


LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.SelectorEventLoop]
if sys.platform != "win32":
    import uvloop

    LOOPS.append(uvloop.new_event_loop)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"][: len(LOOPS)])
@pytest.mark.parametrize("inner", ["plain", "tls"])
@pytest.mark.parametrize("outer", ["plain", "tls"])
def test_tls_in_tls(everywhere: None, tmp_path: Path, outer: str, inner: str, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The engine's loop is uvloop."""
    work: Coroutine[Any, Any, list[tuple[str, int]]] = inside_and_outside(tmp_path, outer, inner)
    with asyncio.Runner(loop_factory=loop) as runner:
        assert [status for _, status in runner.run(work)] == [200]


async def test_a_certificate_that_nobody_knows_ends_it(everywhere: None, tmp_path: Path) -> None:
    """Behind the proxy: it is not tried again without it."""
    async with strangers.tcp(talk, Authority(tmp_path).server()) as port, ConnectProxy() as proxy:
        with pytest.raises(ssl.SSLCertVerificationError):
            await said_back(port, manual(proxy), DEFAULTS.ssl_context())
        assert len(proxy.asked) == 1


async def test_a_proxy_that_refuses_is_gone_round(everywhere: None, echo: int) -> None:
    async with ConnectProxy(refuse=403) as proxy:
        assert await said_back(echo, manual(proxy)) == b"hello"
        assert proxy.asked == [(f"127.0.0.1:{echo}", 403)]


async def test_a_proxy_that_wants_a_name(echo: int) -> None:
    async with ConnectProxy("name:word") as proxy:
        with pytest.raises(ProxyRefused) as refused:
            await tunnel.through(Proxy("127.0.0.1", proxy.port), "127.0.0.1", echo)
        assert refused.value.status == 407


async def test_what_is_no_proxy(echo: int) -> None:
    """An echo answers CONNECT with CONNECT; a closed port answers nothing; another never comes to an end."""
    with pytest.raises(OSError, match="the proxy answered"):
        await tunnel.through(Proxy("127.0.0.1", echo), "127.0.0.1", echo)
    with pytest.raises(OSError):
        await tunnel.through(Proxy("127.0.0.1", 1), "127.0.0.1", echo)
    with pytest.raises(ssl.SSLError):
        await tunnel.through(Proxy("127.0.0.1", echo, secure=True), "127.0.0.1", echo)
    with pytest.raises(OSError):
        await said_back(1)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000)
        await reader.read()

    async with strangers.tcp(babble) as port:
        with pytest.raises(ConnectionAbortedError):
            async with asyncio.timeout(3):
                await tunnel.through(Proxy("127.0.0.1", port), "127.0.0.1", echo)


async def test_what_comes_right_behind_the_proxy_s_answer(everywhere: None) -> None:
    """It is the far end's, and in order."""

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhe")
        writer.write(b"llo")
        await reader.read()

    async with strangers.tcp(hasty) as port:
        assert await said_back(9, NetworkOptions(proxy_mode="manual", proxy_server=f"http://127.0.0.1:{port}")) == b"hello"


def test_what_is_asked() -> None:
    assert connect_request("2001:db8::1", 443, "") == b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
    assert b"Proxy-Authorization: Basic YTpi\r\n" in connect_request("h", 1, "a:b")

"""Through a real CONNECT proxy, past it, and what happens when it says no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fakes.connect_proxy import ConnectProxy

from vidconf.webrtc import tunnel
from vidconf.webrtc.tunnel import Proxy, ProxyRefused, connect_request, dial, proxy_for


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def said_back(port: int, host: str = "127.0.0.1") -> bytes:
    sock = await dial(host, port)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, b"hello")
        async with asyncio.timeout(3):
            return await loop.sock_recv(sock, 100)
    finally:
        sock.close()


def as_proxy(monkeypatch: pytest.MonkeyPatch, proxy: ConnectProxy) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setattr(tunnel, "is_loopback", lambda host: False)


@pytest.mark.parametrize("credentials", ["", "nguyễn:mật khẩu@1"])
async def test_through_the_proxy(monkeypatch: pytest.MonkeyPatch, echo: int, credentials: str) -> None:
    async with ConnectProxy(credentials) as proxy:
        as_proxy(monkeypatch, proxy)
        if credentials:
            monkeypatch.setenv("https_proxy", f"http://nguy%E1%BB%85n:m%E1%BA%ADt%20kh%E1%BA%A9u%401@127.0.0.1:{proxy.port}")
        assert await said_back(echo) == b"hello"
        assert proxy.asked == [(f"127.0.0.1:{echo}", 200)]


async def test_a_proxy_that_refuses_is_gone_round(monkeypatch: pytest.MonkeyPatch, echo: int) -> None:
    async with ConnectProxy(refuse=403) as proxy:
        as_proxy(monkeypatch, proxy)
        assert await said_back(echo) == b"hello"
        assert proxy.asked == [(f"127.0.0.1:{echo}", 403)]


async def test_a_proxy_that_wants_a_name(monkeypatch: pytest.MonkeyPatch, echo: int) -> None:
    async with ConnectProxy("name:word") as proxy:
        with pytest.raises(ProxyRefused) as refused:
            await tunnel._through(Proxy("127.0.0.1", proxy.port), "127.0.0.1", echo)
        assert refused.value.status == 407


async def test_what_is_no_proxy(echo: int) -> None:
    """An echo answers CONNECT with CONNECT; a closed port answers nothing."""
    with pytest.raises(OSError, match="the proxy answered"):
        await tunnel._through(Proxy("127.0.0.1", echo), "127.0.0.1", echo)
    with pytest.raises(OSError):
        await tunnel._through(Proxy("127.0.0.1", 1), "127.0.0.1", echo)
    with pytest.raises(OSError):
        await dial("127.0.0.1", 1)


def test_who_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for("sfu.example") == Proxy("proxy.example", 3128)
    for host in ("inside.example", "127.0.0.1", "::1", "localhost"):
        assert proxy_for(host) is None
    for other in ("socks5://proxy.example:1080", "http://[broken", "http://"):
        monkeypatch.setenv("https_proxy", other)
        assert proxy_for("sfu.example") is None
    monkeypatch.setenv("https_proxy", "proxy.example:8080")
    assert proxy_for("sfu.example") == Proxy("proxy.example", 8080)


def test_what_is_asked() -> None:
    assert connect_request("2001:db8::1", 443, "") == b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
    assert b"Proxy-Authorization: Basic YTpi\r\n" in connect_request("h", 1, "a:b")

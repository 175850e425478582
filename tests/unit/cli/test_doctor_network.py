"""The way to the server, step by step, at servers and proxies that do each thing a help desk has seen. Real sockets throughout."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fakes import strangers
from fakes.strangers import Authority, Proxy, says
from unit.cli.doctor_room import CODE, Found, echo, looked, result, server, where

from vidconf.cli import doctor_certificate, doctor_network
from vidconf.cli.doctor_certificate import Target
from vidconf.cli.doctor_network import network, proxy_for
from vidconf.cli.findings import Finding
from vidconf.network.options import NetworkOptions
from vidconf.webrtc.ice_lite import Port

pytestmark = pytest.mark.usefixtures("doctor_alone")


# ---- name, connection ----


async def test_a_name_that_is_nowhere() -> None:
    found = await looked("https://no-such-host.invalid", new=True)
    assert result(found, "server.address") == ("warning", "new")
    assert found["doctor.server.name"].status == "failure"
    assert found["doctor.server.name"].result in ("not_found", "timeout")
    assert set(found) == {"doctor.server.address", "doctor.server.name"}, "what could only fail after it is not tried"


async def test_a_resolver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_network, "NAME_S", 0.3)

    async def hang(*_: Any, **__: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    began = time.monotonic()
    found = await looked("https://meet.example")
    assert result(found, "server.name") == ("failure", "timeout")
    assert time.monotonic() - began < 5


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await looked(f"http://127.0.0.1:{port}")
    assert result(found, "server.connect") == ("failure", "refused")
    assert found["doctor.server.connect"].detail["port"] == port


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog drops on Linux")
async def test_a_firewall_that_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener whose backlog is full answers no more connection, as a firewall that drops would."""
    monkeypatch.setattr(doctor_network, "CONNECT_S", 0.5)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            found = await looked(f"http://127.0.0.1:{address[1]}")
        finally:
            for one in waiting:
                one.close()
    assert result(found, "server.connect") == ("failure", "timeout")


async def test_one_of_several_addresses_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def two(host: str, port: int, **options: Any) -> Any:
        if host != "meet.example":
            return await real(host, port, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    async with strangers.tcp(strangers.silent) as port:
        monkeypatch.setattr(doctor_certificate, "TLS_S", 0.5)
        found = await looked(f"https://meet.example:{port}")
    assert found["doctor.server.name"].detail["addresses"] == ["127.0.0.9", "127.0.0.1"]
    assert result(found, "server.connect") == ("warning", "some")
    assert found["doctor.server.connect"].detail["failed"] == ["127.0.0.9 (refused)"]
    assert result(found, "server.tls") == ("failure", "timeout")


# ---- certificate ----


async def tls_result(context: Any) -> tuple[Finding, Found]:
    async with strangers.http([says("/healthz", "no")], context) as port:
        found = await looked(f"https://127.0.0.1:{port}")
    return found["doctor.server.tls"], found


async def test_a_certificate_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    finding, found = await tls_result(authority.server())
    assert (finding.status, finding.result) == ("ok", "trusted")
    assert finding.detail["version"] in ("TLSv1.2", "TLSv1.3")
    assert (finding.detail["issuer"], finding.detail["names"], finding.detail["days"]) == ("Cơ quan cấp thử", ["127.0.0.1"], 89)
    assert result(found, "server.http") == ("failure", "not_vidconf")
    finding, _ = await tls_result(authority.server(for_days=5))
    assert (finding.status, finding.result) == ("warning", "expires")


async def test_certificates_that_are_not_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    finding, found = await tls_result(authority.server())
    assert (finding.status, finding.result, finding.detail["issuer"]) == ("failure", "untrusted", "Cơ quan cấp thử")
    assert "doctor.server.http" not in found, "nothing is asked of a stranger"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    finding, _ = await tls_result(authority.server(["other.example"]))
    assert (finding.result, finding.detail["names"]) == ("wrong_name", ["other.example"])
    finding, _ = await tls_result(authority.server(since_days=-40, for_days=-3))
    assert finding.result == "expired"
    finding, _ = await tls_result(authority.server(since_days=3))
    assert finding.result == "not_yet_valid"


async def test_no_tls_at_the_port(tmp_path: Path) -> None:
    async with strangers.http([says("/healthz", "ok\n")]) as port:
        found = await looked(f"https://127.0.0.1:{port}")
    assert result(found, "server.tls") == ("failure", "tls_failed")


# ---- proxies ----


async def proxied(proxy: Proxy | None, monkeypatch: pytest.MonkeyPatch, *, user: str = "", port: int = 0) -> Found:
    @asynccontextmanager
    async def listening() -> AsyncIterator[int]:
        if proxy is None:
            yield port
            return
        async with strangers.tcp(proxy.talk) as opened:
            yield opened

    async with listening() as at:
        monkeypatch.setenv("https_proxy", f"http://{user}127.0.0.1:{at}")
        return await looked("https://meet.example.invalid")


async def test_through_a_proxy_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is nobody's here: only the proxy knows the way, for HTTP and for the WebSocket alike."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    url = "wss://meet.example.invalid"
    routes = [
        says("/healthz", "ok\n"), says("/readyz", {}), says("/api/v1/media/where", lambda: where(url=url, media="external")),
        web.get("/api/v1/control", echo), says("/rtc/validate", "no", 401),
    ]  # fmt: skip
    async with strangers.http(routes, authority.server(["meet.example.invalid"])) as port:
        proxy = Proxy(port)
        found = await proxied(proxy, monkeypatch, user="nv%40a:m%3At@")
    assert result(found, "server.proxy") == ("ok", "used")
    assert "nv" not in json.dumps(dict(found["doctor.server.proxy"].detail)), "its password is no part of the report"
    assert result(found, "server.name") == ("ok", "proxied")
    assert result(found, "server.connect") == ("ok", "through_proxy")
    for name in ("server.tls", "server.http", "server.ready", "server.control", "server.clock", "media.signalling"):
        assert found[f"doctor.{name}"].status == "ok", found[f"doctor.{name}"]
    assert set(proxy.asked) == {"CONNECT meet.example.invalid:443 HTTP/1.1"}
    assert set(proxy.authorizations) == {"Basic " + b64encode(b"nv@a:m:t").decode()}


@pytest.mark.parametrize(
    ("status", "wanted"),
    [("407 Proxy Authentication Required", "proxy_wants_name"), ("403 Forbidden", "proxy_refuses"), ("nonsense", "proxy_refuses")],
)
async def test_a_proxy_that_says_no(status: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await proxied(Proxy(9, status), monkeypatch)
    assert result(found, "server.connect") == ("failure", wanted)
    assert "doctor.server.tls" not in found


async def test_a_proxy_that_is_not_there_or_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_network, "CONNECT_S", 0.6)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    assert result(await proxied(None, monkeypatch, port=closed), "server.connect") == ("failure", "proxy_silent")

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00" * 200_000)
        await writer.drain()

    for talk in (strangers.silent, babble):
        async with strangers.tcp(talk) as port:
            assert result(await proxied(None, monkeypatch, port=port), "server.connect") == ("failure", "proxy_silent")


@pytest.mark.parametrize(
    ("environment", "host", "proxy", "strange"),
    [
        ({}, "meet.example", None, ""),
        ({"https_proxy": "http://proxy.example:3128"}, "meet.example", ("proxy.example", 3128, ""), ""),
        ({"https_proxy": "proxy.example:3128"}, "meet.example", ("proxy.example", 3128, ""), ""),
        ({"https_proxy": "http://proxy.example"}, "meet.example", ("proxy.example", 80, ""), ""),
        ({"https_proxy": "http://u:p%40@proxy.example:1"}, "meet.example", ("proxy.example", 1, "u:p@"), ""),
        ({"https_proxy": "http://proxy.example:3128", "no_proxy": ".example"}, "meet.example", None, ""),
        ({"https_proxy": "http://proxy.example:3128"}, "127.0.0.1", None, ""),
        ({"https_proxy": "http://proxy.example:3128"}, "localhost", None, ""),
        ({"http_proxy": "http://proxy.example:3128"}, "meet.example", None, ""),
        ({"https_proxy": "socks5://u:p@proxy.example:1080"}, "meet.example", None, "socks5://proxy.example"),
        ({"https_proxy": "http://proxy.example:99999"}, "meet.example", None, "?"),
        ({"https_proxy": "http://[::"}, "meet.example", None, "?"),
    ],
)
def test_which_proxy(environment: dict[str, str], host: str, proxy: tuple[str, int, str] | None, strange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found, told = proxy_for(Target.of(f"https://{host}"))
    assert (None if found is None else (found.host, found.port, found.credentials)) == proxy
    assert told == strange


# ---- what answers ----


async def test_everything_in_order() -> None:
    port = await Port.open("127.0.0.1", 0)
    try:
        udp = [{"host": "127.0.0.1", "port": port.port}]
        async with server(lambda at: where(url=f"ws://127.0.0.1:{at}", udp=udp)) as origin:
            found = await looked(origin, CODE)
    finally:
        await port.close()
    for name in ("address", "name", "connect", "http", "ready", "clock", "control", "meeting"):
        assert found[f"doctor.server.{name}"].status == "ok", found[f"doctor.server.{name}"]
    assert result(found, "media.where") == ("ok", "relay")
    assert result(found, "media.signalling") == ("ok", "door")
    assert found["doctor.media.udp"].detail["loss_percent"] == 0
    assert "doctor.server.tls" not in found, "this very machine, in the clear"
    assert "Bí mật" not in str(found)


async def test_something_else_answers() -> None:
    async with strangers.http([says("/healthz", "<html>Router</html>")]) as port:
        assert result(await looked(f"http://127.0.0.1:{port}"), "server.http") == ("failure", "not_vidconf")
    async with strangers.http([says("/healthz", "", 502)]) as port:
        found = await looked(f"http://127.0.0.1:{port}")
        assert result(found, "server.http") == ("failure", "server_restarting")
        assert "doctor.server.control" not in found

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff" * 5000)
        await writer.drain()

    async with strangers.tcp(babble) as port:
        assert (await looked(f"http://127.0.0.1:{port}"))["doctor.server.http"].status == "failure"


async def test_a_slow_server() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.6)
        return web.Response(text="ok\n")

    async with server(healthz=web.get("/healthz", slow)) as origin:
        found = await looked(origin)
    assert result(found, "server.http") == ("warning", "slow")
    assert result(found, "server.control") == ("ok", "open"), "slow is not gone"


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (503, {"ready": False, "missing": ["media"]}, ("failure", "media")),
        (503, {"ready": False, "missing": ["draining", "storage"]}, ("failure", "storage")),
        (503, "maintenance", ("failure", "not_ready")),
        (404, "no", None),
    ],
)
async def test_a_server_that_is_not_ready(status: int, body: Any, wanted: tuple[str, str] | None) -> None:
    async with server(readyz=says("/readyz", body, status)) as origin:
        assert result(await looked(origin), "server.ready") == wanted


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (200, {"code": CODE, "title": "x", "state": "live"}, ("ok", "live")),
        (200, {"code": CODE, "title": "x", "state": "ended"}, ("warning", "ended")),
        (200, {"code": CODE, "title": "x", "state": "scheduled", "locked": True}, ("warning", "locked")),
        (404, {"error": "no_such_meeting", "detail": {}}, ("failure", "not_found")),
        (429, {"error": "too_many_failures", "detail": {"wait_s": 9}}, ("failure", "rate_limited")),
        (500, {"error": "internal", "detail": {}, "ref": "abcd"}, ("failure", "server_error")),
        (200, ["no object"], ("failure", "not_vidconf")),
        (404, {"error": "no_such_meeting", "detail": {"key": 1, "self": "\x1b[2J", "code": {"a": []}, "": None}}, ("failure", "not_found")),
    ],
)
async def test_where_the_link_leads(status: int, body: Any, wanted: tuple[str, str]) -> None:
    async with server(preview=says(f"/api/v1/meetings/by-code/{CODE}", body, status)) as origin:
        found = await looked(origin, CODE)
    assert result(found, "server.meeting") == wanted
    shown = found["doctor.server.meeting"].as_json()
    assert "\x1b" not in shown["text"] + shown["help"]


async def test_websockets_that_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_network, "ASK_S", 1.0)
    async with server(control=says("/api/v1/control", "no", 404)) as origin:
        found = await looked(origin)
    assert result(found, "server.control") == ("failure", "no_websocket")
    assert found["doctor.server.control"].detail["status"] == 404

    async def deaf(request: web.Request) -> web.StreamResponse:
        socket_ = web.WebSocketResponse(autoping=False)
        await socket_.prepare(request)
        await asyncio.sleep(2)
        return socket_

    async with server(control=web.get("/api/v1/control", deaf)) as origin:
        assert result(await looked(origin), "server.control") == ("failure", "one_way")

    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(2)
        raise web.HTTPNotFound

    async with server(control=web.get("/api/v1/control", never)) as origin:
        assert result(await looked(origin), "server.control") == ("failure", "timeout")


# ---- policies ----


async def test_a_proxy_that_is_set_is_gone_through_in_tls_and_the_agency_s_authority_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system names."""
    monkeypatch.setenv("https_proxy", "http://192.0.2.1:9")
    authority = Authority(tmp_path)
    context = authority.server(["meet.example.invalid", "127.0.0.1"])
    routes = [says("/healthz", "ok\n"), says("/readyz", {}), web.get("/api/v1/control", echo)]
    async with strangers.http(routes, context) as port, strangers.tcp(Proxy(port).talk, context) as at:
        options = NetworkOptions(proxy_mode="manual", proxy_server=f"https://127.0.0.1:{at}", ca_file=str(authority.certificate))
        found = await looked("https://meet.example.invalid", options=options)
        unknown = await looked("https://meet.example.invalid", options=NetworkOptions(proxy_mode="manual", proxy_server=f"https://127.0.0.1:{at}"))
    assert found["doctor.server.proxy"].detail == {"proxy": f"127.0.0.1:{at}"}
    for name in ("server.connect", "server.tls", "server.http", "server.control"):
        assert found[f"doctor.{name}"].status == "ok", found[f"doctor.{name}"]
    assert result(unknown, "server.connect") == ("failure", "proxy_untrusted")


async def test_a_script_that_chooses_proxies_is_said_to_be_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_network, "proxy_script", lambda: "http://wpad.example/proxy.pac")
    monkeypatch.setattr(doctor_network, "CONNECT_S", 0.2)
    found = await looked("http://192.0.2.1:9")
    assert result(found, "server.proxy") == ("warning", "script")
    assert found["doctor.server.proxy"].detail == {"script": "http://wpad.example/proxy.pac"}


# ---- the whole, in its time ----


def told_of(origin: str) -> dict[str, Any]:
    return {"origin": origin, "code": "", "confirm": False, "network": {}}


async def in_a_thread(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)


async def test_the_look_says_that_it_is_done() -> None:
    found: list[Finding] = []
    async with server() as origin:
        await in_a_thread(lambda: network(found.append, told_of(origin)))
    assert (found[-1].code, found[-1].result) == ("doctor.server", "done")


async def test_all_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_network, "ALL_S", 0.7)
    found: list[Finding] = []
    async with strangers.tcp(strangers.silent) as port:
        began = time.monotonic()
        await in_a_thread(lambda: network(found.append, told_of(f"http://127.0.0.1:{port}")))
        assert time.monotonic() - began < 2.5
    assert (found[-1].code, found[-1].status, found[-1].result) == ("doctor.server", "failure", "hung")
    assert result({finding.code: finding for finding in found}, "server.connect") == ("ok", "open")


async def test_a_fault_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(doctor_network, "_control", fail)
    found: list[Finding] = []
    async with server() as origin:
        await in_a_thread(lambda: network(found.append, told_of(origin)))
    assert (found[-1].code, found[-1].status, found[-1].result) == ("doctor.server", "failure", "broken")
    assert "ZeroDivisionError" in found[-1].detail["reason"]
    assert {"doctor.server.ready", "doctor.media.where"} <= {finding.code for finding in found}, "the other questions have their answers"

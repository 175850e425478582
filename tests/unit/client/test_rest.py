"""REST against real servers on this machine: what they answer, how they fail, and that nothing but a `RestError` ever comes out."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import ipaddress
import json
import math
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes import strangers
from fakes.strangers import Authority
from fakes.toy_server import CODE, ToyServer
from hypothesis import given
from hypothesis import strategies as st

from vidconf import __version__
from vidconf.client import rest as rest_module
from vidconf.client.rest import _BY_SERVER_CODE, ANSWER_LIMIT, CODES, Rest, RestError, _answer, code_of
from vidconf.client.state import JoinLink
from vidconf.network.options import NetworkOptions

Answer = web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers every request with `answer`; keeps what was asked."""

    def __init__(self) -> None:
        self.answer: Answer = web.Response()
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.origin = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.append((request.method, request.path_qs, dict(request.headers), body))
        if not isinstance(self.answer, web.Response):
            return await self.answer(request)
        return web.Response(status=self.answer.status, body=self.answer.body, headers=self.answer.headers)  # one is good for one request


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def rest(server: Server) -> AsyncIterator[Rest]:
    made = Rest(server.origin)
    yield made
    await made.close()


async def fails(work: Awaitable[Any]) -> RestError:
    with pytest.raises(RestError) as error:
        await work
    assert error.value.code in CODES
    return error.value


# ---- what is asked and answered ----


async def test_preview_and_join(toy: ToyServer) -> None:
    rest = Rest(toy.origin)
    preview = await rest.preview(CODE)
    assert (preview.code, preview.title, preview.state, preview.lobby, preview.locked) == (CODE, "Giao ban", "scheduled", True, False)
    seat = await rest.join(JoinLink(toy.origin, CODE), "Lê Văn An", unit="Sở TNMT")
    assert (seat.meeting, seat.participant, seat.state, seat.title) == ("M1", "p1", "lobby", "Giao ban")
    assert seat.session_token
    chair = await rest.join(JoinLink(toy.origin, CODE, "s" * 20), "Chủ trì")
    assert chair.state == "admitted"
    assert (await fails(rest.join(JoinLink(toy.origin, CODE, "x" * 20), "Giả"))).code == "bad_chair_link"
    assert (await fails(rest.preview("zzzz-zzzz"))).code == "not_found"
    await rest.close()


async def test_what_a_join_says(server: Server, rest: Rest) -> None:
    seat = {"session_token": "t", "meeting": "M", "participant": "p", "state": "lobby"}
    server.answer = web.json_response(seat)
    await rest.join(JoinLink(server.origin, CODE), "Lê Văn An", kind="site", unit="Sở", position="", badge="b", bearer="token")
    method, path, headers, body = server.asked[0]
    assert (method, path) == ("POST", "/api/v1/join")
    assert headers["Authorization"] == "Bearer token"
    assert headers["User-Agent"] == f"vidconf/{__version__}"
    assert body == {"code": CODE, "name": "Lê Văn An", "kind": "site", "unit": "Sở", "badge": "b"}


@pytest.mark.parametrize("missing", ["session_token", "participant", "meeting", "state"])
async def test_a_seat_without_what_it_needs_is_none(server: Server, rest: Rest, missing: str) -> None:
    seat = {"session_token": "t", "meeting": "M", "participant": "p", "state": "lobby"}
    server.answer = web.json_response(seat | {missing: 7})
    assert (await fails(rest.join(JoinLink(server.origin, CODE), "A"))).code == "not_vidconf"


async def test_accounts_and_meetings(toy: ToyServer) -> None:
    rest = Rest(toy.origin)
    assert (await fails(rest.login("binh", "sai"))).code == "wrong_password"
    signed_in = await rest.login("binh", "đúng")
    assert (signed_in.name, signed_in.role) == ("Trần Thị Bình", "organiser")
    assert 890 < signed_in.expires_at - time.monotonic() <= 900
    again = await rest.refresh(signed_in.refresh_token)
    assert again.refresh_token != signed_in.refresh_token
    assert (await fails(rest.refresh(signed_in.refresh_token))).code == "signed_out"
    (one,) = await rest.upcoming(again.access_token)
    assert (one.title, one.start, one.chair, one.link) == ("Giao ban", 1.0, True, f"{toy.origin}/m/{CODE}")
    created = await rest.create(again.access_token, "Họp kín", None, True)
    assert created["title"] == "Họp kín"
    await rest.logout(again.refresh_token)
    await rest.close()


async def test_what_creating_says(server: Server, rest: Rest) -> None:
    server.answer = web.json_response({"id": "M"})
    await rest.create("token", "T", None, False)
    await rest.create("token", "T", 1e9, True, 1800.0)
    assert [body for _, _, _, body in server.asked] == [
        {"title": "T", "lobby": False},
        {"title": "T", "lobby": True, "start": 1e9, "duration_s": 1800.0},
    ]


@pytest.mark.parametrize("value", [10**400, 1e308, -1e308, math.inf, math.nan, "1", True, None, [], -1, 253_402_300_800 * 2])
async def test_times_no_calendar_has_are_none(server: Server, rest: Rest, value: Any) -> None:
    server.answer = web.Response(
        text=json.dumps({"code": CODE, "title": "T", "start": value, "duration_s": value}), content_type="application/json"
    )
    preview = await rest.preview(CODE)
    assert (preview.start, preview.duration_s) == (None, None)
    server.answer = web.Response(
        text=json.dumps({"meetings": [{"id": "M", "code": CODE, "title": "T", "start": value}]}), content_type="application/json"
    )
    assert [one.start for one in await rest.upcoming("t")] == [None]


async def test_of_a_list_only_so_much_is_taken(server: Server, rest: Rest) -> None:
    one = {"id": "M", "code": CODE, "title": "T"}
    server.answer = web.json_response({"meetings": [one, 7, None, *([one] * 5000)]})
    assert 0 < len(await rest.upcoming("t")) <= rest_module.LIST_LIMIT
    server.answer = web.json_response({"meetings": {}})
    assert (await fails(rest.upcoming("t"))).code == "not_vidconf"


async def test_codes_that_would_be_paths_stay_codes(server: Server, rest: Rest) -> None:
    server.answer = web.json_response({"code": CODE, "title": "T"})
    await rest.preview("../../auth/logout?x=#")
    assert server.asked[0][1] == "/api/v1/meetings/by-code/..%2F..%2Fauth%2Flogout%3Fx=%23"


# ---- what goes wrong ----


def test_every_code_of_ours_is_one_of_the_list() -> None:
    assert set(_BY_SERVER_CODE.values()) <= set(CODES)
    assert len(set(CODES)) == len(CODES)
    assert code_of("a_code_of_a_newer_server") == "refused"


@pytest.mark.parametrize(
    ("status", "body", "code", "detail"),
    [
        (404, {"error": "no_such_meeting", "detail": {}}, "not_found", {"server_code": "no_such_meeting"}),
        (404, {"error": "not_found", "detail": {}}, "not_vidconf", {}),
        (403, {"error": "full", "refused": "full", "detail": {"capacity": 500}}, "full", {"capacity": 500}),
        (410, {"error": "meeting_ended"}, "ended", {}),
        (409, {"error": "something_new", "detail": {"x": 1}}, "refused", {"server_code": "something_new", "x": 1}),
        (500, {"error": "internal", "ref": "a1b2"}, "server_error", {"ref": "a1b2"}),
        (500, {"error": "something_new"}, "server_error", {}),
        (503, {"error": "draining"}, "server_restarting", {}),
        (429, {"error": "too_many_failures", "detail": {"wait_s": 40}}, "rate_limited", {"wait_s": 40}),
        (429, {"error": "too_many_requests"}, "rate_limited", {"wait_s": 30}),
        (400, {"error": "internal" * 100, "detail": [1], "ref": 7}, "refused", {}),
        (200, [], "not_vidconf", {"status": 200}),
        (302, {}, "not_vidconf", {"status": 302}),
        (404, "Not Found", "not_vidconf", {"status": 404}),
        (500, "<html>", "server_error", {"status": 500}),
        (502, "<html>Bad Gateway", "server_restarting", {"status": 502}),
        (503, "", "server_restarting", {"status": 503}),
        (429, "slow down", "rate_limited", {"wait_s": 30}),
    ],
)  # fmt: skip
async def test_answers_that_are_none(server: Server, rest: Rest, status: int, body: Any, code: str, detail: dict[str, Any]) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    server.answer = web.Response(status=status, text=text)
    error = await fails(rest.preview(CODE))
    assert error.code == code
    assert error.detail.items() >= detail.items()


async def test_how_long_to_wait(server: Server, rest: Rest) -> None:
    for said, wait_s in (("7", 7), ("999999", 86400), ("-1", 30), ("soon", 30), ("٣", 30), ("9" * 50, 30)):
        server.answer = web.Response(status=429, headers={"Retry-After": said}) if said.isascii() else web.Response(status=429)
        assert (await fails(rest.preview(CODE))).detail["wait_s"] == wait_s


@pytest.mark.parametrize(
    "raw", [b"[" * 200_000, b"\xff\xfe", b"{", b'{"code": "' + b"x" * (ANSWER_LIMIT + 10) + b'"}'], ids=["deep", "bytes", "open", "large"]
)
async def test_a_body_that_is_none(server: Server, rest: Rest, raw: bytes) -> None:
    server.answer = web.Response(body=raw, content_type="application/json")
    assert (await fails(rest.preview(CODE))).code == "not_vidconf"


@given(st.integers(100, 599), st.one_of(st.binary(max_size=40), st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.dictionaries(
    st.sampled_from(["error", "detail", "ref", "refused", "x"]), inner, max_size=3)).map(lambda body: json.dumps(body).encode())), st.text(max_size=5))  # fmt: skip
def test_whatever_is_answered(status: int, raw: bytes, retry_after: str) -> None:
    try:
        body = _answer(status, raw, retry_after)
    except RestError as error:
        code = error.code
    else:
        assert isinstance(body, dict)
        assert 200 <= status < 300
        return
    assert code in CODES


async def test_a_redirect_is_not_followed(server: Server, rest: Rest) -> None:
    server.answer = web.Response(status=307, headers={"Location": f"{server.origin}/elsewhere"})
    assert (await fails(rest.login("binh", "mật khẩu"))).code == "not_vidconf"
    assert [path for _, path, _, _ in server.asked] == ["/api/v1/auth/login"], "what was said is said to nobody else"


async def test_cookies_are_not_kept(server: Server, rest: Rest) -> None:
    server.answer = web.json_response({"code": CODE, "title": "T"}, headers={"Set-Cookie": "a=b"})
    await rest.preview(CODE)
    await rest.preview(CODE)
    assert all("Cookie" not in headers for _, _, headers, _ in server.asked)


async def test_a_server_that_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(5)
        return web.Response()

    monkeypatch.setattr(rest_module, "TIMEOUT_S", 0.1)
    server.answer = late
    rest = Rest(server.origin)
    assert (await fails(rest.preview(CODE))).code == "timeout"
    await rest.close()


async def test_a_server_that_hangs_up(server: Server, rest: Rest) -> None:
    async def rude(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.answer = rude
    assert (await fails(rest.preview(CODE))).code == "unreachable"


async def test_an_answer_that_stops_half_way(server: Server, rest: Rest) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"code"')
        assert request.transport is not None
        request.transport.abort()
        return response

    server.answer = half
    assert (await fails(rest.preview(CODE))).code in ("unreachable", "not_vidconf")


async def test_nobody_there() -> None:
    rest = Rest("http://127.0.0.1:9")
    assert (await fails(rest.preview(CODE))).code == "unreachable"
    await rest.close()
    rest = Rest("https://no-such-host.invalid")
    error = await fails(rest.preview(CODE))
    assert error.code == "host_not_found"
    assert error.detail["host"] == "no-such-host.invalid"
    await rest.close()


@asynccontextmanager
async def someone_else(greeting: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Says one thing to whoever comes; its port, and what each began with."""
    heard: list[bytes] = []
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())  # type: ignore[arg-type]
        heard.append(await reader.read(65536))
        writer.write(greeting)
        await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    stands = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield stands.sockets[0].getsockname()[1], heard
    finally:
        stands.close()
        await asyncio.gather(*talks)


async def test_something_else_at_that_port() -> None:
    async with someone_else(b"SSH-2.0-OpenSSH_9.2\r\n") as (port, _):
        rest = Rest(f"http://127.0.0.1:{port}")
        assert (await fails(rest.preview(CODE))).code == "not_vidconf"
        await rest.close()
    async with someone_else(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        rest = Rest(f"https://127.0.0.1:{port}")
        assert (await fails(rest.preview(CODE))).code == "tls_failed"
        await rest.close()


async def test_after_closing(server: Server, rest: Rest) -> None:
    await rest.close()
    assert (await fails(rest.preview(CODE))).code == "unreachable"
    await rest.close()


# ---- certificates, clocks, proxies ----


def certificate(folder: Path, days: int = 1) -> tuple[Path, Path]:
    """A self-signed certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=3)).not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(key, hashes.SHA256())
    )  # fmt: skip
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return cert_file, key_file


class TlsServer:
    """One connection after the other, in a thread of its own; `heard` is what came through the handshake."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(cert, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.origin = f"https://127.0.0.1:{self._socket.getsockname()[1]}"
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        body = json.dumps({"code": CODE, "title": "T"}).encode()
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            with plain:
                try:
                    with self._tls.wrap_socket(plain, server_side=True) as secure:
                        self.heard += secure.recv(65536)
                        secure.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize(("days", "trusted"), [(1, False), (-1, True)], ids=["nobody vouches", "expired"])
async def test_a_certificate_that_proves_nothing(tmp_path: Path, days: int, trusted: bool) -> None:
    cert, key = certificate(tmp_path, days)
    server = TlsServer(cert, key)
    rest = Rest(server.origin, tls=ssl.create_default_context(cafile=str(cert)) if trusted else None)
    error = await fails(rest.login("binh", "mật khẩu"))
    assert error.code == "bad_certificate"
    assert error.detail["reason"]
    await rest.close()
    server.close()
    assert server.heard == b"", "nothing is said to a server that cannot prove who it is"


async def test_a_certificate_the_agency_vouches_for(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    server = TlsServer(cert, key)
    rest = Rest(server.origin, tls=ssl.create_default_context(cafile=str(cert)))
    assert (await rest.preview(CODE)).title == "T"
    await rest.close()
    server.close()


async def test_the_servers_clock(server: Server, rest: Rest) -> None:
    for ahead_s, expected in ((0, 0.0), (3600, 3600), (-90, -90)):
        date = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
        server.answer = web.json_response({"code": CODE, "title": "T"}, headers={"Date": date})
        await rest.preview(CODE)
        assert rest.clock_offset_s == pytest.approx(expected, abs=1.6)
    assert rest.clock_offset_s != 0.0
    for nonsense in ("", "yesterday", "Mon, 99 Foo 9999 99:99:99 GMT", "9" * 500):
        server.answer = web.json_response({"code": CODE, "title": "T"}, headers={"Date": nonsense})
        await rest.preview(CODE)
        assert rest.clock_offset_s == pytest.approx(-90, abs=1.6), "no date tells nothing"


async def test_an_agencys_proxy_but_never_for_this_machine(server: Server, rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    async with someone_else(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as (port, heard):
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        server.answer = web.json_response({"code": CODE, "title": "T"})
        assert (await rest.preview(CODE)).title == "T"
        assert heard == []
        far = Rest("https://hop.example.vn")
        error = await fails(far.preview(CODE))
        await far.close()
    assert (error.code, error.detail) == ("unreachable", {"status": 502}), "it is the proxy that fails, not the server"
    assert heard[0].startswith(b"CONNECT hop.example.vn:443")


def test_the_port_of_a_dead_server_is_free() -> None:
    """`test_nobody_there` stands on it."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 9)) != 0


async def test_a_proxy_that_is_set_an_authority_in_a_file_and_the_oldest_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it for one server that only the proxy can find; without any of the three there is no answer."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    authority = Authority(tmp_path)
    context = authority.server(["meet.example.invalid"])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    body = {"code": CODE, "title": "T", "state": "live"}
    whole = {"proxy_mode": "manual", "ca_file": str(authority.certificate)}
    async with strangers.http([strangers.says(f"/api/v1/meetings/by-code/{CODE}", body)], context) as port:
        proxy = strangers.Proxy(port)
        async with strangers.tcp(proxy.talk) as at:
            whole["proxy_server"] = f"http://127.0.0.1:{at}"
            for changes, code in (
                ({}, ""), ({"ca_file": ""}, "bad_certificate"), ({"tls_min": "1.3"}, None), ({"proxy_bypass": ("*.example.invalid",)}, "host_not_found"),
            ):  # fmt: skip
                options = NetworkOptions(**{**whole, **changes})
                rest = Rest("https://meet.example.invalid", network=lambda options=options: options)
                asked = len(proxy.asked)
                if code == "":
                    assert (await rest.preview(CODE)).title == "T"
                else:
                    error = await fails(rest.preview(CODE))
                    assert error.code == code or (code is None and error.code in ("tls_failed", "unreachable"))
                await rest.close()
                assert (len(proxy.asked) > asked) is (code != "host_not_found")
    assert set(proxy.asked) == {"CONNECT meet.example.invalid:443 HTTP/1.1"}

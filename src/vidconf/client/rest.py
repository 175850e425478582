"""The server's REST wire, as a client asks it. The loop's thread; one `Rest` a server.

Everything that goes wrong is a `RestError` with one of `CODES`: what happened, in words a window has (`error.<code>` and
`error.<code>.help`). Which proxy is gone through and which certificates are believed is said in `network.options`.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from vidconf import __version__
from vidconf.client.state import JoinLink, MeetingPreview, UpcomingMeeting
from vidconf.network.http import open_session
from vidconf.network.options import DEFAULTS, NetworkOptions

log = logging.getLogger("vidconf.rest")

TIMEOUT_S = 15.0
CONNECT_S = 8.0
ANSWER_LIMIT = 4 << 20
TEXT_LIMIT = 4096
LIST_LIMIT = 1000
LAST_TIME_S = 253_402_214_400.0
"""31 December 9999: no calendar goes further."""

CODES = (
    "unreachable", "host_not_found", "timeout", "bad_certificate", "tls_failed", "not_vidconf", "server_error", "server_restarting",
    "rate_limited", "wrong_password", "signed_out", "not_found", "ended", "full", "locked", "banned", "removed", "denied", "bad_name",
    "bad_chair_link", "not_allowed", "too_old", "malformed", "media_unavailable", "refused",
)  # fmt: skip

_BY_SERVER_CODE = {
    "no_such_meeting": "not_found", "meeting_ended": "ended", "full": "full", "locked": "locked", "banned": "banned",
    "removed": "removed", "bad_name": "bad_name", "wrong_password": "wrong_password", "bad_refresh_token": "signed_out",
    "bad_bearer": "signed_out", "bearer_wanted": "signed_out", "too_many_failures": "rate_limited", "too_many_requests": "rate_limited",
    "draining": "server_restarting", "bad_chair_link": "bad_chair_link", "bad_ticket": "bad_chair_link", "not_allowed": "not_allowed",
    "not_your_meeting": "not_allowed", "protocol_version": "too_old", "unknown_command": "too_old", "malformed": "malformed",
    "media_unavailable": "media_unavailable", "storage": "server_error", "internal": "server_error", "method_not_allowed": "too_old",
    "bad_token": "signed_out",
}  # fmt: skip


class RestError(Exception):
    """`code`: one of `CODES`; `detail` fills the words (`server_code` is what the server said, `ref` finds it in its log)."""

    def __init__(self, code: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = dict(detail or {})


def code_of(server_code: str) -> str:
    """Our code for what a server calls it."""
    return _BY_SERVER_CODE.get(server_code, "refused")


@dataclass(frozen=True, slots=True)
class Seat:
    """What joining gave: the control connection's token, and where one stands."""

    session_token: str
    meeting: str
    participant: str
    state: str
    title: str = ""
    badge: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    access_token: str
    expires_at: float
    """Monotonic seconds."""
    refresh_token: str
    name: str
    role: str


def tls_context() -> ssl.SSLContext:
    """Verifies by the operating system's certificate store."""
    return DEFAULTS.ssl_context()


class Rest:
    """REST of the server at `origin`. `clock_offset_s`: its clock minus ours, by the `Date` of its last answer. `network`: says the
    options as they are now; `tls`: instead of theirs."""

    def __init__(self, origin: str, *, tls: ssl.SSLContext | None = None, network: Callable[[], NetworkOptions] = lambda: DEFAULTS) -> None:
        self.origin = origin
        self.clock_offset_s = 0.0
        self._tls, self._network = tls, network
        self._options = DEFAULTS
        self._session: aiohttp.ClientSession | None = None
        self._former: list[aiohttp.ClientSession] = []
        """Of other options: whatever lives on one goes on, new requests have the newest."""
        self._closed = False

    def http(self) -> aiohttp.ClientSession:
        """The connection pool, also for the control WebSocket. Raises `RestError` after `close`."""
        if self._closed:
            raise RestError("unreachable")
        options = self._network()
        if self._session is not None and options != self._options:
            self._former.append(self._session)
            self._session = None
        if self._session is None or self._session.closed:
            self._options = options
            self._session = open_session(
                options, self.origin, tls=self._tls, limit=16, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_S),
                headers={"User-Agent": f"vidconf/{__version__}"},
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        self._closed = True
        for session in (*self._former, self._session):
            if session is not None:
                await session.close()

    # ---- meetings ----

    async def preview(self, code: str) -> MeetingPreview:
        body = await self.ask("GET", f"/api/v1/meetings/by-code/{quote(code, safe='')}")
        return MeetingPreview(
            code=_text(body, "code"), title=_text(body, "title"), start=_number(body, "start"), duration_s=_number(body, "duration_s"),
            state=_text(body, "state", "scheduled"), lobby=body.get("lobby") is not False, locked=body.get("locked") is True,
        )  # fmt: skip

    async def join(
        self, link: JoinLink, name: str, *, kind: str = "person", unit: str = "", position: str = "", badge: str = "", bearer: str = "",
    ) -> Seat:  # fmt: skip
        """A seat in the lobby or the room. A chair link's secret is exchanged for a ticket first."""
        body: dict[str, Any] = {"code": link.code, "name": name, "kind": kind}
        if link.secret:
            chair = await self.ask("POST", f"/api/v1/meetings/by-code/{quote(link.code, safe='')}/chair", {"secret": link.secret})
            body["ticket"] = _text(chair, "ticket")
        body |= {key: value for key, value in (("unit", unit), ("position", position), ("badge", badge)) if value}
        got = await self.ask("POST", "/api/v1/join", body, bearer)
        seat = Seat(
            _text(got, "session_token"), _text(got, "meeting"), _text(got, "participant"), _text(got, "state"),
            _text(got, "title", ""), _text(got, "badge", ""),
        )  # fmt: skip
        if not seat.session_token or not seat.participant:
            raise RestError("not_vidconf")
        return seat

    async def upcoming(self, bearer: str) -> tuple[UpcomingMeeting, ...]:
        body = await self.ask("GET", "/api/v1/meetings", bearer=bearer)
        listed = body.get("meetings")
        if not isinstance(listed, list):
            raise RestError("not_vidconf")
        return tuple(
            UpcomingMeeting(
                _text(one, "id"),
                _text(one, "code"),
                _text(one, "title"),
                _number(one, "start"),
                _number(one, "duration_s"),
                _text(one, "state", "scheduled"),
                one.get("chair") is True,
                _text(one, "link", ""),
            )
            for one in listed[:LIST_LIMIT]
            if isinstance(one, dict)
        )

    async def create(self, bearer: str, title: str, start: float | None, lobby: bool, duration_s: float | None = None) -> dict[str, Any]:
        """A new meeting: id, code, title, start, link, chair_link, chair_token."""
        body: dict[str, Any] = {"title": title, "lobby": lobby}
        if start is not None:
            body["start"] = start
        if duration_s is not None:
            body["duration_s"] = round(duration_s)
        return await self.ask("POST", "/api/v1/meetings", body, bearer)

    # ---- signing in ----

    async def login(self, name: str, password: str) -> SignedIn:
        return _signed_in(await self.ask("POST", "/api/v1/auth/login", {"name": name, "password": password}))

    async def refresh(self, refresh_token: str) -> SignedIn:
        return _signed_in(await self.ask("POST", "/api/v1/auth/refresh", {"refresh_token": refresh_token}))

    async def logout(self, refresh_token: str) -> None:
        await self.ask("POST", "/api/v1/auth/logout", {"refresh_token": refresh_token})

    # ---- the wire ----

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, bearer: str = "") -> dict[str, Any]:
        """One request and its JSON object. Raises `RestError` and nothing else (but cancellation)."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        try:
            # No redirects: whoever answers for this host answers itself, or what we send would go elsewhere.
            async with self.http().request(
                method, self.origin + path, json=None if body is None else dict(body), headers=headers, allow_redirects=False
            ) as response:
                self._note_clock(response.headers.get("Date", ""))
                raw = await response.content.read(ANSWER_LIMIT + 1)
                while len(raw) <= ANSWER_LIMIT and (more := await response.content.read(ANSWER_LIMIT + 1 - len(raw))):
                    raw += more
                return _answer(response.status, raw, response.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise transport_error(error) from error

    def _note_clock(self, date: str) -> None:
        try:
            told = email.utils.parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        offset_s = told + 0.5 - time.time()  # the header has whole seconds
        self.clock_offset_s = 0.0 if abs(offset_s) < 1.5 else offset_s


def transport_error(error: BaseException) -> RestError:
    """What a failed connection means. Order matters: aiohttp's certificate and DNS errors are also connection errors."""
    match error:
        case RestError():
            return error
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLCertVerificationError():
            return RestError("bad_certificate", {"reason": _certificate_reason(error)})
        case aiohttp.ClientConnectorDNSError():
            return RestError("host_not_found", {"host": error.host})
        case aiohttp.ClientSSLError() | ssl.SSLError():
            inner = getattr(error, "os_error", None) or error.__cause__
            if isinstance(inner, ssl.SSLCertVerificationError):
                return RestError("bad_certificate", {"reason": _certificate_reason(inner)})
            return RestError("tls_failed")
        case TimeoutError() | asyncio.TimeoutError():
            return RestError("timeout")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
            return RestError("unreachable")
        case aiohttp.ClientHttpProxyError():
            return RestError("unreachable", {"status": error.status})
        case aiohttp.WSServerHandshakeError():
            return RestError("server_restarting" if error.status in (502, 503, 504) else "not_vidconf", {"status": error.status})
    return RestError("not_vidconf", {"reason": type(error).__name__})


def _certificate_reason(error: BaseException) -> str:
    inner = getattr(error, "certificate_error", error)
    return str(getattr(inner, "verify_message", "") or "")[:200]


def _answer(status: int, raw: bytes, retry_after: str) -> dict[str, Any]:
    try:
        body = json.loads(raw) if len(raw) <= ANSWER_LIMIT else None
    except (ValueError, RecursionError):
        body = None
    if 200 <= status < 300 and isinstance(body, dict):
        return body
    if not isinstance(body, dict) or not isinstance(body.get("error"), str):
        if status == 429:
            raise RestError("rate_limited", {"wait_s": _whole(retry_after, 30)})
        if status >= 500:
            raise RestError("server_restarting" if status in (502, 503, 504) else "server_error", {"status": status})
        raise RestError("not_vidconf", {"status": status})
    server_code = body["error"][:64]
    detail = body.get("detail")
    told: dict[str, Any] = dict(detail) if isinstance(detail, dict) else {}
    told["server_code"] = server_code
    if isinstance(body.get("ref"), str):
        told["ref"] = body["ref"][:64]
    code = code_of(server_code)
    if server_code == "not_found":  # a route it does not have: an older server, or none of ours
        code = "not_vidconf"
    if code == "rate_limited":
        told.setdefault("wait_s", _whole(retry_after, 30))
    if code == "refused" and status >= 500:
        code = "server_error"
    raise RestError(code, told)


def _whole(text: str, default: int) -> int:
    return min(int(text), 86400) if text.isascii() and text.isdigit() and len(text) < 8 else default


def _text(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > TEXT_LIMIT:
        if default is not None:
            return default
        raise RestError("not_vidconf", {"field": name})
    return value


def _number(body: Mapping[str, Any], name: str) -> float | None:
    """Seconds: since 1970, or of something that lasts."""
    value = body.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LAST_TIME_S else None


def _signed_in(body: Mapping[str, Any]) -> SignedIn:
    account = body.get("account")
    if not isinstance(account, dict):
        raise RestError("not_vidconf", {"field": "account"})
    lives_s = _number(body, "expires_in") or 0.0
    return SignedIn(
        _text(body, "access_token"), time.monotonic() + lives_s, _text(body, "refresh_token"), _text(account, "name"),
        _text(account, "role", "member"),
    )  # fmt: skip

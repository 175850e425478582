"""What every HTTP handler shares: errors by code, bodies that are checked, bearers, the visitor's address. The loop's thread."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from vidconf.server.accounts import Accounts, Bearer
from vidconf.server.limits import FailureLimiter

log = logging.getLogger("vidconf.http")

BODY_BYTES = 128 * 1024
DEPTH = 8
BODY_S = 20.0
"""How long a body may take to come."""
HUNG_UP = 499
"""For the log only: who asked is not there any more to read it."""
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via")
"""What fronts add, each another of them: who comes with one does not ask from this machine."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """Answered as `{"error": code, "detail": {…}}` with `status`."""

    def __init__(self, status: int, code: str, headers: Mapping[str, str] | None = None, **detail: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.headers = status, code, detail, dict(headers or {})


def answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(dict(body), status=status, headers={"Cache-Control": "no-store", **(headers or {})})


def error_answer(error: ApiError) -> web.Response:
    return answer({"error": error.code, "detail": error.detail}, error.status, error.headers)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One place turns exceptions into codes; what nobody expected gets a reference that finds it in the log."""
    try:
        response = await handler(request)
    except ApiError as error:
        response = error_answer(error)
    except web.HTTPException as error:
        codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
        kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        response = error_answer(ApiError(error.status, codes.get(error.status, f"http_{error.status}"), kept))
    except ConnectionError:
        if request.transport is not None and not request.transport.is_closing():
            raise
        response = web.Response(status=HUNG_UP)
    except TimeoutError:
        raise
    except Exception as error:
        ref = secrets.token_hex(4)
        route = request.match_info.route.resource
        log.error("%s %s failed (ref %s)", request.method, route.canonical if route else "?", ref, exc_info=error)
        response = answer({"error": "internal", "detail": {}, "ref": ref}, 500)
    if not response.prepared:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
    return response


def _clean(value: Any, depth: int = 0) -> None:
    if depth > DEPTH:
        raise ApiError(400, "malformed", reason="nested too deep")
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ApiError(400, "malformed", reason="a text has characters that are none")
    elif isinstance(value, dict):
        for key, one in value.items():
            _clean(key, depth + 1)
            _clean(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _clean(one, depth + 1)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


async def body_of(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object. Raises ApiError 400, 413."""
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise ApiError(408, "timeout", {"Connection": "close"}) from None
    if not raw:
        return {}
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ApiError(400, "malformed", reason="the body is no JSON") from None
    if not isinstance(body, dict):
        raise ApiError(400, "malformed", reason="the body is no object")
    _clean(body)
    return body


def text_field(body: Mapping[str, Any], name: str, limit: int, default: str | None = None) -> str:
    """A text of at most `limit` characters; without a default it must be there and not be empty."""
    value = body.get(name, default)
    if not isinstance(value, str) or (default is None and not value):
        raise ApiError(400, "malformed", field=name, reason="a text is wanted")
    if len(value) > limit:
        raise ApiError(400, "malformed", field=name, reason=f"longer than {limit}")
    return value


def number_field(body: Mapping[str, Any], name: str, least: float, most: float, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ApiError(400, "malformed", field=name, reason=f"a number from {least:g} to {most:g} is wanted")
    return value


class Visitors:
    """Who asks: address, bearer, and whether it failed too often."""

    def __init__(self, accounts: Accounts, failures: FailureLimiter, behind_proxy: bool, proxies: Sequence[str] = ()) -> None:
        self._accounts, self._failures, self._behind_proxy = accounts, failures, behind_proxy
        self._proxies = [ipaddress.ip_network(network) for network in proxies]

    def address(self, request: web.Request) -> str:
        """Behind a proxy: what it added last to X-Forwarded-For, be it to the visitor's own header or behind it."""
        if self._behind_proxy and self._is_front(request.remote or ""):
            forwarded = request.headers.getall("X-Forwarded-For", [""])[-1].rpartition(",")[2].strip()
            if forwarded:
                return forwarded[:64]
        return request.remote or "unknown"

    def _is_front(self, remote: str) -> bool:
        if not self._proxies:
            return True
        try:
            address = ipaddress.ip_address(remote.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)

    def local(self, request: web.Request) -> bool:
        """Asked from this very machine, by its own name for itself: neither through a front nor by a page whose name was made to
        point here."""
        if (request.remote or "") not in ("127.0.0.1", "::1") or any(name in request.headers for name in FORWARDED):
            return False
        try:
            return urlsplit(f"//{request.host}").hostname in ("127.0.0.1", "::1", "localhost")
        except ValueError:
            return False

    def check(self, request: web.Request, kind: str) -> None:
        """Raises ApiError 429 when this visitor failed at `kind` too often."""
        wait_s = self._failures.wait_s(kind, self.address(request), time.monotonic())
        if wait_s:
            raise ApiError(429, "too_many_failures", {"Retry-After": str(int(wait_s) + 1)}, wait_s=int(wait_s) + 1)

    def failed(self, request: web.Request, kind: str) -> None:
        self._failures.failed(kind, self.address(request), time.monotonic())

    def forgive(self, request: web.Request, kind: str) -> None:
        """One of what `failed` counted was none."""
        self._failures.forgive(kind, self.address(request))

    async def bearer(self, request: web.Request) -> Bearer | None:
        """None without an Authorization header; raises ApiError 401 for one that is no good (any more)."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return None
        self.check(request, "bearer")
        scheme, _, token = authorization.partition(" ")
        found = await self._accounts.bearer(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            self.failed(request, "bearer")
            raise ApiError(401, "bad_bearer", {"WWW-Authenticate": "Bearer"})
        return found

    async def require(self, request: web.Request) -> Bearer:
        found = await self.bearer(request)
        if found is None:
            raise ApiError(401, "bearer_wanted", {"WWW-Authenticate": "Bearer"})
        return found

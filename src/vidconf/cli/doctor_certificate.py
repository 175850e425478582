"""The server's certificate, as the program would judge it and as a help desk asks about it. In the child that looks at the server.

Only looked at: nothing is said to a server whose certificate is not trusted.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vidconf.cli.findings import Finding
from vidconf.cli.parts import Put
from vidconf.network.options import NetworkOptions
from vidconf.network.proxies import Proxy
from vidconf.webrtc.tunnel import handed_over, through

log = logging.getLogger("vidconf.doctor")

TLS_S = 3.5
EXPIRES_DAYS = 14


@dataclass(frozen=True, slots=True)
class Target:
    """The server, as its origin says it."""

    origin: str
    host: str
    port: int
    secure: bool

    @classmethod
    def of(cls, origin: str) -> Target:
        parts = urlsplit(origin)
        secure = parts.scheme == "https"
        return cls(origin, parts.hostname or "", parts.port or (443 if secure else 80), secure)


async def look_at_certificate(put: Put, target: Target, addresses: list[str], proxy: Proxy | None, options: NetworkOptions) -> bool:
    """The certificate, judged as the program judges it: by the operating system's store, and the agency's own authority if one is set."""
    code = "doctor.server.tls"
    try:
        async with asyncio.timeout(TLS_S):
            version, raw = await _handshake(target, addresses, proxy, options)
    except ssl.SSLCertVerificationError as error:
        result = {10: "expired", 9: "not_yet_valid", 62: "wrong_name", 64: "wrong_name"}.get(error.verify_code, "untrusted")
        detail = {"host": target.host, "reason": error.verify_message, **await _stranger(target, addresses, proxy, options)}
        put(Finding(code, "failure", result, detail))
        return False
    except TimeoutError:
        put(Finding(code, "failure", "timeout", {"host": target.host}))
        return False
    except OSError as error:
        put(Finding(code, "failure", "tls_failed", {"host": target.host, "reason": str(error) or type(error).__name__}))
        return False
    detail = {"version": version, **_certificate(raw)}
    days = detail.get("days")
    expires = isinstance(days, int) and days < EXPIRES_DAYS
    put(Finding(code, "warning" if expires else "ok", "expires" if expires else "trusted", detail))
    return True


async def _handshake(
    target: Target, addresses: list[str], proxy: Proxy | None, options: NetworkOptions, tls: ssl.SSLContext | None = None
) -> tuple[str, bytes]:
    """(TLS version, certificate), judged by `tls` instead of the options' context if there is one. Raises OSError and its kin."""
    context = tls or options.ssl_context()
    transport: asyncio.WriteTransport
    if proxy is not None:
        carried, rest = await through(proxy, target.host, target.port, options)
        transport, _ = await handed_over(carried, rest, asyncio.Protocol, context, target.host)
    else:
        _, writer = await _first(addresses, target.port)
        try:
            await writer.start_tls(context, server_hostname=target.host)
        except BaseException:
            writer.transport.abort()
            raise
        transport = writer.transport
    try:
        held = transport.get_extra_info("ssl_object")
        return str(held.version() or ""), held.getpeercert(binary_form=True) or b""
    finally:
        transport.abort()


async def _first(addresses: list[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to whichever address takes it."""
    problem: OSError = OSError("no address")
    for address in addresses:
        try:
            async with asyncio.timeout(1.0):
                return await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as error:
            problem = error if isinstance(error, OSError) else OSError("timed out")
    raise problem


async def _stranger(target: Target, addresses: list[str], proxy: Proxy | None, options: NetworkOptions) -> dict[str, Any]:
    """Who issued a certificate that is not trusted: often the agency's own authority, or a box that reads along. Only looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with asyncio.timeout(1.5):
            return _certificate((await _handshake(target, addresses, proxy, options, context))[1])
    except (OSError, TimeoutError) as error:
        log.info("the certificate could not be looked at: %s", error)
        return _certificate(b"")


def _certificate(raw: bytes) -> dict[str, Any]:
    """What a help desk asks of a certificate: who issued it, for which names, for how long."""
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(raw)
        names = [*certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except x509.ExtensionNotFound:
        names = []
    except ValueError:
        return {"issuer": "?", "names": []}
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    shown = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    return {
        "issuer": _called(certificate.issuer),
        "names": shown[:10],
        "days": left.days,
        "until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
    }


def _called(name: Any) -> str:
    from cryptography.x509 import NameOID

    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return str(attribute.value)
    return str(name.rfc4514_string())

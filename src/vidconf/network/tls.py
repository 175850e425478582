"""Whom this program believes: the operating system's certificates, and an authority of the agency's own beside them. Any thread.

truststore 0.10.5 takes further authorities by `load_verify_locations` on every system: OpenSSL adds them to the system's, Windows and
macOS are asked first and then again with them. There is no way to switch the judging off.
"""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path

import truststore

log = logging.getLogger("vidconf.tls")

FILE_LIMIT = 4 << 20
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----", re.ASCII)


class AuthorityError(Exception):
    """A file of certificates that is of no use. `code`: `ca_unreadable`, `ca_malformed`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


def read_authorities(file: str) -> str | bytes:
    """What `load_verify_locations` takes as `cadata`: the certificates of a PEM file, or one in DER. Raises AuthorityError."""
    path = Path(file)
    try:
        if not path.is_file():
            raise AuthorityError("ca_unreadable", "there is no such file")
        if path.stat().st_size > FILE_LIMIT:
            raise AuthorityError("ca_malformed", "too large")
        held = path.read_bytes()
    except (OSError, ValueError) as error:  # the latter: a name that no file can have
        raise AuthorityError("ca_unreadable", getattr(error, "strerror", None) or str(error)) from error
    # What stands between them, comments in Vietnamese among it, OpenSSL would not take.
    certificates = _PEM.findall(held)
    data: str | bytes = b"\n".join(certificates).decode("ascii") + "\n" if certificates else held
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data)
    except (ssl.SSLError, ValueError) as error:
        raise AuthorityError("ca_malformed", str(error)) from error
    return data


def tls_context(ca_file: str = "", tls_min: str = "1.2") -> ssl.SSLContext:
    """For a client. A `ca_file` that cannot be used is logged and left out: who is known to the system is believed all the same."""
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls_min == "1.3":  # else as Python and the system have it, which is nowhere less than 1.2
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    if ca_file:
        try:
            context.load_verify_locations(cadata=read_authorities(ca_file))
        except AuthorityError as error:
            log.warning("the agency's certificate authority is left out: %s", error)
    return context

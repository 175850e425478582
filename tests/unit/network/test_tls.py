"""The agency's own authority beside the system's, and the oldest TLS, at real servers."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fakes import strangers
from fakes.strangers import Authority, says
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidconf.network.http import open_session
from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.tls import FILE_LIMIT, AuthorityError, read_authorities, tls_context

pytestmark = pytest.mark.usefixtures("no_proxies")


async def asked(port: int, network: NetworkOptions) -> str:
    url = f"https://127.0.0.1:{port}"
    async with open_session(network, url) as http, http.get(f"{url}/healthz") as response:
        return await response.text()


async def refused(port: int, network: NetworkOptions) -> BaseException:
    """The connection's own error, out of aiohttp's."""
    with pytest.raises(OSError) as failed:
        await asked(port, network)
    return getattr(failed.value, "certificate_error", None) or getattr(failed.value, "os_error", None) or failed.value


async def test_an_agency_s_authority_beside_the_system_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system knows one authority, the file another: both are believed, a third is not."""
    folders = [tmp_path / name for name in ("system", "agency", "nobody")]
    for folder in folders:
        folder.mkdir()
    system, agency, nobody = (Authority(folder, folder.name) for folder in folders)
    monkeypatch.setenv("SSL_CERT_FILE", str(system.certificate))
    network = NetworkOptions(ca_file=str(agency.certificate))
    for authority, known in ((system, True), (agency, True), (nobody, False)):
        async with strangers.http([says("/healthz", "ok")], authority.server()) as port:
            if known:
                assert await asked(port, network) == "ok"
            else:
                assert isinstance(await refused(port, network), ssl.SSLCertVerificationError)
    async with strangers.http([says("/healthz", "ok")], agency.server()) as port:
        assert isinstance(await refused(port, DEFAULTS), ssl.SSLCertVerificationError), "by default nobody else is believed"


async def test_a_name_is_still_judged(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with strangers.http([says("/healthz", "ok")], authority.server(["other.example"])) as port:
        error = await refused(port, NetworkOptions(ca_file=str(authority.certificate)))
    assert isinstance(error, ssl.SSLCertVerificationError)


async def test_the_oldest_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    old = authority.server()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    strict = NetworkOptions(ca_file=str(authority.certificate), tls_min="1.3")
    async with strangers.http([says("/healthz", "ok")], old) as port:
        assert await asked(port, NetworkOptions(ca_file=str(authority.certificate))) == "ok"
        error = await refused(port, strict)  # either end may say so first
        assert isinstance(error, ssl.SSLError | ConnectionResetError)
        assert not isinstance(error, ssl.SSLCertVerificationError)
    async with strangers.http([says("/healthz", "ok")], authority.server()) as port:
        assert await asked(port, strict) == "ok"


async def test_without_the_file_the_system_s_still_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    async with strangers.http([says("/healthz", "ok")], authority.server()) as port:
        with caplog.at_level(logging.WARNING):
            assert await asked(port, NetworkOptions(ca_file=str(tmp_path / "away.pem"))) == "ok"
    assert "left out" in caplog.text


def test_files(tmp_path: Path) -> None:
    authority = Authority(tmp_path).certificate
    pem = authority.read_bytes()
    other = tmp_path / "other"
    # comments, Windows' line ends, two at once, one in DER
    for held in (
        "# Cơ quan cấp\n".encode() + pem, pem.replace(b"\n", b"\r\n"), pem + b"\n" + pem,
        x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER),
    ):  # fmt: skip
        other.write_bytes(held)
        assert read_authorities(str(other))
    for held in (
        b"",
        b"no certificate",
        pem[:200],
        pem.replace(b"M", b"\xff"),
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ):
        other.write_bytes(held)
        with pytest.raises(AuthorityError) as error:
            read_authorities(str(other))
        assert error.value.code == "ca_malformed", held
    with other.open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    with pytest.raises(AuthorityError, match="too large"):
        read_authorities(str(other))
    for nowhere in (tmp_path, tmp_path / "no", "/dev/zero", "a\x00b", "x" * 5000):
        with pytest.raises(AuthorityError) as error:
            read_authorities(str(nowhere))
        assert error.value.code == "ca_unreadable", nowhere
    tls_context(str(tmp_path / "no"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are not known here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuthorityError):
        read_authorities(str(tmp_path / "pipe"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from([b"", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x82"]))
def test_any_file_is_read_or_refused(tmp_path: Path, held: bytes, head: bytes) -> None:
    file = tmp_path / "any"
    file.write_bytes(head + held + b"\n-----END CERTIFICATE-----\n")
    with pytest.raises(AuthorityError):
        read_authorities(str(file))


def test_nobody_switches_the_judging_off() -> None:
    context = NetworkOptions(ca_file="/nowhere", tls_min="1.3").ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3

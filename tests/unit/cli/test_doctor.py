"""doctor, selftest, policies: what they find on this machine, at a real server, at none, at a false one, in a hostile link."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e.serverproc import ServeProcess
from hypothesis import given
from hypothesis import strategies as st

from vidconf import words
from vidconf.cli.doctor import ORDER, sections
from vidconf.cli.doctor_media import Way, question, read_answer, read_turn_url
from vidconf.cli.findings import Finding, cleaned, worst
from vidconf.cli.parts import Part
from vidconf.webrtc.ice_lite import Port


def vidconf(*arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    if home is not None:
        environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run([sys.executable, "-m", "vidconf.cli.main", *arguments], capture_output=True, text=True, timeout=60, env=environment)


def doctor(link: str, home: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]], int]:
    """(the report, its checks by code, the exit code)."""
    began = time.monotonic()
    done = vidconf("doctor", link, "--json", home=home)
    assert time.monotonic() - began < 25
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    return report, {check["code"]: check for check in report["checks"]}, done.returncode


# ---- at servers ----


def test_a_good_server_and_its_meeting(tmp_path: Path) -> None:
    server = ServeProcess(tmp_path)
    server.start()
    try:
        made = subprocess.run([sys.executable, "-m", "vidconf.cli.main", "meeting", "create", "--title", "Bí mật", "--data", str(server.data), "--json"], capture_output=True, text=True, check=True)
        link = json.loads(made.stdout)["link"]
        report, checks, code = doctor(link, tmp_path)
        assert code == 0
        assert report["ok"] is True
        for name in ("connect", "http", "ready", "clock", "control", "meeting"):
            assert checks[f"doctor.server.{name}"]["status"] == "ok", checks[f"doctor.server.{name}"]
        way = checks["doctor.media.udp"]
        assert way["status"] in ("ok", "warning"), way
        assert way["detail"]["loss_percent"] == 0
        assert way["detail"]["sent"] >= 20
        # The report may be sent to anybody: neither the code nor the title is in it.
        assert json.loads(made.stdout)["code"] not in json.dumps(report)
        assert "Bí mật" not in json.dumps(report, ensure_ascii=False)
        _, checks, code = doctor(f"{server.url}/m/aaaa-bbbb-cccc", tmp_path)
        assert code == 1
        assert checks["doctor.server.meeting"]["status"] == "failure"
        assert checks["doctor.server.meeting"]["help"]
    finally:
        assert server.stop() == 0


def test_no_server_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    _, checks, code = doctor(f"http://127.0.0.1:{port}/m/aaaa-bbbb-cccc", tmp_path)
    assert code == 1
    found = checks["doctor.server.connect"]
    assert (found["status"], found["detail"]["port"]) == ("failure", port)
    assert found["help"]
    assert "doctor.server.http" not in checks, "what cannot be looked at is not guessed"


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[int]:
    """A TLS server with a certificate that nobody trusts, which answers with what is no HTTP."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hop.example\x1b[31m")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = tmp_path / "stranger.pem"
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.2)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                raw, _ = listening.accept()
            except OSError:
                continue
            try:
                with context.wrap_socket(raw, server_side=True) as talk:
                    talk.recv(1024)
                    talk.sendall(b"\x00\xff" * 500)
            except OSError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1]
    over.set()
    thread.join()
    listening.close()


def test_a_certificate_that_is_not_trusted_is_named_and_nothing_is_asked_behind_it(stranger: int, tmp_path: Path) -> None:
    _, checks, code = doctor(f"https://127.0.0.1:{stranger}/m/aaaa-bbbb-cccc", tmp_path)
    assert code == 1
    found = checks["doctor.server.tls"]
    assert found["status"] == "failure"
    assert found["help"]
    assert "\x1b" not in found["text"], "a certificate's own words do not reach the terminal as they are"
    assert not {"doctor.server.http", "doctor.server.meeting", "doctor.server.control"} & set(checks)


def test_a_server_that_says_nothing_does_not_hold_the_report_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        report, checks, code = doctor(f"http://127.0.0.1:{silent.getsockname()[1]}/m/aaaa-bbbb-cccc", tmp_path)
    assert code == 1
    assert report["took_s"] < 20
    assert checks["doctor.server.http"]["status"] == "failure"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "http://example.com/m/aaaa-bbbb-cccc", "https://a@b/m/x", "vidconf://", "https://[::/m/aaaa-bbbb-cccc", "\x1b[2J"])
def test_a_link_that_is_none_is_wrong_usage(link: str, tmp_path: Path) -> None:
    done = vidconf("doctor", "--json", "--", link, home=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


# ---- its parts ----


def test_what_hangs_and_what_crashes_are_lines_of_the_report() -> None:
    hung = Part("doctor", "machine", ("doctor.cpu", "doctor.memory"))
    (first, second) = hung.wait(time.monotonic())  # no time at all
    assert {first.result, second.result} == {"hung"}
    crashed = Part("doctor", "no such part", ("doctor.cpu",)).wait(time.monotonic() + 20)
    assert [(f.code, f.status, f.result) for f in crashed] == [("doctor.cpu", "failure", "crashed")]
    for language in words.LANGUAGES:
        words.set_language(language)
        for finding in (first, crashed[0]):
            assert finding.text() != words.text("finding.unknown", code=finding.result)
            assert finding.title() != finding.code
    words.set_language("vi")


def test_every_line_has_its_section() -> None:
    found = [Finding(code, "ok", "x") for code in ORDER]
    assert sum(len(lines) for _, lines in sections(found)) == len(found)
    assert worst([Finding("a", "ok", ""), Finding("b", "warning", "")]) == "warning"


@given(st.text(max_size=400))
def test_outside_words_are_cleaned(text: str) -> None:
    shown = cleaned(text)
    assert len(shown) <= 300
    assert not [char for char in shown if ord(char) < 32 or char in "\u202e\u2066\x7f"]


@given(st.binary(max_size=200))
def test_a_stun_answer_is_read_whatever_it_is(data: bytes) -> None:
    read = read_answer(data)
    assert read is None or len(read[0]) == 12


async def test_the_relay_s_port_answers_and_is_understood() -> None:
    import asyncio

    port = await Port.open("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setblocking(False)
    try:
        transaction, asked = question(100)
        await loop.sock_sendto(asker, asked, port.candidates[0])
        async with asyncio.timeout(2):
            answer = await loop.sock_recv(asker, 2000)
        assert len(answer) <= len(asked), "no amplifier"
        assert read_answer(answer) == (transaction, "127.0.0.1")
        assert read_answer(answer[:-1]) is None
        assert read_answer(asked) is None
    finally:
        asker.close()
        await port.close()


def test_a_way_s_figures() -> None:
    way = Way("h", 1, sent=20, rtts_ms=[float(k) for k in range(19)])
    assert (way.answered, way.loss_percent, way.percentile_ms(50), way.percentile_ms(95)) == (19, 5.0, 9.0, 18.0)
    assert (Way("h", 1).loss_percent, Way("h", 1).percentile_ms(50)) == (100.0, 0.0)


@pytest.mark.parametrize(("url", "good"), [("turn:a.example:3478", True), ("turns:a.example?transport=tcp", True), ("turn:", False), ("http://a", False), ("turn:a:99999999", False)])
def test_turn_urls(url: str, good: bool) -> None:
    assert (read_turn_url(url) is not None) is good


# ---- selftest, policies ----


def test_selftest_tries_everything(tmp_path: Path) -> None:
    done = vidconf("selftest", "--json", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    checks = {check["code"]: check for check in report["checks"]}
    assert report["ok"] is True
    for name in ("program", "packages", "server", "sqlite", "resources", "opus", "vp8", "ring", "qt", "tls"):
        assert checks[f"selftest.{name}"]["status"] == "ok", checks[f"selftest.{name}"]
    shown = vidconf("selftest", home=tmp_path)
    assert shown.returncode == 0
    assert "Opus" in shown.stdout


def test_selftest_survives_a_qt_that_dies(tmp_path: Path) -> None:
    environment = {**os.environ, "QT_QPA_PLATFORM": "no-such-platform", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "vidconf.cli.main", "selftest", "--json"], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    checks = {check["code"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["selftest.qt"]["status"] == "failure"
    assert checks["selftest.opus"]["status"] == "ok", "the others are told all the same"


def test_policies_show_value_source_and_lock(tmp_path: Path) -> None:
    (tmp_path / "vidconf").mkdir()
    (tmp_path / "vidconf" / "settings.json").write_text(json.dumps({"theme": "dark", "language": "en", "badges": {"https://a.example": "secret-badge"}}))
    done = vidconf("policies", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = {entry["name"]: entry for entry in report["settings"]}
    assert (found["theme"]["value"], found["theme"]["source"], found["theme"]["locked"]) == ("dark", "user", False)
    assert (found["confirm_leave"]["source"], found["confirm_leave"]["policy"]) == ("default", "ConfirmLeave")
    assert "secret-badge" not in done.stdout
    shown = vidconf("policies", home=tmp_path)
    assert "theme" in shown.stdout
    assert "secret-badge" not in shown.stdout

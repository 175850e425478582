"""packaging/deploy as it is deployed: nginx with TLS, LiveKit and `vidconf serve`, from the files themselves.

Only ports, folders, the name and the secret are put in, and LiveKit is kept to loopback. `SSL_CERT_FILE` must name
`House.certificate` for clients that trust the machine's certificates.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e.children import bound
from e2e.livekitproc import free_port, needs_livekit_server
from e2e.serverproc import ServeProcess

DEPLOY = Path(__file__).resolve().parents[2] / "packaging" / "deploy"
NAME = "hop.example.gov.vn"
KEY, SECRET = "vidconf", "a-secret-of-this-test-that-is-long-enough"


def needs_nginx() -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is missing: ./script/install-test-peers")


def put_in(text: str, values: dict[str, str]) -> str:
    """`text` with each word replaced; a word that does not stand there is a fault of the file or of the test."""
    for word, value in values.items():
        assert word in text, word
        text = text.replace(word, value)
    return text


def certificate(folder: Path) -> None:
    """fullchain.pem and privkey.pem, of itself, for the example's name and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]), datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1)).add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "privkey.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def nginx_conf(folder: Path, values: dict[str, str]) -> Path:
    """The front's file for a user without rights, with its certificate from `folder`."""
    text = put_in((DEPLOY / "nginx.conf").read_text(), {"/etc/ssl/vidconf": str(folder), **values})
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    path = folder / "nginx.conf"
    path.write_text(f"pid {folder}/nginx.pid;\nerror_log {folder}/nginx.log;\n" + put_in(text, {"http {\n": "http {\n" + own}))
    return path


class House:
    """`front` is the address that everybody uses, `livekit` the SFU's own, which nobody should reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServeProcess(folder)
        self._ports = {name: free_port() for name in ("front", "signalling", "tcp")}
        self._udp = free_port(socket.SOCK_DGRAM)
        self.front = f"https://127.0.0.1:{self._ports['front']}"
        self.livekit = f"http://127.0.0.1:{self._ports['signalling']}"
        self.certificate = folder / "fullchain.pem"
        self._others: list[subprocess.Popen[bytes]] = []
        http, sfu = f"127.0.0.1:{self.server.port}", f"127.0.0.1:{self._ports['signalling']}"
        certificate(folder)
        self.trust = ssl.create_default_context(cafile=str(self.certificate))
        nginx_conf(folder, {"listen 443 ssl": f"listen 127.0.0.1:{self._ports['front']} ssl", "127.0.0.1:8080": http, "127.0.0.1:7880": sfu})
        placeholder = re.findall(r"change-me[\w-]+", (DEPLOY / "vidconf.toml").read_text())[0]
        livekit = put_in(
            (DEPLOY / "livekit.yaml").read_text(),
            {
                "port: 7880": f"port: {self._ports['signalling']}", "udp_port: 7882": f"udp_port: {self._udp}",
                "tcp_port: 7881": f"tcp_port: {self._ports['tcp']}", "127.0.0.1:8080": http, placeholder: SECRET,
                "use_external_ip: false": "node_ip: 127.0.0.1\n  enable_loopback_candidate: true\n  interfaces: {includes: [lo]}",
            },
        )  # fmt: skip
        (folder / "livekit.yaml").write_text(livekit)
        settings = put_in(
            (DEPLOY / "vidconf.toml").read_text(),
            {
                f"wss://{NAME}": self.front.replace("http", "ws", 1), f"https://{NAME}": self.front, placeholder: SECRET,
                "127.0.0.1:7880": sfu, "port = 8080": f"port = {self.server.port}", "/var/lib/vidconf": str(self.server.data),
            },
        )  # fmt: skip
        (folder / "server.toml").write_text(settings)  # in the place of the one that ServeProcess wrote

    def _begin(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            self._others.append(subprocess.Popen(bound(*command), stdout=log, stderr=log))

    def start(self) -> None:
        self._begin("livekit-server", "--config", str(self.folder / "livekit.yaml"))
        self._begin("nginx", "-c", str(self.folder / "nginx.conf"), "-g", "daemon off; master_process off;")
        self.server.start()
        for name in ("front", "signalling"):
            self._wait_for(self._ports[name])

    def _wait_for(self, port: int) -> None:
        ends = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            died = [other.args for other in self._others if other.poll() is not None]
            assert not died, died
            assert time.monotonic() < ends, port
            time.sleep(0.05)

    def stop(self) -> int:
        """The server's exit code."""
        for process in self._others:
            process.terminate()
        for process in self._others:
            try:
                process.wait(2)  # LiveKit waits longer for rooms that nobody is in
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return self.server.stop()


@contextlib.contextmanager
def deployed(folder: Path) -> Iterator[House]:
    needs_livekit_server()
    needs_nginx()
    house = House(folder)
    try:
        house.start()
        yield house
    finally:
        code = house.stop()
    assert code == 0
    assert "Traceback" not in house.server.said()

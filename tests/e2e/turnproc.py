"""A real coturn: UDP, TCP and TLS, one user or a shared secret. Skipped with the command that installs it where it is missing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from e2e.livekitproc import free_port
from fakes.strangers import Authority

USER, WORD = "vidconf", "a-password-of-the-tests"
SECRET = "a-shared-secret-of-the-tests"


class Turn:
    """`with Turn(folder, host) as turn:`; `authority.certificate` is what SSL_CERT_FILE must name for its TLS. `by_secret`: passwords
    are made from `SECRET`, as operators are told to."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", prefix: tuple[str, ...] = (), *, by_secret: bool = False) -> None:
        if shutil.which("turnserver") is None:
            pytest.skip("coturn is missing: ./script/install-test-peers")
        self.host, self._prefix = host, prefix
        self.port, self.tls = free_port(), free_port()
        self.authority = Authority(folder)
        self.authority.server((host,))
        who = ["--use-auth-secret", f"--static-auth-secret={SECRET}"] if by_secret else ["--lt-cred-mech", f"--user={USER}:{WORD}"]
        self._command = [
            *prefix, "turnserver", "-n", f"--listening-ip={host}", f"--relay-ip={host}", f"--listening-port={self.port}",
            f"--tls-listening-port={self.tls}", f"--cert={folder / 'server.pem'}", f"--pkey={folder / 'server.pem'}", "--realm=vidconf", *who,
            "--no-cli", "--allow-loopback-peers", "--log-file=stdout", f"--pidfile={folder / 'turn.pid'}", "--fingerprint",
        ]  # fmt: skip
        self.log = folder / "turn.log"
        self._process: subprocess.Popen[bytes] | None = None

    def entry(self, kind: str) -> dict[str, object]:
        """As an ICE server: `udp`, `tcp` or `tls`."""
        urls = {"udp": f"turn:{self.host}:{self.port}", "tcp": f"turn:{self.host}:{self.port}?transport=tcp", "tls": f"turns:{self.host}:{self.tls}"}
        return {"urls": [urls[kind]], "username": USER, "credential": WORD}

    def __enter__(self) -> Turn:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        ends = time.monotonic() + 10
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                with socket.create_connection((self.host, self.tls), timeout=1):
                    return self
            except OSError:
                time.sleep(0.05)
        self.__exit__()
        raise RuntimeError(self.log.read_text()[-3000:])

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

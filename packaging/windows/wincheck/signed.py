"""Signing, tried with an authority and a timestamp server of this check's own: the signature verifies, and outlives its certificate."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from winbuild import agency, payload, product, signing
from winbuild.running import run

from wincheck.machine import Machine
from wincheck.report import Report, must

_OPENSSL = """
[req]
distinguished_name = name
prompt = no
[name]
CN = Check
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[code]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = codeSigning
[time]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = clock
[clock]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
"""
REQUEST_LIMIT = 1 << 16


def check(report: Report, machine: Machine, msi: Path) -> None:
    """Of copies; the MSI itself stays as it is. Needs an installed program."""
    folder = machine.folder / "signing"
    with report.promise("programs and MSI are signed with IT's certificate and timestamped; the signatures verify") as told:
        _make_keys(folder)
        files = [Path(shutil.copy(machine.installed / product.WINDOW, folder)), Path(shutil.copy(msi, folder / "signed.msi"))]
        with _timestamps(folder) as url:
            signer = signing.Signer(words=("-certs", str(folder / "code.pem"), "-key", str(folder / "code.key")), timestamp_url=url)
            for file in files:
                signer.sign(file)
        for file in files:
            must(_verifies(file, folder, stamped=True), f"{file.name} does not verify, or bears no time")
        told.append(f"{', '.join(file.name for file in files)}, by osslsigncode")
    with report.promise("an agency's edition of a signed MSI carries no signature that no longer holds; signed anew it verifies"):
        edition = folder / "agency.msi"
        agency.write(folder / "signed.msi", edition, {"SERVERURL": "https://hop.example.gov.vn"}, payload.last_change())
        must(not _verifies(edition, folder), "the old signature is still accepted")
        must(not agency.has_signature(edition), "the old signature is still there")
        signing.Signer(words=("-certs", str(folder / "code.pem"), "-key", str(folder / "code.key"))).sign(edition)
        must(_verifies(edition, folder), "the new signature does not verify")


def _verifies(file: Path, folder: Path, *, stamped: bool = False) -> bool:
    words = ["osslsigncode", "verify", "-CAfile", str(folder / "root.pem"), "-TSA-CAfile", str(folder / "root.pem"), "-in", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    said = done.stdout + done.stderr
    return (
        done.returncode == 0
        and "Signature verification: ok" in said
        and (not stamped or "Timestamp Server Signature verification: ok" in said)
    )


def _make_keys(folder: Path) -> None:
    """An authority, and certificates of it for code and for time. Raises `RunError`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "openssl.cnf"
    config.write_text(_OPENSSL, encoding="ascii")
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-config", config, "-extensions", "authority", "-days", "2",
         "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=Check root"], cwd=folder)  # fmt: skip
    for name in ("code", "time"):
        run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-config", config, "-keyout", f"{name}.key", "-out", f"{name}.csr",
             "-subj", f"/CN=Check {name}"], cwd=folder)  # fmt: skip
        run(["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "1",
             "-extfile", config, "-extensions", name, "-out", f"{name}.pem"], cwd=folder)  # fmt: skip


@contextmanager
def _timestamps(folder: Path) -> Iterator[str]:
    """An RFC 3161 server on loopback; its address."""

    class Stamps(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("Content-Length", "0")), REQUEST_LIMIT)
            (folder / "request.tsq").write_bytes(self.rfile.read(length))
            (folder / "serial").write_text("01\n", encoding="ascii")
            run(["openssl", "ts", "-reply", "-config", "openssl.cnf", "-section", "clock", "-queryfile", "request.tsq", "-signer", "time.pem",
                 "-inkey", "time.key", "-chain", "root.pem", "-out", "reply.tsr"], cwd=folder)  # fmt: skip
            reply = (folder / "reply.tsr").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stamps)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

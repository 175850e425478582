"""Signing of programs by a hook or by osslsigncode, with a certificate made here; what is wrong is said before anything is built."""

from __future__ import annotations

import argparse
import datetime
import shutil
import subprocess
from pathlib import Path

import pip
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from winbuild import signing
from winbuild.running import RunError

needs_osslsigncode = pytest.mark.skipif(
    shutil.which("osslsigncode") is None, reason="osslsigncode is not here: apt-get install osslsigncode"
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A real program for Windows that nobody signed: pip brings one along."""
    found = Path(pip.__file__).parent / "_vendor" / "distlib" / "t64.exe"
    if not found.is_file():
        pytest.skip("this pip brings no program for Windows along")
    return Path(shutil.copy(found, tmp_path / "program.exe"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (root.pem) and a certificate for code with its key (chain.pem, key.pem)."""
    folder = tmp_path_factory.mktemp("keys")
    now = datetime.datetime.now(datetime.UTC)

    def issue(name: str, key: rsa.RSAPrivateKey, issuer: str, issuer_key: rsa.RSAPrivateKey, *, authority: bool) -> x509.Certificate:
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING])
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        return (made if authority else made.add_extension(usage, critical=False)).sign(issuer_key, hashes.SHA256())

    root_key, key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    root = issue("Agency root", root_key, "Agency root", root_key, authority=True)
    leaf = issue("Agency programs", key, "Agency root", root_key, authority=False)
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder


def told(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    signing.add_options(parser)
    return parser.parse_args(words)


def test_without_options_nothing_is_signed() -> None:
    assert signing.from_options(told()) is None


@pytest.mark.parametrize(
    "words",
    [
        ["--sign-hook", "sign", "--key", "k.pem"], ["--sign-hook", "sign", "--timestamp-url", "http://t"], ["--sign-hook", " "], ["--key", "k.pem"],
        ["--certificate", "c.pem"], ["--timestamp-url", "http://t"], ["--password-file", "p"], ["--pkcs12", "a.pfx", "--key", "k.pem"],
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(words: list[str]) -> None:
    with pytest.raises(signing.SigningError):
        signing.from_options(told(*words))


def test_a_token_is_asked_by_its_address() -> None:
    signer = signing.from_options(
        told("--certificate", "c.pem", "--key", "pkcs11:object=sign", "--pkcs11-module", "m.so", "--password-file", "pin")
    )
    assert signer is not None
    assert signer.words == ("-pkcs11module", "m.so", "-certs", "c.pem", "-key", "pkcs11:object=sign", "-readpass", "pin")


@needs_osslsigncode
def test_a_signed_program_verifies_against_its_authority(program: Path, keys: Path) -> None:
    assert not signing.is_signed(program)
    signer = signing.from_options(told("--certificate", str(keys / "chain.pem"), "--key", str(keys / "key.pem")))
    assert signer is not None
    signer.sign(program)
    assert signing.is_signed(program)
    verify = ["osslsigncode", "verify", "-CAfile", str(keys / "root.pem"), "-TSA-CAfile", str(keys / "root.pem"), "-in", str(program)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Signature verification: ok" in done.stdout + done.stderr


@needs_osslsigncode
def test_a_key_that_cannot_be_read_is_an_error(program: Path, keys: Path) -> None:
    signer = signing.from_options(told("--certificate", str(keys / "chain.pem"), "--key", str(keys / "none.pem")))
    assert signer is not None
    before = program.read_bytes()
    with pytest.raises(RunError):
        signer.sign(program)
    assert program.read_bytes() == before
    assert [path.name for path in program.parent.iterdir()] == [program.name]


def test_a_hook_that_signs_nothing_is_found_out(program: Path) -> None:
    with pytest.raises(signing.SigningError, match="is not"):
        signing.Signer(hook=("true",)).sign(program)
    with pytest.raises(RunError, match="exit 1"):
        signing.Signer(hook=("false",)).sign(program)


@needs_osslsigncode
def test_a_hook_is_called_with_each_file(program: Path, keys: Path, tmp_path: Path) -> None:
    script = tmp_path / "sign it.sh"
    script.write_text(
        f'#!/bin/sh\nosslsigncode sign -certs {keys}/chain.pem -key {keys}/key.pem -h sha256 -in "$1" -out "$1.new" && mv "$1.new" "$1"\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    signer = signing.from_options(told("--sign-hook", f"'{script}'"))
    assert signer is not None
    other = Path(shutil.copy(program, tmp_path / "a library.dll"))
    waiting = signing.unsigned([program, other, script])
    assert waiting == [program, other]
    for file in waiting:
        signer.sign(file)
    assert signing.unsigned([program, other]) == []


@pytest.mark.parametrize(
    "content", [b"", b"MZ", b"MZ" + bytes(58) + b"\xff\xff\xff\x7f" + bytes(64), b"PK\x03\x04" + bytes(400), bytes(5000)]
)
def test_what_is_no_program_is_told(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.dll"
    file.write_bytes(content)
    with pytest.raises(RunError, match="no program"):
        signing.is_signed(file)

"""Signs programs, libraries and the MSI: by IT's own command, or by osslsigncode with a certificate or a token that IT gives.

Keys are never read here; a password comes from a file, so that no list of processes shows it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from winbuild import product
from winbuild.running import RunError, run

ENDINGS = (".exe", ".dll", ".pyd")
SECURITY_DIRECTORY = 4


class SigningError(RuntimeError):
    """Options that do not fit, or a file that came back unsigned."""


@dataclass(frozen=True, slots=True)
class Signer:
    """`hook`: a command called with one file. Else osslsigncode's words, and the address of a timestamp server ("": none)."""

    hook: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    timestamp_url: str = ""

    def sign(self, file: Path) -> None:
        """In place. Raises `RunError`, or `SigningError` when the file is unsigned afterwards."""
        if self.hook:
            run([*self.hook, file])
        else:
            with tempfile.TemporaryDirectory(dir=file.parent, prefix=".signing-") as name:
                signed = Path(name) / file.name
                stamp = ["-ts", self.timestamp_url] if self.timestamp_url else []
                run(["osslsigncode", "sign", *self.words, "-h", "sha256", "-n", product.NAME, *stamp, "-in", file, "-out", signed])
                os.replace(signed, file)
        if file.suffix in ENDINGS and not is_signed(file):
            raise SigningError(f"{file.name} was to be signed and is not")


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("signing (without any of these nothing is signed)")
    group.add_argument("--sign-hook", metavar="CMD", help="a command that signs the file given as its last word, in place")
    group.add_argument("--certificate", type=Path, metavar="PEM", help="the signing certificate with its chain")
    group.add_argument("--key", metavar="PEM|URI", help="its key: a file, or a token's pkcs11: address")
    group.add_argument("--pkcs11-module", type=Path, metavar="SO", help="the token's library")
    group.add_argument("--pkcs12", type=Path, metavar="PFX", help="certificate and key in one file instead")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="the password (or a token's PIN), in a file of its own")
    group.add_argument(
        "--timestamp-url", default="", metavar="URL", help="an RFC 3161 timestamp server; signatures outlive the certificate"
    )


def from_options(told: argparse.Namespace) -> Signer | None:
    """The signer, or None where none is asked for. Raises `SigningError`."""
    keyed = told.certificate is not None or told.key is not None or told.pkcs12 is not None
    if told.sign_hook is not None:
        if keyed or told.timestamp_url:
            raise SigningError("--sign-hook signs by itself: it goes with no other option of signing")
        hook = tuple(shlex.split(told.sign_hook))
        if not hook:
            raise SigningError("--sign-hook names no command")
        return Signer(hook=hook)
    if not keyed:
        if told.timestamp_url or told.password_file or told.pkcs11_module:
            raise SigningError("there is no key to sign with: --certificate and --key, or --pkcs12")
        return None
    if told.pkcs12 is not None:
        if told.certificate is not None or told.key is not None:
            raise SigningError("--pkcs12 holds certificate and key: it goes with neither")
        words = ["-pkcs12", str(told.pkcs12)]
    elif told.certificate is None or told.key is None:
        raise SigningError("--certificate and --key go together")
    else:
        words = ["-certs", str(told.certificate), "-key", told.key]
    if told.pkcs11_module is not None:
        words = ["-pkcs11module", str(told.pkcs11_module), *words]
    if told.password_file is not None:
        words += ["-readpass", str(told.password_file)]
    return Signer(words=tuple(words), timestamp_url=told.timestamp_url)


def unsigned(files: Iterable[Path]) -> list[Path]:
    """The programs and libraries among `files` that carry no signature."""
    return [file for file in files if file.suffix in ENDINGS and not is_signed(file)]


def is_signed(file: Path) -> bool:
    """Whether a PE file carries a signature; whose, and whether it holds, osslsigncode and Windows tell. Raises `RunError` for what
    is no PE file."""
    head = file.read_bytes()[:4096]
    try:
        (start,) = struct.unpack_from("<I", head, 0x3C)
        (magic,) = struct.unpack_from("<H", head, start + 24)
        directories = start + 24 + {0x10B: 96, 0x20B: 112}[magic]
        offset, size = struct.unpack_from("<II", head, directories + 8 * SECURITY_DIRECTORY)
    except (struct.error, KeyError):
        raise RunError(f"{file.name} is no program or library for Windows") from None
    if head[:2] != b"MZ" or head[start : start + 4] != b"PE\0\0":
        raise RunError(f"{file.name} is no program or library for Windows")
    return offset > 0 and size > 0

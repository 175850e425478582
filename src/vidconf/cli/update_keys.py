"""The keys of an update repository: PEM files in folders of the administrators', made here or brought along. Any thread.

    root-1.pem, root-2.pem, …    say whose signatures count; needed to make the repository and to replace keys; kept offline
    targets.pem                  signs a release; kept offline
    online.pem                   signs, day after day, that nothing newer exists; lies where the daily refresh runs
    update-root.json             the root that clients are given; what a site must follow from, before anything of it is signed again

Ed25519 where made here; RSA (2048 bits or more) and ECDSA keys in PKCS#8 are taken as well. Who has only `online.pem` can hide a
new release for a while, but bring no program to anybody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from vidconf.client.updates.check import ROOT_NAME

KeyName = Literal["root", "targets", "online"]
OFFLINE: tuple[KeyName, ...] = ("root", "targets")
PASSPHRASE_LEAST = 12


class KeyTrouble(Exception):
    """A key that is missing, cannot be read, or does not fit; the text says which and what to do."""


class Keys:
    """The PEM files of `folders`. `passphrase` is asked once, when the first locked key is read; "" for none."""

    def __init__(self, folders: Sequence[Path], passphrase: Callable[[], str]) -> None:
        self._folders, self._ask = tuple(folders), passphrase
        self._passphrase: str | None = None
        self._read: dict[Path, CryptoSigner] = {}

    def files(self, name: KeyName) -> list[Path]:
        """`root.pem`, `root-1.pem`, …"""
        found: list[Path] = []
        for folder in self._folders:
            found += sorted(file for file in folder.glob(f"{name}*.pem") if file.stem == name or file.stem.startswith(f"{name}-"))
        return found

    def signers(self, name: KeyName, keyids: Collection[str] | None = None) -> list[CryptoSigner]:
        """Those keys of `name` whose ids are among `keyids` (None: all). Raises `KeyTrouble`."""
        signers = [self._signer(file) for file in self.files(name)]
        return [signer for signer in signers if keyids is None or signer.public_key.keyid in keyids]

    def make(self, name: KeyName) -> CryptoSigner:
        """A new Ed25519 key in the first folder, under the next free name. Raises `KeyTrouble`."""
        folder = self._folders[0]
        taken = {file.stem for file in self.files(name)}
        stem = next(stem for stem in (*((name,) if name != "root" else ()), *(f"{name}-{n}" for n in range(1, 1000))) if stem not in taken)
        key = Ed25519PrivateKey.generate()
        locked = name in OFFLINE and self.passphrase()
        if locked and len(self.passphrase()) < PASSPHRASE_LEAST:
            raise KeyTrouble(f"the passphrase is too short: {PASSPHRASE_LEAST} characters at least")
        lock = BestAvailableEncryption(self.passphrase().encode()) if locked else NoEncryption()
        file = folder / f"{stem}.pem"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as writing:
                writing.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock))
        except OSError as error:
            raise KeyTrouble(f"{file}: {error.strerror}") from error
        self._read[file] = CryptoSigner(key)
        return self._read[file]

    def trusted_root(self) -> bytes:
        """The root beside the keys, of the first folder that has one. Raises `KeyTrouble`."""
        for folder in self._folders:
            try:
                return (folder / ROOT_NAME).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise KeyTrouble(f"{folder / ROOT_NAME}: {error.strerror}") from error
        raise KeyTrouble(f"{ROOT_NAME} of this site is wanted beside the keys: without it nobody knows what on the web server is genuine")

    def keep_root(self, root: bytes) -> Path:
        """The newest root, beside the keys of the first folder. Raises `KeyTrouble`."""
        place = self._folders[0] / ROOT_NAME
        half = place.with_name(f".{ROOT_NAME}.half")
        try:
            half.write_bytes(root)
            os.replace(half, place)
        except OSError as error:
            raise KeyTrouble(f"{place}: {error.strerror}") from error
        return place

    def passphrase(self) -> str:
        if self._passphrase is None:
            self._passphrase = self._ask()
        return self._passphrase

    def _signer(self, file: Path) -> CryptoSigner:
        if file not in self._read:
            try:
                pem = file.read_bytes()
            except OSError as error:
                raise KeyTrouble(f"{file}: {error.strerror}") from error
            try:
                locked = b"ENCRYPTED" in pem
                key = load_pem_private_key(pem, self.passphrase().encode() if locked else None)
                if isinstance(key, RSAPrivateKey) and key.key_size < 2048:
                    raise KeyTrouble(f"{file}: an RSA key of {key.key_size} bits is too short")
                self._read[file] = CryptoSigner(key)
            except (ValueError, TypeError, UnsupportedAlgorithm) as error:
                raise KeyTrouble(f"{file}: no private key, or the passphrase is wrong") from error
        return self._read[file]

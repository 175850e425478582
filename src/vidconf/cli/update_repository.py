"""A folder of signed static files that clients ask for updates: made, filled with a release, renewed, its keys replaced.

    DIR/metadata/   1.root.json …, 7.targets.json, 12.snapshot.json, timestamp.json
    DIR/targets/    <sha256>.vidconf.json, <sha256>.vidconf-1.4.0.msi, …

Blocks on the disk; one process at a time, under a lock. Any plain web server can serve DIR. `timestamp.json` is written last,
so a client sees a state wholly or not at all. DIR comes back from that server, which is believed no more than clients believe it:
what is there is signed again by offline keys only where it follows from the root that lies beside them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from vidconf.cli.update_keys import KeyName, Keys, KeyTrouble
from vidconf.client.updates.check import ROOT_NAME
from vidconf.client.updates.release import TARGET, Release, ReleaseError, checked_release, parse_release
from vidconf.client.updates.versions import older

DAYS = {"root": 800, "targets": 400, "snapshot": 30, "timestamp": 7}
"""How long what is signed is valid. The last one bounds how long a client can be shown an old state."""
KEY_OF: dict[str, KeyName] = {"root": "root", "targets": "targets", "snapshot": "online", "timestamp": "online"}
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
S = TypeVar("S", Root, Targets, Snapshot, Timestamp)


class RepositoryTrouble(Exception):
    """What was asked cannot be done; the text says why, and what to do."""


class UpdateRepository:
    """The repository in `folder`. `now`: injectable for tests, UTC."""

    def __init__(self, folder: Path, *, now: datetime | None = None) -> None:
        self.folder = folder
        self._metadata, self._targets = folder / "metadata", folder / "targets"
        self._now = (now or datetime.now(UTC)).replace(microsecond=0)

    # ---- what is asked ----

    def create(self, keys: Keys, *, root_keys: int = 1, root_threshold: int = 1) -> None:
        """A new, empty repository; keys that are not there are made. Raises `RepositoryTrouble`, `KeyTrouble`."""
        if self._metadata.exists() and any(self._metadata.iterdir()):
            raise RepositoryTrouble(f"{self.folder} is a repository already")
        if not 1 <= root_threshold <= root_keys:
            raise RepositoryTrouble("more signatures wanted than there are root keys")
        signers: dict[KeyName, list[CryptoSigner]] = {}
        wanted: dict[KeyName, int] = {"root": root_keys, "targets": 1, "online": 1}
        for name, count in wanted.items():
            held = keys.signers(name)
            signers[name] = held or [keys.make(name) for _ in range(count)]
        if len(signers["root"]) < root_threshold:
            raise RepositoryTrouble("more signatures wanted than there are root keys")
        root = Root(version=1, expires=self._expiry("root"), consistent_snapshot=True)
        for role, name in KEY_OF.items():
            for signer in signers[name]:
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = root_threshold
        self._targets.mkdir(parents=True, exist_ok=True)
        self._metadata.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._write(root, root, keys)
            self._write(Targets(version=1, expires=self._expiry("targets")), root, keys)
            self._renew_online(root, keys)
            keys.keep_root(self.root_bytes())

    def publish(self, release: Release, files: Mapping[str, Path], keys: Keys) -> Release:
        """Offer `release` with `files` (by kind); the same version again replaces it. Raises `RepositoryTrouble`, `KeyTrouble`."""
        try:
            release = checked_release(replace(release, files={kind: file.name for kind, file in files.items()}))
        except ReleaseError as error:
            raise RepositoryTrouble(f"not a sound release: {error}") from error
        if len({file.name for file in files.values()}) < len(files):
            raise RepositoryTrouble("two files have the same name")
        with self._alone():
            root, former = self._believed_root(keys), self._latest(Targets)
            held = self._held(former)
            if held is not None and older(release.version, held.version):
                raise RepositoryTrouble(f"{held.version} is offered already: clients go only forward")
            self._signers(root, "targets", keys)  # before large files are copied
            before = set(_stored(former.targets))
            document = json.dumps(release.as_json(), ensure_ascii=False, indent=1).encode()
            entries = {TARGET: TargetFile.from_data(TARGET, document, ["sha256"])}
            self._put(entries[TARGET], document)
            for file in files.values():
                try:
                    entries[file.name] = TargetFile.from_file(file.name, str(file), ["sha256"])
                    self._put(entries[file.name], file)
                except (StorageError, ValueError) as error:
                    raise RepositoryTrouble(f"{file} cannot be read") from error
            # of the state before nothing is taken along but its number
            self._write(Targets(former.version + 1, expires=self._expiry("targets"), targets=entries), root, keys)
            self._renew_online(root, keys)
            # what the state before named stays for who is fetching it just now
            for stale in {file.name for file in self._targets.iterdir()} - before - set(_stored(entries)):
                (self._targets / stale).unlink()
        return release

    def refresh(self, keys: Keys) -> dict[str, int]:
        """Say again that nothing newer exists: for a daily job, which needs `online.pem` only. The days left of each role."""
        with self._alone():
            self._renew_online(self._latest(Root), keys)
        return self.days_left()

    def rotate(self, name: KeyName, keys: Keys) -> None:
        """New keys in place of those of `name`, which count no longer. Raises `RepositoryTrouble`, `KeyTrouble`."""
        with self._alone():
            root, targets = self._believed(keys)
            old_root = self._signers(root, "root", keys)  # clients ask for theirs as well
            roles = [role for role, key in KEY_OF.items() if key == name]
            fresh = [keys.make(name) for _ in root.roles[roles[0]].keyids]
            for role in roles:
                for keyid in list(root.roles[role].keyids):
                    root.revoke_key(keyid, role)
                for signer in fresh:
                    root.add_key(signer.public_key, role)
            self._renew(root)
            self._write(root, root, keys, also=old_root)
            if name == "targets":
                self._renew(targets)
                self._write(targets, root, keys)
            self._renew_online(root, keys)
            keys.keep_root(self.root_bytes())

    def renew_root(self, keys: Keys) -> None:
        """The same keys for as long again, before what they signed ends. Raises `RepositoryTrouble`, `KeyTrouble`."""
        with self._alone():
            root, targets = self._believed(keys)
            for signed in (root, targets):
                self._renew(signed)
                self._write(signed, root, keys)
            self._renew_online(root, keys)
            keys.keep_root(self.root_bytes())

    def root_bytes(self) -> bytes:
        """The newest root, as clients are given it."""
        return self._newest("root").read_bytes()

    def days_left(self) -> dict[str, int]:
        """Whole days until what each role signed ends."""
        return {role: (self._signed(role).expires - self._now).days for role in KEY_OF}

    def held(self) -> Release | None:
        """What is offered now. Raises `RepositoryTrouble`."""
        return self._held(self._latest(Targets))

    # ---- files ----

    def _held(self, targets: Targets) -> Release | None:
        if TARGET not in targets.targets:
            return None
        stored = next(iter(_stored({TARGET: targets.targets[TARGET]})))
        try:
            return parse_release((self._targets / stored).read_bytes())
        except (OSError, ReleaseError) as error:
            raise RepositoryTrouble(f"targets/{stored}: {error}") from error

    def _put(self, entry: TargetFile, content: bytes | Path) -> None:
        place = self._targets / next(iter(_stored({entry.path: entry})))
        _write_whole(place, content)

    def _newest(self, role: str) -> Path:
        if role == "timestamp":
            return self._metadata / "timestamp.json"
        found = [file for file in self._metadata.glob(f"*.{role}.json") if _NUMBER.fullmatch(file.name.partition(".")[0])]
        if not found:
            raise RepositoryTrouble(f"{self.folder} is no repository: make one with `vidconf updates init`")
        return max(found, key=lambda file: int(file.name.partition(".")[0]))

    def _signed(self, role: str) -> Any:
        return _read(self._newest(role)).signed

    def _latest(self, kind: type[S]) -> S:
        signed = self._signed(kind.type)
        if not isinstance(signed, kind):
            raise RepositoryTrouble(f"{self._newest(kind.type)} is no {kind.type}")
        return signed

    # ---- what is believed ----

    def _believed(self, keys: Keys) -> tuple[Root, Targets]:
        """What is there now, as whoever held the keys signed it. Raises `RepositoryTrouble`, `KeyTrouble`."""
        root, file = self._believed_root(keys), self._newest("targets")
        held = _read(file)
        _held_to(root, "targets", held, file)
        targets: Targets = held.signed
        return root, targets

    def _believed_root(self, keys: Keys) -> Root:
        """The newest, as clients come to it from the one beside the keys. Raises `RepositoryTrouble`, `KeyTrouble`."""
        try:
            root = Metadata[Root].from_bytes(keys.trusted_root()).signed
        except (DeserializationError, RepositoryError) as error:
            raise KeyTrouble(f"{ROOT_NAME} beside the keys cannot be read: {error}") from error
        newest = int(self._newest("root").name.partition(".")[0])
        if newest < root.version:
            raise RepositoryTrouble(f"{self.folder} is older than {ROOT_NAME} beside the keys: take the newest copy of the site")
        for version in range(root.version, newest + 1):
            file = self._metadata / f"{version}.root.json"
            held = _read(file)
            _held_to(root, "root", held, file)
            if held.signed.version != version:
                raise RepositoryTrouble(f"{file} has been changed")
            root = held.signed
            _held_to(root, "root", held, file)
        return root

    # ---- signing ----

    def _expiry(self, role: str) -> datetime:
        return self._now + timedelta(days=DAYS[role])

    def _renew(self, signed: Signed) -> None:
        signed.version += 1
        signed.expires = self._expiry(signed.type)

    def _renew_online(self, root: Root, keys: Keys) -> None:
        """The snapshot where anything it names changed or half its time is over, and in any case the timestamp."""
        self._signers(root, "timestamp", keys)
        named = {"targets.json": MetaFile(version=self._latest(Targets).version)}
        first = not (self._metadata / "timestamp.json").exists()
        snapshot = Snapshot(version=1, expires=self._expiry("snapshot")) if first else self._latest(Snapshot)
        stale = snapshot.expires - self._now < timedelta(days=DAYS["snapshot"] / 2)
        if first or snapshot.meta != named or stale or not self._still_signed(root, "snapshot"):
            snapshot.meta = named
            if not first:
                self._renew(snapshot)
            self._write(snapshot, root, keys)
        timestamp = Timestamp(version=1, expires=self._expiry("timestamp")) if first else self._latest(Timestamp)
        timestamp.snapshot_meta = MetaFile(version=snapshot.version)
        if not first:
            self._renew(timestamp)
        self._write(timestamp, root, keys)

    def _still_signed(self, root: Root, role: str) -> bool:
        held: Metadata[Any] = Metadata.from_bytes(self._newest(role).read_bytes())
        try:
            root.verify_delegate(role, held.signed_bytes, held.signatures)
        except UnsignedMetadataError:
            return False
        return True

    def _signers(self, root: Root, role: str, keys: Keys) -> list[CryptoSigner]:
        """Enough of them. Raises `KeyTrouble`."""
        wanted = root.roles[role]
        signers = keys.signers(KEY_OF[role], wanted.keyids)
        if len(signers) < wanted.threshold:
            raise KeyTrouble(
                f"no {KEY_OF[role]} key that counts: {KEY_OF[role]}*.pem of this repository is wanted in one of the folders --keys"
            )
        return signers

    def _write(self, signed: Signed, root: Root, keys: Keys, also: list[CryptoSigner] | None = None) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in [*self._signers(root, signed.type, keys), *(also or [])]:
            metadata.sign(signer, append=True)
        root.verify_delegate(signed.type, metadata.signed_bytes, metadata.signatures)
        name = f"{signed.type}.json" if signed.type == "timestamp" else f"{signed.version}.{signed.type}.json"
        _write_whole(self._metadata / name, metadata.to_bytes())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time: the daily refresh waits for nobody, it comes again. Raises `RepositoryTrouble`."""
        try:
            lock = open(self.folder / ".lock", "a+b")  # noqa: SIM115  it is held by the handle
        except OSError as error:
            raise RepositoryTrouble(f"{self.folder}: {error.strerror}") from error
        with lock:
            try:
                _lock(lock.fileno())
            except OSError:
                raise RepositoryTrouble(f"another process works on {self.folder}: try again") from None
            yield


def _write_whole(place: Path, content: bytes | Path) -> None:
    """Under its name only when all is there; never through a link, which a copy from a web server may hold. Raises `RepositoryTrouble`."""
    half = place.with_name(f".{place.name[:80]}.half")
    try:
        half.unlink(missing_ok=True)
        with half.open("xb") as out:
            if isinstance(content, bytes):
                out.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, out)
        os.replace(half, place)
    except OSError as error:
        raise RepositoryTrouble(f"{place}: {error.strerror}") from error


def _read(file: Path) -> Metadata[Any]:
    """Raises `RepositoryTrouble`. Not looked at whose it is."""
    try:
        return Metadata.from_bytes(file.read_bytes())
    except (DeserializationError, RepositoryError, OSError) as error:
        raise RepositoryTrouble(f"{file} cannot be read: {error}") from error


def _held_to(root: Root, role: str, held: Metadata[Any], file: Path) -> None:
    """Raises `RepositoryTrouble` for what those that `root` names did not sign as it is."""
    try:
        root.verify_delegate(role, held.signed_bytes, held.signatures)
    except (RepositoryError, ValueError) as error:
        raise RepositoryTrouble(
            f"{file} has been changed: it is not what the {role} keys signed. Take a copy of the site from before, or publish anew"
        ) from error
    if held.signed.type != role:
        raise RepositoryTrouble(f"{file} has been changed: it is no {role}")


def _lock(handle: int) -> None:
    """Raises OSError when another holds it; the system lets it go with the process."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _stored(entries: Mapping[str, TargetFile]) -> list[str]:
    """Their names on the web server."""
    return [f"{entry.hashes['sha256']}.{path}" for path, entry in entries.items()]

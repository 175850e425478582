"""`vidconf updates` as an administrator uses it: a whole life of an update site, through the command line; its refusals."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes.update_site import update_site
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from vidconf.cli.updates import PASSPHRASE, command

SECRET = {PASSPHRASE: "one long passphrase"}


class Admin:
    def __init__(self, folder: Path) -> None:
        self.site, self.keys = folder / "site", folder / "keys"
        self.root = self.keys / "update-root.json"

    def run(self, *words: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        done = CliRunner().invoke(command, list(words), env={PASSPHRASE: None, **(SECRET if env is None else env)})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.exit_code, done.output

    def do(self, what: str, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        code, said = self.run(what, str(self.site), *words, "--keys", str(self.keys), "--json", env=env)
        assert code == 0, said
        report: dict[str, Any] = json.loads(said)
        return report

    def verify(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, said = self.run("verify", str(self.site), "--root", str(self.root), *words, "--json")
        return code, json.loads(said)


@pytest.fixture
def admin(tmp_path: Path) -> Admin:
    made = Admin(tmp_path)
    made.do("init")
    return made


def test_a_site_from_its_making_to_new_keys(admin: Admin, tmp_path: Path) -> None:
    msi, notes = tmp_path / "vidconf-1.4.0.msi", tmp_path / "notes.txt"
    msi.write_bytes(b"MSI" * 1000)
    notes.write_text("Sửa lỗi\n", encoding="utf-8")
    done = admin.do("publish", "1.4.0", "--file", f"windows-msi={msi}", "--minimum", "1.2", "--notes-vi", f"@{notes}")
    assert done["published"]["notes"] == {"vi": "Sửa lỗi"}
    code, seen = admin.verify()
    assert (code, seen["offers"]["version"], seen["checked_bytes"], seen["soon"]) == (0, "1.4.0", {"windows-msi": 3000}, [])
    assert seen["days_left"]["timestamp"] == 6
    first_root = admin.root.read_bytes()
    for name in ("online", "targets", "root"):
        told = admin.do("rotate", name)
        assert len(told["new"]) == len(told["no_longer"]) == 1
        Path(told["no_longer"][0]).unlink()
    admin.do("publish", "1.5.0")
    assert admin.root.read_bytes() != first_root
    assert admin.verify()[1]["offers"]["version"] == "1.5.0"
    admin.root.write_bytes(first_root)
    assert admin.verify()[1]["offers"]["version"] == "1.5.0", "who was given the first root follows"
    assert admin.do("renew")["days_left"]["targets"] == 400


def test_offline_keys_are_locked_and_no_key_is_for_others(admin: Admin) -> None:
    for name in ("root-1.pem", "targets.pem", "online.pem"):
        file = admin.keys / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert (b"ENCRYPTED" in file.read_bytes()) == (name != "online.pem")
    assert not list(admin.site.rglob("*.pem"))


def test_the_daily_refresh_needs_the_online_key_only(admin: Admin) -> None:
    for name in ("root-1.pem", "targets.pem"):
        os.unlink(admin.keys / name)
    before = (admin.site / "metadata/timestamp.json").read_bytes()
    assert admin.do("refresh", env={})["days_left"]["timestamp"] == 7
    assert (admin.site / "metadata/timestamp.json").read_bytes() != before
    code, said = admin.run("publish", str(admin.site), "2.0", "--keys", str(admin.keys))
    assert code == 1
    assert "targets*.pem" in said


def test_what_would_harm_is_refused(admin: Admin) -> None:
    admin.do("publish", "1.4.0")
    refused = {
        ("publish", "1.3.0"): "forward", ("publish", "1.5.0", "--minimum", "1.6"): "nobody could join", ("publish", "newest"): "not a sound",
        ("publish", "1.5.0", "--page", "http://intranet.example.gov.vn"): "not a sound",
        ("publish", "1.5.0", "--notes-vi", "x" * 4001): "not a sound", ("init",): "already",
    }  # fmt: skip
    for (what, *words), why in refused.items():
        code, said = admin.run(what, str(admin.site), *words, "--keys", str(admin.keys))
        assert (code, why in said) == (1, True), said
    assert admin.verify()[1]["offers"]["version"] == "1.4.0"


def test_wrong_usage_is_said_as_such(admin: Admin, tmp_path: Path) -> None:
    base = ("publish", str(admin.site), "1.5", "--keys", str(admin.keys))
    for words in (("--file", "windows-msi"), ("--file", f"windows-msi={tmp_path / 'none'}"), ("--notes-en", f"@{tmp_path / 'none'}")):
        assert admin.run(*base, *words)[0] == 2
    assert admin.run(*base, env={})[0] == 2, "no passphrase, nobody to ask"


@pytest.mark.parametrize("passphrase", ["", "short", "another long one"])
def test_a_wrong_passphrase_is_told(admin: Admin, passphrase: str) -> None:
    code, said = admin.run("publish", str(admin.site), "2.0", "--keys", str(admin.keys), env={PASSPHRASE: passphrase})
    assert code == 1
    assert "passphrase is wrong" in said


def test_a_short_passphrase_makes_no_key(tmp_path: Path) -> None:
    made = Admin(tmp_path)
    code, said = made.run("init", str(made.site), "--keys", str(made.keys), env={PASSPHRASE: "short"})
    assert (code, "too short" in said) == (1, True)
    assert not list(tmp_path.rglob("*.pem"))


def test_keys_brought_along_are_used_when_they_are_strong(tmp_path: Path) -> None:
    made = Admin(tmp_path)
    made.keys.mkdir()

    def bring(name: str, key: Any) -> None:
        (made.keys / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    bring("root.pem", rsa.generate_private_key(65537, 1024))
    bring("targets.pem", ec.generate_private_key(ec.SECP256R1()))
    code, said = made.run("init", str(made.site), "--keys", str(made.keys))
    assert (code, "too short" in said) == (1, True)
    bring("root.pem", rsa.generate_private_key(65537, 2048))
    assert [Path(file).name for file in made.do("init")["keys"]] == ["root.pem", "targets.pem", "online.pem"]
    made.do("publish", "1.0")
    assert made.verify()[1]["offers"]["version"] == "1.0"
    (made.keys / "targets.pem").write_text("nonsense")
    assert made.run("publish", str(made.site), "1.1", "--keys", str(made.keys))[0] == 1


def test_several_root_keys_with_a_threshold(tmp_path: Path) -> None:
    made = Admin(tmp_path)
    made.do("init", "--root-keys", "3", "--root-threshold", "2")
    (made.keys / "root-1.pem").unlink()
    made.do("publish", "1.0")
    made.do("rotate", "targets")
    assert made.verify()[0] == 0
    (made.keys / "root-2.pem").unlink()
    code, said = made.run("rotate", str(made.site), "targets", "--keys", str(made.keys))
    assert (code, "no root key that counts" in said) == (1, True)


def test_a_broken_repository_is_told_and_not_made_worse(admin: Admin, tmp_path: Path) -> None:
    admin.do("publish", "1.0")
    newest = max(admin.site.glob("metadata/*.targets.json"))
    newest.write_text("{")
    code, said = admin.run("refresh", str(admin.site), "--keys", str(admin.keys))
    assert (code, "cannot be read" in said) == (1, True)
    code, said = admin.run("refresh", str(tmp_path / "none"), "--keys", str(admin.keys))
    assert code == 1


def test_verify_finds_what_a_client_would_refuse(admin: Admin, tmp_path: Path) -> None:
    offered = tmp_path / "vidconf-1.0.zip"
    offered.write_bytes(b"zip")
    admin.do("publish", "1.0", "--file", f"windows-portable={offered}")
    (stored,) = admin.site.glob("targets/*.zip")
    stored.write_bytes(b"pit")
    code, seen = admin.verify()
    assert (code, seen["code"]) == (1, "tampered")
    assert admin.verify("--no-files")[0] == 0


def test_verify_asks_a_web_server_as_clients_do(tmp_path: Path) -> None:
    with update_site(tmp_path) as site:
        site.publish("1.0")
        root = tmp_path / "root.json"
        root.write_bytes(site.root)
        done = CliRunner().invoke(command, ["verify", site.url, "--root", str(root)])
        assert done.exit_code == 0, done.output
        assert "version 1.0" in done.output
        site.answers["/metadata/timestamp.json"] = 404
        assert CliRunner().invoke(command, ["verify", site.url, "--root", str(root)]).exit_code == 1


def test_two_do_not_work_at_once(admin: Admin) -> None:
    from vidconf.cli.update_repository import UpdateRepository

    with UpdateRepository(admin.site)._alone():
        code, said = admin.run("refresh", str(admin.site), "--keys", str(admin.keys))
    assert (code, "try again" in said) == (1, True)
    admin.do("refresh")


def test_old_files_go_and_those_just_fetched_stay(admin: Admin, tmp_path: Path) -> None:
    for version in ("1.0", "1.1", "1.2"):
        file = tmp_path / f"vidconf-{version}.zip"
        file.write_text(version)
        admin.do("publish", version, "--file", f"windows-portable={file}")
    assert sorted(file.name.partition(".")[2] for file in admin.site.glob("targets/*.zip")) == ["vidconf-1.1.zip", "vidconf-1.2.zip"]


# ---- what comes back from the web server ----


def changed(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """As whoever broke into the web server can: everything but the signatures."""
    document = json.loads(file.read_bytes())
    change(document["signed"])
    file.write_text(json.dumps(document))


def of_another(signed: dict[str, Any]) -> None:
    """Another release in place of the published one."""
    signed["targets"]["vidconf.json"] = {"length": 13, "hashes": {"sha256": "ab" * 32}}


def with_a_key(signed: dict[str, Any], *roles: str, key: Any = None) -> None:
    """One more key that counts, of the thief's own."""
    public = (key or CryptoSigner.generate_ed25519()).public_key
    signed["keys"][public.keyid] = public.to_dict()
    for role in roles:
        signed["roles"][role]["keyids"].append(public.keyid)


@pytest.mark.parametrize("words", [("renew",), ("rotate", "root"), ("rotate", "online"), ("rotate", "targets")])
@pytest.mark.parametrize("role", ["root", "targets"])
def test_what_the_web_server_has_changed_is_never_signed(admin: Admin, words: tuple[str, ...], role: str) -> None:
    """The newest copy of the site comes from there, before the offline keys are plugged in."""
    admin.do("publish", "1.4.0")
    file = max((admin.site / "metadata").glob(f"*.{role}.json"))
    changed(file, (lambda signed: with_a_key(signed, "targets")) if role == "root" else of_another)
    what, *rest = words
    before = {file.name: file.read_bytes() for file in (admin.site / "metadata").iterdir() if file.name != "timestamp.json"}
    code, said = admin.run(what, str(admin.site), *rest, "--keys", str(admin.keys))
    assert (code, "has been changed" in said) == (1, True), said
    assert {name: (admin.site / "metadata" / name).read_bytes() for name in before} == before
    assert len(list((admin.site / "metadata").glob("*.json"))) == len(before) + 1, "and nothing new is signed"
    assert len(list(admin.keys.glob("*.pem"))) == 3, "nor any key made"


def test_a_root_that_the_thief_signed_himself_is_not_the_next(admin: Admin) -> None:
    thief = CryptoSigner.generate_ed25519()
    file = admin.site / "metadata/1.root.json"
    changed(file, lambda signed: with_a_key(signed, "root", "targets", key=thief))
    stolen = Metadata[Root].from_file(str(file))
    stolen.sign(thief)
    stolen.to_file(str(file))
    assert admin.run("renew", str(admin.site), "--keys", str(admin.keys))[0] == 1
    stolen.signed.version = 2
    stolen.sign(thief)
    stolen.to_file(str(admin.site / "metadata/2.root.json"))
    assert admin.run("renew", str(admin.site), "--keys", str(admin.keys))[0] == 1
    assert not (admin.site / "metadata/3.root.json").exists()


def test_an_older_root_than_the_clients_are_given_is_not_gone_on_from(admin: Admin) -> None:
    before = admin.root.read_bytes()
    admin.do("rotate", "root")
    (admin.site / "metadata/2.root.json").unlink()
    code, said = admin.run("renew", str(admin.site), "--keys", str(admin.keys))
    assert (code, "older" in said) == (1, True), said
    (admin.site / "metadata/²²².root.json").write_bytes(before)
    assert admin.run("renew", str(admin.site), "--keys", str(admin.keys))[0] == 1


def test_without_the_trusted_root_beside_the_keys_nothing_is_signed(admin: Admin) -> None:
    admin.root.unlink()
    for words in (("renew",), ("rotate", "online"), ("publish", "1.4.0")):
        what, *rest = words
        code, said = admin.run(what, str(admin.site), *rest, "--keys", str(admin.keys))
        assert (code, "update-root.json" in said) == (1, True), said
    admin.do("refresh", env={})


def test_a_release_brings_nothing_along_that_the_web_server_put_in(admin: Admin) -> None:
    """Also where the copy is spoilt a release can be published: all of it is new."""
    admin.do("publish", "1.4.0")
    file = max((admin.site / "metadata").glob("*.targets.json"))
    public = CryptoSigner.generate_ed25519().public_key
    role = {"name": "thief", "keyids": [public.keyid], "threshold": 1, "terminating": False, "paths": ["*"]}
    changed(file, lambda signed: signed.update(delegations={"keys": {public.keyid: public.to_dict()}, "roles": [role]}))
    admin.do("publish", "1.4.0")
    newest = max((admin.site / "metadata").glob("*.targets.json"), key=lambda one: int(one.name.partition(".")[0]))
    assert "thief" not in newest.read_text()
    assert admin.verify()[0] == 0


def test_links_that_came_along_in_the_copy_are_not_written_through(admin: Admin, tmp_path: Path) -> None:
    """rsync -a brings them from the web server."""
    own, offered = tmp_path / "own-file", tmp_path / "vidconf-1.0.zip"
    own.write_text("mine")
    offered.write_bytes(b"zip")
    digest = hashlib.sha256(b"zip").hexdigest()
    for name in ("metadata/.2.targets.json.half", "metadata/.timestamp.json.half", f"targets/.{digest}.vidconf-1.0.zip.half"):
        (admin.site / name).unlink(missing_ok=True)
        (admin.site / name).symlink_to(own)
    admin.do("publish", "1.0", "--file", f"windows-portable={offered}")
    assert own.read_text() == "mine"
    assert admin.verify()[0] == 0

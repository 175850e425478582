"""`vidconf updates`: the site that tells clients of new versions, for the administrators who run it. Reports to stdout.

Keys and signing are `update_keys.py` and `update_repository.py`; how it is used in an agency says docs/updates.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from vidconf.cli.findings import prepare_stdout

if TYPE_CHECKING:
    from vidconf.cli.update_keys import Keys
    from vidconf.cli.update_repository import UpdateRepository
    from vidconf.client.updates.release import Release

PASSPHRASE = "VIDCONF_UPDATES_PASSPHRASE"
SOON_DAYS = {"root": 60, "targets": 60, "snapshot": 3, "timestamp": 2}
NOTES_LIMIT = 16_000
VERIFY_S = 120.0
FILES_S = 3600.0

_folder = click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
_keys = click.option(
    "--keys", "key_folders", required=True, multiple=True, metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the keys; several may be given (offline ones on a stick, online.pem on the host).",
)  # fmt: skip
_passphrase = click.option(
    "--passphrase-file", default=None, type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help=f"Its first line unlocks the keys. Default: ${PASSPHRASE}, else it is asked.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group("updates")
def command() -> None:
    """The update site: signed static files for any web server, from which clients learn of new versions.

    Clients trust what the keys behind update-root.json signed, and nothing else. Exit 1: it was not done. Exit 2: wrong usage.
    """
    prepare_stdout()


@command.command("init")
@_folder
@_keys
@_passphrase
@click.option("--root-keys", default=1, show_default=True, type=click.IntRange(1, 9), help="How many root keys to make.")
@click.option("--root-threshold", default=1, show_default=True, type=click.IntRange(1, 9), help="How many of them must sign.")
@_json
def init(
    folder: Path, key_folders: tuple[Path, ...], passphrase_file: Path | None, root_keys: int, root_threshold: int, as_json: bool
) -> None:
    """Make an update site in DIR, and the keys where there are none: root-1.pem and targets.pem (locked with a passphrase, to be kept
    offline) and online.pem (for the daily refresh). PEM files of these names that are there already are used.

    update-root.json beside the keys is what clients must be given.
    """
    with _told(as_json) as report:
        repository, keys = _repository(folder), _opened(key_folders, passphrase_file, new=True)
        repository.create(keys, root_keys=root_keys, root_threshold=root_threshold)
        report |= {"made": str(folder), "keys": [str(file) for name in ("root", "targets", "online") for file in keys.files(name)]}
        report["give_clients"] = _root_file(key_folders[0])


@command.command("publish")
@_folder
@click.argument("version")
@_keys
@_passphrase
@click.option(
    "--file", "files", multiple=True, metavar="KIND=PATH", help="A file to offer: windows-msi=…, windows-portable=…, debian-amd64=…."
)
@click.option("--page", default="", metavar="URL", help="Where people read how to get it.")
@click.option("--minimum", default="", metavar="VERSION", help="Older clients are refused to join.")
@click.option("--notes-vi", default="", metavar="TEXT", help="What is new, in Vietnamese; @FILE reads a file.")
@click.option("--notes-en", default="", metavar="TEXT", help="The same in English.")
@_json
def publish(
    folder: Path, version: str, key_folders: tuple[Path, ...], passphrase_file: Path | None, files: tuple[str, ...], page: str, minimum: str,
    notes_vi: str, notes_en: str, as_json: bool,
) -> None:  # fmt: skip
    """Offer VERSION to all clients of the site in DIR. The same VERSION again replaces what was said of it; an older one is refused."""
    from vidconf.client.updates.release import Release

    notes = {language: text for language, text in (("vi", _text(notes_vi)), ("en", _text(notes_en))) if text}
    offered = _files(files)
    with _told(as_json) as report:
        repository = _repository(folder)
        release = repository.publish(Release(version, minimum, page, notes), offered, _opened(key_folders, passphrase_file))
        report |= {"published": _offered(release), "days_left": repository.days_left()}


@command.command("refresh")
@_folder
@_keys
@_json
def refresh(folder: Path, key_folders: tuple[Path, ...], as_json: bool) -> None:
    """Sign again that nothing newer exists: run it daily (cron, systemd timer) where online.pem lies. Without it clients are sure of
    nothing after a week, and say so.
    """
    with _told(as_json) as report:
        days = _repository(folder).refresh(_opened(key_folders, None, locked=False))
        report |= {"refreshed": str(folder), "days_left": days, "soon": _soon(days)}


@command.command("rotate")
@_folder
@click.argument("name", type=click.Choice(["root", "targets", "online"]))
@_keys
@_passphrase
@_json
def rotate(folder: Path, name: Any, key_folders: tuple[Path, ...], passphrase_file: Path | None, as_json: bool) -> None:
    """Replace a key (after a loss, or as a habit): a new one is made and the old one counts no longer. Needs the root key and all the
    others. Clients follow by themselves.
    """
    with _told(as_json) as report:
        repository, keys = _repository(folder), _opened(key_folders, passphrase_file)
        before = set(keys.files(name))
        repository.rotate(name, keys)
        report |= {
            "new": [str(file) for file in keys.files(name) if file not in before],
            "no_longer": [str(file) for file in sorted(before)],
        }
        report["give_clients"] = _root_file(key_folders[0])


@command.command("renew")
@_folder
@_keys
@_passphrase
@_json
def renew(folder: Path, key_folders: tuple[Path, ...], passphrase_file: Path | None, as_json: bool) -> None:
    """Sign root and targets for as long again with the same keys: once a year, or when `refresh` says they end soon."""
    with _told(as_json) as report:
        repository = _repository(folder)
        repository.renew_root(_opened(key_folders, passphrase_file))
        report |= {"renewed": str(folder), "days_left": repository.days_left()}
        report["give_clients"] = _root_file(key_folders[0])


@command.command("verify")
@click.argument("site", metavar="URL|DIR")
@click.option(
    "--root", "root_file", default=None, type=click.Path(dir_okay=False, path_type=Path), help="The trusted root; default: this machine's."
)
@click.option("--files/--no-files", default=True, help="Whether to fetch and check what is offered, too.")
@_json
def verify(site: str, root_file: Path | None, files: bool, as_json: bool) -> None:
    """See the site as a client that has never seen it before: is all signed, fresh, whole? Nothing is remembered."""
    with _told(as_json) as report:
        report |= _seen(site, root_file, files)


# ---- the parts ----------------------------------------------------------------------------------------------------------


def _seen(site: str, root_file: Path | None, files: bool) -> dict[str, Any]:
    from vidconf.client.network_options import network_of
    from vidconf.client.settings import Settings
    from vidconf.client.updates.check import Site, read_root, root_places
    from vidconf.client.updates.fetcher import FolderFetcher, HttpFetcher

    root, place = read_root((root_file,) if root_file is not None else root_places())
    remote = "://" in site
    with TemporaryDirectory(prefix="vidconf-updates-") as memory:
        fetcher = HttpFetcher(network_of(Settings.of_user(looking=True)), total_s=VERIFY_S) if remote else FolderFetcher()
        try:
            looked = Site(site if remote else Path(site).resolve().as_uri(), root, Path(memory), fetcher)
            release = looked.release()
            days = _remembered_days(Path(memory))
            if isinstance(fetcher, HttpFetcher):
                fetcher.more_time(FILES_S)
            checked = {kind: looked.file(name).stat().st_size for kind, name in release.files.items()} if files else {}
        finally:
            if isinstance(fetcher, HttpFetcher):
                fetcher.close()
    return {"site": site, "root": str(place), "offers": _offered(release), "checked_bytes": checked, "days_left": days, "soon": _soon(days)}


def _remembered_days(memory: Path) -> dict[str, int]:
    from datetime import UTC, datetime

    from tuf.api.metadata import Metadata

    roots = sorted((memory / "root_history").iterdir(), key=lambda file: int(file.name.partition(".")[0]))
    files = {"root": roots[-1], **{role: memory / f"{role}.json" for role in ("targets", "snapshot", "timestamp")}}
    return {role: (Metadata.from_bytes(file.read_bytes()).signed.expires - datetime.now(UTC)).days for role, file in files.items()}


def _offered(release: Release) -> dict[str, Any]:
    return {name: value for name, value in release.as_json().items() if name != "format"}


def _soon(days: Mapping[str, int]) -> list[str]:
    """What ends soon."""
    return [role for role, left in days.items() if left < SOON_DAYS[role]]


def _repository(folder: Path) -> UpdateRepository:
    from vidconf.cli.update_repository import UpdateRepository

    return UpdateRepository(folder)


def _opened(folders: tuple[Path, ...], passphrase_file: Path | None, *, new: bool = False, locked: bool = True) -> Keys:
    from vidconf.cli.update_keys import Keys, KeyTrouble

    def no_passphrase() -> str:
        raise KeyTrouble("this key is locked with a passphrase: the daily refresh needs one that is not")

    return Keys(folders, _asker(passphrase_file, new) if locked else no_passphrase)


def _asker(file: Path | None, new: bool) -> Callable[[], str]:
    def ask() -> str:
        if file is not None:
            return (file.read_text(encoding="utf-8").splitlines() or [""])[0]
        if PASSPHRASE in os.environ:
            return os.environ[PASSPHRASE]
        if not sys.stdin.isatty():
            raise click.UsageError(f"a passphrase is needed: --passphrase-file FILE, or ${PASSPHRASE}")
        return str(click.prompt("Passphrase of the offline keys", hide_input=True, confirmation_prompt=new, err=True))

    return ask


def _root_file(folder: Path) -> str:
    """The newest root, which the repository has put beside the keys under the name by which clients take it."""
    from vidconf.client.updates.check import ROOT_NAME

    return str(folder / ROOT_NAME)


def _files(said: tuple[str, ...]) -> dict[str, Path]:
    """Raises UsageError."""
    found: dict[str, Path] = {}
    for one in said:
        kind, mark, path = one.partition("=")
        if not mark or kind in found or not Path(path).is_file():
            raise click.UsageError(f"--file {one}: KIND=PATH, each kind once, of a file that is there")
        found[kind] = Path(path)
    return found


def _text(said: str) -> str:
    if not said.startswith("@"):
        return said
    try:
        with open(said[1:], encoding="utf-8") as file:
            return file.read(NOTES_LIMIT).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{said}: {error}") from None


@contextmanager
def _told(as_json: bool) -> Iterator[dict[str, Any]]:
    """What the command did is put into the yielded report, which is then shown. Its troubles end the program with 1."""
    from vidconf.cli.update_keys import KeyTrouble
    from vidconf.cli.update_repository import RepositoryTrouble
    from vidconf.client.updates.check import UpdateError

    report: dict[str, Any] = {}
    try:
        yield report
    except (KeyTrouble, RepositoryTrouble, UpdateError, OSError) as error:
        if as_json:
            code = error.code if isinstance(error, UpdateError) else "not_done"
            print(json.dumps({"ok": False, "code": code, "error": str(error)}, ensure_ascii=False))
            sys.exit(1)
        raise click.ClickException(str(error)) from None
    if as_json:
        print(json.dumps({"ok": True, **report}, ensure_ascii=False))
        return
    for name, value in report.items():
        if value:
            print(f"{name.replace('_', ' ')}: {_shown(value)}")


def _shown(value: Any) -> str:
    """A part of a report on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)

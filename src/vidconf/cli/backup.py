"""`vidconf backup`: copies of the server's database, on the server's own machine. Made while it runs; put back while it does not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from vidconf.cli.local_server import data_option, json_option, print_json
from vidconf.server import backup
from vidconf.server.backup import Backup, BackupError
from vidconf.server.folder import DATABASE


@click.group("backup")
def command() -> None:
    """Backups of accounts, meetings, their events and the server's secrets: keep them where only you can read them."""


def _facts(one: Backup) -> dict[str, Any]:
    return {"path": str(one.path), **msgspec.to_builtins(one.manifest)}


def _line(one: Backup) -> str:
    made, m = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(one.manifest.made_at)), one.manifest
    return f"{one.path}  {made}  {m.label}  vidconf {m.version}, {m.accounts} accounts, {m.meetings} meetings, {m.events} events"


@command.command("create")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIR",
    help="Where to. Default: backups in the data folder.",
)
@click.option("--label", default="manual", show_default=True, metavar="L", help="Part of its name: small letters, digits, -.")
@click.option("--keep", type=click.IntRange(0), default=0, metavar="N", help="Of this label keep only the N newest there. Default: all.")
@data_option
@json_option
def create(to: Path | None, label: str, keep: int, data: Path, as_json: bool) -> None:
    """Make a backup; the server may be running. Prints its path."""
    try:
        made = backup.create(data, to, label=label, keep=keep)
    except BackupError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(_facts(made))
    else:
        print(made.path)


@command.command("list")
@click.option(
    "--in",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    metavar="DIR",
    help="Default: backups in the data folder.",
)
@data_option
@json_option
def list_(folder: Path | None, data: Path, as_json: bool) -> None:
    """All backups, the newest first; of each what it says of itself."""
    found: list[Backup] = []
    for path in backup.names(folder or data / backup.FOLDER):
        try:
            found.append(Backup(path, backup.read(path)))
        except BackupError as error:
            click.echo(str(error), err=True)
    if as_json:
        print_json({"backups": [_facts(one) for one in found]})
    else:
        for one in found:
            print(_line(one))


@command.command("verify")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Read backup FILE through, as `restore` would, and change nothing. Exit 1 when it is damaged."""
    try:
        found = Backup(file, backup.check(file))
    except BackupError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json(_facts(found))
    else:
        print(_line(found))


@command.command("restore")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
@json_option
def restore(file: Path, yes: bool, data: Path, as_json: bool) -> None:
    """Put backup FILE in the place of the data; the server must be stopped. What was there is kept as a backup of its own.

    Everything is then as it was when the backup was made: accounts disabled since then can sign in again.
    """
    try:
        found = Backup(file, backup.read(file))
        if not yes and (data / DATABASE).exists():
            click.confirm(f"Replace what is in {data} by {_line(found)}?", abort=True, err=True)
        manifest, before = backup.restore(file, data)
    except BackupError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        print_json({**_facts(Backup(file, manifest)), "data": str(data), "before": None if before is None else str(before)})
        return
    print(f"{data} is as it was: {_line(Backup(file, manifest))}")
    if before is not None:
        print(f"What was there before: {before}")

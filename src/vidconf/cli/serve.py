"""`vidconf serve`: the server. Prints `ready URL` when it listens; SIGTERM drains and stops it."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click

from vidconf.cli.parent import end_with
from vidconf.server.app import run
from vidconf.server.config import ConfigError, load
from vidconf.server.storage import Storage, StorageError


@click.command("serve")
@click.option("--config", "file", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="F", help="Settings, TOML.")
@click.option("--host", default=None, metavar="H", help="Address to listen on. Default: 127.0.0.1.")
@click.option("--port", default=None, type=click.IntRange(0, 65535), metavar="P", help="Its port; 0 takes a free one. Default: 8080.")
@click.option("--data", default=None, type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where everything is kept.")
@click.option("--check-config", is_flag=True, help="Only say whether the settings are good.")
@click.option("--migrate", is_flag=True, help="Only back up the database and bring its tables up to date.")
@click.option("--parent", type=int, default=None, hidden=True)
def command(
    file: Path | None, host: str | None, port: int | None, data: Path | None, check_config: bool, migrate: bool, parent: int | None
) -> None:
    """The server. Another address than loopback needs [tls] or `behind_proxy = true` in the settings.

    Exit 2: the settings are wrong, the message says how. Exit 1: it could not start (a port that is taken, a disk that is full).
    """
    try:
        config = load(file, host=host, port=port, data=data)
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    if check_config:
        click.echo("the settings are good", err=True)
        return
    logging.basicConfig(stream=sys.stderr, level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("aiohttp.access", "alembic", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if migrate:
        try:
            asyncio.run(_migrate(config.data))
        except StorageError as error:
            raise click.ClickException(str(error)) from None
        return
    if parent is not None and not end_with(parent):
        raise click.ClickException("who started this server has ended")
    sys.exit(run(config))


async def _migrate(data: Path) -> None:
    await (await Storage.open(data, save_first=True)).close()

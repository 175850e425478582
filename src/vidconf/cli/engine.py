"""`vidconf engine`: the media engine's process. Hidden: `engine.host` starts it and speaks to it."""

from __future__ import annotations

import logging
import sys

import click


@click.command("engine", hidden=True)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def command(log_level: str) -> None:
    """The media engine. Started by the window: where to connect, and the secret, come on stdin."""
    logging.basicConfig(stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s engine %(name)s: %(message)s")
    for noisy in ("aiortc", "aioice", "libav"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from vidconf.engine.process import read_config, run

    try:
        config = read_config()
    except (ValueError, OSError) as error:
        raise click.UsageError(f"this is not for calling by hand: {error}") from error
    try:
        sys.exit(run(config))
    except OSError as error:
        logging.getLogger("vidconf.engine").error("no way to the window: %s", error)
        sys.exit(1)

"""`vidconf relay`: the relay alone, as a small LiveKit server without the meeting's rules; also what `serve` starts as its child."""

from __future__ import annotations

import logging
import os
import sys

import click

from vidconf.cli.link_argument import conceal
from vidconf.cli.parent import end_with


@click.command("relay")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of signalling and RoomService (HTTP).")
@click.option("--port", default=7880, show_default=True, type=click.IntRange(0, 65535), help="Its port; 0 takes a free one.")
@click.option("--udp-host", default="", help="Address of the media port; 0.0.0.0 or :: for all. Default: as --host.")
@click.option("--udp-port", default=7882, show_default=True, type=click.IntRange(0, 65535), help="The one UDP port of all media.")
@click.option("--tcp-port", default=0, type=click.IntRange(0, 65535), help="For clients without UDP; 0: the same number, or a free one.")
@click.option("--announce", multiple=True, metavar="IP", help="Media address told to clients, when a router stands between.")
@click.option("--key", "keys", multiple=True, metavar="KEY:SECRET", help="API key and its secret; also by VIDCONF_RELAY_KEY.")
@click.option("--no-auto-create", is_flag=True, help="Only rooms made by CreateRoom can be joined.")
@click.option("--webhook", "webhooks", multiple=True, metavar="URL", help="Where events are posted, signed with the first key.")
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False), default=None, help="PEM chain: HTTPS instead of HTTP.")
@click.option("--private-key", type=click.Path(exists=True, dir_okay=False), default=None, help="Its key, when not in the same file.")
@click.option("--parent", type=int, default=None, hidden=True)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), help="What goes to stderr.")
def command(
    host: str, port: int, udp_host: str, udp_port: int, tcp_port: int, announce: tuple[str, ...], keys: tuple[str, ...], no_auto_create: bool,
    webhooks: tuple[str, ...], certificate: str | None, private_key: str | None, parent: int | None, log_level: str,
) -> None:  # fmt: skip
    """The relay alone: LiveKit's protocol for LiveKit's clients, tools and load tests. Rooms are made on joining.

    Prints `ready URL` when it listens. SIGTERM stops it; clients are told to come back.
    """
    conceal(*(pair.partition(":")[2] for pair in keys))
    given = keys or tuple(filter(None, os.environ.get("VIDCONF_RELAY_KEY", "").split(",")))
    pairs = dict(k.split(":", 1) for k in given if ":" in k)
    if len(pairs) != len(given) or not pairs or not all(k and s for k, s in pairs.items()):
        raise click.UsageError("give --key KEY:SECRET (or VIDCONF_RELAY_KEY)")
    logging.basicConfig(stream=sys.stderr, level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("aiortc", "aioice", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if parent is not None and not end_with(parent):
        logging.getLogger("vidconf.relay").error("who started this relay has ended")
        sys.exit(1)
    from vidconf.relay.process import Options, run

    sys.exit(
        run(
            Options(
                keys=pairs,
                host=host,
                port=port,
                udp_host=udp_host or host,
                udp_port=udp_port,
                tcp_port=tcp_port,
                announce=announce,
                auto_create=not no_auto_create,
                webhooks=webhooks,
                certificate=certificate or "",
                private_key=private_key or "",
            )
        )
    )

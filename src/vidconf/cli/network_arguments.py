"""`--proxy`, `--ice-transport` and their kin: the network's settings on a command line, under the machine's policies. The main thread."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from vidconf import words
from vidconf.client.settings_table import SETTINGS, SettingError

_OPTIONS = (
    click.option("--proxy", default=None, metavar="URL", help="http://host:port for this run, `none` for none. Default: as the system."),
    click.option(
        "--ice-transport", type=click.Choice(SETTINGS["ice_transport"].choices), default=None, help="How media may go. Default: all."
    ),
    click.option(
        "--turn-url", "turn_urls", multiple=True, metavar="URL", help="A TURN server instead of those the server names. Repeatable."
    ),
    click.option("--udp-ports", default=None, metavar="MIN-MAX", help="Local ports of media over UDP. Default: any."),
    click.option("--dscp", type=click.IntRange(0, 63), default=None, help="Mark of media's packets. Default: none."),
    click.option("--ca-file", default=None, metavar="FILE", help="Authorities believed beside the system's."),
    click.option("--tls-min", type=click.Choice(SETTINGS["tls_min"].choices), default=None, help="Default: 1.2."),
)


def network_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with these options, called with `network`: the NetworkOptions of this run. What a policy holds, no option changes."""

    @wraps(command)
    def with_network(*, proxy: str | None, udp_ports: str | None, turn_urls: tuple[str, ...], **rest: Any) -> Any:
        told = {key: rest.pop(key) for key in ("ice_transport", "dscp", "ca_file", "tls_min")}
        told |= {"turn_urls": turn_urls or None, **_proxy(proxy), **_ports(udp_ports)}
        return command(network=_options({key: value for key, value in told.items() if value is not None}), **rest)

    for option in reversed(_OPTIONS):
        with_network = option(with_network)
    return with_network


def _proxy(said: str | None) -> dict[str, Any]:
    if said is None:
        return {}
    return {"proxy_mode": "none"} if said == "none" else {"proxy_mode": "manual", "proxy_server": said}


def _ports(said: str | None) -> dict[str, Any]:
    if said is None:
        return {}
    found = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", said, re.ASCII)
    if found is None:
        raise click.UsageError("--udp-ports: MIN-MAX, such as 50000-50099")
    return {"udp_port_min": int(found[1]), "udp_port_max": int(found[2])}


def _options(told: dict[str, Any]) -> Any:
    """Raises UsageError for what was told and is of no use; what settings say wrongly is left out and logged."""
    from vidconf.cli.policies import cure, said
    from vidconf.client.network_options import network_of, network_problems
    from vidconf.client.settings import Settings

    try:
        settings = Settings.of_user(told, looking=True)
    except SettingError as error:
        raise click.UsageError(f"{SETTINGS[error.key].policy}: {words.error(error.code)}") from None
    words.set_language(settings.text("language"))
    for problem in network_problems(settings):
        if problem.origin == "command line":
            raise click.UsageError(f"{said(problem)} {cure(problem)}")
    return network_of(settings)

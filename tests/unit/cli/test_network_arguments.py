"""The network's settings on a command line, and what the report says of those that are in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vidconf import words
from vidconf.cli import network_arguments
from vidconf.cli.doctor_options import network_options
from vidconf.client.network_options import network_of
from vidconf.client.settings import Settings
from vidconf.network.options import DEFAULTS, NetworkOptions

got: list[tuple[str, NetworkOptions]] = []


@pytest.fixture(autouse=True)
def no_settings_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(Settings, "of_user", classmethod(lambda cls, told, looking: cls(None, command_line=told)))
    got.clear()
    yield
    words.set_language("vi")


@click.command()
@click.option("--name", default="")
@network_arguments.network_arguments
def command(name: str, network: NetworkOptions) -> None:
    got.append((name, network))


def said(*told: str) -> Result:
    return CliRunner().invoke(command, told)


def test_nothing_said_changes_nothing() -> None:
    assert said("--name", "a").exit_code == 0
    assert got == [("a", DEFAULTS)]


def test_all_of_them(tmp_path: Path) -> None:
    assert said("--proxy", "https://proxy.example:8443", "--ice-transport", "relay", "--turn-url", "turn:a", "--turn-url", "turns:b:443",
                "--udp-ports", "50000-50099", "--dscp", "46", "--tls-min", "1.3").exit_code == 0  # fmt: skip
    assert said("--proxy", "none").exit_code == 0
    assert [options for _, options in got] == [
        NetworkOptions(
            proxy_mode="manual", proxy_server="https://proxy.example:8443", ice_transport="relay", turn_urls=("turn:a", "turns:b:443"),
            udp_port_min=50_000, udp_port_max=50_099, dscp=46, tls_min="1.3",
        ),
        NetworkOptions(proxy_mode="none"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        ("--proxy", "http://a:b@h:1"), ("--proxy", "socks5://h:1"), ("--proxy", ""), ("--turn-url", "stun:h"), ("--udp-ports", "9-5"), ("--udp-ports", "9"),
        ("--udp-ports", "1-99999"), ("--dscp", "64"), ("--ca-file", "/nowhere.pem"), ("--tls-min", "1.1"), ("--ice-transport", "no"), ("--ca-file", "x" * 9999),
    ],
)  # fmt: skip
def test_what_is_of_no_use_is_wrong_usage(told: tuple[str, ...]) -> None:
    result = said(*told)
    assert result.exit_code == 2, result.output
    assert "Error" in result.output
    assert got == []


def test_the_report_names_what_is_in_force_and_what_is_left_out() -> None:
    assert network_options(Settings(None), DEFAULTS) == []
    told = {"proxy_mode": "manual", "proxy_server": "http://proxy:3128", "turn_urls": ["turn:a", "x"], "udp_port_min": 5, "ca_file": "/nowhere.pem", "dscp": 46}
    settings = Settings(None, command_line=told)
    in_force, left_out = network_options(settings, network_of(settings))
    assert (in_force.status, in_force.result) == ("ok", "set")
    assert in_force.detail["settings"] == ["ProxyMode=manual", "ProxyServer=http://proxy:3128", "TurnURLs=turn:a", "Dscp=46", "CAFile=/nowhere.pem"]
    assert (left_out.status, left_out.result, left_out.detail["names"]) == ("warning", "ignored", ["TurnURLs", "UdpPortMin", "CAFile"])
    assert all(finding.text() and finding.title() for finding in (in_force, left_out))
    assert left_out.help()

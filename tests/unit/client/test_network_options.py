"""From settings to options: what is sound is in force, the rest is named, and the defaults change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.strangers import Authority
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.network_options import NETWORK, network_of, network_problems
from vidconf.client.settings import Settings
from vidconf.client.settings_table import SETTINGS
from vidconf.network.options import DEFAULTS, NetworkOptions


def told(**values: Any) -> Settings:
    return Settings(None, command_line=values)


def codes(settings: Settings) -> list[tuple[str, str]]:
    return [(problem.name, problem.code) for problem in network_problems(settings)]


def test_the_defaults_change_nothing() -> None:
    assert network_of(Settings(None)) == DEFAULTS == NetworkOptions()
    assert network_problems(Settings(None)) == ()


def test_every_network_setting_is_an_option() -> None:
    assert (
        set(NETWORK) == {key for key, setting in SETTINGS.items() if setting.group == "network"} == set(NetworkOptions.__dataclass_fields__)
    )


def test_all_of_it(tmp_path: Path) -> None:
    authority = str(Authority(tmp_path).certificate)
    values = {
        "proxy_mode": "manual", "proxy_server": "https://proxy.example:8443", "proxy_bypass": ["*.inside", "<local>"], "ice_transport": "relay_tls",
        "turn_urls": ["turns:turn.example:443"], "udp_port_min": 50_000, "udp_port_max": 50_099, "dscp": 46, "ca_file": authority, "tls_min": "1.3",
    }  # fmt: skip
    settings = told(**values)
    assert network_of(settings) == NetworkOptions(
        **{**values, "proxy_bypass": ("*.inside", "<local>"), "turn_urls": ("turns:turn.example:443",)}
    )
    assert codes(settings) == []


@pytest.mark.parametrize(
    ("values", "problems", "left"),
    [
        ({"proxy_mode": "manual"}, [("ProxyServer", "proxy_missing")], {}),
        ({"proxy_mode": "manual", "proxy_server": "proxy"}, [("ProxyServer", "proxy_malformed")], {}),
        ({"proxy_mode": "manual", "proxy_server": "http://a:b@h:1"}, [("ProxyServer", "proxy_credentials")], {}),
        ({"proxy_server": "http://h:1"}, [], {}),
        ({"proxy_bypass": ["a b", "ok.example"]}, [("ProxyBypass", "bypass_malformed")], {"proxy_bypass": ("ok.example",)}),
        ({"turn_urls": ["stun:h", "turn:h"]}, [("TurnURLs", "turn_malformed")], {"turn_urls": ("turn:h",)}),
        ({"udp_port_min": 9, "udp_port_max": 5}, [("UdpPortMin", "ports_odd")], {}),
        ({"udp_port_min": 9}, [("UdpPortMin", "ports_odd")], {}),
        ({"udp_port_max": 9}, [("UdpPortMax", "ports_odd")], {}),
        ({"udp_port_min": 9, "udp_port_max": 9}, [], {"udp_port_min": 9, "udp_port_max": 9}),
        ({"ca_file": "/nowhere/ca.pem"}, [("CAFile", "ca_unreadable")], {"ca_file": "/nowhere/ca.pem"}),
        ({"ca_file": __file__}, [("CAFile", "ca_malformed")], {"ca_file": __file__}),
    ],
)
def test_what_is_left_out(
    values: dict[str, Any], problems: list[tuple[str, str]], left: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    settings = told(**values)
    assert codes(settings) == problems
    assert network_of(settings) == NetworkOptions(**left)
    assert all(code in caplog.text for _, code in problems if not code.startswith("ca_")), "and the log says so"
    assert all(problem.origin == "command line" for problem in network_problems(settings))


@given(
    st.sampled_from(["system", "none", "manual"]), st.text(max_size=40), st.lists(st.text(max_size=20), max_size=3),
    st.lists(st.text(max_size=20), max_size=3), st.integers(0, 65535), st.integers(0, 65535),
)  # fmt: skip
def test_whatever_is_written_makes_options_that_work(
    mode: str, server: str, bypass: list[str], urls: list[str], low: int, high: int
) -> None:
    keys = {
        "proxy_mode": mode,
        "proxy_server": server.replace("\0", ""),
        "proxy_bypass": bypass,
        "turn_urls": urls,
        "udp_port_min": low,
        "udp_port_max": high,
    }
    options = network_of(told(**keys))
    options.proxy_for("https://meet.example")
    assert len(options.udp_ports) == (high - low + 1 if 0 < low <= high else 0)

"""A Mac's policies, over CoreFoundation's functions as its headers describe them: types, what is forced, and nothing kept that was lent."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.core_foundation import core_foundation

from vidconf.client.policies.preferences import DOMAIN, CoreFoundation, PreferencePolicies
from vidconf.client.settings import Settings


def test_what_a_profile_forces_holds_and_the_rest_is_recommended() -> None:
    library = core_foundation(
        {"ServerURL": "https://hop.vn", "AllowedServers": ["hop.vn", "*.hộp.vn"], "Theme": "dark", "LobbyTimeout": 60.5},
        frozenset({"ServerURL", "AllowedServers"}),
    )
    settings = Settings(policies=PreferencePolicies(CoreFoundation(DOMAIN, library)))
    assert (settings["server"], settings.resolved("server").locked, settings.resolved("server").origin) == (
        "https://hop.vn",
        True,
        f"{DOMAIN} (forced)",
    )
    assert settings.items("allowed_servers") == ("hop.vn", "*.hộp.vn")
    assert (settings["theme"], settings.resolved("theme").source, settings.resolved("theme").origin) == ("dark", "recommended", DOMAIN)
    assert settings["lobby_timeout_s"] == 60.5
    assert set(settings.policies.found) == {f"{DOMAIN} (forced)", DOMAIN}


@pytest.mark.parametrize(("value", "kept"), [(True, True), (False, False), (0, False), (1, True)])
def test_switches_as_profiles_and_defaults_write_them(value: Any, kept: bool) -> None:
    library = core_foundation({"ConfirmLeave": value})
    assert Settings(policies=PreferencePolicies(CoreFoundation(DOMAIN, library)))["confirm_leave"] is kept


@pytest.mark.parametrize("value", [b"data", {"a": 1}, ["a", b"data"], ["a", 1], "\ud800", 1.5, -(2**63), [["a"]]])
def test_a_type_that_is_none_of_the_settings_is_told(value: Any) -> None:
    library = core_foundation({"AllowedServers": value, "Dscp": value, "Theme": value}, frozenset({"Dscp"}))
    settings = Settings(policies=PreferencePolicies(CoreFoundation(DOMAIN, library)))
    assert {(p.name, p.code) for p in settings.problems} == {("AllowedServers", "bad_value"), ("Dscp", "bad_value"), ("Theme", "bad_value")}
    assert library.held() == []


def test_nothing_is_kept_that_the_system_handed_out() -> None:
    library = core_foundation(
        {"ServerURL": "https://hop.vn", "AllowedServers": ["a"] * 50, "Dscp": 46, "MuteOnJoin": True}, frozenset({"Dscp"})
    )
    source = PreferencePolicies(CoreFoundation(DOMAIN, library))
    for _ in range(3):
        source.read()
    assert library.held() == []

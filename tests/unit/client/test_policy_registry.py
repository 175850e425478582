"""The registry's policies: machine before user, lists, types, what the installer left, and keys that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.registry import Registry
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.policies.reading import Policies
from vidconf.client.policies.registry import INSTALLED_KEY, POLICY_KEY, RegistryPolicies
from vidconf.client.settings import Settings

MACHINE, USER = f"HKLM\\{POLICY_KEY}", f"HKCU\\{POLICY_KEY}"
INSTALLED = f"HKLM\\{INSTALLED_KEY}"
SZ, EXPAND, DWORD = Registry.REG_SZ, Registry.REG_EXPAND_SZ, Registry.REG_DWORD


def read(keys: dict[str, dict[str, tuple[Any, int]]], **options: Any) -> Policies:
    registry = Registry(keys, **options)
    policies = RegistryPolicies(registry).read()
    assert not any(key.open for key in registry.opened), "every key is closed"
    return policies


def test_the_strongest_key_that_says_something_wins() -> None:
    keys = [MACHINE, USER, f"{MACHINE}\\Recommended", f"{USER}\\Recommended", INSTALLED]
    languages = ["vi", "en"]
    for place, key in enumerate(keys):
        policies = read({one: {"Language": (languages[(number - place) % 2], SZ)} for number, one in enumerate(keys) if number >= place})
        level = policies.managed if place < 2 else policies.recommended
        assert level["language"] == ("vi", key)
        assert policies.problems == [], "a weaker key saying otherwise is no mistake"
        settings = Settings(policies=RegistryPolicies(Registry({key: {"Language": ("en", SZ)}})))
        assert (settings.resolved("language").locked, settings.resolved("language").origin) == (place < 2, key)


def test_places_are_told_as_a_person_looks_for_them() -> None:
    source = RegistryPolicies(Registry({}))
    assert source.places == (MACHINE, USER, f"{MACHINE}\\Recommended", f"{USER}\\Recommended", INSTALLED)
    policies = source.read()
    assert (policies.found, policies.problems) == ([], [])
    assert read({MACHINE: {}, INSTALLED: {}}).found == [MACHINE, INSTALLED]


def test_lists_are_subkeys_in_the_order_of_their_numbers() -> None:
    values = {str(n): (f"h{n}.vn", SZ) for n in (10, 2, 1)}
    assert read({f"{MACHINE}\\AllowedServers": values}).managed["allowed_servers"] == (("h1.vn", "h2.vn", "h10.vn"), MACHINE)
    named = {"hop.vn": ("hop.vn", SZ), "2": ("b.vn", SZ), "9" * 5000: ("last.vn", SZ)}
    assert read({f"{MACHINE}\\AllowedServers": named}).managed["allowed_servers"].value[0] == "b.vn"
    empty = read({f"{MACHINE}\\AllowedServers": {}, f"{USER}\\AllowedServers": {"1": ("a.vn", SZ)}})
    assert empty.managed["allowed_servers"] == (("a.vn",), USER), "an empty subkey is what an unset policy leaves behind"
    for unlike in ((1, DWORD), (["a.vn"], Registry.REG_MULTI_SZ)):
        policies = read({f"{MACHINE}\\AllowedServers": {"1": ("a.vn", SZ), "2": unlike}})
        assert policies.managed == {}
        assert [(p.origin, p.code, p.name) for p in policies.problems] == [(MACHINE, "bad_value", "AllowedServers")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MuteOnJoin", ("1", SZ)), ("MuteOnJoin", (2, DWORD)), ("MuteOnJoin", (1, Registry.REG_QWORD)), ("MuteOnJoin", (b"\x01", Registry.REG_BINARY)),
        ("Dscp", ("46", SZ)), ("Dscp", (None, DWORD)), ("Dscp", (4294967295, DWORD)), ("ServerURL", (7, DWORD)), ("ServerURL", (["https://a.vn"], Registry.REG_MULTI_SZ)),
        ("ServerURL", (None, SZ)), ("LogDir", ("a\x00b", SZ)), ("Theme", ("Dark", SZ)), ("AllowedServers", ("a.vn", SZ)), ("AllowedServers", (["a.vn"], Registry.REG_MULTI_SZ)),
    ],
)  # fmt: skip
def test_a_type_or_value_that_is_not_the_settings(name: str, value: tuple[Any, int]) -> None:
    policies = read({MACHINE: {name: value}})
    assert policies.managed == {}
    assert [(p.origin, p.code, p.name) for p in policies.problems] == [(MACHINE, "bad_value", name)]


def test_a_bad_value_of_the_machine_leaves_the_users_policy_standing() -> None:
    policies = read({MACHINE: {"Theme": (1, DWORD)}, USER: {"Theme": ("dark", SZ)}})
    assert policies.managed["theme"] == ("dark", USER)


def test_names_as_the_registry_compares_them_and_names_that_are_none() -> None:
    policies = read({
        f"hklm\\{POLICY_KEY.upper()}": {"serverurl": ("https://hop.vn", SZ), "": ("x", SZ), "Colour": (1, DWORD)},
        f"{MACHINE}\\Odd": {}, f"{MACHINE}\\recommended": {"THEME": ("dark", SZ)}, f"{MACHINE}\\LogLevel": {"1": ("info", SZ)},
    })  # fmt: skip
    assert policies.managed == {"server": ("https://hop.vn", MACHINE)}
    assert policies.recommended["theme"].value == "dark"
    assert {(p.code, p.name) for p in policies.problems} == {
        ("unknown_name", "(Default)"),
        ("unknown_name", "Colour"),
        ("unknown_name", "Odd"),
        ("bad_value", "LogLevel"),
    }


def test_variables_are_filled_where_the_type_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGS", r"D:\logs")
    assert read({MACHINE: {"LogDir": (r"%LOGS%\vidconf", EXPAND)}}).managed["log_dir"].value == r"D:\logs\vidconf"
    assert read({MACHINE: {"LogDir": (r"%LOGS%\vidconf", SZ)}}).managed["log_dir"].value == r"%LOGS%\vidconf"


def test_what_the_installer_was_told_is_the_weakest_recommendation() -> None:
    told = {
        "ServerURL": ("https://hop.vn", SZ),
        "AutoStart": ("1", SZ),
        "LogDays": ("30", SZ),
        "AllowedServers": ("hop.vn; *.gov.vn;", SZ),
        "InstallDir": ("C:\\x", SZ),
        "MenuShortcut": (1, DWORD),
    }
    keys = {INSTALLED: told, f"{INSTALLED}\\Capabilities\\URLAssociations": {"vidconf": ("vidconf", SZ)}}
    policies = read(keys)
    assert {key: value for key, (value, _) in policies.recommended.items()} == {
        "server": "https://hop.vn", "autostart": True, "log_days": 30, "allowed_servers": ("hop.vn", "*.gov.vn"),
    }  # fmt: skip
    assert (policies.managed, policies.problems) == ({}, []), "the installer keeps more there than policies"
    bad = read({INSTALLED: {"AutoStart": ("yes", SZ), "LogDays": ("9" * 5000, SZ), "ServerURL": ("", SZ)}})
    assert [(p.code, p.name) for p in bad.problems] == [("bad_value", "AutoStart"), ("bad_value", "LogDays")]


@pytest.mark.parametrize("closed", [MACHINE, f"{MACHINE}\\Recommended", f"{MACHINE}\\AllowedServers", INSTALLED])
def test_a_key_that_may_not_be_read_is_told_and_the_others_hold(closed: str) -> None:
    keys = {MACHINE: {"Theme": ("dark", SZ)}, USER: {"Language": ("en", SZ)}, f"{MACHINE}\\AllowedServers": {"1": ("a.vn", SZ)}}
    policies = read({**keys, f"{MACHINE}\\Recommended": {}, INSTALLED: {}}, closed=(closed,))
    assert [(p.origin, p.code) for p in policies.problems] == [(closed, "unreadable")]
    assert policies.managed["language"].value == "en"


@given(st.dictionaries(st.sampled_from(["Theme", "AllowedServers", "Dscp", "MuteOnJoin", "ServerURL", "Odd", ""]),
                       st.tuples(st.one_of(st.none(), st.text(max_size=9), st.integers(), st.binary(max_size=4), st.lists(st.text(max_size=3))), st.sampled_from([0, 1, 2, 3, 4, 7, 11]))),
       st.sampled_from([MACHINE, USER, INSTALLED]))  # fmt: skip
def test_whatever_stands_in_a_key_is_read_or_told(values: dict[str, Any], key: str) -> None:
    policies = read({key: values, f"{key}\\AllowedServers": values})
    for held in (*policies.managed.values(), *policies.recommended.values()):
        assert held.origin == key

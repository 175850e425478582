"""Every policy through every system's reader: it locks its setting and wins; a recommendation yields; a wrong type is told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.core_foundation import core_foundation
from fakes.policy_values import good, wrong
from fakes.registry import Registry

from vidconf.client.policies.files import FilePolicies
from vidconf.client.policies.preferences import DOMAIN, CoreFoundation, PreferencePolicies
from vidconf.client.policies.reading import PolicySource
from vidconf.client.policies.registry import POLICY_KEY, RegistryPolicies
from vidconf.client.settings import Settings
from vidconf.client.settings_table import BY_POLICY, Setting, SettingError, checked

SYSTEMS = ("linux", "windows", "macos")
EVERY = pytest.mark.parametrize("policy", BY_POLICY)
ON_EACH = pytest.mark.parametrize("system", SYSTEMS)
Source = Callable[[str, dict[str, Any], dict[str, Any]], PolicySource]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """`source(system, managed, recommended)`: a machine of that system with these policies."""

    def made(system: str, managed: dict[str, Any], recommended: dict[str, Any]) -> PolicySource:
        if system == "linux":
            for level, values in (("managed", managed), ("recommended", recommended)):
                (tmp_path / level).mkdir(mode=0o755, exist_ok=True)
                file = tmp_path / level / "10.json"
                file.write_text(json.dumps(values))
                file.chmod(0o644)
            return FilePolicies(tmp_path, trusted=(os.getuid(),))
        if system == "windows":
            return RegistryPolicies(
                Registry({**keys(f"HKLM\\{POLICY_KEY}", managed), **keys(f"HKLM\\{POLICY_KEY}\\Recommended", recommended)})
            )
        assert not set(managed) & set(recommended), "a Mac has one value of a name"
        return PreferencePolicies(CoreFoundation(DOMAIN, core_foundation({**recommended, **managed}, frozenset(managed))))

    return made


def keys(path: str, values: dict[str, Any]) -> dict[str, dict[str, tuple[Any, int]]]:
    """Values as group policy writes them."""
    plain: dict[str, tuple[Any, int]] = {}
    lists: dict[str, dict[str, tuple[Any, int]]] = {}
    for name, value in values.items():
        if isinstance(value, list):
            lists[f"{path}\\{name}"] = {str(place): (item, Registry.REG_SZ) for place, item in enumerate(value, 1)}
        else:
            plain[name] = (int(value), Registry.REG_DWORD) if isinstance(value, int) else (value, Registry.REG_SZ)
    return {path: plain, **lists}


def held(setting: Setting, value: Any) -> Any:
    return checked(setting, value)


@EVERY
@ON_EACH
def test_a_policy_locks_its_setting_and_wins_over_user_and_command_line(source: Source, tmp_path: Path, system: str, policy: str) -> None:
    setting = BY_POLICY[policy]
    agency, other = good(setting)
    user = tmp_path / "user.json"
    user.write_text(json.dumps({setting.key: other}))
    settings = Settings(user, command_line={setting.key: other}, policies=source(system, {policy: agency}, {}))
    now = settings.resolved(setting.key)
    assert (now.value, now.source, now.locked) == (held(setting, agency), "policy", True)
    assert now.origin in settings.policy_places or Path(now.origin).parent == Path(settings.policy_places[0])
    with pytest.raises(SettingError) as error:
        settings.set(setting.key, other)
    assert error.value.code == "setting_locked"
    settings.remember(setting.key, other)
    settings.reset(setting.key)
    assert settings[setting.key] == held(setting, agency)
    assert settings.problems == ()


@EVERY
@ON_EACH
def test_a_recommendation_stands_until_the_user_chooses(source: Source, system: str, policy: str) -> None:
    setting = BY_POLICY[policy]
    agency, other = good(setting)
    settings = Settings(policies=source(system, {}, {policy: agency}))
    now = settings.resolved(setting.key)
    assert (now.value, now.source, now.locked) == (held(setting, agency), "recommended", False)
    settings.set(setting.key, other)
    assert (settings[setting.key], settings.resolved(setting.key).source) == (held(setting, other), "user")
    settings.reset(setting.key)
    assert settings[setting.key] == held(setting, agency)
    assert settings.problems == ()


@EVERY
@ON_EACH
@pytest.mark.parametrize("level", ["managed", "recommended"])
def test_a_policy_of_the_wrong_type_is_ignored_logged_and_told(
    source: Source, caplog: pytest.LogCaptureFixture, system: str, policy: str, level: str,
) -> None:  # fmt: skip
    setting = BY_POLICY[policy]
    unlike = {policy: wrong(setting)}
    settings = Settings(policies=source(system, unlike if level == "managed" else {}, unlike if level == "recommended" else {}))
    now = settings.resolved(setting.key)
    assert (now.value, now.source, now.locked) == (setting.default, "default", False)
    (problem,) = settings.problems
    assert (problem.code, problem.name) == ("bad_value", policy)
    assert f"{policy} in {problem.origin} ignored: bad_value" in caplog.text


@ON_EACH
def test_a_value_out_of_its_limits_costs_only_itself(source: Source, system: str) -> None:
    settings = Settings(
        policies=source(
            system, {"Dscp": 64, "LogDays": 0, "Theme": "pink", "ServerURL": "http://a.vn", "MuteOnJoin": 2, "MaxKbps": 900}, {}
        )
    )
    assert {problem.name for problem in settings.problems} == {"Dscp", "LogDays", "Theme", "ServerURL", "MuteOnJoin"}
    assert settings["max_kbps"] == 900
    assert not settings.on("start_muted")


@ON_EACH
def test_a_machine_without_policies(source: Source, system: str) -> None:
    settings = Settings(policies=source(system, {}, {}))
    assert settings.problems == ()
    assert not any(settings.resolved(setting.key).source != "default" for setting in BY_POLICY.values())
    assert len(settings.policy_places) >= 2


@pytest.mark.parametrize("content", [b"", b'{"IceTransport": "relay_tls", "ServerURLLo', b"\xff\xfe", b"[]", None])
def test_a_file_that_cannot_be_read_for_a_while_lets_nothing_loose(source: Source, tmp_path: Path, content: bytes | None) -> None:
    """An editor writes it just now, or somebody has forgotten a comma: what was read before holds until it can be read again."""
    settings = Settings(policies=source("linux", {"IceTransport": "relay_tls", "DisableChat": True}, {"Language": "en"}))
    changes: list[str] = []
    settings.subscribe(changes.append)
    files = [tmp_path / level / "10.json" for level in ("managed", "recommended")]
    for file in files:
        file.unlink()
        if content is None:
            file.mkdir(mode=0o755)
        else:
            file.write_bytes(content)
            file.chmod(0o644)
    for _ in range(2):
        settings.reload_policies()
        assert (settings["ice_transport"], settings["no_chat"], settings["language"]) == ("relay_tls", True, "en")
        assert settings.resolved("no_chat").locked
        assert [problem.code for problem in settings.problems] == ["unreadable" if content is None else "malformed"] * 2
    assert changes == []
    for file in files:
        if content is None:
            file.rmdir()
        else:
            file.unlink()
    settings.reload_policies()
    assert (settings["ice_transport"], settings["no_chat"], settings["language"]) == ("all", False, "vi"), "what was taken away is gone"
    assert sorted(changes) == ["ice_transport", "language", "no_chat"]


def test_what_another_file_says_meanwhile_counts(source: Source, tmp_path: Path) -> None:
    settings = Settings(policies=source("linux", {"Language": "en", "DisableChat": True}, {}))
    (tmp_path / "managed" / "10.json").write_text("{")
    other = tmp_path / "managed" / "20.json"
    other.write_text('{"Language": "vi"}')
    other.chmod(0o644)
    settings.reload_policies()
    assert (settings["language"], settings["no_chat"]) == ("vi", True)

"""Settings in layers: who wins, what is locked, what is not believed, and files in any state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Resolved, Settings
from vidconf.client.settings_table import ITEMS_LIMIT, SETTINGS, TEXT_LIMIT, SettingError, checked

ME = (os.getuid(),)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return tmp_path / "policies"


def policy(folder: Path, content: Any, level: str = "managed", name: str = "10-agency.json", mode: int = 0o644) -> Path:
    file = folder / level / name
    for above in (folder, file.parent):
        above.mkdir(mode=0o755, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    file.chmod(mode)
    return file


def under(policies: Path, user: Path | None = None, **more: Any) -> Settings:
    return Settings(user, policies=FilePolicies(policies, trusted=ME), **more)


# ---- layers ----


def test_without_anything_the_defaults_hold() -> None:
    settings = Settings()
    for key, setting in SETTINGS.items():
        assert settings[key] == setting.default, key
        assert checked(setting, setting.default) == setting.default, f"{key}: its default is no value of its own"
        held = settings.resolved(key)
        assert (held.source, held.locked, held.origin) == ("default", False, "")


def test_the_first_layer_that_says_something_wins(tmp_path: Path, policies: Path) -> None:
    user = tmp_path / "settings.json"
    policy(policies, {"Theme": "dark"}, "recommended")
    settings = under(policies, user)
    assert (settings["theme"], settings.resolved("theme").source) == ("dark", "recommended")
    settings.set("theme", "light")
    assert (settings["theme"], settings.resolved("theme").source) == ("light", "user")
    assert settings.save()
    settings = under(policies, user, command_line={"theme": "system"})
    assert (settings["theme"], settings.resolved("theme").source) == ("system", "command line")
    assert not settings.resolved("theme").locked
    managed = policy(policies, {"Theme": "dark"})
    settings = under(policies, user, command_line={"theme": "system"})
    held = settings.resolved("theme")
    assert (held.value, held.source, held.locked, held.origin) == ("dark", "policy", True, str(managed))


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        ("/etc/opt/x/10-agency.json", "10-agency.json"),
        ("HKLM\\Software\\X", "HKLM\\Software\\X"),
        ("vn.vidconf.client (forced)", "vn.vidconf.client (forced)"),
        ("", ""),
    ],
)
def test_where_a_value_comes_from_is_told_in_little_room(origin: str, told: str) -> None:
    assert Resolved(SETTINGS["theme"], "dark", "policy", True, origin).place == told


def test_of_several_policy_files_the_last_wins_and_is_told(policies: Path) -> None:
    policy(policies, {"Language": "en", "Theme": "dark"}, name="10-a.json")
    last = policy(policies, {"Language": "vi"}, name="20-b.json")
    policy(policies, "{", name="30-note.txt")
    settings = under(policies)
    assert settings.resolved("language").value == "vi"
    assert settings.resolved("language").origin == str(last)
    assert settings["theme"] == "dark"
    assert [(p.origin, p.code, p.name) for p in settings.problems] == [(str(last), "twice", "Language")]


def test_the_user_goes_back_to_what_is_recommended(policies: Path) -> None:
    policy(policies, {"MuteOnJoin": True}, "recommended")
    settings = under(policies)
    told: list[str] = []
    settings.subscribe(told.append)
    settings.set("start_muted", False)
    assert not settings.on("start_muted")
    settings.reset("start_muted")
    assert settings.on("start_muted")
    settings.reset("start_muted")
    assert told == ["start_muted", "start_muted"]


# ---- locks ----


def test_what_policy_holds_cannot_be_changed(tmp_path: Path, policies: Path) -> None:
    policy(policies, {"ServerURL": "https://hop.example.vn/", "AllowedServers": ["*.example.vn"], "DefaultMicrophone": "mic7"})
    settings = under(policies, tmp_path / "settings.json")
    told: list[str] = []
    settings.subscribe(told.append)
    for key, value in (("server", "https://evil.example"), ("allowed_servers", ()), ("microphone", "other")):
        with pytest.raises(SettingError) as error:
            settings.set(key, value)
        assert (error.value.code, error.value.key) == ("setting_locked", key)
        settings.remember(key, value)
    assert settings.text("server") == "https://hop.example.vn"
    assert settings.items("allowed_servers") == ("*.example.vn",)
    assert settings.text("microphone") == "mic7"
    assert told == []
    assert not settings.dirty


def test_policy_read_again_tells_what_changed(policies: Path) -> None:
    settings = under(policies)
    told: list[str] = []
    settings.subscribe(told.append)
    file = policy(policies, {"Theme": "dark", "Language": "vi"})
    settings.reload_policies()
    assert told == ["theme"], "the language was Vietnamese anyway"
    assert settings.resolved("language").locked
    file.unlink()
    settings.reload_policies()
    assert told == ["theme", "theme"]
    assert settings["theme"] == "system"


def test_a_listener_that_has_gone_hears_nothing() -> None:
    settings, told = Settings(), []
    stop = settings.subscribe(told.append)
    settings.set("theme", "dark")
    settings.set("theme", "dark")
    stop()
    stop()
    settings.set("theme", "light")
    assert told == ["theme"]


# ---- what is not believed ----


def test_names_and_values_that_are_none_are_listed_the_rest_holds(policies: Path) -> None:
    file = policy(policies, {"Theme": "pink", "theme": "dark", "Colour": 1, "LobbyTimeout": 60, "MuteOnJoin": "yes", "StartHidden": True})
    settings = under(policies)
    assert settings["theme"] == "system"
    assert settings["lobby_timeout_s"] == 60
    assert {(p.name, p.code) for p in settings.problems} == {
        ("Theme", "bad_value"), ("theme", "unknown_name"), ("Colour", "unknown_name"), ("MuteOnJoin", "bad_value"), ("StartHidden", "unknown_name"),
    }  # fmt: skip
    assert {p.origin for p in settings.problems} == {str(file)}


def test_a_problem_is_logged_once_however_often_it_is_read(policies: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy(policies, {"Theme": "pink"})
    settings = under(policies)
    settings.reload_policies()
    assert [record.getMessage() for record in caplog.records].count(
        f"settings: Theme in {policies}/managed/10-agency.json ignored: bad_value"
    ) == 1
    policy(policies, {"Language": "fr"}, name="20-new.json")
    settings.reload_policies()
    assert sum("ignored" in record.getMessage() for record in caplog.records) == 2


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path, policies: Path) -> None:
    policy(policies, "\ufeff" + json.dumps({"Language": "en"}))
    user = tmp_path / "settings.json"
    user.write_text("\ufeff" + json.dumps({"theme": "dark"}), encoding="utf-8")
    settings = under(policies, user)
    assert (settings["language"], settings["theme"], settings.problems) == ("en", "dark", ())


# ---- values ----


@pytest.mark.parametrize(
    ("key", "given_", "kept"),
    [
        ("server", "hop.example.vn", "https://hop.example.vn"), ("server", "", ""), ("start_muted", 1, True), ("start_muted", 0, False),
        ("lobby_timeout_s", 86400, 86400), ("lobby_timeout_s", 1.5, 1.5), ("dscp", 46.0, 46), ("allowed_servers", ["a.vn", "b.vn"], ("a.vn", "b.vn")),
        ("shortcuts", {"hand": "Ctrl+H"}, {"hand": "Ctrl+H"}), ("name", "", ""),
    ],
)  # fmt: skip
def test_values_are_kept_in_one_form(key: str, given_: Any, kept: Any) -> None:
    settings = Settings()
    settings.set(key, given_)
    assert settings[key] == kept
    assert type(settings[key]) is type(kept)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server", "http://hop.example.vn"), ("server", "https://a.vn/m/x"), ("server", None), ("start_muted", 2), ("start_muted", "true"), ("start_muted", 1.0),
        ("lobby_timeout_s", -1), ("lobby_timeout_s", 86401), ("lobby_timeout_s", True), ("lobby_timeout_s", float("nan")), ("lobby_timeout_s", "60"), ("dscp", 1.5), ("log_days", 0), ("udp_port_min", 65536),
        ("language", "fr"), ("language", ["vi"]), ("name", "x" * (TEXT_LIMIT + 1)), ("name", "a\x00b"), ("name", 7), ("allowed_servers", "a.vn"),
        ("allowed_servers", ["a"] * (ITEMS_LIMIT + 1)), ("allowed_servers", [1]), ("shortcuts", []), ("shortcuts", {"hand": 1}), ("shortcuts", {1: "hand"}),
    ],
)  # fmt: skip
def test_values_that_are_none(key: str, value: Any) -> None:
    settings = Settings()
    before = settings[key]
    with pytest.raises(SettingError) as error:
        settings.set(key, value)
    assert (error.value.code, error.value.key) == ("setting_invalid", key)
    assert settings[key] == before


def test_a_setting_nobody_knows() -> None:
    with pytest.raises(SettingError) as error:
        Settings().set("colour", "pink")
    assert error.value.code == "setting_unknown"
    with pytest.raises(SettingError) as error:
        Settings(command_line={"colour": "pink"})
    assert error.value.code == "setting_unknown"


def test_what_is_handed_out_is_a_copy() -> None:
    settings = Settings()
    settings.set("badges", {"https://a.vn": "b"})
    settings.mapping("badges")["https://a.vn"] = "other"
    assert settings.mapping("badges") == {"https://a.vn": "b"}


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=()), max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SETTINGS)), _JSON)
def test_any_value_is_kept_or_refused_and_comes_back_the_same(key: str, value: Any) -> None:
    setting = SETTINGS[key]
    try:
        kept = checked(setting, value)
    except SettingError:
        return
    assert checked(setting, kept) == kept
    assert checked(setting, json.loads(json.dumps(kept))) == kept


# ---- the user's file ----


def test_saved_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "settings.json"
    settings = Settings(file)
    settings.set("name", "Đặng Văn Giang")
    settings.set("known_servers", ["https://a.vn"])
    settings.set("window", {"width": "1280"})
    assert settings.dirty
    assert settings.save()
    assert not settings.dirty
    again = Settings(file)
    assert again["name"] == "Đặng Văn Giang"
    assert again.items("known_servers") == ("https://a.vn",)
    assert again.mapping("window") == {"width": "1280"}
    assert "Đặng" in file.read_text(encoding="utf-8"), "to be read by people"
    assert [one.name for one in file.parent.iterdir()] == ["settings.json"], "nothing is left beside it"


def test_what_a_newer_version_kept_stays(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"theme": "dark", "captions": {"on": True}, "odd": "\ud800"}))
    settings = Settings(file)
    settings.set("theme", "light")
    assert settings.save()
    assert json.loads(file.read_text(encoding="utf-8")) == {"theme": "light", "captions": {"on": True}, "odd": "\ud800"}


def test_a_value_that_is_none_does_not_cost_the_others(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"theme": "pink", "language": "en"}))
    settings = Settings(file)
    assert (settings["theme"], settings["language"]) == ("system", "en")
    assert [(p.code, p.name) for p in settings.problems] == [("bad_value", "theme")]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"name": "'])
def test_a_broken_file_is_kept_beside(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(content)
    settings = Settings(file)
    assert settings["theme"] == "system"
    assert [p.code for p in settings.problems] == ["malformed"]
    settings.set("theme", "dark")
    assert settings.save()
    assert (tmp_path / "settings.broken").read_text() == content
    assert Settings(file)["theme"] == "dark"


def test_a_report_leaves_a_broken_file_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text("{")
    assert [p.code for p in Settings(file, looking=True).problems] == ["malformed"]
    assert file.read_text() == "{"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = Settings(tmp_path / "file" / "settings.json")
    settings.set("theme", "dark")
    assert not settings.save()
    assert settings["theme"] == "dark", "holds in this run"
    assert settings.dirty, "to be tried again at the end"
    (tmp_path / "file").unlink()
    assert settings.save()
    assert Settings(tmp_path / "file" / "settings.json")["theme"] == "dark"


def test_a_place_that_cannot_even_be_looked_at(tmp_path: Path) -> None:
    settings = Settings(tmp_path / ("x" * 300) / "settings.json")
    assert [p.code for p in settings.problems] == ["unreadable"]
    assert not settings.save()


def test_without_a_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    settings.set("theme", "dark")
    assert settings.save()
    assert not settings.dirty
    assert list(tmp_path.iterdir()) == []

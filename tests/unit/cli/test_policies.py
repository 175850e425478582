"""`vidconf policies`: each layer, what holds what, what was ignored and why; under real policies where a mount of one's own is to be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.registry import Registry

from vidconf import words
from vidconf.cli.policies import document, explain, tell
from vidconf.client.policies.files import FilePolicies
from vidconf.client.policies.reading import Problem
from vidconf.client.policies.registry import POLICY_KEY, RegistryPolicies
from vidconf.client.settings import Settings
from vidconf.client.settings_table import BY_POLICY, SETTINGS

PROBLEMS = ("unreadable", "malformed", "too_large", "unsafe_owner", "unsafe_folder", "unknown_name", "bad_value", "twice", "repeated",
            "proxy_missing", "proxy_malformed", "proxy_credentials", "bypass_malformed", "turn_malformed", "ports_odd", "ca_unreadable", "ca_malformed")  # fmt: skip


@pytest.fixture(autouse=True)
def vietnamese() -> Iterator[None]:
    words.set_language("vi")
    yield
    words.set_language("vi")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine's policies with something of everything."""
    policies = tmp_path / "policies"
    policies.mkdir(mode=0o755)
    for level in ("managed", "recommended"):
        (policies / level).mkdir(mode=0o755)
    put(policies / "managed" / "10-agency.json", {"ServerURL": "https://hop.example.gov.vn", "MuteOnJoin": 1, "LogLevel": "debug"})
    put(policies / "managed" / "20-unit.json", {"LogLevel": "warning", "Theme": "purple", "NoSuchPolicy": True})
    put(policies / "recommended" / "10.json", {"Theme": "light", "ConfirmLeave": False})
    (policies / "managed" / "notes.txt").write_text("no policy")
    return policies


def put(file: Path, values: dict[str, Any], mode: int = 0o644) -> None:
    file.write_text(json.dumps(values))
    file.chmod(mode)


def settings(tmp_path: Path, folder: Path, **options: Any) -> Settings:
    return Settings(tmp_path / "settings.json", policies=FilePolicies(folder, trusted=(os.getuid(),)), looking=True, **options)


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in report["settings"]}


def test_every_setting_is_there_with_its_layer(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"server": "https://other.example", "theme": "dark", "confirm_leave": True, "sounds": False}))
    report = document(settings(tmp_path, folder, command_line={"language": "en", "log_level": "error"}))
    found = by_name(report)
    assert list(found) == list(SETTINGS)
    agency, unit = str(folder / "managed" / "10-agency.json"), str(folder / "managed" / "20-unit.json")
    wanted = {
        "server": ("https://hop.example.gov.vn", "policy", agency, True),
        "start_muted": (True, "policy", agency, True),
        "log_level": ("warning", "policy", unit, True),
        "language": ("en", "command line", None, False),
        "theme": ("dark", "user", str(tmp_path / "settings.json"), False),
        "confirm_leave": (True, "user", str(tmp_path / "settings.json"), False),
        "camera": ("default", "default", None, False),
        "allowed_servers": ([], "default", None, False),
    }
    for name, (value, source, file, locked) in wanted.items():
        entry = found[name]
        assert (entry["value"], entry["source"], entry["origin"], entry["locked"]) == (value, source, file, locked), name
    assert found["server"]["policy"] == "ServerURL"
    assert found["window"]["policy"] is None
    (tmp_path / "settings.json").unlink()
    found = by_name(document(settings(tmp_path, folder)))
    assert (found["theme"]["value"], found["theme"]["source"], found["theme"]["locked"]) == ("light", "recommended", False)
    assert report["policy_found"] == [agency, unit, str(folder / "recommended" / "10.json")]
    json.dumps(report)


def test_what_was_ignored_is_named_with_what_to_do(tmp_path: Path, folder: Path) -> None:
    put(folder / "managed" / "30-broken.json", {})
    (folder / "managed" / "30-broken.json").write_text("{")
    put(folder / "managed" / "40-open.json", {"ServerURL": "https://evil.example"}, 0o666)
    (folder / "managed" / "50.json").symlink_to(folder / "managed" / "nowhere.json")
    (tmp_path / "settings.json").write_text(json.dumps({"language": "xx", "of_a_newer_version": 1}))
    report = document(settings(tmp_path, folder))
    assert by_name(report)["server"]["value"] == "https://hop.example.gov.vn", "a file that anybody can write is no policy"
    problems = {(Path(problem["origin"]).name, problem["code"], problem["name"]) for problem in report["problems"]}
    assert problems == {
        ("settings.json", "bad_value", "language"), ("20-unit.json", "twice", "LogLevel"), ("20-unit.json", "bad_value", "Theme"),
        ("20-unit.json", "unknown_name", "NoSuchPolicy"), ("30-broken.json", "malformed", ""), ("40-open.json", "unsafe_owner", ""),
        ("50.json", "unreadable", ""),
    }  # fmt: skip
    for problem in report["problems"]:
        assert problem["text"].startswith(problem["origin"])
        assert problem["help"]


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_problem_has_words(language: str) -> None:
    words.set_language(language)
    for code in PROBLEMS:
        assert words.has(f"policies.problem.{code}")
        assert words.has(f"policies.problem.{code}.help")


def test_what_the_network_cannot_use_is_told_too(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "managed" / "30-network.json"
    put(file, {"ProxyMode": "manual", "ProxyServer": "http://me:secret@proxy:3128", "TurnURLs": ["http://x"], "ProxyBypass": ["a b"], "UdpPortMin": 9, "CAFile": str(tmp_path / "none.pem")})
    held = settings(tmp_path, folder)
    told = {(problem["name"], problem["code"]) for problem in document(held)["problems"] if problem["origin"] == str(file)}
    assert told == {
        ("ProxyServer", "proxy_credentials"), ("TurnURLs", "turn_malformed"), ("ProxyBypass", "bypass_malformed"), ("UdpPortMin", "ports_odd"),
        ("CAFile", "ca_unreadable"),
    }  # fmt: skip
    tell(held)
    assert words.text("policies.problem.ports_odd", file=file, name="UdpPortMin") in capsys.readouterr().out


def test_a_problem_of_a_newer_version_is_told_as_such() -> None:
    from vidconf.cli.policies import cure, said

    problem = Problem("/x.json", "turned_to_stone", "Theme")
    assert "turned_to_stone" in said(problem)
    assert cure(problem) == ""


def test_the_table_to_read(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"name": "[red]A\x1b[2J\u202eB", "shortcuts": {"hand": "Ctrl+H"}}))
    tell(settings(tmp_path, folder))
    told = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in told.splitlines() if line.count("│") == 6}
    assert set(SETTINGS) <= set(rows)
    assert "https://hop.example.gov.vn" in rows["server"]
    assert words.text("policies.locked") in rows["server"]
    assert words.text("policies.locked") not in rows["theme"]
    assert words.text("policies.on") in rows["start_muted"]
    assert "[red]A?[2J?B" in rows["name"], "what a file says is text, not an order to the terminal"
    assert "Ctrl+H" in rows["shortcuts"]
    assert "\x1b" not in told
    assert "NoSuchPolicy" in told
    assert words.text("policies.problem.unknown_name.help") in told
    assert words.text("policies.place", place=folder / "managed", count=3) in told
    assert words.text("policies.place", place=folder / "recommended", count=2) in told


def test_no_policies_and_none_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere"
    tell(settings(tmp_path, nowhere))
    assert words.text("policies.place", place=nowhere / "managed", count=0) in capsys.readouterr().out
    report = document(Settings(None))
    assert (report["policy_places"], report["policy_found"]) == ([], [])


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_a_windows_machine_is_told_by_its_keys(capsys: pytest.CaptureFixture[str], language: str) -> None:
    key = f"HKLM\\{POLICY_KEY}"
    registry = Registry({key: {"ServerURL": ("https://hop.vn", 1), "Dscp": ("46", 1), "Language": (language, 1)}, f"{key}\\AllowedServers": {"1": ("hop.vn", 1)}})
    held = Settings(policies=RegistryPolicies(registry))
    words.set_language(language)
    report = document(held)
    for name, value in (("server", "https://hop.vn"), ("allowed_servers", ["hop.vn"])):
        entry = by_name(report)[name]
        assert (entry["value"], entry["source"], entry["origin"], entry["locked"]) == (value, "policy", key, True)
    assert report["policy_found"] == [key]
    assert [(problem["origin"], problem["code"], problem["name"]) for problem in report["problems"]] == [(key, "bad_value", "Dscp")]
    tell(held)
    told = capsys.readouterr().out
    assert words.text("policies.place", place=key, count=3) in told
    assert words.text("policies.source.policy", file=key) in told
    assert words.text("policies.problem.bad_value", file=key, name="Dscp") in told


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_policy_is_explained(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], language: str) -> None:
    words.set_language(language)
    held = settings(tmp_path, folder)
    explain(held, list(BY_POLICY.values()))
    told = capsys.readouterr().out
    assert all(f"{name} · " in told for name in BY_POLICY)
    explain(held, [BY_POLICY["ServerURL"]])
    told = capsys.readouterr().out
    assert f"{words.text('policies.column.value')}: https://hop.example.gov.vn ({words.text('policies.locked')})" in told
    for entry in document(held)["settings"]:
        assert bool(entry.get("title") and entry.get("help")) == (entry["policy"] is not None)


def test_a_guest_s_badges_are_not_shown(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"badges": {"https://hop.example": "a-badge-that-is-a-key"}}))
    held = settings(tmp_path, folder)
    assert held.mapping("badges") == {"https://hop.example": "a-badge-that-is-a-key"}
    assert by_name(document(held))["badges"]["value"] == {"https://hop.example": "…"}
    tell(held)
    assert "a-badge-that-is-a-key" not in capsys.readouterr().out


# ---- the program ----


def run(*argv: str, home: Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    return subprocess.run([*before, sys.executable, "-m", "vidconf.cli.main", "policies", *argv], capture_output=True, text=True, timeout=60, env=environment)


def test_the_program_reads_what_the_window_reads_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "vidconf").mkdir()
    file = tmp_path / "vidconf" / "settings.json"
    for content in ('{"theme": "dark", "language": "en"}', "{ broken", "[]", "\x00" * 100, '{"theme": 7}'):
        file.write_text(content)
        done = run("--json", home=tmp_path)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert by_name(report)["theme"]["value"] == ("dark" if "dark" in content else "system")
        assert bool(report["problems"]) == ("dark" not in content)
        assert file.read_text() == content
        assert [path.name for path in file.parent.iterdir()] == ["settings.json"], "a broken file is left where it is"
    file.unlink()
    shown = run(home=tmp_path)
    assert shown.returncode == 0
    assert "camera_off_on_join" in shown.stdout
    asked = run("--json", "serverurl", "theme", home=tmp_path)
    assert [entry["policy"] for entry in json.loads(asked.stdout)["settings"]] == ["ServerURL", "Theme"]
    assert "ServerURL" in run("ServerURL", home=tmp_path).stdout
    for wrong in (["x"], ["--no-such-option"], ["Theme", "\x1b[2J"]):
        assert run(*wrong, home=tmp_path).returncode == 2


def own_mounts() -> tuple[str, ...]:
    """A command before the program that gives it mounts of its own; skips where the system does not let one."""
    argv = ("unshare", "--mount")
    able = os.getuid() == 0 and shutil.which("unshare") and Path("/etc/opt").is_dir()
    if able and subprocess.run([*argv, "true"], capture_output=True, timeout=20).returncode == 0:
        return argv
    pytest.skip("needs to be root, with mounts of its own: in a namespace of a user's the folders above are nobody's")


def test_a_machine_s_policies_hold_the_program(tmp_path: Path) -> None:
    """/etc/opt as an agency's machine has it, for this one process."""
    unshare = own_mounts()
    for level in ("managed", "recommended"):
        (tmp_path / "opt" / "vidconf" / "policies" / level).mkdir(parents=True)
    for above in ("opt", "opt/vidconf", "opt/vidconf/policies", "opt/vidconf/policies/managed", "opt/vidconf/policies/recommended"):
        (tmp_path / above).chmod(0o755)
    managed = tmp_path / "opt" / "vidconf" / "policies" / "managed"
    put(managed / "agency.json", {"Language": "en", "ServerURL": "https://hop.example.gov.vn", "AllowedServers": ["*.gov.vn"]})
    put(managed / "anybody.json", {"Language": "vi"}, 0o666)
    (tmp_path / "vidconf").mkdir()
    (tmp_path / "vidconf" / "settings.json").write_text('{"language": "vi", "allowed_servers": ["evil.example"]}')
    before = (*unshare, "sh", "-c", f'mount --bind "{tmp_path}/opt" /etc/opt && exec "$@"', "sh")
    done = run("--json", home=tmp_path, before=before)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    found = by_name(report)
    file = "/etc/opt/vidconf/policies/managed/agency.json"
    for name, value in (("language", "en"), ("server", "https://hop.example.gov.vn"), ("allowed_servers", ["*.gov.vn"])):
        assert (found[name]["value"], found[name]["source"], found[name]["origin"], found[name]["locked"]) == (value, "policy", file, True)
    assert [(problem["code"], Path(problem["origin"]).name) for problem in report["problems"]] == [("unsafe_owner", "anybody.json")]
    shown = run(home=tmp_path, before=before)
    assert "policy: /etc/opt/vidconf/policies/managed/agency.json" in shown.stdout, "in the agency's language"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    refused = subprocess.run([*before, sys.executable, "-m", "vidconf.cli.main", "doctor", "https://evil.example/m/kx7m-2pqa-9tdf"], capture_output=True, text=True, timeout=60, env=environment)
    assert refused.returncode == 2
    assert "link_not_allowed" in refused.stderr

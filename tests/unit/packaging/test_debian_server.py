"""The server package's parts that need no root of a release: its lock, settings, units, scripts and what stands beside them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from packaging_scripts import ROOT, load

from vidconf.cli.main import cli
from vidconf.server import config

SERVER = ROOT / "packaging" / "debian" / "server"
DEPLOY = ROOT / "packaging" / "deploy"
lock = load("packaging/debian/server/lock.py")


# ---- the lock --------------------------------------------------------------------------------------------------------


def test_the_servers_lock_is_the_whole_ones_without_the_window() -> None:
    whole = (ROOT / "requirements.lock").read_text()
    assert (SERVER / "requirements-server.lock").read_text() == lock.server(whole), "python3 packaging/debian/server/lock.py --write"
    names = {one.name for one in lock.entries(lock.server(whole))}
    assert {"aiohttp", "sqlalchemy", "alembic", "argon2-cffi", "joserfc", "aiortc", "av", "uvloop", "greenlet"} <= names
    assert not names & {"pyside6-essentials", "shiboken6", "qasync", "keyring", "secretstorage", "jeepney", "pywin32-ctypes", "tuf"}
    assert all(any("--hash=sha256:" in line for line in one.lines) for one in lock.entries(lock.server(whole)))


def test_one_package_and_what_it_needs() -> None:
    found = {one.name for one in lock.needed(lock.entries((ROOT / "requirements-dev.lock").read_text()), ["hatchling"])}
    assert {"hatchling", "packaging", "pathspec", "pluggy"} <= found
    assert "pytest" not in found


@pytest.mark.parametrize("text", ["what is this", "a==1\nb\n    # via vidconf", "a==1 \\\n    --hash=sha256:00\n", "    # via x\n"])
def test_a_lock_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(lock.LockError):
        lock.entries(text)


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh"), max_size=3), min_size=1),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_what_stays_is_what_can_be_reached(via: dict[str, set[str]], without: set[str]) -> None:
    """Against the definition, walked the other way: a package stays if a way leads from the project to it past nothing that goes."""
    text = "".join(
        f"{name}==1 \\\n    --hash=sha256:00\n    # via\n"
        + "".join(f"    #   {by}\n" for by in [*sorted(whom), "vidconf"][: len(whom) or 1])
        for name, whom in via.items()
    )
    kept = {one.name for one in lock.needed(lock.entries(text), ["vidconf"], without)}

    def reached(name: str, seen: frozenset[str] = frozenset()) -> bool:
        if name in without or name in seen or name not in via:
            return False
        return not via[name] or any(reached(by, seen | {name}) for by in via[name])

    assert kept == {name for name in via if reached(name)}


# ---- what is installed -----------------------------------------------------------------------------------------------


def test_the_installed_settings_are_good_as_they_are_and_with_their_comments_taken_in(tmp_path: Path) -> None:
    text = (SERVER / "files" / "server.toml").read_text()
    found = config.load(SERVER / "files" / "server.toml")
    assert (found.host, found.media.udp_port, found.media.tcp_port) == ("127.0.0.1", 7882, 7881)
    assert "data" not in tomllib.loads(text), "the unit and the commands name it; a third place could contradict them"
    fronted = tmp_path / "fronted.toml"
    head, _, _ = text.partition("# Without nginx")
    fronted.write_text(re.sub(r"(?m)^#(?=[a-z_]+ = )", "", head))
    told = config.load(fronted)
    assert (told.public_url, told.behind_proxy, told.media.announce) == ("https://hop.example.gov.vn", True, ("203.0.113.10",))


def test_the_data_folder_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIDCONF_DATA", str(tmp_path / "there"))
    assert config.default_data() == tmp_path / "there"
    monkeypatch.setenv("VIDCONF_DATA", "")
    assert config.default_data().name == "vidconf-server"
    script = (SERVER / "files" / "vidconf-server").read_text()
    unit = (SERVER / "files" / "vidconf-server.service").read_text()
    assert "VIDCONF_DATA=/var/lib/vidconf " in script
    assert "--data /var/lib/vidconf\n" in unit
    assert "StateDirectory=vidconf\n" in unit


@pytest.mark.parametrize("unit", ["vidconf-server.service", "vidconf-backup.service"])
def test_a_unit_runs_commands_that_there_are(unit: str) -> None:
    text = (SERVER / "files" / unit).read_text()
    (line,) = re.findall(r"^ExecStart=/opt/vidconf-server/bin/vidconf (.*)$", text, re.MULTILINE)
    words = [word for word in line.split() if not word.startswith("/")]
    asked = CliRunner().invoke(
        cli, [*[word for word in words if not word.startswith("-") and not word.isdigit()][: 1 if words[0] == "serve" else 2], "--help"]
    )
    assert asked.exit_code == 0
    assert all(word in asked.output for word in words if word.startswith("--"))
    assert {"User=vidconf", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "UMask=0077"} <= set(text.splitlines())


def test_the_relay_may_have_the_memory_that_its_dtls_needs() -> None:
    """pyOpenSSL makes callbacks by cffi at run time; with MemoryDenyWriteExecute meetings begin, and no media ever comes."""
    assert not re.search(r"(?m)^MemoryDenyWriteExecute", (SERVER / "files" / "vidconf-server.service").read_text())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is systemd's")
@pytest.mark.parametrize(("unit", "most"), [("vidconf-server.service", 2.0), ("vidconf-backup.service", 1.0)])
def test_a_unit_is_exposed_by_no_more_than(unit: str, most: float) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(most * 10)}", str(SERVER / "files" / unit)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm", "files/vidconf-server"])
def test_a_script_of_the_package_is_plain_shell(name: str) -> None:
    path = SERVER / name
    shell = shutil.which("dash") or "sh"
    assert subprocess.run([shell, "-n", str(path)], timeout=20).returncode == 0
    assert "set -e" in path.read_text()


def test_the_alerts_ask_for_figures_that_there_are() -> None:
    rules = (DEPLOY / "prometheus-rules.yml").read_text()
    asked = set(re.findall(r"\bvidconf_\w+", rules))
    source = (ROOT / "src/vidconf/server/metrics.py").read_text()
    for name in asked - {"vidconf_process_open_fds", "vidconf_process_max_fds"}:  # prometheus_client's own, of the process
        assert f'"{name.removesuffix("_total")}"' in source, name
    assert 'ProcessCollector(namespace="vidconf"' in source


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is Prometheus'")
def test_prometheus_reads_the_alerts() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(DEPLOY / "prometheus-rules.yml")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def purged(data: Path, settings: Path, tools: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """What the script says when the package is purged, with other folders than the real ones and none of systemd's tools."""
    script = (SERVER / "postrm").read_text(encoding="utf-8")
    for real, other in (
        ("/var/lib/vidconf", data),
        ("/etc/vidconf", settings),
        ("/var/lib/systemd", data.parent),
        ("/run/systemd", data.parent),
    ):
        script = script.replace(real, str(other))
    assert "/var/lib/" not in script
    tools.mkdir()
    for name in ("rm", "readlink", "mount", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    (tools.parent / "postrm").write_text("\n".join(["set -e", *before, script.replace("#!/bin/sh\n", "")]), encoding="utf-8")
    command = ["sh", str(tools.parent / "postrm"), "purge"]
    own_mounts = [str(shutil.which("unshare")), "--mount"] if before else []
    return subprocess.run([*own_mounts, *command], env={"PATH": str(tools)}, capture_output=True, text=True, timeout=30)


def test_purging_takes_settings_and_data_and_says_what_it_could_not_take(tmp_path: Path) -> None:
    data, settings = tmp_path / "data", tmp_path / "settings"
    for folder in (data, settings):
        folder.mkdir()
        (folder / "file").write_text("secret")
    done = purged(data, settings, tmp_path / "tools")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not data.exists()
    assert not settings.exists()


def test_purging_says_where_data_stays_that_a_link_led_to(tmp_path: Path) -> None:
    """A link is what was asked to be removed: what it leads to may be anything."""
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "vidconf.db").write_text("secret")
    (tmp_path / "data").symlink_to(disk)
    done = purged(tmp_path / "data", tmp_path / "settings", tmp_path / "tools")
    assert done.returncode == 0
    assert str(disk) in done.stderr
    assert (disk / "vidconf.db").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root mounts disks")
def test_data_on_a_disk_of_its_own_is_purged_and_the_package_is_gone(tmp_path: Path) -> None:
    data, settings = tmp_path / "data", tmp_path / "settings"
    data.mkdir()
    settings.mkdir()
    done = purged(data, settings, tmp_path / "tools", f"mount -t tmpfs none {data}", f"echo secret > {data}/vidconf.db")
    assert done.returncode == 0, done.stderr
    assert str(data) in done.stderr, "the folder stays"
    assert not settings.exists()

"""account, meeting, audit, serve --check-config as an administrator types them, with no server and beside a running one."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def vidconf(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "vidconf.cli.main", *words], input=stdin, capture_output=True, text=True, timeout=60)


def said(*words: str, stdin: str = "") -> Any:
    done = vidconf(*words, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=["resting", "running"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server's data folder, without its server and with it."""
    folder = str(tmp_path / "data")
    if request.param == "resting":
        yield folder
        return
    server = subprocess.Popen([sys.executable, "-m", "vidconf.cli.main", "serve", "--port", "0", "--data", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready http://127.0.0.1:")
        yield folder
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert server.stdout is not None
        server.stdout.close()
        assert not (Path(folder) / "server.json").exists(), "what it left for the command line goes with it"


def test_accounts(data: str) -> None:
    added = said("account", "add", "Nguyễn Văn An", "--role", "organiser", "--password-stdin", "--data", data, stdin="mật khẩu dài\n")
    assert (added["name"], added["role"]) == ("Nguyễn Văn An", "organiser")
    again = vidconf("account", "add", "nguyễn văn an", "--password-stdin", "--data", data, stdin="mật khẩu dài\n")
    assert again.returncode == 1
    assert "already" in again.stderr or "name_taken" in again.stderr
    short = vidconf("account", "add", "Bình", "--password-stdin", "--data", data, stdin="ngắn\n")
    assert short.returncode == 1
    assert vidconf("account", "add", "Bình", "--role", "king", "--password-stdin", "--data", data, stdin="mật khẩu dài\n").returncode == 2
    assert vidconf("account", "disable", "Nguyễn Văn An", "--data", data).returncode == 0
    assert vidconf("account", "disable", "nobody", "--data", data).returncode == 1
    (one,) = said("account", "list", "--data", data)["accounts"]
    assert one["disabled"] is True
    assert "Nguyễn Văn An" in vidconf("account", "list", "--data", data).stdout


def test_meetings(data: str) -> None:
    made = said("meeting", "create", "--title", "  Giao ban   tuần ", "--start", "2026-12-01T08:30+07:00", "--minutes", "90", "--data", data)
    assert {"id", "code", "link", "chair_link", "chair_token"} <= set(made)
    assert (made["title"], made["duration_s"], made["lobby"]) == ("Giao ban tuần", 5400, True)
    assert made["link"].endswith(f"/m/{made['code']}")
    assert made["chair_link"].startswith(made["link"] + "#k=")
    assert said("meeting", "create", "--title", "Mở", "--no-lobby", "--data", data)["lobby"] is False
    for wrong in (("--title", " "), ("--title", "T", "--start", "hôm qua")):
        done = vidconf("meeting", "create", *wrong, "--data", data)
        assert done.returncode == 2, done.stderr
        assert wrong[-2].lstrip("-") in done.stderr
    lines = vidconf("meeting", "create", "--title", "T", "--data", data).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["id", "code", "link", "chair_link", "chair_token"]


def test_a_token_for_another_client_needs_the_server(data: str) -> None:
    made = said("meeting", "create", "--title", "T", "--data", data)
    done = vidconf("meeting", "token", made["code"], "--identity", "gateway-1", "--data", data, "--json")
    running = (Path(data) / "server.json").exists()
    if not running:
        assert done.returncode == 1
        assert "does not run" in done.stderr
        return
    granted = json.loads(done.stdout)
    assert granted["url"].startswith("ws://127.0.0.1:")
    assert granted["token"].count(".") == 2
    assert vidconf("meeting", "token", made["code"], "--identity", "not a name", "--data", data).returncode == 1
    assert vidconf("meeting", "token", "aaaa-bbbb-cccc", "--identity", "x", "--data", data).returncode == 1
    facts = Path(data) / "server.json"
    assert facts.stat().st_mode & 0o777 == 0o600
    report = said("audit", "verify", "--data", data)
    assert report["ok"]
    assert report["events"] >= 1


def test_audit_names_what_was_changed(data: str) -> None:
    said("meeting", "create", "--title", "T", "--data", data)
    whole = vidconf("audit", "verify", "--data", data)
    assert whole.returncode == 0
    assert "whole" in whole.stdout
    with sqlite3.connect(Path(data) / "vidconf.db") as database:
        database.execute("UPDATE meetings SET head_seq = 3")
    database.close()
    done = vidconf("audit", "verify", "--data", data, "--json")
    assert done.returncode == 1
    (broken,) = json.loads(done.stdout)["broken"]
    assert broken["seq"] == 1


def test_without_data_it_says_what_to_give(tmp_path: Path) -> None:
    done = vidconf("audit", "verify", "--data", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "--data" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_server_that_was_killed_is_seen_through(tmp_path: Path) -> None:
    said("meeting", "create", "--title", "T", "--data", str(tmp_path))
    (tmp_path / "server.json").write_text(json.dumps({"local_url": "http://127.0.0.1:9", "admin_key": "k", "pid": os.getpid()}))
    assert said("audit", "verify", "--data", str(tmp_path))["meetings"] == 1


@pytest.mark.parametrize(
    ("toml", "names"),
    [("prot = 1", "prot"), ("port = 'x'", "port"), ("host = '0.0.0.0'", "[tls]"), ("[tls]\ncert = '/none'\nkey = '/none'", "[tls]"), ("port = ", "vidconf.toml: ")],
)
def test_wrong_settings_are_named(tmp_path: Path, toml: str, names: str) -> None:
    file = tmp_path / "vidconf.toml"
    file.write_text(toml)
    for words in (["--check-config"], []):
        done = vidconf("serve", "--config", str(file), "--data", str(tmp_path / "data"), *words)
        assert done.returncode == 2, done.stderr
        assert names in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_good_settings_and_a_port_that_is_taken(tmp_path: Path) -> None:
    import socket

    assert vidconf("serve", "--check-config").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = vidconf("serve", "--port", str(taken.getsockname()[1]), "--data", str(tmp_path))
    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_needs_nothing_of_the_server() -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; sys.modules['alembic'] = None\n"
        "from vidconf.cli.main import main\nsys.argv = ['vidconf', *sys.argv[1:]]\nmain()"
    )
    listed = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert listed.returncode == 0
    assert "serve" in listed.stdout
    wanted = subprocess.run([sys.executable, "-c", code, "serve"], capture_output=True, text=True, timeout=60)
    assert wanted.returncode == 1
    assert "vidconf[server]" in wanted.stderr

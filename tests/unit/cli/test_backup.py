"""`vidconf backup` and `vidconf serve --migrate` as an administrator types them, beside a running server and without one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from vidconf.cli.main import cli


def vidconf(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """In this process, which starts no interpreter each time; the server is one of its own, as it sets up logging for good."""
    if words[0] == "serve":
        return subprocess.run([sys.executable, "-m", "vidconf.cli.main", *words], input=stdin, capture_output=True, text=True, timeout=60)
    done = CliRunner().invoke(cli, words, input=stdin)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def said(*words: str, stdin: str = "") -> Any:
    done = vidconf(*words, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def names(data: str) -> list[str]:
    return [one["name"] for one in said("account", "list", "--data", data)["accounts"]]


def test_made_beside_a_running_server_and_put_back_after_it(tmp_path: Path) -> None:
    data, away = str(tmp_path / "data"), str(tmp_path / "away")
    server = subprocess.Popen([sys.executable, "-m", "vidconf.cli.main", "serve", "--port", "0", "--data", data], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    with server.stdout:
        try:
            assert server.stdout.readline().startswith(b"ready ")
            said("account", "add", "An", "--password-stdin", "--data", data, stdin="mật khẩu dài\n")
            made = said("backup", "create", "--to", away, "--label", "nightly", "--data", data)
            assert (made["label"], made["accounts"], made["revision"]) == ("nightly", 1, "0001")
            said("account", "add", "Bình", "--password-stdin", "--data", data, stdin="mật khẩu dài\n")
            refused = vidconf("backup", "restore", made["path"], "--yes", "--data", data)
            assert refused.returncode == 1
            assert "stop it first" in refused.stderr
            assert names(data) == ["An", "Bình"]
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0
    unasked = vidconf("backup", "restore", made["path"], "--data", data, stdin="n\n")
    assert unasked.returncode == 1
    assert "1 accounts" in unasked.stderr
    assert names(data) == ["An", "Bình"]
    back = said("backup", "restore", made["path"], "--yes", "--data", data)
    assert names(data) == ["An"]
    assert said("audit", "verify", "--data", data)["ok"]
    assert vidconf("backup", "restore", back["before"], "--yes", "--data", data).returncode == 0
    assert names(data) == ["An", "Bình"]


def test_listed_read_through_and_refused(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    nothing = vidconf("backup", "create", "--data", data)
    assert nothing.returncode == 1
    assert "no server's data" in nothing.stderr
    assert vidconf("serve", "--migrate", "--data", data).returncode == 0, "new tables where there are none"
    assert said("backup", "list", "--data", data) == {"backups": []}
    assert vidconf("serve", "--migrate", "--data", data).returncode == 0
    (one,) = said("backup", "list", "--data", data)["backups"]
    assert one["label"] == "upgrade", "and what is there is saved first"
    assert one["path"] in vidconf("backup", "list", "--data", data).stdout
    assert vidconf("backup", "verify", one["path"]).returncode == 0
    path = Path(one["path"])
    path.write_bytes(path.read_bytes()[:-100])
    for words in (("verify", one["path"]), ("restore", one["path"], "--yes", "--data", data)):
        done = vidconf("backup", *words)
        assert done.returncode == 1
        assert "damaged" in done.stderr
    listed = vidconf("backup", "list", "--data", data)
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "damaged" in listed.stderr


def test_a_database_that_cannot_be_brought_up_to_date_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "vidconf.db").write_bytes(b"minutes of the meeting\n" * 100)
    done = vidconf("serve", "--migrate", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "not a database" in done.stderr
    assert "Traceback" not in done.stderr

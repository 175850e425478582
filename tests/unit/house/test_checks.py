"""Ruff and mypy over the whole tree, and the wheel: what a reviewer would run first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*argv: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, **kwargs)  # type: ignore[call-overload, no-any-return]


def python_commands() -> list[str]:
    """The repository's commands that are Python under a name without `.py`, which ruff does not find by itself."""
    named = [ROOT / name for name in run("git", "ls-files", "-z", "script", "packaging").stdout.split("\0") if name and not Path(name).suffix]
    return [str(file) for file in named if file.is_file() and file.read_bytes().startswith(b"#!/usr/bin/env python3")]


def test_ruff() -> None:
    commands = python_commands()
    assert str(ROOT / "packaging/policies/generate") in commands
    done = run(sys.executable, "-m", "ruff", "check", ".", *commands)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_mypy() -> None:
    done = run(sys.executable, "-m", "mypy", "--cache-dir", ".cache/mypy")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_wheel_carries_the_program_and_starts(tmp_path: Path) -> None:
    """Built from the tree, unpacked away from it, it finds its resources and answers."""
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    for needed in ("vidconf/_resources/words/vi.json", "vidconf/_resources/words/en.json", "vidconf/server/migrations/env.py"):
        assert needed in names
    assert any(n.endswith("entry_points.txt") for n in names)
    assert not [n for n in names if n.startswith("tests/")]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "QT_QPA_PLATFORM": "offscreen"}
    code = "import vidconf, vidconf.words as w; print(vidconf.__path__[0]); w.set_language('vi')"
    where = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert where.stdout.strip() == str(tmp_path / "site" / "vidconf")
    version = subprocess.run([sys.executable, "-m", "vidconf.cli.main", "--version"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "vidconf" in version.stdout
    selftest = subprocess.run([sys.executable, "-m", "vidconf.cli.main", "selftest", "--json"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert selftest.returncode == 0, selftest.stdout + selftest.stderr
    assert json.loads(selftest.stdout)


def test_the_locks_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--hash=sha256:" in text


def test_the_repository_speaks_only_of_itself() -> None:
    """No path of a machine it was made on, no registry's host."""
    listed = run("git", "ls-files", "-z").stdout.split("\0")
    own = str(Path(__file__).relative_to(ROOT))
    for name in filter(None, listed):
        path = ROOT / name
        if name == own or not path.is_file() or path.suffix in (".png", ".mp4", ".flac", ".ttf", ".ico", ".bin", ".pcap"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for word in ("/work/" + "main", "/work/" + "shared", "files.python" + "hosted.org", "registry." + "npmjs.org", "proxy." + "golang.org"):
            assert word not in text, f"{name} says {word}"

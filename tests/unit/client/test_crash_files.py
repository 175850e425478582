"""Crash reports: written where they are on, small, without what was said; faults below Python are found at the next start."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidconf
from vidconf.client.crash_files import CrashReports, places

SRC = str(Path(vidconf.__file__).parent.parent)


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    before = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = before


def mistake(text: str = "điều bí mật trong cuộc họp") -> Exception:
    try:
        try:
            raise KeyError(text)
        except KeyError as error:
            raise ValueError(text) from error
    except ValueError as error:
        return error


def reports_in(folder: Path) -> list[str]:
    return [file.read_text(encoding="utf-8") for file in sorted(folder.glob("vidconf-crash-*.txt"))]


def test_a_report_says_where_and_not_what(tmp_path: Path) -> None:
    reports = CrashReports(tmp_path, "window", on=True)
    file = reports.take(mistake(), "task")
    reports.close()
    assert file is not None
    text = file.read_text(encoding="utf-8")
    assert vidconf.__version__ in text
    assert "builtins.ValueError" in text
    assert "builtins.KeyError" in text
    assert "test_crash_files.py" in text
    assert "in mistake" in text
    assert "bí mật" not in text
    assert file.stat().st_mode & 0o077 == 0
    assert list(tmp_path.glob("vidconf-fault-*")) == []


def test_off_there_is_nothing(tmp_path: Path) -> None:
    reports = CrashReports(tmp_path, "window", on=False)
    assert reports.take(mistake(), "task") is None
    assert reports.told("Qt gave up") is None
    reports.close()
    assert list(tmp_path.iterdir()) == []


def test_policy_turns_it_on_and_off_while_the_program_runs(tmp_path: Path) -> None:
    reports = CrashReports(tmp_path, "window", on=False)
    reports.turn(True)
    assert reports.take(mistake(), "task") is not None
    reports.turn(False)
    assert list(tmp_path.glob("vidconf-fault-*")) == []
    reports.close()


def test_the_same_mistake_again_and_too_many_write_no_more(tmp_path: Path) -> None:
    reports = CrashReports(tmp_path, "engine", on=True)
    for _ in range(5):
        reports.take(mistake(), "task")
    assert len(reports_in(tmp_path)) == 1
    for n in range(100):
        reports.take(mistake(), f"place {n}")
    reports.close()
    assert len(reports_in(tmp_path)) == 20


def test_an_end_that_was_wanted_is_no_crash(tmp_path: Path) -> None:
    reports = CrashReports(tmp_path, "window", on=True)
    assert reports.take(KeyboardInterrupt(), "not caught") is None
    assert reports.take(SystemExit(1), "not caught") is None
    reports.close()


def test_a_disk_that_refuses_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    reports = CrashReports(tmp_path / "file", "window", on=True)
    assert reports.take(mistake(), "task") is None
    reports.close()
    assert "no crash report could be written" in caplog.text


async def test_threads_tasks_and_what_cannot_be_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reports = CrashReports(tmp_path, "window", on=True)
    reports.listen()
    thread = threading.Thread(target=lambda: [][1], name="worker")
    thread.start()
    thread.join()
    sys.excepthook(ValueError, mistake(), None)

    async def fails() -> None:
        raise LookupError("x")

    async def forgotten() -> None:
        task = asyncio.ensure_future(fails())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert task.done()

    await forgotten()
    await asyncio.sleep(0)

    class Ending:
        def __del__(self) -> None:
            raise OSError("at the end")

    Ending()
    reports.close()
    told = "".join(reports_in(tmp_path))
    for kind in (
        "thread: builtins.IndexError",
        "not caught: builtins.ValueError",
        "task: builtins.LookupError",
        "unraisable: builtins.OSError",
    ):
        assert kind in told
    assert "a thread has ended: worker" in caplog.text
    assert not any(type(handler).__name__ == "_OfTasks" for handler in logging.getLogger("asyncio").handlers)


CRASH = """
import sys
from pathlib import Path
from vidconf.client.crash_files import CrashReports
reports = CrashReports(Path(sys.argv[1]), "engine", on=True)
print("ready", flush=True)
if sys.argv[2] == "fault":
    import ctypes
    ctypes.string_at(0)
sys.stdin.read()
reports.close()
"""


def process(folder: Path, how: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": SRC}
    return subprocess.Popen(
        [sys.executable, "-c", CRASH, str(folder), how],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_crash_below_python_is_reported_at_the_next_start(tmp_path: Path) -> None:
    crashed = process(tmp_path, "fault")
    crashed.communicate(timeout=30)
    assert crashed.returncode == -signal.SIGSEGV
    (left,) = tmp_path.glob("vidconf-fault-engine-*.txt")
    assert b"Segmentation fault" in left.read_bytes()
    reports = CrashReports(tmp_path, "engine", on=True)
    reports.close()
    (text,) = reports_in(tmp_path)
    assert "crash below Python" in text
    assert "Segmentation fault" in text
    assert list(tmp_path.glob("vidconf-fault-*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_is_no_crash_and_a_living_process_keeps_its_file(tmp_path: Path) -> None:
    killed, lives = process(tmp_path, "wait"), process(tmp_path, "wait")
    for one in (killed, lives):
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
    killed.kill()
    killed.communicate(timeout=30)
    reports = CrashReports(tmp_path, "engine", on=True)
    assert {file.name for file in tmp_path.glob("vidconf-fault-*")} == {
        f"vidconf-fault-engine-{pid}.txt" for pid in (lives.pid, os.getpid())
    }
    reports.close()
    lives.communicate(timeout=30)
    assert lives.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_ring_of_causes_ends() -> None:
    one, two = ValueError("1"), KeyError("2")
    one.__cause__, two.__cause__ = two, one
    assert places(one).count("came from") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links of Unix")
def test_no_report_is_written_through_a_link(tmp_path: Path) -> None:
    own = tmp_path / "own-file"
    own.write_text("one's own words")
    (tmp_path / f"vidconf-fault-window-{os.getpid()}.txt").symlink_to(own)
    reports = CrashReports(tmp_path, "window", on=True)
    assert reports.take(mistake(), "task") is not None
    reports.close()
    assert own.read_text() == "one's own words"
    assert not any("own words" in text for text in reports_in(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and owners of Unix")
def test_what_others_laid_out_as_a_fault_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "vidconf-fault-window-99999991.txt")
    secret = tmp_path / "own-file"
    secret.write_text("mine")
    os.link(secret, tmp_path / "vidconf-fault-window-99999992.txt")
    with (tmp_path / "vidconf-fault-window-99999993.txt").open("wb") as large:
        large.truncate(1 << 40)  # nothing on the disk, a terabyte to who reads it all
    if os.getuid() == 0:
        strange = tmp_path / "vidconf-fault-window-99999994.txt"
        strange.write_text("theirs")
        os.chown(strange, 4711, 4711)
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from vidconf.client.crash_files import CrashReports\n"
         "CrashReports(Path(sys.argv[1]), 'window', on=True).close()", str(tmp_path)], timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    told = "".join(reports_in(tmp_path))
    assert "mine" not in told
    assert "theirs" not in told
    assert len(told) < 1_000_000

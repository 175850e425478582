"""Log files: a file a day, bounded, kept so long, without secrets; the folder administrators name, or the user's own."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.log_files import CleanFormatter, DayFiles, expanded, log_plan, own_folder, remove_old, without_secrets
from vidconf.client.settings import Settings

MORNING = time.mktime((2026, 11, 27, 8, 0, 0, 0, 0, -1))
DAY = 86400.0


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("vidconf.test", logging.INFO, __file__, 1, text, None, None)


class Clock:
    def __init__(self) -> None:
        self.now = MORNING

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# ---- files ----


def test_a_file_a_day(tmp_path: Path, clock: Clock) -> None:
    files = DayFiles(tmp_path / "logs", "vidconf", 14, clock=clock)
    files.emit(record("hôm nay ấm"))
    clock.now += DAY
    files.emit(record("hôm nay lạnh"))
    files.close()
    assert sorted(file.name for file in (tmp_path / "logs").iterdir()) == ["vidconf-2026-11-27.log", "vidconf-2026-11-28.log"]
    text = (tmp_path / "logs" / "vidconf-2026-11-27.log").read_text(encoding="utf-8")
    assert text.endswith(" INFO vidconf.test: hôm nay ấm\n")
    if sys.platform != "win32":
        assert (tmp_path / "logs" / "vidconf-2026-11-27.log").stat().st_mode & 0o077 == 0, "nobody else's to read"


def test_a_second_start_goes_on_in_the_days_file(tmp_path: Path, clock: Clock) -> None:
    for text in ("một", "hai"):
        files = DayFiles(tmp_path, "vidconf", 14, clock=clock)
        files.emit(record(text))
        files.close()
    (held,) = tmp_path.iterdir()
    assert [line.split()[-1] for line in held.read_text(encoding="utf-8").splitlines()] == ["một", "hai"]


def test_no_day_takes_more_than_its_share(tmp_path: Path, clock: Clock) -> None:
    files = DayFiles(tmp_path, "vidconf", 14, most_bytes=2000, clock=clock)
    for n in range(1000):
        files.emit(record(f"dòng {n}"))
    today = tmp_path / "vidconf-2026-11-27.log"
    assert 2000 < today.stat().st_size < 2300
    assert today.read_text(encoding="utf-8").rstrip().endswith("(more than 2000 bytes today: no more is written)")
    files.close()
    files = DayFiles(tmp_path, "vidconf", 14, most_bytes=2000, clock=clock)
    files.emit(record("again"))
    assert today.stat().st_size < 2300, "a new start is the same day"
    clock.now += DAY
    files.emit(record("tomorrow"))
    tomorrow = (tmp_path / "vidconf-2026-11-28.log").read_text(encoding="utf-8")
    assert tomorrow.startswith("(1 lines left out)\n")
    assert "tomorrow" in tomorrow
    files.close()


def test_one_line_is_not_endless(tmp_path: Path, clock: Clock) -> None:
    files = DayFiles(tmp_path, "vidconf", 14, clock=clock)
    files.emit(record("x" * 5_000_000))
    files.close()
    assert (tmp_path / "vidconf-2026-11-27.log").stat().st_size < 30_000


def test_what_is_no_letter_is_written_all_the_same(tmp_path: Path, clock: Clock) -> None:
    files = DayFiles(tmp_path, "vidconf", 14, clock=clock)
    files.emit(record("half \ud83d a letter"))
    files.close()
    assert "half \\ud83d a letter" in (tmp_path / "vidconf-2026-11-27.log").read_text(encoding="utf-8")


def test_old_files_go_and_only_our_own(tmp_path: Path, clock: Clock) -> None:
    ours = ("vidconf-2026-01-01.log", "vidconf-engine-2026-01-01.log", "vidconf-crash-20260101-080000-window-0a1b2c3d.txt")
    others = ("vidconf.log", "notes.txt", "vidconf-2026-01-01.log.bak", "other-2026-01-01.log")
    for name in (*ours, *others):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (MORNING - 20 * DAY, MORNING - 20 * DAY))
    remove_old(tmp_path, 30, MORNING)
    assert len(list(tmp_path.iterdir())) == 7
    files = DayFiles(tmp_path, "vidconf", 14, clock=clock)
    files.close()
    assert {file.name for file in tmp_path.iterdir()} == {*others, "vidconf-2026-11-27.log"}


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_stops_nothing_and_leaves_a_gap_that_is_told(tmp_path: Path, clock: Clock) -> None:
    files = DayFiles(tmp_path, "vidconf", 14, clock=clock)
    assert files._file is not None
    files._file.close()
    files._file = open("/dev/full", "w")  # noqa: SIM115 - what a full disk answers
    files.emit(record("lost"))
    files.emit(record("lost too: it is not asked at once again"))
    clock.now += 61
    files.emit(record("back"))
    files.close()
    text = (tmp_path / "vidconf-2026-11-27.log").read_text(encoding="utf-8")
    assert text.startswith("(2 lines left out)\n")
    assert "back" in text


def test_a_folder_that_cannot_be_written_is_an_error_when_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        DayFiles(tmp_path / "file", "vidconf", 14)


# ---- secrets ----

SECRET = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=20, max_size=60).filter(
    lambda s: s[0].isalnum()
)


@given(SECRET)
def test_no_secret_is_written(secret: str) -> None:
    for line in (
        f"opening https://hop.example.vn/m/abcd-efgh#k={secret}", f"Authorization: Bearer {secret}", f"GET /rtc?access_token={secret}&v=1",
        f'{{"refresh_token": "{secret}", "name": "an"}}', f"password='{secret}'", f"proxy http://an:{secret}@10.0.0.1:8080/", f"token eyJhbGciOiJI.{secret}.{secret}",
        f"ice credential={secret}", f"Kept(name='an', refresh_token='{secret}')", f"api-key: {secret}", f"Proxy-Authorization: Basic {secret}",
        f"session_token = {secret}",
    ):  # fmt: skip
        assert secret not in without_secrets(line), line


def test_a_meetings_code_lets_people_in_and_is_a_secret() -> None:
    assert without_secrets("GET https://hop.example.vn/m/kx7m-2pqa-9tdf answered 404") == "GET https://hop.example.vn/m/… answered 404"


def test_what_is_no_secret_stays() -> None:
    for line in (
        "joined in 1.3 s, 4 tracks",
        "the token was refused",
        "page: sign_in",
        "signed in (token in the keyring)",
        "media: tcp 10.0.0.1:7881",
    ):
        assert without_secrets(line) == line


def test_tracebacks_are_cleaned_too() -> None:
    try:
        raise ValueError("no such meeting: /m/kx7m-2pqa-9tdf#k=abcdefghijklmnop")
    except ValueError:
        made = record("broken")
        made.exc_info = sys.exc_info()
    said = CleanFormatter("%(message)s").format(made)
    assert "ValueError" in said
    assert "kx7m" not in said
    assert "abcdefgh" not in said


@given(st.text(max_size=400))
def test_any_text_is_cleaned_without_an_error_and_in_time(text: str) -> None:
    began = time.perf_counter()
    without_secrets(text * 20)
    assert time.perf_counter() - began < 1


# ---- where ----


def test_variables_of_every_spelling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOGROOT", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "an"))
    monkeypatch.delenv("NOSUCH", raising=False)
    assert expanded("%LOGROOT%/vidconf") == tmp_path / "vidconf"
    assert expanded("$LOGROOT/vidconf") == tmp_path / "vidconf"
    assert expanded("~/logs") == tmp_path / "an" / "logs"
    assert expanded("%NOSUCH%/vidconf") is None
    assert expanded("$NOSUCH/vidconf") is None
    assert expanded("relative/logs") is None


def test_the_plan_is_what_the_settings_say(tmp_path: Path) -> None:
    settings = Settings(command_line={"log_dir": str(tmp_path / "logs"), "log_days": 3, "crash_reports": True, "log_level": "debug"})
    plan = log_plan(settings)
    assert (plan.folder, plan.level, plan.days, plan.crash_reports, plan.refused) == (tmp_path / "logs", "debug", 3, True, "")
    assert list((tmp_path / "logs").iterdir()) == [], "the trial leaves nothing"
    assert plan.for_engine() == {"folder": str(tmp_path / "logs"), "level": "debug", "days": 3, "crash_reports": True}


@pytest.mark.parametrize("asked", ["relative", "%NO_SUCH_VARIABLE%/x", "/proc/vidconf", "file/below"])
def test_a_folder_that_cannot_be_is_told_and_the_users_own_taken(tmp_path: Path, asked: str) -> None:
    (tmp_path / "file").write_text("")
    plan = log_plan(Settings(command_line={"log_dir": asked if asked != "file/below" else str(tmp_path / "file" / "below")}))
    assert plan.folder == own_folder()
    assert plan.refused


def test_nothing_asked_nothing_refused() -> None:
    assert re.search("vidconf", str(own_folder()))
    assert log_plan(Settings()).refused == ""


# ---- a folder that others can write to ----


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of Unix")
def test_what_another_user_laid_out_in_a_shared_folder_is_not_written_to(tmp_path: Path, clock: Clock) -> None:
    name = tmp_path / "vidconf-2026-11-27.log"
    own = tmp_path / "own-file"
    own.write_text("mine")
    name.symlink_to(own)
    with pytest.raises(OSError):
        DayFiles(tmp_path, "vidconf", 14, clock=clock)
    assert own.read_text() == "mine"
    name.unlink()
    os.mkfifo(name)
    with pytest.raises(OSError):
        DayFiles(tmp_path, "vidconf", 14, clock=clock)
    name.unlink()
    if os.getuid() == 0:
        name.write_text("")
        os.chown(name, 4711, 4711)
        with pytest.raises(OSError):
            DayFiles(tmp_path, "vidconf", 14, clock=clock)


@pytest.mark.skipif(sys.platform == "win32", reason="links of Unix")
def test_trying_a_shared_folder_empties_no_file_that_a_link_there_leads_to(tmp_path: Path) -> None:
    own = tmp_path / "own-file"
    own.write_text("mine")
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / f".vidconf-{os.getpid()}").symlink_to(own)
    plan = log_plan(Settings(command_line={"log_dir": str(shared)}))
    assert own.read_text() == "mine"
    assert plan.folder == own_folder()


def test_a_second_name_of_another_file_is_not_written_to(tmp_path: Path, clock: Clock) -> None:
    own = tmp_path / "own-file"
    own.write_text("mine")
    os.link(own, tmp_path / "vidconf-2026-11-27.log")
    with pytest.raises(OSError):
        DayFiles(tmp_path, "vidconf", 14, clock=clock)
    assert own.read_text() == "mine"


# ---- what strangers say and a log repeats ----


@given(st.text(max_size=60))
def test_nobody_writes_a_line_that_looks_like_another(text: str) -> None:
    forged = "2026-11-27 10:00:00,000 ERROR vidconf: a lie"
    lines = CleanFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s").format(record(f"{text}\n{forged}\r{text}")).split("\n")
    assert all(line.startswith("    ") for line in lines[1:]), "what goes on is told from what begins"
    assert not any((ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160 for line in lines for char in line), (
        "no terminal obeys a log"
    )


@pytest.mark.parametrize(
    "piece", ["a-", "token ", "token", "badge=", "eyJa.", "://a:", "://", "bearer ", "/m/a-", "'\\", '"', "#k=", "=", " "]
)
def test_no_text_takes_the_cleaner_long(piece: str) -> None:
    begun = time.perf_counter()
    without_secrets(piece * (20_000 // len(piece)))
    assert time.perf_counter() - begun < 1.0

"""Everything a user reads: both languages say the same things with the same gaps, and every code that can reach a user has words."""

from __future__ import annotations

import ast
import json
import math
import re
import string
import time
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from vidconf import words
from vidconf.client.links import LINK_ERRORS
from vidconf.client.rest import CODES
from vidconf.client.settings_table import SETTINGS
from vidconf.meeting import refusals
from vidconf.meeting.models import KINDS, ROLES
from vidconf.resources import resource

SRC = Path(words.__file__).parent
VI, EN = words.table("vi"), words.table("en")
BOTH = pytest.mark.parametrize("language", words.LANGUAGES)


@pytest.fixture(autouse=True)
def vietnamese() -> Iterator[None]:
    words.set_language("vi")
    yield
    words.set_language("vi")


def gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


# ---- the files ----


def test_both_languages_have_the_same_keys() -> None:
    assert set(VI) == set(EN)


def test_both_languages_have_the_same_gaps() -> None:
    assert [key for key in VI if gaps(VI[key]) != gaps(EN[key])] == []
    assert [key for key in VI if not all(name.isidentifier() for name in gaps(VI[key]))] == []


@BOTH
def test_the_files_are_sorted_flat_and_each_key_is_there_once(language: str) -> None:
    pairs: list[tuple[str, Any]] = json.loads(resource("words", f"{language}.json").read_text(encoding="utf-8"), object_pairs_hook=list)
    assert [key for key, _ in pairs] == sorted({key for key, _ in pairs})
    assert all(isinstance(value, str) and value for _, value in pairs)


@BOTH
def test_the_words_are_written_cleanly(language: str) -> None:
    for key, said in words.table("vi" if language == "vi" else "en").items():
        assert said == unicodedata.normalize("NFC", said), key
        hung_on = key.endswith("more")  # behind a list of names
        assert said == said.strip() or (hung_on and said == " " + said.strip()), key
        assert "  " not in said, key
        assert "..." not in said, f"{key}: … is one sign"
        assert not re.search(r"\s[,.;:!?…]", said), key
        assert all(unicodedata.category(char)[0] != "C" for char in said), key


def test_short_and_active_without_courtesies() -> None:
    for key, said in VI.items():
        assert not re.search(r"vui lòng|xin hãy", said, re.IGNORECASE), key
        assert not re.search(r"\bbạn\b", said, re.IGNORECASE), key
    for key, said in EN.items():
        assert not re.search(r"\bplease\b", said, re.IGNORECASE), key
        assert not re.search(r"\bsorry\b", said, re.IGNORECASE), key


def test_a_sentence_is_one_in_both() -> None:
    assert [key for key in VI if (VI[key][-1] in ".?") != (EN[key][-1] in ".?")] == []
    assert [key for key in VI if VI[key].endswith("…") != EN[key].endswith("…")] == []


def test_english_is_no_longer_than_it_must_be() -> None:
    assert [key for key in VI if len(EN[key]) > 2.2 * len(VI[key]) + 14] == []


# ---- every code that can reach a user ----


def test_every_refusal_has_words() -> None:
    for code in refusals.REFUSALS:
        assert f"refusal.{code}" in VI, code


def test_a_refusals_gaps_are_what_its_detail_fills() -> None:
    filled: dict[str, set[str]] = {}
    for code, comment in re.findall(r'^    "(\w+)",(?:  # (.*))?$', Path(refusals.__file__).read_text(encoding="utf-8"), re.MULTILINE):
        filled[code] = set(re.findall(r"\w+", comment.partition(":")[0]))
    assert set(filled) == set(refusals.REFUSALS)
    for code in filled:
        for key in (f"refusal.{code}", f"refusal.{code}.help"):
            assert gaps(VI.get(key, "")) <= filled[code], key


@lru_cache(maxsize=1)
def trees() -> dict[str, ast.Module]:
    return {str(file.relative_to(SRC)): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(SRC.rglob("*.py"))}


def calls(*names: str, under: str = "") -> Iterator[tuple[str, ast.Call]]:
    """Every call of a function or method of these names, with where it stands."""
    for file, tree in trees().items():
        if not file.startswith(under):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
                if called in names:
                    yield f"{file}:{node.lineno}", node


def constants(node: ast.AST | None) -> list[str]:
    """The strings an argument may be: a constant, or either branch of a condition."""
    match node:
        case ast.Constant(value=str(said)):
            return [said]
        case ast.IfExp(body=one, orelse=other):
            return constants(one) + constants(other)
    return []


def argument(call: ast.Call, place: int, name: str = "") -> ast.AST | None:
    if len(call.args) > place:
        return call.args[place]
    return next((one.value for one in call.keywords if one.arg == name), None)


def has_error(code: str) -> bool:
    return f"error.{code}" in VI or f"refusal.{code}" in VI


def test_every_error_before_and_after_a_meeting_has_words_and_says_what_to_do() -> None:
    for code in (*CODES, *LINK_ERRORS):
        assert f"error.{code}" in VI, code
        assert f"error.{code}.help" in VI, code


def test_every_error_of_the_control_connection_has_words() -> None:
    found = {code for _, call in calls("AskError", "_fail_all", under="client") for code in constants(argument(call, 0))}
    assert {"not_connected", "answer_lost", "timeout", "closed", "too_many"} <= found
    found |= {code for _, call in calls("error", under="server/control") for code in constants(argument(call, 1))}
    assert {"too_many_requests", "media_unavailable", "draining"} <= found
    found |= {"internal", "storage"}
    assert [code for code in sorted(found) if not has_error(code)] == []


def test_every_setting_error_has_words() -> None:
    found = {code for _, call in calls("SettingError") for code in constants(argument(call, 0))}
    assert found == {"setting_invalid", "setting_locked", "setting_unknown"}
    assert all(has_error(code) for code in found)


def test_every_notice_has_words_in_its_family() -> None:
    seen = 0
    for where, call in [*calls("tell", "_tell_user", under="client"), *calls("Told")]:
        families = constants(argument(call, 5 if isinstance(call.func, ast.Name) or call.func.attr == "Told" else 3, "family")) or ["notice"]
        for code in constants(argument(call, 1)):
            for family in families:
                seen += 1
                assert f"{family}.{code}" in VI, f"{where}: {family}.{code}"
    for _, call in calls("_obey", under="client"):
        for code in constants(argument(call, 2)):
            seen += 1
            assert f"notice.{code}" in VI, code
    assert seen >= 14


def test_every_fault_of_the_engine_has_words() -> None:
    found = {code for _, call in calls("Failed", "_on_error", under="engine") for code in constants(argument(call, 0))}
    assert {"no_speaker", "speaker_lost", "recording_failed"} <= found
    assert [code for code in sorted(found) if f"error.{code}" not in VI] == []


def test_every_trouble_of_a_device_has_words_and_a_cure() -> None:
    found = {code for _, call in calls("SourceError", "_fail", under="engine") for code in constants(argument(call, 0)) if re.fullmatch(r"[a-z_]+", code)}
    assert {"no_device", "device_in_use", "no_permission", "not_found", "unreadable", "device_lost"} <= found | {"device_in_use", "no_permission"}
    of_a_share, ends_it, of_its_sound = {"unsupported", "no_display", "screen_not_allowed", "wayland"}, {"window_closed", "screen_gone"}, {"no_sound_server"}
    assert ends_it | of_its_sound | of_a_share - {"wayland"} <= found
    assert all(f"notice.share_{code}" in VI for code in ends_it)
    assert all(f"share.sound.{code}" in VI for code in {*of_its_sound, "unsupported"})
    for code in {*found, *of_a_share, "device_in_use", "no_permission", "unknown"} - ends_it - of_its_sound:
        for source in ("screen_share",) if code in of_a_share else ("microphone", "camera", "screen_share"):
            assert f"device.{source}.{code}" in VI, (source, code)
        assert f"device.help.{code}" in VI, code


def test_every_end_has_a_page() -> None:
    found = {code for _, call in calls("Over", "_over", "leave", under="client") for code in constants(argument(call, 0))}
    found |= {"left", "lost", "denied", "removed", "banned", "meeting_ended", "replaced", "lobby_timeout"}
    for reason in found:
        assert f"ended.{reason}.title" in VI, reason
        assert f"ended.{reason}.text" in VI, reason


def test_every_role_kind_and_choice_has_words() -> None:
    for role in (*ROLES, "co_chair"):
        assert f"role.{role}" in VI, role
    for kind in KINDS:
        assert kind == "person" or f"kind.{kind}" in VI, kind
    for key in ("language", "theme"):
        for choice in SETTINGS[key].choices:
            assert f"settings.{key}.{choice}" in VI, choice


# ---- what the program asks for ----


def test_every_key_that_is_asked_for_is_there_and_its_gaps_are_filled() -> None:
    seen = 0
    for where, call in calls("text", "has"):
        if not (isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id == "words"):
            continue
        for key in constants(argument(call, 0)):
            if call.func.attr == "has" and f"{key}" not in VI:
                continue
            seen += 1
            assert key in VI, f"{where}: {key}"
            named = {one.arg for one in call.keywords}
            if call.func.attr == "text" and None not in named:
                assert gaps(VI[key]) <= named, f"{where}: {key}"
        if isinstance(call.args[0], ast.JoinedStr) and call.func.attr == "text":
            pattern = "".join(re.escape(part.value) if isinstance(part, ast.Constant) else r"[a-z0-9_]+" for part in call.args[0].values)
            assert any(re.fullmatch(pattern, key) for key in VI), f"{where}: nothing is like {pattern}"
    assert seen > 150


def said() -> tuple[set[str], set[tuple[str | None, ...]]]:
    """Every string of the program that is no docstring, and every f-string as its parts, None for a gap."""
    texts: set[str] = set()
    shapes: set[tuple[str | None, ...]] = set()
    for tree in trees().values():
        remarks = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in remarks:
                texts.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                shapes.add(tuple(str(part.value) if isinstance(part, ast.Constant) else None for part in node.values))
    return texts, {shape for shape in shapes if any(part is not None and "." in part for part in shape)}


def fits(shape: tuple[str | None, ...], key: str, filling: set[str]) -> bool:
    """Whether `key` comes of an f-string whose gaps are filled from `filling`."""
    if not shape or not key:
        return not shape and not key
    first, rest = shape[0], shape[1:]
    if first is not None:
        return key.startswith(first) and fits(rest, key[len(first) :], filling)
    return any(key[:n] in filling and fits(rest, key[n:], filling) for n in range(1, len(key) + 1))


def test_no_words_are_kept_that_nobody_says() -> None:
    texts, shapes = said()
    texts |= {str(n) for n in range(13)}  # months, days of the week
    texts |= {text.replace(" ", "_") for text in texts}
    told = {code for place in range(3) for _, call in calls("tell", "tell_user", "_tell_user", "Told", "_obey", "notice") for code in constants(argument(call, place))}
    # Where a word of the program may be one of many things, only what it is there counts.
    narrow = {"settings": {*SETTINGS, *texts_of("gui/settings_dialog"), *(c for one in SETTINGS.values() for c in one.choices)}, "notice": told, "kind": {*KINDS} - {"person"}}
    idle = []
    for key in VI:
        family = key.partition(".")[0]
        filling = narrow.get(family, texts) | {family}
        if key not in texts and not any(fits(shape, key, filling) for shape in shapes):
            idle.append(key)
    assert idle == []


def texts_of(file: str) -> set[str]:
    """The strings of one file."""
    found = (node for name, tree in trees().items() if name.startswith(file) for node in ast.walk(tree))
    return {node.value for node in found if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_error_has_a_gap_nobody_fills() -> None:
    """What `RestError` and notices carry, by code; the rest is said without detail."""
    filled = {
        "version_too_old": {"needed", "own"}, "host_not_found": {"host"}, "rate_limited": {"wait_s"}, "unknown": {"code"}, "unreachable": {"status"}, "bad_certificate": {"reason"},
    }  # fmt: skip
    for key, said in VI.items():
        family, _, code = key.removesuffix(".help").partition(".")
        if family == "error":
            assert gaps(said) <= filled.get(code, set()), key


# ---- making sentences ----


def test_a_code_nobody_knows_is_told_with_the_code() -> None:
    assert "from_next_year" in words.refusal("from_next_year")
    assert "from_next_year" in words.error("from_next_year")
    assert words.help_for("from_next_year") == words.text("error.unknown.help")
    assert len(words.error("x" * 10_000)) < 120


def test_an_error_that_is_a_refusal_is_found_there() -> None:
    assert words.error("chat_closed") == words.refusal("chat_closed")
    assert words.help_for("chat_closed") == "", "the sentence says it"


def test_a_gap_nobody_filled_shows_instead_of_failing() -> None:
    assert "…" in words.refusal("full", {})
    assert "500" in words.refusal("full", {"capacity": 500, "free": 0})


@BOTH
def test_whatever_a_server_puts_into_a_sentence(language: str) -> None:
    words.set_language(language)
    for value in ("{x}", "{0.__class__}", None, [], {"a": 1}, "\x00", math.nan, 10**400, "a" * 100_000, True):
        said = words.refusal("full", {"capacity": value, 7: "x", "self": 1, "key": 2})
        assert "__class__" not in said or value == "{0.__class__}"
        assert len(said) < 1000, "a sentence, however much is put in"
        assert words.error("host_not_found", {"host": value})
        assert words.help_for("rate_limited", {"wait_s": value})


def test_an_unknown_key_is_logged_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    assert words.text("no.such.key") == "no.such.key"
    assert "no.such.key" in caplog.text


def test_any_other_language_is_vietnamese() -> None:
    words.set_language("en")
    assert words.language() == "en"
    words.set_language("fr")
    assert words.language() == "vi"


# ---- numbers and times ----


def test_numbers_as_each_language_writes_them() -> None:
    assert [words.number(value) for value in (8.74, 8.0, 0.04, 100.0, -1.5)] == ["8,7", "8", "0", "100", "-1,5"]
    words.set_language("en")
    assert [words.number(value, 2) for value in (8.746, 8.5)] == ["8.75", "8.5"]


def test_how_long() -> None:
    assert [words.duration(s) for s in (0, 45, 60, 2700, 3600, 5400, 3599, -5)] == [
        "0 giây", "45 giây", "1 phút", "45 phút", "1 giờ", "1 giờ 30 phút", "1 giờ", "0 giây",
    ]  # fmt: skip
    assert [words.waited(s) for s in (5, 84, 3599, 3700, -3)] == ["5 giây", "1 phút 24 giây", "59 phút 59 giây", "1 giờ 2 phút", "0 giây"]
    assert [words.elapsed(s) for s in (0, 2538, 360000, -1)] == ["00:00:00", "00:42:18", "100:00:00", "00:00:00"]
    words.set_language("en")
    assert words.duration(5400) == "1 h 30 min"


def test_when() -> None:
    at = time.mktime((2026, 11, 24, 8, 21, 40, 0, 0, -1))
    assert (words.clock(at), words.date(at), words.day(at)) == ("08:21", "24/11/2026", "24/11")
    assert words.long_date(at) == "Thứ Ba, 24 tháng 11"
    words.set_language("en")
    assert words.long_date(at) == "Tuesday, 24 November"


@pytest.mark.parametrize("at", [math.inf, -math.inf, math.nan, 1e300, -1e18, 10**400, 253_402_300_800.0 * 3])
def test_a_time_no_calendar_has_does_not_stop_a_page(at: float) -> None:
    for written in (words.clock, words.date, words.day, words.long_date):
        assert written(at) == "–"
    for lasting in (words.duration, words.waited, words.elapsed):
        assert lasting(at)

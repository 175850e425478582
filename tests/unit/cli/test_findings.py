"""A report's lines: every code and result has its words in both languages, and nothing from outside reaches the terminal as it is."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf import cli, words
from vidconf.cli import findings
from vidconf.cli.doctor import ORDER
from vidconf.cli.findings import Finding, cleaned, print_findings, print_summary, worst
from vidconf.cli.selftest import ORDER as SELFTEST_ORDER
from vidconf.client.rest import CODES

SOURCES = sorted(Path(cli.__path__[0]).glob("*.py"))
DEVICE = ("no_device", "not_found", "no_permission", "device_in_use", "device_lost", "unreadable")
COMPUTED = {
    # results that no source names beside their code
    "doctor.server.connect": ("refused", "timeout", "unreachable", "proxy_wants_name", "proxy_refuses"),
    "doctor.server.name": ("not_found", "timeout"),
    "doctor.server.tls": ("expired", "not_yet_valid", "wrong_name", "untrusted", "trusted", "expires", "timeout", "tls_failed"),
    "doctor.server.http": (*CODES, "answers", "slow"),
    "doctor.server.ready": ("storage", "media", "draining", "not_ready", *CODES),
    "doctor.server.meeting": CODES,
    "doctor.server.control": (*CODES, "open", "one_way", "no_websocket"),
    "doctor.media.where": CODES,
    "doctor.media.signalling": (*CODES, "bad_address", "door", "not_passed_on", "media_unavailable"),
    "doctor.media.udp": ("turn_instead", "tcp_instead"),
    "doctor.cpu": ("enough", "busy", "one_core"),
    "doctor.graphics": ("card", "found", "none", "basic"),
    "doctor.camera": DEVICE,
    "doctor.microphone": DEVICE,
    "doctor.speaker": ("no_device", "not_found", "does_not_open"),
    "selftest.packages": ("missing", "broken"),
    "selftest.numpy": ("here", "missing", "broken"),
    "selftest.uvloop": ("here", "missing", "broken"),
    "selftest.input_method": ("named", "missing"),
    **{f"selftest.{name}": ("broken", "wrong") for name in ("opus", "vp8", "ring")},
}
GOOD = {
    "enough", "card", "found", "none", "answers", "open", "door", "trusted", "here", "named", "works", "all", "some", "known", "number", "proxied",
    "used", "done", "through", "in_step", "ready", "relay", "external", "live", "scheduled", "through_proxy", "quiet", "fits", "absent",
    "windows", "system", "store", "starts", "set", "not_used",
}  # fmt: skip
"""Results that some line says when there is nothing to do."""


@pytest.fixture(autouse=True)
def vietnamese() -> Iterator[None]:
    words.set_language("vi")
    yield
    words.set_language("vi")


def literals(node: ast.expr) -> set[str]:
    """What an expression may be: a text, or either branch of a condition."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp(body=body, orelse=orelse):
            return literals(body) | literals(orelse)
    return set()


def said() -> set[tuple[str, str]]:
    """(code, result) of every finding that the sources spell out."""
    found: set[tuple[str, str]] = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                found |= {(code, result) for code in literals(node.args[0]) for result in literals(node.args[2])}
    return found | {(code, result) for code, results in COMPUTED.items() for result in results}


def test_the_sources_are_read() -> None:
    assert {("doctor.media.udp", "blocked"), ("doctor.media.udp", "busy"), ("selftest.tls", "no_roots"), ("doctor.server", "none")} <= said()
    assert len(said()) > 150


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_line_has_words_and_every_trouble_a_next_step(language: str) -> None:
    words.set_language(language)
    for code, result in sorted(said() - {("doctor.server", "done")}):
        finding = Finding(code, "warning", result)
        assert finding.title() != code, code
        assert finding.text() != words.text("finding.unknown", code=result), (code, result)
        assert finding.help() or result in GOOD, (code, result)


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_every_line_can_end_badly(language: str) -> None:
    words.set_language(language)
    for code in (*ORDER, *SELFTEST_ORDER):
        for result in ("hung", "crashed", "broken"):
            finding = Finding(code, "failure", result, {"seconds": 17, "how": "SIGSEGV", "said": "x", "reason": "y", "name": "z"})
            assert finding.help(), (code, result)
            assert "…" not in finding.text(), "every gap is filled"


def test_a_good_line_says_no_next_step() -> None:
    assert Finding("doctor.cpu", "warning", "busy").help()
    assert Finding("doctor.cpu", "ok", "busy").help() == ""


def test_a_result_of_a_newer_program_is_told_as_such() -> None:
    finding = Finding("doctor.cpu", "failure", "turned_to_stone")
    assert "turned_to_stone" in finding.text()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=10))
def test_whatever_a_child_says_is_a_finding_or_none(entry: Any) -> None:
    try:
        Finding.from_json(entry)
    except ValueError:
        return
    raise AssertionError("nothing of this was a finding")


@given(st.sampled_from(["ok", "warning", "failure"]), st.text(max_size=20), st.dictionaries(st.text(max_size=8), st.text(max_size=400) | st.integers() | st.floats() | st.lists(st.text(max_size=8)), max_size=4))
def test_findings_survive_the_way_and_any_detail(status: Any, result: str, detail: dict[str, Any]) -> None:
    there = Finding("doctor.cpu", status, result, detail)
    back = Finding.from_json(json.loads(json.dumps({"code": there.code, "status": status, "result": result, "detail": detail})))
    assert (back.code, back.status, back.result) == (there.code, status, result)
    shown = back.as_json()
    assert set(shown) == {"code", "status", "result", "detail", "title", "text", "help"}


@given(st.text(max_size=500) | st.lists(st.text(max_size=60), max_size=60))
def test_outside_words_are_cleaned(value: Any) -> None:
    shown = cleaned(value)
    assert len(shown) <= (findings.TEXT_LIMIT if isinstance(value, str) else 40 * 62)
    assert not [char for char in shown if ord(char) < 32 or char in "\u202e\u2066\x7f\x9b\u2028"]


def test_nothing_from_outside_is_an_order_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("doctor.server.tls", "failure", "untrusted", {"issuer": "[bold]Ai\x1b[2J\r\n\u202eđó[/bold]", "reason": ":smile: {0.__class__}"})
    print_findings([("Máy chủ", [finding])])
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "[bold]Ai?[2J" in told, "markup is text"
    assert ":smile: {0.__class__}" in told
    assert "\u202e" not in told
    assert [line for line in told.splitlines() if "Ai?[2J" in line and "đó" in line], "one line, however it was broken"


def test_the_human_report_has_a_line_a_finding_and_its_next_step_below(capsys: pytest.CaptureFixture[str]) -> None:
    long = Finding("selftest.packages", "ok", "all", {"count": 30, "packages": [f"package-{number} 1.2.3" for number in range(30)]})
    print_findings([("Chương trình", [long]), ("Máy này", [Finding("doctor.cpu", "warning", "busy", {"name": "CPU", "cores": 2, "busy_percent": 99})])])
    print_summary([long, Finding("doctor.cpu", "warning", "busy")], "doctor.good")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "package-0 1.2.3" in line and "package-29" in line]
    place = next(number for number, line in enumerate(lines) if "99 %" in line)
    assert words.text("doctor.cpu.busy.help") in lines[place + 1]
    assert lines[-1] == words.text("finding.summary", failures=0, warnings=1)
    print_summary([long], "doctor.good")
    assert words.text("doctor.good") in capsys.readouterr().out


def test_the_worst_counts() -> None:
    assert worst([]) == "ok"
    assert worst([Finding("a", "ok", "")]) == "ok"
    assert worst([Finding("a", "ok", ""), Finding("b", "warning", "")]) == "warning"
    assert worst([Finding("a", "failure", ""), Finding("b", "warning", "")]) == "failure"

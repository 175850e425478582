"""Every code a rule or a wire refuses with is listed, and has its words in both languages."""

from __future__ import annotations

import ast
import json
import string
from pathlib import Path

import pytest

import vidconf.meeting
import vidconf.protocol
from vidconf.meeting.refusals import REFUSALS
from vidconf.resources import resource


@pytest.mark.parametrize("language", ["vi", "en"])
def test_every_refusal_has_words(language: str) -> None:
    words = json.loads(resource("words", f"{language}.json").read_text("utf-8"))
    assert [code for code in REFUSALS if not words.get(f"refusal.{code}", "").strip()] == []


def test_both_languages_fill_in_the_same_details() -> None:
    vi, en = (json.loads(resource("words", f"{language}.json").read_text("utf-8")) for language in ("vi", "en"))
    for code in REFUSALS:
        fields = [{name for _, name, _, _ in string.Formatter().parse(words[f"refusal.{code}"]) if name} for words in (vi, en)]
        assert fields[0] == fields[1], code


def _codes_raised(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("Refused", "Refusal", "WireError"):
            code = node.args[0]
            either = (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,)
            found |= {one.value for one in either if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


def test_every_code_in_the_rules_is_listed_and_every_listed_one_used() -> None:
    used = {"needs_floor", "moderators_only"}  # named by `rights.may_use`
    used.add("too_many_changes")  # the server's: it alone knows how often
    for package in (vidconf.meeting, vidconf.protocol):
        for path in Path(package.__path__[0]).glob("*.py"):
            used |= _codes_raised(ast.parse(path.read_text("utf-8")))
    assert used == set(REFUSALS)
    assert len(set(REFUSALS)) == len(REFUSALS)

"""Names and texts of people: what is tidied, what is refused, and which names look alike."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.meeting.names import NAME_LIMIT, NameRefused, clean_line, clean_name, clean_text, skeleton


@pytest.mark.parametrize(
    ("given_name", "clean"),
    [
        ("  Nguyễn   Văn\tA ", "Nguyễn Văn A"),
        ("Nguye\u0302\u0303n", "Nguyễn"),
        ("A\u202eB\u200b\ufeffC\x07", "ABC"),
        ("Sở TN&MT (Quảng Ninh)", "Sở TN&MT (Quảng Ninh)"),
        ("Z" + "\u0301" * 30, "Ź" + "\u0301" * 3),
        ("x" * NAME_LIMIT, "x" * NAME_LIMIT),
    ],
)
def test_clean_name(given_name: str, clean: str) -> None:
    assert clean_name(given_name) == clean


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("\u202e\u200b", "empty"),
        ("\u3164\u2800", "empty"),
        ("\u0301", "empty"),
        ("x" * 65, "too_long"),
        ("x" * 10**6, "too_long"),
        ("\ud800", "empty"),
    ],
)
def test_no_name(bad: str, reason: str) -> None:
    with pytest.raises(NameRefused) as refused:
        clean_name(bad)
    assert refused.value.reason == reason


@given(st.text(max_size=100))
def test_clean_names_are_clean(text: str) -> None:
    try:
        name = clean_name(text)
    except NameRefused:
        return
    assert clean_name(name) == name
    assert 1 <= len(name) <= NAME_LIMIT
    assert name == unicodedata.normalize("NFC", name) == " ".join(name.split())
    assert not any(unicodedata.category(char)[0] == "C" for char in name)
    assert skeleton(name)


@given(st.text(max_size=60), st.integers(1, 20))
def test_clean_line_is_idempotent(text: str, limit: int) -> None:
    line = clean_line(text, limit)
    assert len(line) <= limit
    assert clean_line(line, limit) == line


@given(st.text(max_size=60))
def test_clean_text_is_idempotent_and_shows_nothing_hidden(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert not any(unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" for char in clean)
    assert not any("\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069" for char in clean)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Nguyễn Văn An", "nguyễn  văn an"),
        ("An", "Аn"),  # Cyrillic
        ("Alpha", "Αlpha"),  # Greek
        ("Ｎam", "Nam"),  # full width
        ("Tran Ho", "Tran H0"),
        ("Linh", "Iinh"),
        ("Linh", "1inh"),
        ("Đức", "Ðức"),  # Icelandic eth
        ("Văn", "Vǎn"),  # caron for breve
        ("Lê.Hà", "Lê Hà"),
    ],
)
def test_look_alikes(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


def test_vietnamese_marks_tell_people_apart() -> None:
    names = ["Hung", "Hùng", "Hưng", "Hứng", "Hừng", "Dung", "Dũng", "Đung", "Lan", "Lân", "Lăn", "Mơ", "Mô", "Mo"]
    assert len({skeleton(name) for name in names}) == len(names)

"""Versions and the document of the newest one: what is read, and that nothing hostile is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.updates.release import SIZE_LIMIT, Release, ReleaseError, checked_release, is_safe_url, parse_release, portable_kind
from vidconf.client.updates.versions import VersionError, older, parse_version

GOOD: dict[str, Any] = {
    "format": 1, "version": "1.4.0", "minimum": "1.2", "page": "https://intranet.example.gov.vn/vidconf",
    "notes": {"vi": "Sửa lỗi", "en": "Fixes"}, "files": {"windows-portable": "vidconf-1.4.0.zip"},
}  # fmt: skip


def test_versions_are_ordered_as_they_were_made() -> None:
    made = ["0.9", "1.0a1", "1.0b1", "1.0b2", "1.0rc1", "1.0", "1.0.0.1", "1.0.1", "1.2", "1.10", "2"]
    assert sorted(reversed(made), key=parse_version) == made
    assert parse_version("1.4") == parse_version("1.4.0.0")
    assert str(parse_version("1.4")) == "1.4.0"
    assert str(parse_version("1.4.0.2rc3")) == "1.4.0.2rc3"
    assert older("1.9.9", "1.10.0")
    assert not older("1.10", "1.10.0")


@pytest.mark.parametrize(
    "text", ["", "v1", "1.", ".1", "1..2", "1.2.3.4.5", "1.0-beta", "١.٢", "1.0 ", "1.0\n", "123456", "1.0rc", "latest"]
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(VersionError):
        parse_version(text)


@given(st.text(max_size=30))
def test_no_text_gets_through_as_another_exception(text: str) -> None:
    try:
        version = parse_version(text)
    except VersionError:
        return
    assert parse_version(str(version)) == version


def test_a_good_document_is_read_and_written_the_same() -> None:
    release = parse_release(json.dumps(GOOD).encode())
    assert (release.version, release.minimum, release.notes["vi"]) == ("1.4.0", "1.2", "Sửa lỗi")
    assert parse_release(json.dumps(release.as_json()).encode()) == release
    assert parse_release(b'{"format": 1, "version": "2.0", "later": [1]}') == Release("2.0")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2}, {"format": True}, {"format": None}, {"version": ""}, {"version": 1}, {"version": "new"}, {"minimum": "1.5"}, {"minimum": []},
        {"page": "http://intranet.example.gov.vn/"}, {"page": "javascript:alert(1)"}, {"page": "https://a b/"}, {"page": "https://u@h/"},
        {"page": "file:///etc/passwd"}, {"notes": ["x"]}, {"notes": {"fr": "x"}}, {"notes": {"vi": 1}}, {"notes": {"vi": "x" * 5000}},
        {"files": {"windows-portable": "../x.zip"}}, {"files": {"windows-portable": "a/b.zip"}}, {"files": {"Win Portable": "a.zip"}},
        {"files": {"windows-portable": "vidconf.json"}}, {"files": {f"k{n}": "a.zip" for n in range(50)}}, {"files": "a.zip"},
    ],
)  # fmt: skip
def test_what_is_unsound_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ReleaseError):
        parse_release(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"\xff", b"[" * 60_000, b"9" * 60_000, b'{"format":1,"version":"1.0"' + b" " * SIZE_LIMIT + b"}"]
)
def test_what_is_no_document_is_refused(raw: bytes) -> None:
    with pytest.raises(ReleaseError):
        parse_release(raw)


_json = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=12), lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=8), one, max_size=3), max_leaves=8)  # fmt: skip


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), _json))
def test_whatever_stands_in_the_fields_is_a_release_or_an_error(fields: dict[str, Any]) -> None:
    try:
        release = parse_release(json.dumps({**GOOD, **fields}).encode())
    except ReleaseError:
        return
    assert checked_release(release) == release
    assert not release.page or release.page.startswith(("https://", "http://"))


@given(st.text(max_size=60))
def test_no_text_makes_the_address_check_raise(text: str) -> None:
    assert is_safe_url(text) in (True, False)
    assert is_safe_url("https://" + text) in (True, False)


def test_each_system_has_its_portable_file() -> None:
    assert [portable_kind(name) for name in ("win32", "darwin", "linux")] == ["windows-portable", "macos-portable", "linux-portable"]


def test_http_is_for_this_machine_only() -> None:
    assert is_safe_url("http://127.0.0.1:8080/updates")
    assert is_safe_url("http://[::1]/updates")
    assert not is_safe_url("http://updates.example.gov.vn/")
    assert not is_safe_url("https://host:99999/")
    assert not is_safe_url("https://[::1/")

"""The page behind a link: the same bytes for every code, nothing of the address in it, and no script but its own."""

from __future__ import annotations

import re

import pytest
from unit.server.conftest import House

HOSTILE = [
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%22%20onload%3D%22alert(1)", "javascript:alert(1)", "abcd-efgh-jkm%0d%0aSet-Cookie:%20a=b",
    "abcd-efgh-jkmn%00", "..%2f..%2f..%2fetc%2fpasswd", "x" * 3000, "%F0%9F%98%80", "%ED%A0%80", "abcd-efgh-jkmo",
]  # fmt: skip


async def test_every_code_gets_the_same_page(house: House) -> None:
    made = await house.meeting("Cuộc họp kín")
    known, unknown = [await house.anybody.get(f"/m/{code}") for code in (made["code"], "zzzz-zzzz-zzzz")]
    assert known.status == unknown.status == 200
    assert known.body == unknown.body, "whether a code exists is not told here"
    for private in (made["code"], made["id"], "kín"):
        assert private not in known.body
    assert known.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("code", HOSTILE)
async def test_a_hostile_code_leaves_no_trace_in_the_page(house: House, code: str) -> None:
    page, reply = (await house.anybody.get("/m/abcd-efgh-jkmn")).body, await house.anybody.get(f"/m/{code}")
    assert reply.status == 404
    assert reply.body == page
    assert "Set-Cookie" not in reply.headers


async def test_the_pages_policy_lets_nothing_foreign_in(house: House) -> None:
    reply = await house.anybody.get("/m/abcd-efgh-jkmn")
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in reply.headers["Content-Security-Policy"]
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["Referrer-Policy"] == "no-referrer", "the address holds the meeting's code"
    # What the policy would block must not be there, or the page would not work.
    assert re.findall(r"<script(?![^>]*\bsrc=)", reply.body) == []
    assert re.findall(r"\son[a-z]+\s*=|\bstyle\s*=|<style|javascript:", reply.body) == []
    for source in re.findall(r'(?:src|href)="([^"#]+)"', reply.body):
        assert source.startswith("/web/"), source
        assert (await house.anybody.get(source)).status == 200


async def test_the_script_puts_no_text_into_the_page_as_markup_and_sends_none_away(house: House) -> None:
    script = (await house.anybody.get("/web/link.js")).body
    for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch(", "XMLHttpRequest", "sendBeacon", "WebSocket"):
        assert way not in script


async def test_only_the_pages_own_files_are_given(house: House) -> None:
    for path in ("/web/link.html", "/web/", "/web/nothing.js", "/web/..%2fwords%2fvi.json", "/web/%2e%2e/words/vi.json", "/web/link.js%00"):
        assert (await house.anybody.get(path)).status == 404, path
    assert (await house.anybody.get("/robots.txt")).body == "User-agent: *\nDisallow: /\n"
    assert (await house.anybody.get("/")).status == 200

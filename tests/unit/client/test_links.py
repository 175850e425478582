"""Links as hostile input: whatever is pasted, an https link to one meeting of one honest host comes out, or one of our errors."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidconf.client.links import LINK_ERRORS, LINK_LIMIT, PASTE_LIMIT, LinkError, is_loopback, parse_link, parse_origin, shown_host
from vidconf.client.state import JoinLink

CODE = "kx7m-2pqa-9tdf"
HOST = "hop.example.vn"
ORIGIN = f"https://{HOST}"
SECRET = "s" * 24


def refused(text: str, **known: object) -> str:
    with pytest.raises(LinkError) as error:
        parse_link(text, **known)  # type: ignore[arg-type]
    assert error.value.code in LINK_ERRORS
    return error.value.code


# ---- what is followed ----


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (f"{ORIGIN}/m/{CODE}", JoinLink(ORIGIN, CODE)),
        (f"  <{ORIGIN}/m/{CODE}>\n", JoinLink(ORIGIN, CODE)),
        (f"“{ORIGIN}/m/{CODE}”", JoinLink(ORIGIN, CODE)),
        (f"HTTPS://HOP.EXAMPLE.VN/m/{CODE.upper()}", JoinLink(ORIGIN, CODE)),
        (f"{ORIGIN}:443/m/{CODE}/", JoinLink(ORIGIN, CODE)),
        (f"https://{HOST}./m/{CODE}", JoinLink(ORIGIN, CODE)),
        (f"{ORIGIN}/m/{CODE}#k={SECRET}", JoinLink(ORIGIN, CODE, SECRET)),
        (f"vidconf://{HOST}/m/{CODE}", JoinLink(ORIGIN, CODE)),
        (f"vidconf://{HOST}/m/{CODE}#k={SECRET}", JoinLink(ORIGIN, CODE, SECRET)),
        (f"Mời họp 8 giờ.\nVào: {ORIGIN}/m/{CODE}.\nTài liệu: https://{HOST}/tai-lieu\n", JoinLink(ORIGIN, CODE)),
        (f"({ORIGIN}/m/{CODE}).", JoinLink(ORIGIN, CODE)),
        (f"{ORIGIN}/m/{CODE},", JoinLink(ORIGIN, CODE)),
        (f"« {ORIGIN}/m/{CODE}#k={SECRET} ».", JoinLink(ORIGIN, CODE, SECRET)),
    ],
)
def test_a_known_host_is_followed(text: str, link: JoinLink) -> None:
    assert parse_link(text, known=(ORIGIN,)) == link


@pytest.mark.parametrize("text", [CODE, CODE.upper(), f" {CODE} ", "kx7m - 2pqa - 9tdf"])
def test_a_code_goes_to_the_server_at_hand(text: str) -> None:
    assert parse_link(text, server=ORIGIN) == JoinLink(ORIGIN, CODE)
    assert refused(text) == "link_no_server"


def test_a_host_never_used_before_waits_for_a_yes() -> None:
    assert parse_link(f"{ORIGIN}/m/{CODE}").confirm
    assert parse_link(f"{ORIGIN}/m/{CODE}", known=("https://other.vn",)).confirm
    assert parse_link(f"{ORIGIN}:8443/m/{CODE}", known=(ORIGIN,)).confirm, "another port is another server"
    assert not parse_link(f"{ORIGIN}/m/{CODE}", server=ORIGIN).confirm


def test_the_chairs_secret_is_in_no_log() -> None:
    assert SECRET not in repr(parse_link(f"{ORIGIN}/m/{CODE}#k={SECRET}"))
    assert SECRET not in str(parse_link(f"{ORIGIN}/m/{CODE}#k={SECRET}"))


# ---- what is not ----


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "link_empty"),
        (" \n\t", "link_empty"),
        ("x" * (PASTE_LIMIT + 1), "link_too_long"),
        (f"{ORIGIN}/m/" + "a" * LINK_LIMIT, "link_too_long"),
        (f"http://{HOST}/m/{CODE}", "link_insecure"),
        (f"http://127.0.0.1.example.vn/m/{CODE}", "link_insecure"),
        (f"http://localhost.example.vn/m/{CODE}", "link_insecure"),
        (f"ftp://{HOST}/m/{CODE}", "link_scheme"),
        (f"javascript://{HOST}/m/{CODE}", "link_scheme"),
        (f"file:///m/{CODE}", "link_scheme"),
        (f"zoommtg://{HOST}/m/{CODE}", "link_scheme"),
        (f"https://admin@{HOST}/m/{CODE}", "link_userinfo"),
        (f"https://{HOST}:443@evil.example/m/{CODE}", "link_userinfo"),
        (f"{ORIGIN}/m/{CODE}?mic=on", "link_options"),
        (f"{ORIGIN}/m/{CODE}?", "link_options"),
        (f"{ORIGIN}/m/{CODE}#", "link_options"),
        (f"{ORIGIN}/m/{CODE}#k=", "link_options"),
        (f"{ORIGIN}/m/{CODE}#k={'s' * 15}", "link_options"),
        (f"{ORIGIN}/m/{CODE}#k={SECRET}&camera=on", "link_options"),
        (f"{ORIGIN}/m/{CODE}#name=Ai", "link_options"),
        (f"{ORIGIN}/", "link_path"),
        (f"{ORIGIN}/x/{CODE}", "link_path"),
        (f"{ORIGIN}/m/{CODE}/../abcd", "link_code"),
        (f"{ORIGIN}/m/../m/{CODE}", "link_code"),
        (f"{ORIGIN}/M/{CODE}", "link_path"),
        (f"{ORIGIN}/m/%61bcd", "link_path"),
        (f"{ORIGIN}\\@evil.example/m/{CODE}", "link_path"),
        (f"{ORIGIN}/m/{CODE}\u202e", "link_path"),
        (f"{ORIGIN}/m/", "link_code"),
        (f"{ORIGIN}/m/abc", "link_code"),
        (f"{ORIGIN}/m/-abcd", "link_code"),
        ("không phải mã", "link_code"),
        ("https:///m/abcd", "link_host"),
        (f"https://{HOST}:0/m/{CODE}", "link_host"),
        (f"https://{HOST}:65536/m/{CODE}", "link_host"),
        (f"https://{HOST}:٤٤٣/m/{CODE}", "link_host"),
        (f"https://-a.vn/m/{CODE}", "link_host"),
        (f"https://a..vn/m/{CODE}", "link_host"),
        (f"https://{'a' * 64}.vn/m/{CODE}", "link_host"),
        (f"https://0x7f.1/m/{CODE}", "link_host"),
        (f"https://2130706433/m/{CODE}", "link_host"),
        (f"https://127.1/m/{CODE}", "link_host"),
        (f"https://[::1%lo]/m/{CODE}", "link_path"),
        (f"https://[fe80::g]/m/{CODE}", "link_host"),
        (f"https://[::1/m/{CODE}", "link_host"),
        (f"https://[::1]80/m/{CODE}", "link_host"),
        (f"https://[::1].evil.vn/m/{CODE}", "link_host"),
        (f"https://[::1]:/m/{CODE}", "link_host"),
        (f"https://hоp.example.vn/m/{CODE}", "link_lookalike"),  # a Cyrillic о
        (f"https://ｈop.example.vn/m/{CODE}", "link_lookalike"),  # a wide h
        (f"https://xn--hp-fkc.example.vn/m/{CODE}", "link_lookalike"),
        (f"https://hop。example.vn/m/{CODE}", "link_lookalike"),  # another full stop
        (f"Một: {ORIGIN}/m/{CODE} Hai: {ORIGIN}/m/abcd-efgh", "link_unclear"),
    ],
)
def test_what_is_not_followed_says_why(text: str, code: str) -> None:
    assert refused(text) == code


@pytest.mark.parametrize(
    "host",
    ["h0p.example.vn", "hop.exampIe.vn".lower().replace("i", "1"), "hop.exarnple.vn", "họp.example.vn", "hop-example.vn", "hop.examp1e.vn"],
)
def test_a_host_that_passes_for_a_known_one(host: str) -> None:
    assert refused(f"https://{host}/m/{CODE}", known=(ORIGIN,)) == "link_lookalike"
    assert refused(f"https://{host}/m/{CODE}", server=ORIGIN) == "link_lookalike"


@pytest.mark.parametrize("host", ["hop2.example.vn", "example.vn", "hop.example.com", "192.168.1.10", "[2001:db8::1]"])
def test_another_host_is_only_asked_about(host: str) -> None:
    assert parse_link(f"https://{host}/m/{CODE}", known=(ORIGIN,)).confirm


def test_policy_says_which_servers() -> None:
    allowed = ("*.gov.vn", "hop.example.vn", "https://bo.example.vn/", "may.vn:8443")
    for good in ("https://hop.gov.vn", "https://a.b.gov.vn:8000", ORIGIN, "https://bo.example.vn", "https://may.vn:8443"):
        assert parse_link(f"{good}/m/{CODE}", allowed=allowed).origin == good
    for bad in ("https://gov.vn", "https://evilgov.vn", "https://may.vn", "https://hop.example.vn.evil.com", "https://x.hop.example.vn"):
        assert refused(f"{bad}/m/{CODE}", allowed=allowed) == "link_not_allowed"
        assert refused(f"{bad}/m/{CODE}", allowed=allowed, known=(bad,)) == "link_not_allowed", "however often it was used before"
    assert refused(CODE, server="https://evil.com", allowed=allowed) == "link_not_allowed"
    assert parse_link(f"{ORIGIN}/m/{CODE}", allowed=("", "  ")).origin == ORIGIN, "an empty list is no list"


def test_this_machine_may_speak_plain_http() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "localhost", "[::1]"):
        assert is_loopback(host)
        assert parse_link(f"http://{host}:8000/m/{CODE}").origin == f"http://{host}:8000"
        assert parse_link(f"vidconf://{host}:8000/m/{CODE}").origin == f"http://{host}:8000"
    for host in ("128.0.0.1", "localhost.vn", "[::2]", "", "127.0.0.1.vn"):
        assert not is_loopback(host)


# ---- a server's address ----


@pytest.mark.parametrize(
    ("typed", "origin"),
    [
        (HOST, ORIGIN), (f" {ORIGIN}/ ", ORIGIN), (f"{HOST}:8443", f"{ORIGIN}:8443"), ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://127.0.0.1", "https://127.0.0.1"), ("họp.vn", "https://xn--hp-68s.vn"), ("[::1]:8000", "http://[::1]:8000"),
    ],
)  # fmt: skip
def test_a_server_as_it_is_typed(typed: str, origin: str) -> None:
    assert parse_origin(typed) == origin
    assert parse_origin(origin) == origin


@pytest.mark.parametrize(
    "typed",
    ["", "//", "ftp://a.vn", "http://a.vn", "a.vn/m/x", "a.vn?x", "user@a.vn", "a b", "a.vn\u200b", "https://", "a" * 3000, "%41.vn"],
)
def test_no_server(typed: str) -> None:
    with pytest.raises(LinkError) as error:
        parse_origin(typed)
    assert error.value.code in LINK_ERRORS


def test_hosts_are_shown_as_people_read_them() -> None:
    assert shown_host("https://xn--hp-68s.vn:8443") == "họp.vn:8443"
    assert shown_host("http://[::1]:8000") == "[::1]:8000"
    assert shown_host(ORIGIN) == HOST


# ---- whatever it is ----

_PIECES = st.sampled_from(
    ["https://", "http://", "vidconf://", "HTTPS:", "//", "/m/", "#k=", "?", "@", ":", ".", "xn--", "127.0.0.1", "localhost", "[::1]", "%2f", "\\", "..", " ", "\n",
     HOST, CODE, SECRET, "\u202e", "\u200b", "ﬁ", "İ", "ß", "。", "а", "\x00", "\ud800", "9" * 20, "🎥"]
)  # fmt: skip
T = TypeVar("T")


def parsed_or_code(parse: Callable[[], T]) -> T | str:
    """What came of it; anything but a `LinkError` goes through."""
    try:
        return parse()
    except LinkError as error:
        return error.code


_HOSTILE = st.one_of(st.text(max_size=80), st.lists(st.one_of(_PIECES, st.text(max_size=4)), max_size=9).map("".join))


@given(_HOSTILE, st.sampled_from(["", ORIGIN, "http://127.0.0.1:8000"]))
@example("https://xn--a/m/abcd", "")
@example("https://" + "ș" * 300 + "/m/abcd", "")
@example("https://İ.vn/m/abcd", "")
def test_never_anything_but_a_link_or_our_error(text: str, server: str) -> None:
    link = parsed_or_code(lambda: parse_link(text, server=server, known=(ORIGIN,)))
    if isinstance(link, str):
        assert link in LINK_ERRORS
        return
    scheme, _, authority = link.origin.partition("://")
    host = authority.rpartition(":")[0] if not authority.endswith("]") and ":" in authority else authority
    assert scheme == "https" or (scheme == "http" and is_loopback(host)), "always https, but for this machine"
    assert authority
    assert set(authority) <= set(string.ascii_lowercase + string.digits + "-.:[]")
    assert set(link.code) <= set(string.ascii_lowercase + string.digits + "-")
    assert 4 <= len(link.code) <= 64
    assert set(link.secret) <= set(string.ascii_letters + string.digits + "_-")
    assert link.confirm == (link.origin not in (ORIGIN, server)), "only hosts used before are asked without a yes"
    again = f"{link.origin}/m/{link.code}" + (f"#k={link.secret}" if link.secret else "")
    assert parse_link(again, server=server, known=(ORIGIN,)) == link, "what was understood is understood again"


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_option_is_ever_obeyed(query: str, name: str) -> None:
    for tail in (f"?{query}", f"#k={SECRET}&{query}", f"#{name}={query}", f"?{name}={query}#k={SECRET}"):
        try:
            link = parse_link(f"{ORIGIN}/m/{CODE}{tail}", known=(ORIGIN,))
        except LinkError:
            continue
        # What is left of it can only be the code and a well-formed secret.
        assert link.code == CODE
        assert link.secret == "" or set(link.secret) <= set(string.ascii_letters + string.digits + "_-")


@given(st.text(max_size=60))
def test_no_address_makes_it_fall(text: str) -> None:
    origin = parsed_or_code(lambda: parse_origin(text))
    if origin in LINK_ERRORS:
        return
    assert origin.startswith(("https://", "http://")), origin
    assert parse_origin(origin) == origin
    assert isinstance(shown_host(origin), str)

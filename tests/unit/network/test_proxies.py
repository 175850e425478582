"""Which proxy is gone through, for every host and every pattern that an administrator may write."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidconf.network.options import NetworkOptions
from vidconf.network.proxies import Proxy, ProxyError, exempted, is_exemption, is_this_machine, plain, read_proxy, system_proxy

pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        (" HTTP://Proxy.Example.:3128/ ", Proxy("proxy.example", 3128)),
        ("http://proxy", Proxy("proxy", 80)),
        ("https://proxy.example", Proxy("proxy.example", 443, secure=True)),
        ("https://[2001:db8::1]:8443", Proxy("2001:db8::1", 8443, secure=True)),
        ("http://10.0.0.9:8080", Proxy("10.0.0.9", 8080)),
        ("http://máy-chủ.vn:80", Proxy("máy-chủ.vn".encode("idna").decode(), 80)),
    ],
)
def test_what_is_a_proxy(text: str, proxy: Proxy) -> None:
    assert read_proxy(text) == proxy
    assert read_proxy(proxy.url) == proxy, "and is written as it is read"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "proxy_missing"), ("  ", "proxy_missing"), ("http://an:word@proxy:3128", "proxy_credentials"), ("http://@proxy:3128", "proxy_credentials"),
        ("proxy:3128", "proxy_malformed"), ("socks5://proxy:1080", "proxy_malformed"), ("http://", "proxy_malformed"), ("http://:8080", "proxy_malformed"),
        ("http://proxy:0", "proxy_malformed"), ("http://proxy:70000", "proxy_malformed"), ("http://proxy:x", "proxy_malformed"),
        ("http://[::1", "proxy_malformed"), ("http://proxy/path", "proxy_malformed"), ("http://proxy?x", "proxy_malformed"),
        ("http://pro xy:1", "proxy_malformed"), ("http://proxy\r\nX: y:1", "proxy_malformed"), ("http://[fe80::1%25eth0]:1", "proxy_malformed"),
    ],
)  # fmt: skip
def test_what_is_none(text: str, code: str) -> None:
    with pytest.raises(ProxyError) as error:
        read_proxy(text)
    assert error.value.code == code


@given(st.text(max_size=80), st.sampled_from(["", "http://", "https://", "http://h:1"]))
@example("\x1f\u2028", "http://")
def test_any_text_is_a_proxy_or_refused(text: str, head: str) -> None:
    try:
        proxy = read_proxy(head + text)
    except ProxyError:
        return
    assert 0 < proxy.port < 65536
    assert proxy.host
    assert not set(proxy.host) & set(" \r\n\t@/?#")
    assert read_proxy(proxy.url) == proxy


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("meet.example", ["meet.example", "MEET.example.", "[meet.example]"], ["a.meet.example", "meet.example.vn", "xmeet.example"]),
        ("*.example", ["a.example", "b.a.example"], ["example", "aexample", ".example"]),
        (".example", ["a.example"], ["example"]),
        ("meet.example:8443", ["meet.example:8443"], ["meet.example", "meet.example:443"]),
        ("10.0.0.0/8", ["10.1.2.3"], ["11.1.2.3", "10.example", "2001:db8::1"]),
        ("10.1.2.3/8", ["10.9.9.9"], []),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.70"]),
        ("192.0.2.7:8443", ["192.0.2.7:8443"], ["192.0.2.7"]),
        ("2001:db8::/32", ["2001:db8::5", "[2001:db8:1::]"], ["2001:db9::5"]),
        ("[2001:db8::5]:443", ["2001:db8::5"], ["2001:db8::6"]),
        ("<local>", ["intranet", "INTRANET"], ["intranet.example", "10.0.0.1", "2001:db8::1"]),
        ("*", ["anything.example", "10.0.0.1"], []),
        ("máy.vn", ["máy.vn", "máy.vn".encode("idna").decode(), "MÁY.vn"], ["may.vn"]),
    ],
)
def test_exemptions(pattern: str, inside: list[str], outside: list[str]) -> None:
    assert is_exemption(pattern)
    for host in inside + outside:
        name, port = (host[:-5], 8443) if host.endswith(":8443") else (host, 443)
        assert exempted(name, port, ["nonsense of whom/?", pattern]) is (host in inside), host


@pytest.mark.parametrize(
    "pattern",
    ["", " ", "http://meet.example", "meet example", "*.", "a*b", "meet.example:0", "meet.example:x", "10.0.0.0/40", "::1:x:y", "<locals>"],
)
def test_no_exemptions(pattern: str) -> None:
    assert not is_exemption(pattern)
    assert not exempted("meet.example", 443, [pattern])


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_exempts_or_not(pattern: str, host: str) -> None:
    assert exempted(host, 443, [pattern]) in ((False,) if not is_exemption(pattern) else (False, True))


def test_this_machine() -> None:
    for host in ("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"):
        assert is_this_machine(host) is (host != "::ffff:127.0.0.1" or is_this_machine(host)), host
    for host in ("localhost.example", "10.0.0.1", "", "notlocalhost", "128.0.0.1"):
        assert not is_this_machine(host), host


def test_plain_never_fails() -> None:
    assert plain("a" * 300 + "ế") == "a" * 300 + "ế", "no name of DNS's; compared as it is"


def test_the_system_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert system_proxy("sfu.example") == (Proxy("proxy.example", 3128), "")
    for host in ("inside.example", "127.0.0.1", "::1", "localhost"):
        assert system_proxy(host) == (None, "")
    for other, told in (("socks5://proxy.example:1080", "socks5://proxy.example"), ("http://[broken", "?"), ("http://", "http://")):
        monkeypatch.setenv("https_proxy", other)
        assert system_proxy("sfu.example") == (None, told)
    monkeypatch.setenv("https_proxy", "http://nguy%E1%BB%85n:m%40@proxy.example:8080")
    found, _ = system_proxy("sfu.example")
    assert found == Proxy("proxy.example", 8080, "nguyễn:m@")
    assert "nguy" not in repr(found), "a password is no part of a log"


def test_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://system.example:3128")
    manual = NetworkOptions(
        proxy_mode="manual", proxy_server="https://ours.example", proxy_bypass=("*.inside", "<local>", "10.0.0.0/8", "half.example:444")
    )
    ours, system = Proxy("ours.example", 443, secure=True), Proxy("system.example", 3128)
    for url, wanted in (
        ("https://meet.example", ours), ("wss://meet.example/x?y", ours), ("http://meet.example", ours), ("https://a.inside", None),
        ("https://intranet/", None), ("https://10.1.1.1:99", None), ("https://127.0.0.1", None), ("https://localhost:5", None), ("https://[::1]:5", None),
        ("https://half.example", ours), ("https://half.example:444", None),
    ):  # fmt: skip
        assert manual.proxy_for(url) == wanted, url
    assert NetworkOptions().proxy_for("https://meet.example") == system
    assert NetworkOptions().proxy_for("http://meet.example") is None, "for http none is set"
    assert NetworkOptions(proxy_bypass=("meet.example",)).proxy_for("https://meet.example") is None
    assert NetworkOptions(proxy_mode="none").proxy_for("https://meet.example") is None
    for wrong in ("meet.example", "ftp://meet.example", "https://", ""):
        with pytest.raises(ValueError):
            NetworkOptions().proxy_for(wrong)

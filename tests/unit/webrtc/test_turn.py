"""What an operator may write as a TURN server, and what of it is used. Real servers are asked in tests/e2e/test_other_ways.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidconf.network.options import NetworkOptions
from vidconf.network.turn_url import TurnServer, read_url
from vidconf.webrtc.turn import MAX_SERVERS, turn_servers


def test_urls() -> None:
    assert read_url("turn:turn.example") == TurnServer("turn.example", 3478, "udp")
    assert read_url("turn:turn.example:5000?transport=tcp", "u", "c") == TurnServer("turn.example", 5000, "tcp", "u", "c")
    assert read_url("turns:turn.example") == TurnServer("turn.example", 5349, "tls")
    assert read_url("turns:[2001:db8::5]:443?transport=tcp") == TurnServer("2001:db8::5", 443, "tls")
    for wrong in ("stun:turn.example", "turn:", "turn:h:0", "turn:h:70000", "turns:h?transport=udp", "turn:h?transport=quic", "turn:u@h", "http://h", ""):
        assert read_url(wrong) is None, wrong


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"turn:{text}", f"turns:{text}"):
        server = read_url(url)
        assert server is None or (server.host and 0 < server.port < 65536)


def test_order_and_bounds() -> None:
    entries = [
        {"urls": ["turns:a:443", "turn:a", "stun:a", "nonsense"], "username": "u", "credential": "c"},
        {"urls": "turn:b?transport=tcp"},
        {"urls": None}, {"urls": 5}, {},
        {"urls": ["turn:a"], "username": "u", "credential": "c"},
    ]  # fmt: skip
    assert turn_servers(entries) == [
        TurnServer("a", 3478, "udp", "u", "c"), TurnServer("b", 3478, "tcp"), TurnServer("a", 443, "tls", "u", "c"),
    ]  # fmt: skip
    assert len(turn_servers([{"urls": [f"turn:h{n}" for n in range(50)]}])) == MAX_SERVERS
    assert turn_servers(()) == []


def test_only_by_tls() -> None:
    """Those that do not count take no place from those that do."""
    entries = [{"urls": [*(f"turn:h{n}" for n in range(9)), "turn:h?transport=tcp", "turns:h:443"], "username": "u", "credential": "c"}]
    assert turn_servers(entries, NetworkOptions(ice_transport="relay_tls")) == [TurnServer("h", 443, "tls", "u", "c")]
    assert len(turn_servers(entries, NetworkOptions(ice_transport="relay"))) == MAX_SERVERS


def test_an_administrator_s_servers_instead() -> None:
    entries = [{"urls": "stun:a"}, {"urls": "turn:a", "username": "u", "credential": "c"}, {"urls": "turn:b", "username": "v", "credential": "d"}]
    network = NetworkOptions(turn_urls=("turns:ours:443", "turn:ours"))
    assert turn_servers(entries, network) == [TurnServer("ours", 3478, "udp", "u", "c"), TurnServer("ours", 443, "tls", "u", "c")]
    assert turn_servers([], network) == [TurnServer("ours", 3478, "udp"), TurnServer("ours", 443, "tls")]


def test_a_name_writes_nothing_into_a_proxy_s_request() -> None:
    """A server's word becomes a line of the CONNECT that a company's proxy reads."""
    for host in ("h\r\nX-Injected", "h HTTP/1.1\r\nHost", "h\n", "h\t", "a b", "h\x00", "tràn"):
        assert read_url(f"turn:{host}:443?transport=tcp") is None, host

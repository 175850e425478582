"""Passwords that run out, made from a secret that is never told (coturn itself takes them: tests/e2e/test_ways.py)."""

from __future__ import annotations

from vidconf.server.turn import LIVES_S, ice_servers_for

URLS = ["turn:turn.example.gov.vn", "turns:turn.example.gov.vn:443"]


def test_a_password_of_ones_own() -> None:
    (told,) = ice_servers_for("p1", [{"urls": URLS, "secret": "north"}], 1_700_000_000.9)
    assert told["urls"] == URLS
    assert told["username"] == f"{1_700_000_000 + LIVES_S}:p1"
    # echo -n 1700043200:p1 | openssl dgst -sha1 -hmac north -binary | base64
    assert told["credential"] == "Zef3s4yZxwDeDqOhgUgTUksKjdM="
    assert "north" not in str(told)
    (other,) = ice_servers_for("p2", [{"urls": URLS, "secret": "north"}], 1_700_000_000)
    assert other["credential"] != told["credential"]


def test_what_has_no_secret_is_told_as_it_is() -> None:
    entries = [{"urls": URLS, "username": "u", "credential": "c"}, {"urls": URLS}]
    assert ice_servers_for("p1", entries, 0) == entries

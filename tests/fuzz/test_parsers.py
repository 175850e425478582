"""Some ten thousand spoilt inputs for every parser of the wire; bench/fuzz.py does the same with a million."""

from __future__ import annotations

import pytest

from fuzz.campaign import Found, attack, try_one
from fuzz.parsers import PARSERS, Parser

INPUTS = 1200

EARLIER: dict[str, list[bytes | str]] = {
    "sdp from a client": ["v=0\r\nm=audio 9 x 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\nm=audio 9 x 8\r\na=mid:1\r\na=rtpmap:8 PCMA/8000\r\n"],
}
"""Inputs that broke a parser once."""


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: p.name)
def test_nothing_is_raised_and_nothing_is_slow(parser: Parser) -> None:
    found = attack(parser, INPUTS, seed=1)
    assert not found.raised, found.raised[0]
    assert not found.slow, found.slow
    assert found.read > 0, "what is spoilt beyond all reading tests nothing"


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: p.name)
def test_good_inputs_are_read(parser: Parser) -> None:
    for seed in parser.seeds():
        found = Found(parser.name)
        try_one(parser, seed, found)
        assert not found.raised, found.raised
        if "stream" not in parser.name:
            assert found.read == 1, seed


@pytest.mark.parametrize("parser", PARSERS, ids=lambda p: p.name)
def test_what_broke_it_once_does_not_again(parser: Parser) -> None:
    for data in EARLIER.get(parser.name, []):
        found = Found(parser.name)
        try_one(parser, data, found)
        assert found.is_well, (found.raised, found.slow)

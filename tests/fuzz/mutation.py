"""Spoiling bytes and texts: what a broken network, a broken program or an attacker makes of a good message. Deterministic by seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

INTERESTING = (0, 1, 2, 4, 7, 8, 0x0F, 0x10, 0x1F, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0x81, 0xBE, 0xC0, 0xDE, 0xE0, 0xF0, 0xFE, 0xFF)
MOST = 1500
"""Bytes of a datagram; messages that come by TCP may be longer, as long as their seeds."""
WORDS = ("-1", "0", "1", "99999999999999999999", "1e999", "null", "[]", "{}", '"', "\\", "\\ud800", "\0", ":", "=", ";", "/", " ", "\r\n", "a=", "m=", "Ω", "\u202e", "é")


def spoil(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One input: a seed with some harm done to it, two of them crossed, or noise."""
    pick = chance.random()
    if pick < 0.05:
        return chance.randbytes(chance.choice((0, 1, 2, 3, 4, 7, 12, 20, 100, MOST)))
    data = bytearray(chance.choice(seeds))
    if pick < 0.15:
        other = chance.choice(seeds)
        data = bytearray(data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :])
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8, 40))):
        _harm(chance, data)
    return bytes(data[: max(MOST, len(max(seeds, key=len)))])


def _harm(chance: random.Random, data: bytearray) -> None:
    # headers are where parsers are: the first bytes are hit more often than the rest
    end = min(len(data), chance.choice((4, 16, 64, 1 << 20)))
    at = chance.randrange(end + 1)
    match chance.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(data):
            data[at] = chance.choice(INTERESTING)
        case 2 if at < len(data):
            data[at] = chance.randrange(256)
        case 3:
            del data[at:]
        case 4:
            del data[at : at + chance.choice((1, 2, 4, 30))]
        case 5:
            data[at:at] = chance.randbytes(chance.choice((1, 2, 4, 30)))
        case 6:
            piece = data[at : at + chance.choice((1, 4, 12, 40))]
            data[at:at] = piece * chance.choice((1, 1, 3, 30))
        case 7:
            data[at : at + 2] = chance.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF, len(data), len(data) + 1)).to_bytes(4, "big")[-2:]
        case _:
            data[at : at + 4] = bytes((chance.choice((0, 255)),)) * 4


def spoil_text(chance: random.Random, seeds: Sequence[str]) -> str:
    """The same for texts: lines, tokens and characters."""
    text = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(text) + 1)
        match chance.randrange(7):
            case 0:
                text = text[:at] + text[at + chance.choice((1, 2, 10)) :]
            case 1:
                text = text[:at] + chance.choice(WORDS) + text[at:]
            case 2:
                text = text[:at] + chance.choice(WORDS) + text[at + chance.choice((1, 2, 6)) :]
            case 3:
                lines = text.split("\n")
                k = chance.randrange(len(lines))
                lines[k:k] = [chance.choice(chance.choice(seeds).split("\n"))] * chance.choice((1, 1, 2, 20))
                text = "\n".join(lines)
            case 4:
                lines = text.split("\n")
                del lines[chance.randrange(len(lines))]
                text = "\n".join(lines)
            case 5:
                text = text[:at]
            case _:
                text = text[:at] + chr(chance.choice((0, 10, 34, 92, 123, 0x7F, 0xE9, 0x200B, 0xD800, 0xFFFF, 0x1F600))) + text[at:]
    return text

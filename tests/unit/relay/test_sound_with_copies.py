"""RED on the way through: made, passed on, undone, and its copies put where a packet was lost."""

from __future__ import annotations

import itertools
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from unit.relay.test_forwarder import FakeSession, Scene, contiguous

from vidconf.relay.downstream import Down
from vidconf.relay.redundancy import primary_of
from vidconf.rtp.red import Block, build, parse


def red_scene(takes: bool = True) -> tuple[Scene, Down, FakeSession]:
    scene = Scene("audio")
    down, session = scene.subscriber()
    down.takes_red = takes
    scene.up.payload_type, scene.up.red_payload_type = 111, 63
    return scene, down, session


def sound(scene: Scene, block: bytes) -> bytes:
    scene.timestamp += 960
    return scene.packet(block, payload_type=111)


def test_opus_gets_two_copies_for_who_takes_red() -> None:
    scene, _, session = red_scene()
    plain = FakeSession()
    other = Down(scene.up, cast(Any, plain), 9)
    other.accepted = True
    scene.up.add(other)
    blocks = [b"\xf8" + bytes((k,)) * 30 for k in range(5)]
    for block in blocks:
        scene.send(sound(scene, block))
    assert [p.payload_type for p in session.sent] == [111, 63, 63, 63, 63]
    assert session.sent[0].payload == blocks[0]
    assert [b.payload for b in parse(session.sent[1].payload)] == blocks[:2]
    assert parse(session.sent[4].payload) == [Block(111, 1920, blocks[2]), Block(111, 960, blocks[3]), Block(111, 0, blocks[4])]
    assert [(p.payload_type, p.payload) for p in plain.sent] == [(111, block) for block in blocks]
    assert contiguous(session)
    assert contiguous(plain)


def test_no_copy_across_a_gap_or_a_long_pause() -> None:
    scene, _, session = red_scene()
    scene.send(sound(scene, b"\xf8a"))
    scene.send(sound(scene, b"\xf8b"))
    sound(scene, b"\xf8lost")
    scene.send(sound(scene, b"\xf8d"))
    assert session.sent[-1].payload_type == 111  # the one before it is not there
    scene.send(sound(scene, b"\xf8e"))
    assert [b.payload for b in parse(session.sent[-1].payload)] == [b"\xf8d", b"\xf8e"]
    scene.timestamp += 48_000
    scene.send(sound(scene, b"\xf8f"))
    assert session.sent[-1].payload_type == 111  # too long ago to be written down


def test_red_passes_as_it_came_and_is_undone_for_who_does_not_take_it() -> None:
    scene, _, session = red_scene()
    plain = FakeSession()
    other = Down(scene.up, cast(Any, plain), 9)
    other.accepted = True
    scene.up.add(other)
    made = build([Block(111, 960, b"\xf8old"), Block(111, 0, b"\xf8new")])
    scene.send(scene.packet(made, payload_type=63))
    assert (session.sent[0].payload_type, session.sent[0].payload) == (63, made)
    assert (plain.sent[0].payload_type, plain.sent[0].payload) == (111, b"\xf8new")
    scene.send(scene.packet(b"\xbf\xff", payload_type=63))
    assert len(session.sent) == len(plain.sent) == 1
    assert scene.counters.rtp_malformed == 1
    scene.send(scene.packet(b"\xf8plain", payload_type=111))
    assert [p.sequence for p in plain.sent] == [plain.sent[0].sequence, (plain.sent[0].sequence + 1) & 0xFFFF]
    # Asked for again it comes without copies: that is all a late packet is good for.
    scene.up.resend(other, [plain.sent[0].sequence], scene.clock.now)
    assert plain.sent[-1].payload == b"\xf8new"


def test_what_was_lost_on_the_way_in_is_in_the_next_packet() -> None:
    scene, _, session = red_scene(takes=False)
    silk20 = 8  # configuration 1: one frame of 20 ms
    blocks = [bytes((silk20, k)) for k in range(6)]
    for k, block in enumerate(blocks):
        scene.timestamp += 960
        copies = [Block(111, 960 * back, blocks[k - back]) for back in (2, 1) if k >= back]
        data = scene.packet(build([*copies, Block(111, 0, block)]), payload_type=63)
        if k not in (2, 3):
            scene.send(data)
    assert not scene.up.missing
    order = sorted(session.sent, key=lambda p: (p.sequence - session.sent[0].sequence) & 0xFFFF)
    assert [p.payload for p in order] == blocks
    assert [p.timestamp for p in order] == [960 * (k + 1) for k in range(6)]
    assert scene.gaps == 1
    scene.clock.advance(0.1)
    assert scene.up.due_nacks(scene.clock.now) == []


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.binary(min_size=2, max_size=40)), max_size=40))
def test_whoever_sends_and_whoever_hears(packets: list[tuple[bool, bool, bytes]]) -> None:
    """RED or not, lost or not: each hears the same Opus under the same numbers."""
    scene, _, session = red_scene()
    plain = FakeSession()
    other = Down(scene.up, cast(Any, plain), 9)
    other.accepted = True
    scene.up.add(other)
    for is_red, is_lost, block in packets:
        scene.timestamp += 960
        data = scene.packet(build([Block(111, 0, block)]) if is_red else block, payload_type=63 if is_red else 111)
        if not is_lost:
            scene.send(data)
    heard = [primary_of(p.payload, 111) if p.payload_type == 63 else p.payload for p in session.sent]
    assert heard == [p.payload for p in plain.sent] == [block for _, is_lost, block in packets if not is_lost]
    steps = [[(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(s.sent)] for s in (session, plain)]
    assert steps[0] == steps[1]

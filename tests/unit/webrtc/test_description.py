"""Offers and answers as text: real ones, our own, and hostile ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCIceGatherer, RTCIceTransport
from hypothesis import given
from hypothesis import strategies as st

from vidconf.webrtc.description import (
    EXTENSIONS,
    H264,
    H264_RTX,
    LEVEL,
    MID,
    REPAIRED_RID,
    RID,
    RTX,
    SEND_TIME,
    TRANSPORT_CC,
    VP8,
    VP9,
    VP9_RTX,
    DescriptionError,
    Section,
    accepted,
    answer_to,
    feedback_asked,
    offer_of,
    parse,
    remote_tracks,
    transport_of,
)
from vidconf.webrtc.seams import PacketTransport

OFFER = (Path(__file__).parents[2] / "data" / "livekit-offer.sdp").read_bytes().decode()
"""Of livekit-server 1.13.5 to a subscriber, one camera and one microphone."""


@pytest.fixture
async def transport() -> tuple[RTCIceGatherer, PacketTransport]:
    gatherer = RTCIceGatherer(iceServers=[])
    return gatherer, PacketTransport(RTCIceTransport(gatherer), lambda data, now: None, lambda data, now: None)


def test_tracks_of_a_real_offer() -> None:
    offer = parse(OFFER)
    tracks = {t.kind: t for t in remote_tracks(offer)}
    assert set(tracks) == {"audio", "video"}
    assert tracks["audio"].payload_types[111] == "opus"
    assert "vp8" in tracks["video"].payload_types.values()
    for track in tracks.values():
        assert len(track.ssrcs) == 1
        assert not set(track.repair) & set(track.ssrcs), "a repair SSRC is no track's"
    ice, dtls = transport_of(offer)
    assert ice.usernameFragment
    assert dtls.fingerprints


async def test_every_section_is_answered_in_its_place(transport: Any) -> None:
    offer = parse(OFFER)
    answer = parse(answer_to(offer, *transport, 1))
    assert [m.rtp.muxId for m in answer.media] == [m.rtp.muxId for m in offer.media]
    assert [m.kind for m in answer.media] == [m.kind for m in offer.media]
    for media in answer.media:
        assert media.dtls is not None
        assert media.dtls.role == "client"
        if media.kind != "application":
            assert media.direction == "recvonly"
            assert {c.name for c in media.rtp.codecs} <= {"opus", "red", "VP8", "VP9", "H264", "rtx"}


async def test_redundant_sound_is_taken_with_what_it_carries_and_not_alone(transport: Any) -> None:
    audio = next(m for m in parse(answer_to(parse(OFFER), *transport, 1)).media if m.kind == "audio")
    offered = next(m for m in parse(OFFER).media if m.kind == "audio")
    red = next(c for c in audio.rtp.codecs if c.name == "red")
    assert [c.name for c in audio.rtp.codecs] == [c.name for c in offered.rtp.codecs if c.name in ("opus", "red")], "in the order of the offer"
    assert f"a=fmtp:{red.payloadType} 111/111" in answer_to(parse(OFFER), *transport, 1)
    assert {t.payload_types[red.payloadType] for t in remote_tracks(parse(OFFER)) if t.kind == "audio"} == {"red"}
    alone = "\r\n".join(line for line in OFFER.splitlines() if ":111 " not in line).replace("SAVPF 111 63", "SAVPF 63") + "\r\n"
    assert next(m for m in parse(answer_to(parse(alone), *transport, 1)).media if m.kind == "audio").port == 0


async def test_the_estimate_is_answered_the_way_it_was_asked_for(transport: Any) -> None:
    offer = parse(OFFER)
    assert feedback_asked(offer) == (0, 3)
    text = answer_to(offer, *transport, 1)
    assert "a=rtcp-fb:96 goog-remb" in text
    assert f"a=extmap:3 {SEND_TIME}" in text
    numbered = OFFER.replace(f"a=extmap:3 {SEND_TIME}", f"a=extmap:4 {TRANSPORT_CC}").replace("goog-remb", "transport-cc")
    assert feedback_asked(parse(numbered)) == (4, 0)
    text = answer_to(parse(numbered), *transport, 1)
    assert "a=rtcp-fb:96 transport-cc" in text
    assert f"a=extmap:4 {TRANSPORT_CC}" in text
    both = OFFER.replace(f"a=extmap:3 {SEND_TIME}", f"a=extmap:3 {SEND_TIME}\r\na=extmap:4 {TRANSPORT_CC}")
    both = both.replace("a=rtcp-fb:96 goog-remb", "a=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc")
    text = answer_to(parse(both), *transport, 1)
    assert "goog-remb" not in text
    assert SEND_TIME not in text
    neither = OFFER.replace("goog-remb", "x-remb")
    assert feedback_asked(parse(neither)) == (0, 0)
    assert SEND_TIME not in answer_to(parse(neither), *transport, 1)


async def test_what_we_cannot_receive_is_refused_in_its_place(transport: Any) -> None:
    text = OFFER.replace("opus/48000/2", "speex/48000/2")
    answer = answer_to(parse(text), *transport, 1)
    assert "m=audio 0 " in answer
    parse(OFFER)


async def test_our_offer_reads_back(transport: Any) -> None:
    sections = [Section("audio", "1", "cid-a", 1111), Section("video", "2", "cid-v", 2222), Section("video", "3", active=False)]
    offer = parse(offer_of(sections, *transport, 3))
    assert [m.kind for m in offer.media] == ["application", "audio", "video", "video"]
    assert offer.media[1].msid == "- cid-a"
    assert offer.media[2].ssrc[0].ssrc == 2222
    assert offer.media[3].direction == "inactive"
    assert not offer.media[3].ssrc
    ids = {mid: taken.extensions for mid, taken in accepted(offer).items()}
    assert ids["1"] == {MID: EXTENSIONS[MID], LEVEL: EXTENSIONS[LEVEL]}, "audio is not numbered: the server would call it lost"
    assert ids["2"] == {x: EXTENSIONS[x] for x in (MID, TRANSPORT_CC, RID, REPAIRED_RID)}


async def test_a_single_stream_is_offered_with_its_repairs(transport: Any) -> None:
    text = offer_of([Section("video", "1", "cid", 1111, repair_ssrc=2222)], *transport, 1)
    (track,) = remote_tracks(parse(text))
    assert (track.ssrcs, track.repair, track.repaired) == ((1111,), {2222: 1111}, {RTX: VP8, VP9_RTX: VP9, H264_RTX: H264})
    assert "a=rid" not in text
    assert "a=simulcast" not in text


async def test_layers_are_offered_by_name_and_without_ssrcs(transport: Any) -> None:
    section = Section("video", "1", "cid", 1111, repair_ssrc=2222, rids=("q", "h", "f"))
    text = offer_of([section], *transport, 1)
    assert "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n" in text
    assert "a=ssrc" not in text
    assert "a=msid:- cid" in text
    assert parse(text).rids == {}, "what is sent is not what is received"
    section.active = False
    assert "rid:q" not in offer_of([section], *transport, 2)


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        (["a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f"], ("q", "h", "f")),
        (["a=rid:f recv", "a=simulcast:recv f"], ("f",)),
        (["a=rid:q recv", "a=rid:f recv", "a=simulcast:send x recv q,f;~f"], ("q",)),
        (["a=rid:q recv", "a=simulcast:recv q;h;q"], ("q",)),
        (["a=rid:q send", "a=simulcast:recv q"], ()),
        (["a=rid:q recv", "a=simulcast:recv"], ()),
        (["a=simulcast:", "a=rid:", "a=rid:q"], ()),
        ([], ()),
    ],
)
async def test_of_layers_those_are_sent_that_the_answer_takes(transport: Any, lines: list[str], taken: tuple[str, ...]) -> None:
    text = offer_of([Section("video", "1", "cid", rids=("q", "h", "f"))], *transport, 1)
    kept = [line for line in text.split("\r\n") if not line.startswith(("a=rid", "a=simulcast"))]
    at = kept.index("a=mid:1")
    answer = "\r\n".join([*kept[: at + 1], *lines, *kept[at + 1 :]]).replace("a=sendonly", "a=recvonly")
    found = accepted(parse(answer))["1"]
    assert found.rids == taken
    assert found.types == {"vp8": VP8, "vp9": VP9, "h264": H264, "rtx": RTX}
    assert found.repairs == {VP8: RTX, VP9: VP9_RTX, H264: H264_RTX}
    assert found.extensions[RID] == EXTENSIONS[RID]


async def test_a_section_that_is_refused_or_rests_takes_nothing(transport: Any) -> None:
    text = offer_of([Section("video", "1", "cid", 5)], *transport, 1)
    assert accepted(parse(text.replace("m=video 9", "m=video 0").replace("a=sendonly", "a=recvonly")))["1"].types == {}
    assert accepted(parse(text.replace("a=sendonly", "a=inactive")))["1"].types == {}


@pytest.mark.parametrize("number", ["0", "15", "31", "-14", "98765432109876543210", "1"])
async def test_an_extension_whose_number_cannot_be_written_is_not_taken(transport: Any, number: str) -> None:
    """`1` is another's already."""
    text = offer_of([Section("video", "1", "cid", 5)], *transport, 1).replace("a=sendonly", "a=recvonly")
    assert EXTENSIONS[MID] == 1
    asked = f"a=extmap:{EXTENSIONS[TRANSPORT_CC]} {TRANSPORT_CC}"
    assert asked in text
    found = accepted(parse(text.replace(asked, f"a=extmap:{number} {TRANSPORT_CC}")))["1"].extensions
    assert TRANSPORT_CC not in found
    assert found[MID] == 1


@given(st.text(max_size=2000))
def test_any_text_parses_or_is_an_error(text: str) -> None:
    try:
        parse(text)
    except DescriptionError:
        pass


@given(st.integers(0, 1 << 32), st.integers(1, 12))
def test_a_mangled_offer_parses_or_is_an_error(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    lines = OFFER.split("\r\n")
    for _ in range(changes):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
            case 2:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 3:
                lines[at] = lines[at].replace(chance.choice("0123456789:= "), chance.choice(("-1", "", "99999999999999999999", "x")))
            case _:
                lines[at] += chance.choice((" 0", ":", "\0", "=a", " Ω"))
    try:
        description = parse("\r\n".join(lines))
    except DescriptionError:
        return
    remote_tracks(description)
    accepted(description)


def test_too_large_is_an_error() -> None:
    with pytest.raises(DescriptionError):
        parse(OFFER + "a=x:" + "y" * (1 << 20))


@pytest.mark.parametrize("line", ["a=fingerprint", "a=ice-ufrag", "a=ice-pwd"])
def test_a_description_without_keys_is_an_error(line: str) -> None:
    with pytest.raises(DescriptionError):
        parse("\r\n".join(part for part in OFFER.split("\r\n") if not part.startswith(line)))

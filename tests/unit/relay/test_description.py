"""Descriptions: what browsers and SDKs offer is understood, aiortc understands what we write, noise is refused by name."""

from __future__ import annotations

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from vidconf.relay.codecs import H264, VP8, VP9
from vidconf.relay.description import (
    LEVEL,
    MID,
    RID,
    SEND_TIME_ID,
    TRANSPORT_CC,
    DescriptionError,
    Offered,
    Outgoing,
    Transport,
    agree,
    read,
    write_answer,
    write_offer,
)
from vidconf.webrtc.description import feedback_asked

TRANSPORT = Transport("ufrag", "password of ours that is long", "sha-256 AA:BB", (("192.0.2.1", 7882), ("2001:db8::1", 7882)))
OFFER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 7 8 9 x
a=ice-ufrag:them
a=ice-pwd:theirs
a=fingerprint:sha-256 aa:bb:cc
a=setup:actpass
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:0
a=sctp-port:5000
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0
a=mid:7
a=sendonly
a=msid:stream CID-A
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=rtcp-fb:111 nack
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=ssrc:111222 cname:x
m=video 9 UDP/TLS/RTP/SAVPF 98 99 96 97
a=mid:8
a=sendonly
a=msid:stream CID-V
a=rtpmap:98 VP9/90000
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
a=rid:q send
a=rid:h send
a=rid:f send
a=simulcast:send q;h;f
m=video 9 UDP/TLS/RTP/SAVPF 96 97
a=mid:9
a=sendrecv
a=rtpmap:96 VP8/90000
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=ssrc-group:FID 1001 1002
a=ssrc:1001 cname:x
a=ssrc:1001 msid:s CID-S
a=ssrc:1002 cname:x
m=video 9 UDP/TLS/RTP/SAVPF 35
a=mid:x
a=recvonly
a=rtpmap:35 AV1/90000
""".replace("\n", "\r\n")


def test_an_offer_is_understood() -> None:
    offer = read(OFFER)
    assert (offer.ufrag, offer.fingerprints, offer.setup, offer.has_data) == ("them", (("sha-256", "AA:BB:CC"),), "actpass", True)
    data, audio, layered, screen, other = offer.sections
    assert [s.mid for s in offer.sections] == ["0", "7", "8", "9", "x"]
    assert (data.kind, audio.cid, audio.ssrcs, audio.sends) == ("application", "CID-A", (111222,), True)
    assert (layered.cid, layered.ssrcs, layered.rids) == ("CID-V", (), ("q", "h", "f"))
    assert (screen.cid, screen.ssrcs, screen.repairs) == ("CID-S", (1001,), {1002: 1001})
    assert not other.sends
    found = agree(layered)
    assert found is not None
    assert (found.codec, found.payload_type, found.rtx_payload_type, found.rids) == (VP8, 96, 97, ("q", "h", "f"))
    assert found.extensions[RID] == 10
    heard = agree(audio)
    assert heard is not None
    assert (heard.payload_type, heard.red_payload_type, dict(heard.extensions)) == (111, 63, {MID: 4, LEVEL: 1})
    encrypted = agree(audio, red=False)
    assert encrypted is not None
    assert encrypted.red_payload_type is None
    other_codec = agree(layered, "vp9")
    assert other_codec is not None
    assert (other_codec.codec, other_codec.payload_type, other_codec.rtx_payload_type) == (VP9, 98, 99)
    assert agree(other) is None
    assert agree(data) is None


def test_the_answer() -> None:
    text = write_answer(read(OFFER), TRANSPORT, 2)
    parsed = SessionDescription.parse(text)
    assert [m.rtp.muxId for m in parsed.media] == ["0", "7", "8", "9", "x"]
    assert [m.port for m in parsed.media] == [9, 9, 9, 9, 0]
    assert [m.direction for m in parsed.media[1:]] == ["recvonly", "recvonly", "recvonly", "inactive"]
    assert "a=group:BUNDLE 0 7 8 9\r\n" in text
    assert "m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n" in text  # with copies rather than without
    assert "a=fmtp:63 111/111\r\n" in text
    assert [c.name for c in parsed.media[2].rtp.codecs] == ["VP8", "rtx"]
    assert "a=rid:q recv\r\na=rid:h recv\r\na=rid:f recv\r\na=simulcast:recv q;h;f\r\n" in text
    assert text.count("rtp-stream-id") == 2
    assert {x.uri for x in parsed.media[1].rtp.headerExtensions} == {MID, LEVEL}
    assert TRANSPORT_CC in {x.uri for x in parsed.media[2].rtp.headerExtensions}
    assert parsed.media[0].ice is not None
    assert parsed.media[0].ice.iceLite
    assert [c.ip for c in parsed.media[0].ice_candidates] == ["192.0.2.1", "2001:db8::1"]
    assert parsed.media[0].dtls is not None
    assert parsed.media[0].dtls.role == "server"
    assert "goog-remb" not in text


def test_our_offer() -> None:
    sections = [Outgoing("audio", "0", 11, "PA_x|TR_a", "TR_a", "PA_x"), Outgoing("video", "1"), Outgoing("video", "2", 12, "PA_x|TR_v", "TR_v", "PA_x", rtx_ssrc=112)]
    parsed = SessionDescription.parse(write_offer(sections, TRANSPORT, 3))
    assert [(m.kind, m.direction) for m in parsed.media[1:]] == [("audio", "sendonly"), ("video", "inactive"), ("video", "sendonly")]
    assert [[s.ssrc for s in m.ssrc] for m in parsed.media[1:]] == [[11], [], [12, 112]]
    assert [(g.semantic, g.items) for g in parsed.media[3].ssrc_group] == [("FID", [12, 112])]
    assert [(c.name, c.payloadType, c.parameters) for c in parsed.media[3].rtp.codecs] == [("VP8", 96, {}), ("rtx", 97, {"apt": 96})]
    assert parsed.media[3].msid == "PA_x|TR_v TR_v"
    assert parsed.media[0].sctp_port == 5000
    assert parsed.media[0].dtls is not None
    assert parsed.media[0].dtls.role == "auto"


def test_our_offer_asks_what_the_line_carries() -> None:
    sections = [Outgoing("audio", "0", 11, "PA_x|TR_a", "TR_a", "PA_x"), Outgoing("video", "1", 12, "PA_x|TR_v", "TR_v", "PA_x", rtx_ssrc=112)]
    parsed = SessionDescription.parse(write_offer(sections, TRANSPORT, 3))
    assert feedback_asked(parsed) == (0, SEND_TIME_ID), "as our own client reads it"
    assert parsed.media[1].rtp.headerExtensions == []


def test_our_offer_of_other_codecs_and_of_red() -> None:
    sections = [Outgoing("audio", "0", 11, "s", "a", "x", red=True), Outgoing("video", "1", 12, "s", "v", "x", H264), Outgoing("video", "2", 13, codec=VP9)]
    text = write_offer(sections, TRANSPORT, 3)
    parsed = SessionDescription.parse(text)
    assert [[c.payloadType for c in m.rtp.codecs] for m in parsed.media[1:]] == [[111, 63], [125, 126], [98, 99]]
    assert parsed.media[2].rtp.codecs[0].parameters["packetization-mode"] == "1"
    assert "a=fmtp:63 111/111\r\n" in text


def test_of_h264_only_what_all_can_decode() -> None:
    text = """m=video 9 UDP/TLS/RTP/SAVPF 39 40 41
a=rtpmap:39 H264/90000
a=fmtp:39 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f
a=rtpmap:40 H264/90000
a=fmtp:40 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f
a=rtpmap:41 H264/90000
a=fmtp:41 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
"""
    found = agree(read(text).sections[0])
    assert found is not None
    assert (found.codec, found.payload_type) == (H264, 41)
    assert agree(read(text.replace("42e01f", "4d001f")).sections[0]) is None


def test_layers_told_by_their_ssrcs() -> None:
    text = """m=video 9 UDP/TLS/RTP/SAVPF 96 97
a=sendonly
a=rtpmap:96 VP8/90000
a=ssrc-group:SIM 1 2 3
a=ssrc-group:FID 1 11
a=ssrc-group:FID 2 12
a=ssrc-group:FID 3 13
a=ssrc:1 cname:x
a=ssrc:11 cname:x
"""
    section = read(text).sections[0]
    assert section.simulcast_ssrcs == (1, 2, 3)
    assert section.repairs == {11: 1, 12: 2, 13: 3}


@pytest.mark.parametrize("text", ["", "v=0", "m=", "m=audio", "m=audio x UDP 1", "m=audio 9 X 96\na=rtpmap:y VP8/1", "m=audio 9 X 96\na=extmap:/ x",
                                  "m=video 9 X 96\na=ssrc:x", "m=video 9 X 96\na=ssrc-group:FID 1 4294967296",
                                  "m=video 9 X 96\na=ssrc-group:SIM 1 1", "x" * (2 << 20), "m=audio 9 X 96\n" * 600])  # fmt: skip
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(DescriptionError):
        read(text)


@given(st.lists(st.tuples(st.integers(0, 80), st.text(alphabet=st.characters(codec="utf-8"), max_size=20)), max_size=8), st.integers(0, 3000))
def test_noise_is_read_or_refused_and_what_is_read_can_be_answered(edits: list[tuple[int, str]], cut: int) -> None:
    lines = OFFER.split("\r\n")
    for at, text in edits:
        line = lines[at % len(lines)]
        lines[at % len(lines)] = line[: len(line) // 2] + text
    try:
        offer = read("\r\n".join(lines)[: cut or None])
    except DescriptionError:
        return
    write_answer(offer, TRANSPORT, 1)


@pytest.mark.parametrize("apt", ["²", "٣", "-1", "96.0", "9999", ""])
def test_a_repair_of_what_is_no_number_repairs_nothing(apt: str) -> None:
    assert Offered("rtx", 90_000, parameters=f"apt={apt}").apt() is None

"""The signalling of an impaired way: no address but the path's gets through, and nothing else is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from livekit.protocol import models, rtc

from bench.network.doorway import Doorway, from_client
from bench.network.path import UdpPath

OFFER = (Path(__file__).parents[2] / "data" / "livekit-offer.sdp").read_text()


@pytest.fixture
def doorway() -> Iterator[Doorway]:
    path = UdpPath()
    yield Doorway("ws://127.0.0.1:7880", path)
    path.close()


def candidates(sdp: str) -> list[list[str]]:
    return [line.split(" ") for line in sdp.splitlines() if line.startswith("a=candidate:")]


def read(doorway: Doorway, message: rtc.SignalResponse) -> rtc.SignalResponse:
    changed = doorway.from_server(message.SerializeToString())
    assert changed is not None
    return rtc.SignalResponse.FromString(changed)


def test_an_offer_names_the_paths_port_and_no_tcp(doorway: Doorway) -> None:
    came = read(doorway, rtc.SignalResponse(offer=rtc.SessionDescription(type="offer", sdp=OFFER, id=3, mid_to_track_id={"1": "TR_x"}))).offer
    host, port = doorway._path.address("127.0.0.1", 46763)
    found = candidates(came.sdp)
    assert found
    assert {(words[2], words[4], words[5]) for words in found} == {("udp", host, str(port))}
    assert came.id == 3
    assert came.mid_to_track_id == {"1": "TR_x"}
    rest = [line for line in OFFER.splitlines() if not line.startswith("a=candidate:")]
    assert [line for line in came.sdp.splitlines() if not line.startswith("a=candidate:")] == rest


def test_the_offer_tells_which_ssrc_repairs_which(doorway: Doorway) -> None:
    sdp = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=ssrc-group:FID 11 12\r\na=ssrc:11 cname:x\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ssrc:13 cname:x\r\n"
    doorway.from_server(rtc.SignalResponse(offer=rtc.SessionDescription(type="offer", sdp=sdp)).SerializeToString())
    assert doorway.repairs == {12: 11}
    assert doorway.kinds == {11: "video", 13: "audio"}


def test_trickle_and_servers_of_the_join(doorway: Doorway) -> None:
    line = "candidate:1 1 udp 2130706431 10.0.0.9 7882 typ host"
    init = json.dumps({"candidate": line, "sdpMid": "0", "sdpMLineIndex": 0})
    said = rtc.SignalResponse(trickle=rtc.TrickleRequest(candidateInit=init, target=rtc.SignalTarget.SUBSCRIBER))
    came = json.loads(read(doorway, said).trickle.candidateInit)
    host, port = doorway._path.address("10.0.0.9", 7882)
    assert came == {"candidate": f"candidate:1 1 udp 2130706431 {host} {port} typ host", "sdpMid": "0", "sdpMLineIndex": 0}
    tcp = rtc.TrickleRequest(candidateInit=json.dumps({"candidate": line.replace("udp", "tcp") + " tcptype passive", "sdpMid": "0"}))
    assert doorway.from_server(rtc.SignalResponse(trickle=tcp).SerializeToString()) is None
    join = rtc.JoinResponse(room=models.Room(name="r"), ice_servers=[rtc.ICEServer(urls=["turn:10.0.0.9"])])
    joined = read(doorway, rtc.SignalResponse(join=join)).join
    assert not joined.ice_servers
    assert joined.room.name == "r"


def test_what_has_no_address_is_not_touched(doorway: Doorway) -> None:
    for message in (rtc.SignalResponse(pong=7), rtc.SignalResponse(leave=rtc.LeaveRequest(can_reconnect=True))):
        assert doorway.from_server(message.SerializeToString()) == message.SerializeToString()
    asked = rtc.SignalRequest(mute=rtc.MuteTrackRequest(sid="TR_x", muted=True)).SerializeToString()
    assert from_client(asked) == asked


def test_the_server_learns_no_address_of_the_client() -> None:
    answer = rtc.SignalRequest(answer=rtc.SessionDescription(type="answer", sdp=OFFER, id=2))
    changed = from_client(answer.SerializeToString())
    assert changed is not None
    came = rtc.SignalRequest.FromString(changed).answer
    assert not candidates(came.sdp)
    assert came.id == 2
    assert "a=ice-ufrag:" in came.sdp
    init = json.dumps({"candidate": "candidate:1 1 udp 1 10.1.1.1 5000 typ host", "sdpMid": "0", "sdpMLineIndex": 0})
    assert from_client(rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit=init)).SerializeToString()) is None

"""What is asked of the server for each source, and that what it answers is obeyed. The far end's answers are our offers, changed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiortc import RTCIceGatherer, RTCIceTransport
from livekit.protocol import models, rtc

from vidconf.engine import publishing
from vidconf.engine.audio_publication import AudioPublication
from vidconf.engine.ladder import HIGH, LOW, MEDIUM
from vidconf.engine.outgoing import TransportNumbers
from vidconf.engine.pacer import Pacer
from vidconf.engine.publication import Publication
from vidconf.engine.publishing import Publishing
from vidconf.engine.video_publication import VideoPublication
from vidconf.rtp.packets import RtpPacket, parse_rtp
from vidconf.rtp.rtcp import Fir, Nack, Pli, ReceiverReport, ReportBlock
from vidconf.webrtc.description import (
    EXTENSIONS,
    H264,
    H264_RTX,
    MID,
    REPAIRED_RID,
    RID,
    RTX,
    Accepted,
    Description,
    Section,
    offer_of,
    parse,
)
from vidconf.webrtc.seams import PacketTransport

TAKES_ALL: Callable[[str], str] = lambda sdp: sdp.replace(" send\r\n", " recv\r\n").replace("simulcast:send", "simulcast:recv")  # noqa: E731


def takes(*rids: str) -> Callable[[str], str]:
    """A server that takes these layers; none: it knows nothing of simulcast."""

    def answer(sdp: str) -> str:
        lines = [line for line in sdp.split("\r\n") if not line.startswith(("a=rid", "a=simulcast"))]
        at = next(k for k, line in enumerate(lines) if line.startswith("m=video")) + 2
        said = [f"a=rid:{rid} recv" for rid in rids] + ([f"a=simulcast:recv {';'.join(rids)}"] if rids else [])
        return "\r\n".join([*lines[:at], *said, *lines[at:]])

    return answer


class Far:
    """The server and the way to it; `answer` changes an offer of ours into what it says."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.connected = asyncio.Event()
        self.connected.set()
        self.answer = TAKES_ALL
        self.offers: list[str] = []
        self.packets: list[RtpPacket] = []
        self.asked: list[dict[str, Any]] = []
        self.publications: dict[str, Publication] = {}
        self.refused: list[tuple[str, str]] = []
        self.loop = asyncio.get_running_loop()
        self.pacer = Pacer(lambda: None)
        self.publishing = Publishing(self, self.pacer, TransportNumbers(), send=self.say, bound=lambda: None)
        self._gatherer = RTCIceGatherer(iceServers=[])
        self._dtls = PacketTransport(RTCIceTransport(self._gatherer), lambda data, now: None, lambda data, now: None)

    def say(self, **message: Any) -> None:
        self.asked.append(message)
        if (request := message.get("add_track")) is not None:
            self.loop.call_soon(self.publishing.answered, request.cid, models.TrackInfo(sid=f"TR_{request.source}"))

    async def offer(self, send: Any) -> Description:
        sdp = offer_of(self.sections, self._gatherer, self._dtls, len(self.offers))
        self.offers.append(sdp)
        await send(sdp, len(self.offers))
        return parse(self.answer(sdp.replace("a=sendonly", "a=recvonly")))

    def send(self, packet: bytes) -> bool:
        self.packets.append(parse_rtp(packet))
        return True

    def publication_refused(self, publication: Publication, code: str) -> None:
        self.refused.append((publication.source, code))

    def emit(self, event: object) -> None: ...

    def publication_changed(self, publication: Publication) -> None:
        self.publishing.changed() if publication.closed else self.publishing.state_changed(publication)

    def camera(self, *, muted: bool = False, source: Any = "camera") -> VideoPublication:
        """One that is never started: no device, no picture."""
        made = VideoPublication(self, source, "lavfi:testsrc2", muted=muted)
        made.shown = True
        self.publications[source] = made
        self.publishing.changed()
        return made

    async def settle(self, condition: Callable[[], Any]) -> None:
        for _ in range(2500):
            if condition():
                return
            await asyncio.sleep(0.002)
        pytest.fail("it does not come to that")

    async def close(self, publication: Publication) -> None:
        before = len(self.offers)
        del self.publications[publication.source]
        publication.close()
        await self.settle(lambda: len(self.offers) > before)

    def requests(self) -> list[rtc.AddTrackRequest]:
        return [m["add_track"] for m in self.asked if "add_track" in m]


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    made = Far()
    run = asyncio.create_task(made.publishing.run(made))  # type: ignore[arg-type]
    yield made
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    made.publishing.close()
    made.pacer.close()


async def test_a_camera_is_told_and_sent_in_three_sizes(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    (request,) = far.requests()
    assert (request.width, request.height) == (1280, 720)
    assert [(x.quality, x.width, x.height, x.rid) for x in request.layers] == [
        (models.LOW, 320, 180, "q"), (models.MEDIUM, 640, 360, "h"), (models.HIGH, 1280, 720, "f"),
    ]  # fmt: skip
    assert [x.spatial_layer for x in request.layers] == [0, 1, 2], "without it livekit-server finds no quality for a layer, and says that nobody wants any"
    assert all(x.bitrate > 0 for x in request.layers)
    assert [x.ssrc for x in request.layers] == [s.stream.ssrc for s in camera.senders], "the server was told the truth"
    assert [s.rid for s in camera.senders] == ["q", "h", "f"]
    assert "a=simulcast:send q;h;f" in far.offers[-1]
    for sender in camera.senders:
        sender.stream.transmit(sender.stream.packet(b"x", 0, marker=True), 0.0)
        packet = far.packets[-1]
        assert (packet.ssrc, packet.extensions[EXTENSIONS[RID]], packet.extensions[EXTENSIONS[MID]]) == (sender.stream.ssrc, sender.rid.encode(), b"1")
        sender.stream.repair(packet.sequence, 1.0)
        again = far.packets[-1]
        assert (again.payload_type, again.payload) == (RTX, packet.sequence.to_bytes(2, "big") + b"x")
        assert again.extensions[EXTENSIONS[REPAIRED_RID]] == sender.rid.encode()
        assert EXTENSIONS[RID] not in again.extensions
        sender.stream.note_report(ReportBlock(sender.stream.ssrc, 0, 0, 0, 0))
        assert EXTENSIONS[RID] not in parse_rtp(bytes(sender.stream.packet(b"", 0, marker=False))).extensions


@pytest.mark.parametrize(("answer", "rids"), [(takes(), [""]), (takes("f"), ["f"]), (takes("h", "q"), ["q", "h"]), (takes("x"), [""])])
async def test_what_the_server_takes_of_the_layers_is_sent(far: Far, answer: Callable[[str], str], rids: list[str]) -> None:
    far.answer = answer
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    assert [s.rid for s in camera.senders] == rids
    assert [(x.width, x.height) for x in camera.ladder][-1] == (1280, 720), "the picture as it is, however few there are"
    assert len(camera.ladder) == len(rids)


async def test_a_server_without_repairs_of_their_own_gets_plain_ones(far: Far) -> None:
    far.answer = lambda sdp: TAKES_ALL(sdp).replace(" 96 97\r\n", " 96\r\n").replace("a=rtpmap:97", "a=x:").replace("a=fmtp:97", "a=x:")
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    stream = camera.senders[0].stream
    stream.transmit(stream.packet(b"x", 0, marker=True), 0.0)
    stream.repair(far.packets[-1].sequence, 1.0)
    assert far.packets[-1].ssrc == stream.ssrc


async def test_a_server_that_takes_no_codec_of_ours(far: Far) -> None:
    far.answer = lambda sdp: sdp.replace("VP8/90000", "VP7/90000").replace("H264/90000", "H265/90000")
    camera = far.camera()
    await far.settle(lambda: far.refused)
    assert far.refused == [("camera", "not_published")]
    assert camera.stream is None
    assert far.publishing.streams == {}
    assert far.publishing.publications == ()


def answered_by(*kept: str) -> Callable[[str], str]:
    """A server that takes these codecs (`VP8`, …) and no others."""

    def answer(sdp: str) -> str:
        for name in {"VP8", "VP9", "H264"} - {*kept}:
            sdp = sdp.replace(f"{name}/90000", "AV1/90000")
        return TAKES_ALL(sdp)

    return answer


@pytest.mark.parametrize("source", ["camera", "screen_share"])
async def test_a_server_that_enables_h264_alone_gets_it(far: Far, source: str) -> None:
    far.publishing.enabled_codecs = ["audio/opus", "video/H264"]
    far.answer = answered_by("H264")
    made = far.camera(source=source)
    await far.settle(lambda: made.senders)
    (request,) = far.requests()
    assert [(c.codec, c.cid) for c in request.simulcast_codecs] == [("h264", request.cid)]
    assert [x.rid for x in request.layers] == (["q", "h", "f"] if source == "camera" else ["q", "h"])
    assert [s.codec for s in made.senders] == ["h264"] * len(request.layers)
    stream = made.senders[-1].stream
    stream.transmit(stream.packet(b"x", 0, marker=True), 0.0)
    assert far.packets[-1].payload_type == H264
    stream.repair(far.packets[-1].sequence, 1.0)
    assert far.packets[-1].payload_type == H264_RTX
    assert far.publishing.sent()[source]["codec"] == "H264"


async def test_h264_is_what_is_asked_for_or_what_the_answer_leaves(far: Far) -> None:
    camera = VideoPublication(far, "camera", "lavfi:testsrc2", muted=False, codec="h264")
    camera.shown = True
    far.publications["camera"] = camera
    far.publishing.changed()
    await far.settle(lambda: camera.senders)
    assert {s.codec for s in camera.senders} == {"h264"}
    await far.close(camera)
    far.answer = answered_by("H264")        # it said nothing beforehand
    other = far.camera()
    await far.settle(lambda: other.senders)
    assert {s.codec for s in other.senders} == {"h264"}
    assert [s.codec for s in far.sections] == ["h264", "vp8"], "a section keeps to the codec that was meant for it"


async def test_a_section_is_used_again_only_after_the_server_knows_it_to_be_idle(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    ssrcs = set(far.publishing.streams)
    del far.publications["camera"]
    camera.close()
    share = far.camera(source="screen_share")       # in the same round
    await far.settle(lambda: share.senders)
    assert [(s.mid, s.active) for s in far.sections] == [("1", False), ("2", True)]
    await far.close(share)
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    assert [(s.mid, s.active) for s in far.sections] == [("1", True), ("2", False)]
    assert not ssrcs & set(far.publishing.streams), "another track has other numbers"
    assert far.offers[-1].count("a=simulcast") == 1


async def test_a_section_used_again_carries_no_layers_of_the_track_before(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    await far.close(camera)
    small = VideoPublication(far, "camera", "lavfi:testsrc2", muted=False)
    small._resized(320, 180)
    far.publications["camera"] = small
    far.publishing.changed()
    await far.settle(lambda: small.senders)
    assert [s.mid for s in far.sections] == ["1"]
    assert "rid:" not in far.offers[-1]
    assert "a=ssrc-group:FID" in far.offers[-1]
    (request,) = far.requests()[1:]
    assert [(x.quality, x.rid) for x in request.layers] == [(models.HIGH, "")]


async def test_only_what_is_watched_is_encoded(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    sid = f"TR_{models.TrackSource.CAMERA}"

    def told(*enabled: int, codec: str = "vp8") -> list[bool]:
        qualities = [rtc.SubscribedQuality(quality=q, enabled=q in enabled) for q in (LOW, MEDIUM, HIGH)]  # type: ignore[arg-type]
        other = rtc.SubscribedCodec(codec="vp9", qualities=[rtc.SubscribedQuality(quality=q, enabled=False) for q in (LOW, MEDIUM, HIGH)])  # type: ignore[arg-type]
        codecs = [other, rtc.SubscribedCodec(codec=codec, qualities=qualities)]
        far.publishing.quality_wanted(rtc.SubscribedQualityUpdate(track_sid=sid, subscribed_codecs=codecs))
        return [sender.wanted for sender in camera.senders]

    assert told(LOW) == [True, False, False]
    assert told(LOW, MEDIUM, codec="video/VP8") == [True, True, False]
    assert told() == [False, False, False]
    assert not camera.wanted
    assert told(LOW, MEDIUM, HIGH) == [True, True, True]
    old = [rtc.SubscribedQuality(quality=q, enabled=q == LOW) for q in (LOW, MEDIUM, HIGH)]  # type: ignore[arg-type]
    far.publishing.quality_wanted(rtc.SubscribedQualityUpdate(track_sid=sid, subscribed_qualities=old))
    assert [sender.wanted for sender in camera.senders] == [True, False, False]
    far.publishing.quality_wanted(rtc.SubscribedQualityUpdate(track_sid="TR_nobody", subscribed_qualities=old))


async def test_one_alone_stands_for_all_qualities(far: Far) -> None:
    far.answer = takes()
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    camera.want((LOW,))
    assert [sender.wanted for sender in camera.senders] == [True]
    camera.want(())
    assert [sender.wanted for sender in camera.senders] == [False]


async def test_a_smaller_picture_than_was_told_is_sent_in_fewer_sizes_and_told(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    camera._resized(640, 360)
    assert [(x.width, x.height) for x in camera.ladder] == [(320, 180), (640, 360)]
    camera.want((LOW, MEDIUM, HIGH))
    assert [s.wanted for s in camera.senders[:2]] == [True, True]
    camera.want((HIGH,))
    assert [s.wanted for s in camera.senders[:2]] == [False, True], "the largest there is stands for a larger one"
    update = next(m["update_video_track"] for m in far.asked if "update_video_track" in m)
    assert (update.width, update.height) == (640, 360)


async def test_a_camera_that_is_being_opened_is_waited_for_but_not_for_ever(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = VideoPublication(far, "camera", "lavfi:testsrc2", muted=False)
    far.publications["camera"] = camera
    far.publishing.changed()
    await asyncio.sleep(0.05)
    assert not far.requests(), "nobody knows how large it is"
    camera._resized(640, 360)
    await far.settle(lambda: camera.senders)
    (request,) = far.requests()
    assert [(x.width, x.height) for x in request.layers] == [(320, 180), (640, 360)]
    monkeypatch.setattr(publishing, "OPENING_S", 0.1)
    share = VideoPublication(far, "screen_share", "lavfi:testsrc2", muted=False)
    far.publications["screen_share"] = share
    far.publishing.changed()
    await far.settle(lambda: share.senders)


async def test_the_rate_is_shared_among_what_is_sent(far: Far) -> None:
    camera, share = far.camera(), far.camera(source="screen_share")
    await far.settle(lambda: camera.senders and share.senders)
    assert far.publishing.useful_bps() == sum((150_000, 500_000, 2_500_000)) + share.shape.max_bps
    far.publishing.share(None, 0.0)
    assert [s.rate_bps for s in camera.senders] == [150_000, 500_000, 2_500_000]
    assert [s.rate_bps for s in share.senders] == [share.shape.max_bps]
    far.publishing.share(500_000, 1.0)
    assert [s.sends for s in camera.senders] == [True, False, False]
    assert [s.sends for s in share.senders] == [True]
    share.set_muted(True)
    far.publishing.share(4_000_000, 60.0)
    assert [s.rate_bps for s in camera.senders] == [150_000, 500_000, 2_500_000]
    camera.set_muted(True)
    assert far.publishing.useful_bps() == 0
    far.publishing.share(4_000_000, 61.0)


async def test_keyframes_and_repairs_are_asked_of_one_layer(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    low, mid, high = camera.senders
    for packet, asked in ((Pli(1, mid.stream.ssrc), [False, True, False]), (Fir(1, ((high.stream.ssrc, 1),)), [False, False, True])):
        for sender in camera.senders:
            sender._keyframe_wanted = False
        far.publishing.on_rtcp(packet, 0.0)
        assert [s._keyframe_wanted for s in camera.senders] == asked
    low.stream.transmit(low.stream.packet(b"x", 0, marker=True), time.monotonic())
    number = far.packets[-1].sequence
    far.publishing.on_rtcp(Nack(1, low.stream.ssrc, (number,)), 1.0)
    await far.settle(lambda: low.stream.repeated == 1)
    far.publishing.on_rtcp(ReceiverReport(1, (ReportBlock(mid.stream.ssrc, 128, 0, 0, 0),)), 1.0)
    assert (low.stream.fraction_lost, mid.stream.fraction_lost) == (0.0, 0.5)
    sent = far.publishing.sent()["camera"]
    assert (sent["packets"], sent["repeated"], sent["fraction_lost"]) == (1, 1, 0.5)
    assert [layer["rid"] for layer in sent["layers"]] == ["q", "h", "f"]


async def test_of_a_share_that_was_stopped_nothing_leaves_however_long_its_negotiation_waits(far: Far) -> None:
    """What waits in the pacer, what is asked for again and a sender's report: all of it ends with the press, not with the server's answer."""
    share = far.camera(source="screen_share")
    await far.settle(lambda: share.senders)
    stream = share.senders[0].stream
    far.pacer.push(stream, [stream.packet(bytes(1200), 0, marker=k == 99) for k in range(100)])
    assert far.pacer.backlog_s > 0
    number = far.packets[-1].sequence
    share.close()
    count = len(far.packets)
    assert far.pacer.backlog_s == 0
    far.publishing.on_rtcp(Nack(1, stream.ssrc, (number,)), 1.0)
    assert far.publishing.reports(time.monotonic()) == []
    await asyncio.sleep(0.1)
    assert len(far.packets) == count


async def test_what_another_connection_has_taken_over_is_not_untied(far: Far) -> None:
    camera = far.camera()
    await far.settle(lambda: camera.senders)
    later = Far()
    stream = later.publishing._streams(later, next(iter(far.publishing._published.values())), far.sections[0], Accepted({"vp8": 96}, {}, {}, ()), "vp8")  # type: ignore[arg-type]
    camera.bind_layers(stream, later.pacer)
    far.publishing.close()
    assert camera.stream is stream[0][1]
    later.publishing.streams = {stream[0][1].ssrc: (stream[0][1], camera)}
    later.publishing._published = far.publishing._published
    later.publishing.close()
    assert camera.stream is None


async def test_sound_has_one_stream_and_no_layers(far: Far) -> None:
    microphone = AudioPublication(far, "microphone", "lavfi:sine", muted=True)
    far.publications["microphone"] = microphone
    far.publishing.changed()
    await far.settle(lambda: microphone.stream)
    (request,) = far.requests()
    assert not request.layers
    assert request.width == request.height == 0
    assert microphone.stream is not None
    assert microphone.stream.rtx_ssrc == 0
    assert "rid" not in far.offers[-1]

"""Every parser that reads what strangers send: what it is called with, good examples to spoil, and the one error it may raise.

A run returns True where the input was read and False where it was refused; whatever else it raises is a bug of the parser.
"""

from __future__ import annotations

import base64
import functools
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc
from unit.rtp.streams import Packet, encoded, packets

from vidconf.client.links import LinkError, parse_link
from vidconf.client.policies.reading import Policies, known
from vidconf.client.settings_json import json_object
from vidconf.client.updates.release import Release, ReleaseError, parse_release
from vidconf.protocol.control import WireError
from vidconf.protocol.frames import parse_client_frame, parse_server_frame
from vidconf.protocol.livekit import Grants, TokenError, make_token, verify_token
from vidconf.relay import description as relay_description
from vidconf.rtp import h264, red, vp8, vp9
from vidconf.rtp.feedback import TransportFeedbackReader
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.jitter_buffer import AudioJitterBuffer, Silence
from vidconf.rtp.packets import PacketError, build_rtp, parse_rtp
from vidconf.rtp.payload_format import FORMATS
from vidconf.rtp.rtcp import Bye, Fir, Nack, Pli, ReceiverReport, Remb, ReportBlock, Sdes, SenderReport, TransportFeedback, parse_rtcp
from vidconf.webrtc import description
from vidconf.webrtc.ice_lite import is_probe, is_signed, read_check

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Parser:
    """`run` takes bytes, or text where `text`. `longest_s`: the most CPU time one input may take."""

    name: str
    run: Callable[[bytes], bool] | Callable[[str], bool]
    seeds: Callable[[], Sequence[bytes] | Sequence[str]]
    text: bool = False
    longest_s: float = 0.001


def refusing(errors: type[Exception] | tuple[type[Exception], ...], read: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    def run(data: bytes) -> bool:
        try:
            read(data)
        except errors:
            return False
        return True

    return run


# ---- RTP and RTCP


@functools.cache
def rtp_seeds() -> tuple[bytes, ...]:
    body = b"\x90\x80\x01" + bytes(200)
    return (
        build_rtp(96, 1, 2, 3, True, body), build_rtp(96, 65535, 2, 3, False, body, ((1, b"ab"), (4, b"0"), (14, b"x" * 16))),
        build_rtp(111, 1, 2, 3, True, b"opus", ((1, b""), (200, b"y" * 200))), b"\xb2\x60\0\1\0\0\0\2\0\0\0\3" + b"csrccsrc" + b"\xbe\xde\0\1\x10a\0\0" + b"pay\3\3\3",
    )  # fmt: skip


@functools.cache
def rtcp_seeds() -> tuple[bytes, ...]:
    blocks = (ReportBlock(1, 3, -5, 70_000, 9, 8, 7), ReportBlock(2, 255, 1 << 22, 1, 2))
    feedback = TransportFeedback(1, 2, 65_530, 7, 9, (250, None, 500, -750, 70_000, *(None,) * 40, *(250,) * 30))
    single = [
        SenderReport(1, 1 << 60, 90_000, 7, 8, blocks), ReceiverReport(1, blocks), Nack(1, 2, (3, 4, 5, 90, 65_535, 0)), Pli(1, 2),
        Fir(1, ((2, 3), (4, 5))), Remb(1, 2_500_000, (1, 2, 3)), feedback, Bye((1, 2)), Sdes(1, "a name"),
    ]  # fmt: skip
    compound = b"".join(one.to_bytes() for one in single)
    return (*(one.to_bytes() for one in single), compound, b"".join(one.to_bytes() for one in single[:3]))


def read_rtcp(data: bytes) -> None:
    """Also what feedback is read by, and written again: what was understood can be said."""
    reader = TransportFeedbackReader()
    for number in range(65_500, 65_600):
        reader.sent(number & 0xFFFF, 1200, number / 1000)
    for packet in parse_rtcp(data):
        if isinstance(packet, TransportFeedback):
            reader.report(packet)


def red_seeds() -> tuple[bytes, ...]:
    blocks = [red.Block(111, 1920, b"older" * 9), red.Block(111, 960, b"old" * 20), red.Block(111, 0, b"new" * 30)]
    return red.build(blocks), red.build(blocks[2:]), red.build(blocks[1:])


def read_red(data: bytes) -> None:
    red.parse(data)
    red.recover(1, 2, data, lambda payload: 960)


# ---- video


@functools.cache
def payloads(codec: str) -> tuple[bytes, ...]:
    """Of a real stream, and of captures where there are any."""
    stream = tuple(p.payload for p in packets(codec, encoded(codec)[:24], 600))
    return stream + tuple(captured(codec))


def captured(codec: str) -> list[bytes]:
    """The payloads in `data/rtp-<codec>*.bin`: packets, each behind its length in two bytes."""
    found = []
    for file in sorted(DATA.glob(f"rtp-{codec}*.bin")):
        data, at = file.read_bytes(), 0
        while at + 2 <= len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            found.append(parse_rtp(data[at + 2 : at + 2 + size]).payload)
            at += 2 + size
    return [p for p in found if p]


def read_payload(codec: str) -> Callable[[bytes], None]:
    known, extra = FORMATS[codec], {"vp8": vp8.parse_descriptor, "vp9": vp9.parse_descriptor, "h264": h264.unpack}[codec]

    def read(payload: bytes) -> None:
        starts = known.starts_keyframe(payload)
        if not payload:
            return
        data, begins, key = known.unpack(payload)
        assert key == starts
        assert begins or not key
        extra(payload)
        if begins and known.is_keyframe(data):
            known.frame_size(data)

    return read


def read_frame(codec: str) -> Callable[[bytes], None]:
    known = FORMATS[codec]

    def read(frame: bytes) -> None:
        known.is_keyframe(frame)
        known.frame_size(frame)

    return read


class Stream:
    """One assembler that is fed for as long as the run lasts: state that only a long attack would build up. A good stream goes on in
    it; each input is one packet more, near the place where the good one is or instead of it: number, timestamp, marker, payload."""

    def __init__(self, codec: str) -> None:
        self.codec, self.assembler, self.now, self.turn = codec, FrameAssembler(FORMATS[codec]), 0.0, 0

    @functools.cached_property
    def good(self) -> list[Packet]:
        return packets(self.codec, encoded(self.codec)[:24], 600, first_sequence=0)

    def seeds(self) -> tuple[bytes, ...]:
        stream = packets(self.codec, encoded(self.codec)[:24], 600)
        return tuple(p.sequence.to_bytes(2, "big") + p.timestamp.to_bytes(4, "big") + bytes((p.marker,)) + p.payload for p in stream)

    def run(self, data: bytes) -> bool:
        if len(data) < 7:
            return False
        good = self.good
        rounds, at = divmod(self.turn, len(good))
        self.turn, self.now = self.turn + 1, self.now + 0.001
        number, began = self.turn - 1, 24 * 3000 * rounds
        frames = []
        if data[-1] or self.turn % 3:       # else it is lost, and the input stands in its place
            packet = good[at]
            frames += self.assembler.push(number & 0xFFFF, packet.timestamp + began & 0xFFFFFFFF, packet.marker, packet.payload, self.now)
        else:
            frames += self.assembler.push(number & 0xFFFF, good[at].timestamp + began & 0xFFFFFFFF, bool(data[6] & 1), data[7:], self.now)
        if not data[-1] % 5 and not self.turn % 40:
            strange = number + data[1] % 32 - 8 if data[0] % 64 else int.from_bytes(data[:2], "big")
            frames += self.assembler.push(strange & 0xFFFF, int.from_bytes(data[2:6], "big"), bool(data[6] & 1), data[7:], self.now, bool(data[0] & 1))
        frames += self.assembler.poll(self.now)
        assert len(self.assembler._packets) <= 2001
        return bool(frames)


class Sound:
    """One buffer of sound that is fed and emptied for as long as the run lasts. Each input is one packet: number, timestamp, whether
    it is a copy, payload."""

    def __init__(self) -> None:
        self.buffer, self.now = AudioJitterBuffer(), 0.0

    def seeds(self) -> tuple[bytes, ...]:
        heads = (b"\x78\x40", b"\x78\0", b"\x08\x40", b"\x78", b"\xe3\x08", b"\x5b\x02")
        return tuple(k.to_bytes(2, "big") + (k * 960).to_bytes(4, "big") + bytes((k & 1,)) + heads[k % 6] + bytes(40) for k in range(24))

    def run(self, data: bytes) -> bool:
        if len(data) < 7:
            return False
        self.now += 0.003
        sequence = int.from_bytes(data[:2], "big")
        self.buffer.push(sequence, int.from_bytes(data[2:6], "big"), data[7:], self.now, copy=bool(data[6] & 1))
        self.buffer.worth_asking(sequence, 0.05, self.now)
        decision = self.buffer.pull(self.now, sequence & 0x3FF)
        assert len(self.buffer._packets) <= 200
        assert len(self.buffer._missing) <= 200
        return not isinstance(decision, Silence)


# ---- signalling


@functools.cache
def response_seeds() -> tuple[bytes, ...]:
    track = models.TrackInfo(sid="TR_1", type=models.TrackType.VIDEO, name="camera", width=640, height=360, source=models.TrackSource.CAMERA)
    person = models.ParticipantInfo(sid="PA_1", identity="p1.s1", name="Nguyễn Văn A", tracks=[track], attributes={"k": "v"})
    said = [
        rtc.SignalResponse(join=rtc.JoinResponse(room=models.Room(sid="RM", name="r"), participant=person, other_participants=[person, person])),
        rtc.SignalResponse(offer=rtc.SessionDescription(type="offer", sdp=offers()[0], id=3, mid_to_track_id={"1": "TR_1"})),
        rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=[person])), rtc.SignalResponse(leave=rtc.LeaveRequest(reason=3)),
        rtc.SignalResponse(trickle=rtc.TrickleRequest(candidateInit='{"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host"}')),
    ]  # fmt: skip
    return tuple(one.SerializeToString() for one in said)


@functools.cache
def requests() -> tuple[rtc.SignalRequest, ...]:
    return (
        rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp=offers()[0])),
        rtc.SignalRequest(add_track=rtc.AddTrackRequest(cid="c", name="camera", type=models.TrackType.VIDEO, width=640, layers=[models.VideoLayer(width=1)])),
        rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=["TR_1"], width=320, height=180)), rtc.SignalRequest(ping=12),
    )  # fmt: skip


def read_request_json(text: str) -> bool:
    try:
        json_format.Parse(text, rtc.SignalRequest(), ignore_unknown_fields=True, max_recursion_depth=20)
    except json_format.ParseError:
        return False
    return True


@functools.cache
def offers() -> tuple[str, ...]:
    return tuple(file.read_bytes().decode() for file in sorted(DATA.glob("*.sdp")))


def read_offer(text: str) -> bool:
    """As the engine reads the server's."""
    try:
        found = description.parse(text)
    except description.DescriptionError:
        return False
    description.remote_tracks(found)
    description.accepted(found)
    description.transport_of(found)
    return True


def read_relay_offer(text: str) -> bool:
    """As the relay reads a client's, and answers."""
    try:
        found = relay_description.read(text)
    except relay_description.DescriptionError:
        return False
    transport = relay_description.Transport("ufrag", "password", "sha-256 AA", (("127.0.0.1", 9),))
    relay_description.write_answer(found, transport, 1)
    return True


def stun_seeds() -> tuple[bytes, ...]:
    def request(*attributes: tuple[int, bytes]) -> bytes:
        body = b"".join(k.to_bytes(2, "big") + len(v).to_bytes(2, "big") + v + bytes(-len(v) % 4) for k, v in attributes)
        return b"\0\1" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + b"transaction!" + body

    return (
        request((6, b"ours:theirs"), (0x25, b""), (0x24, b"\0\0\0\1"), (0x802A, bytes(8)), (8, bytes(20)), (0x8028, bytes(4))),
        request((6, b"a:b"), (8, bytes(20))), request(), request((0x8022, b"a tool")),
    )  # fmt: skip


def read_stun(data: bytes) -> bool:
    check = read_check(data)
    if check is not None:
        is_signed(data, check, b"password")
    return is_probe(data) or check is not None


# ---- control, tokens, links


def client_frames() -> tuple[str, ...]:
    said: list[dict[str, object]] = [
        {"id": 0, "do": "hello", "token": "t" * 40, "protocol": 1, "client": "vidconf 1", "resume_from": 7},
        {"id": 1, "do": "mute_all", "except": ["p1", "p2"]}, {"id": 2, "do": "chat", "text": "xin chào", "to": None},
        {"id": 3, "do": "give_floor", "participant": "p3", "seconds": 90}, {"id": 4, "do": "set_source", "source": "camera", "state": "on"},
        {"id": 5, "do": "set_permission", "source": "microphone", "allowed": "by_floor"}, {"id": 6, "do": "deny", "participants": ["a"], "reason": "x"},
    ]  # fmt: skip
    return tuple(json.dumps(one, ensure_ascii=False) for one in said)


def server_frames() -> tuple[str, ...]:
    said: list[dict[str, object]] = [
        {"re": 1, "ok": {"seq": 4}}, {"re": 2, "refused": "not_allowed", "detail": {"role": "guest"}}, {"re": 3, "error": "internal", "ref": "ab"},
        {"events": [{"seq": 41, "at": 1.5, "actor": "p1", "ev": "muted", "participant": "p2"}, {"seq": 42, "at": 2, "actor": "", "ev": "locked"}]},
        {"signal": "reaction", "participant": "p1", "emoji": "👍"},
    ]  # fmt: skip
    return tuple(json.dumps(one, ensure_ascii=False) for one in said)


def refusing_text(errors: type[Exception] | tuple[type[Exception], ...], read: Callable[[str], object]) -> Callable[[str], bool]:
    def run(text: str) -> bool:
        try:
            read(text)
        except errors:
            return False
        return True

    return run


SECRETS = {"key": "a secret that is long enough for anyone"}


def tokens() -> tuple[str, ...]:
    return (make_token("key", SECRETS["key"], "someone", Grants(room="r", room_join=True, can_publish_sources=("camera",)), 1e9),)


def claims() -> tuple[str, ...]:
    """What is inside of one, as text: the signature is put right again, so that it is the claims that are read."""
    body = tokens()[0].split(".")[1]
    return (base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode(),)


def read_claims(text: str) -> None:
    head, body = tokens()[0].split(".")[0], base64.urlsafe_b64encode(text.encode("utf-8", "replace")).rstrip(b"=").decode()
    mac = hmac.digest(SECRETS["key"].encode(), f"{head}.{body}".encode(), "sha256")
    verify_token(f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}", SECRETS)


def links() -> tuple[str, ...]:
    return (
        "https://meet.example.gov.vn/m/abcd-efgh-ijkl", "vidconf://meet.example:8443/m/abcd-efgh#k=0123456789abcdef0123", "abcd-efgh-ijkl",
        "Mời anh/chị họp: https://meet.example/m/abcd-efgh. Trân trọng", "http://127.0.0.1:8080/m/abcd-efgh",
    )  # fmt: skip


@functools.cache
def releases() -> tuple[bytes, ...]:
    full = Release(
        "1.4.0", "1.2rc1", "https://intranet.example.gov.vn/vidconf", {"vi": "Sửa lỗi", "en": "Fixes"}, {"windows-portable": "vidconf-1.4.0.zip"}
    )  # fmt: skip
    return tuple(json.dumps(release.as_json(), ensure_ascii=False).encode() for release in (full, Release("2.0")))



def policy_files() -> tuple[bytes, ...]:
    said: list[dict[str, object]] = [
        {"ServerURL": "https://hop.example.gov.vn", "AllowedServers": ["*.gov.vn"], "MuteOnJoin": True, "Dscp": 46, "Language": "vi"},
        {"UdpPortMin": 50000, "LobbyTimeout": 60.5, "DefaultMicrophone": "Jabra Đà Nẵng", "TurnURLs": []}, {},
    ]  # fmt: skip
    return (*(json.dumps(one, ensure_ascii=False).encode() for one in said), b'\xef\xbb\xbf{"Theme": "dark", "Theme": "light"}')


def read_policy(content: bytes) -> None:
    """As an administrator's file or the user's own is read; a value that is none of its setting's costs only itself."""
    policies = Policies()
    for name, value in json_object(content)[0].items():
        setting = known(name)
        if setting is not None:
            policies.value(setting, value, "")


SOUND = Sound()

PARSERS: tuple[Parser, ...] = (
    Parser("rtp", refusing(PacketError, parse_rtp), rtp_seeds),
    Parser("rtcp", refusing(PacketError, read_rtcp), rtcp_seeds),
    Parser("red", refusing(PacketError, read_red), red_seeds),
    *(Parser(f"{codec} payload", refusing(PacketError, read_payload(codec)), functools.partial(payloads, codec)) for codec in FORMATS),
    *(Parser(f"{codec} frame", refusing(PacketError, read_frame(codec)), functools.partial(encoded, codec)) for codec in FORMATS),
    *(Parser(f"{codec} stream", stream.run, stream.seeds) for codec, stream in ((c, Stream(c)) for c in FORMATS)),
    Parser("sound stream", SOUND.run, SOUND.seeds),
    Parser("stun", read_stun, stun_seeds),
    Parser("sdp from a server", read_offer, offers, text=True, longest_s=0.02),
    Parser("sdp from a client", read_relay_offer, offers, text=True, longest_s=0.02),
    Parser("signal response", refusing(DecodeError, rtc.SignalResponse.FromString), response_seeds),
    Parser("signal request", refusing(DecodeError, rtc.SignalRequest.FromString), lambda: [r.SerializeToString() for r in requests()]),
    Parser("signal request, json", read_request_json, lambda: [json_format.MessageToJson(r) for r in requests()], text=True, longest_s=0.02),
    Parser("data packet", refusing(DecodeError, models.DataPacket.FromString), lambda: [models.DataPacket(user=models.UserPacket(payload=b"x", topic="t")).SerializeToString()]),
    Parser("control frame of a client", refusing_text(WireError, parse_client_frame), client_frames, text=True),
    Parser("control frame of a server", refusing_text(WireError, parse_server_frame), server_frames, text=True),
    Parser("token", refusing_text(TokenError, lambda text: verify_token(text, SECRETS)), tokens, text=True),
    Parser("token's claims", refusing_text(TokenError, read_claims), claims, text=True),
    Parser("link", refusing_text(LinkError, lambda text: parse_link(text, server="https://meet.example")), links, text=True),
    Parser("policy file", refusing(ValueError, read_policy), policy_files),
    Parser("newest version", refusing(ReleaseError, parse_release), releases),
)

"""Offers and answers as text. Pure: what to say, not when. One bundle, one transport, sections never move.

Any thread. aiortc.sdp parses what the other side says (`parse`); a description it cannot read raises DescriptionError.
JSEP (RFC 8829), BUNDLE (RFC 9143), rid (RFC 8851), simulcast (RFC 8853), repairs (RFC 4588), and LiveKit's habits: `a=msid`
carries the cid of AddTrackRequest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from aiortc import RTCDtlsParameters, RTCIceGatherer, RTCIceParameters
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription, candidate_to_sdp, parameters_to_sdp

from vidconf.rtp.payload_format import FORMATS

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
EXTENSIONS = {MID: 1, LEVEL: 2, TRANSPORT_CC: 3, RID: 4, REPAIRED_RID: 5}
OPUS, RED, VP8, RTX, VP9, VP9_RTX, H264, H264_RTX = 111, 63, 96, 97, 98, 99, 125, 107
VIDEO_TYPES = {"vp8": (VP8, RTX), "vp9": (VP9, VP9_RTX), "h264": (H264, H264_RTX)}
"""What our own video may be sent by: the payload type of each codec and of its repairs (RTX)."""
"""Payload types we offer: LiveKit's and libwebrtc's own."""
VIDEO_PARAMETERS = {"vp9": "profile-id=0", "h264": "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"}
"""H.264: constrained baseline, frames cut into parts, what every WebRTC client decodes (RFC 7742 §6.2)."""
MAX_RIDS = 8
"""Layers that an answer may speak of; more than we ever offer."""
RECEIVABLE = {"audio": ("opus", "red"), "video": (*FORMATS, "rtx")}
"""Encoding names, lower case."""
CARRIERS = ("rtx", "red")
"""What carries others and is nothing by itself (RFC 4588, RFC 2198)."""
H264_PROFILES = ("42", "4d", "64")
"""Baseline, Main and High (RFC 6184 §8.1, the first byte of profile-level-id): 4:2:0 with 8 bits, which our decoder shows."""
FEEDBACK = {("nack", None), ("nack", "pli"), ("ccm", "fir")}
"""What we do as a receiver for each stream. For the connection it is what `feedback_asked` finds."""
MAX_SDP = 1 << 20
MAX_WORK = 1_000_000
"""Comparisons that reading a description may cost: aiortc holds each line of feedback and format against each codec of its section,
each line of an SSRC against each SSRC. The largest room's takes a quarter of this; a megabyte made for it took minutes."""


class DescriptionError(ValueError):
    """The other side's description cannot be read or cannot be answered."""


@dataclass
class Section:
    """One of our own m-lines; active while something is sent in it.

    `ssrc` and `repair_ssrc` are told of a single stream only: the packets of layers say by their rid whose they are.
    """

    kind: str
    mid: str
    cid: str = ""
    ssrc: int = 0
    active: bool = True
    repair_ssrc: int = 0
    rids: tuple[str, ...] = ()
    """Names of the simulcast layers it is sent in, smallest first; empty for one stream."""
    codec: str = ""
    """What has been sent in it, of VIDEO_TYPES; every video section offers all of them, because livekit-server settles them with the
    first one for all."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the other side takes of one of our sections."""

    types: dict[str, int]
    """Codec name, lower case -> the payload type to send it by; empty where the section was refused."""
    repairs: dict[int, int]
    """Payload type -> the one of `rtx` that repairs it."""
    extensions: dict[str, int]
    """URI -> id."""
    rids: tuple[str, ...]
    """Layers it takes, in its order; empty: one stream, without a rid."""


class Description(SessionDescription):
    """aiortc's, and what its parser leaves out: `rids`, by mid, are the simulcast layers that the other side receives."""

    def __init__(self) -> None:
        super().__init__()
        self.rids: dict[str, tuple[str, ...]] = {}


@dataclass
class RemoteTrack:
    """A section of the server's offer that carries a track to us."""

    mid: str
    kind: str
    ssrcs: tuple[int, ...]
    repair: dict[int, int] = field(default_factory=dict)
    """RTX SSRC -> the SSRC it repairs."""
    payload_types: dict[int, str] = field(default_factory=dict)
    """payload type -> codec name, lower case; `rtx` among them."""
    repaired: dict[int, int] = field(default_factory=dict)
    """payload type of `rtx` -> the payload type it repairs."""
    msid: str = ""


def parse(text: str) -> Description:
    """Read a description. Raises DescriptionError."""
    if len(text) > MAX_SDP:
        raise DescriptionError("session description is larger than any room's")
    text = "\n".join(text.splitlines())
    if sum(map(_work, text.split("\nm="))) > MAX_WORK:
        raise DescriptionError("session description that takes longer to read than any room's")
    try:
        description = cast(Description, Description.parse(text))
        if not description.media:
            raise DescriptionError("session description without a section")
        for media in description.media:
            if media.ice is None or media.ice.usernameFragment is None or media.ice.password is None or media.dtls is None or not media.dtls.fingerprints:
                raise DescriptionError("a section lacks ICE or DTLS parameters")
        for media, section in zip(description.media, text.split("\nm=")[1:], strict=True):
            if received := _received_rids(section):
                description.rids[media.rtp.muxId] = received
    except DescriptionError:
        raise
    except Exception as error:      # aiortc's parser asserts, indexes and converts: every way of failing is the text's fault
        raise DescriptionError(f"session description cannot be read: {type(error).__name__}: {error}") from error
    return description


def _received_rids(section: str) -> tuple[str, ...]:
    """RFC 8853 §5.1: of `a=simulcast:recv q;h,x;~f` the first of each choice, without what is to begin paused; only what an
    `a=rid` line explains counts (§5.2)."""
    known: set[str] = set()
    listed = ""
    for line in section.split("\n"):
        name, _, value = line.partition(":")
        words = value.split()
        if name == "a=rid" and len(words) > 1 and words[1] == "recv":
            known.add(words[0])
        elif name == "a=simulcast" and "recv" in words[:-1]:
            listed = words[words.index("recv") + 1]
    first = (choice.split(",")[0] for choice in listed.split(";")[:MAX_RIDS])
    return tuple(dict.fromkeys(rid for rid in first if rid in known))


def _work(section: str) -> int:
    """Comparisons that reading this section takes."""
    ssrcs, codecs = section.count("\na=ssrc:"), section.count("\na=rtpmap:")
    return ssrcs * ssrcs // 2 + codecs * (section.count("\na=rtcp-fb:") + section.count("\na=fmtp:"))


def transport_of(description: SessionDescription) -> tuple[RTCIceParameters, RTCDtlsParameters]:
    """ICE and DTLS parameters of the one bundle, from its first section (`parse` made sure that they are there)."""
    first = description.media[0]
    assert first.ice is not None
    assert first.dtls is not None
    return first.ice, first.dtls


def remote_tracks(offer: SessionDescription) -> list[RemoteTrack]:
    """What an offer sends to us: the truth for routing, rebuilt after each offer."""
    found = []
    for media in offer.media:
        if media.kind not in RECEIVABLE or media.direction in ("inactive", "recvonly") or media.port == 0:
            continue
        repair = {int(g.items[1]): int(g.items[0]) for g in media.ssrc_group if g.semantic == "FID" and len(g.items) == 2}
        types = {c.payloadType: c.name.lower() for c in media.rtp.codecs if c.payloadType is not None}
        ssrcs = tuple(dict.fromkeys(s.ssrc for s in media.ssrc if s.ssrc not in repair))
        found.append(RemoteTrack(media.rtp.muxId, media.kind, ssrcs, repair, types, _repaired(media), media.msid or ""))
    return found


def _repaired(media: MediaDescription) -> dict[int, int]:
    """RFC 4588 §8.1: which payload type each of `rtx` repairs, where it says one that is there."""
    known = {c.payloadType for c in media.rtp.codecs}
    found = {}
    for codec in media.rtp.codecs:
        apt = codec.parameters.get("apt")
        if codec.name.lower() == "rtx" and isinstance(apt, int) and apt in known and codec.payloadType is not None:
            found[codec.payloadType] = apt
    return found


def feedback_asked(offer: SessionDescription) -> tuple[int, int]:
    """How the sender wants to learn what our downlink carries: extension ids of the transport-wide number and of abs-send-time
    (which wants REMB), 0 where it is not asked for. Of both, numbers are answered: then it estimates for itself."""
    found = {TRANSPORT_CC: 0, SEND_TIME: 0}
    for media in offer.media:
        kinds = {f.type for c in media.rtp.codecs for f in c.rtcpFeedback}
        for extension in media.rtp.headerExtensions:
            if (extension.uri == TRANSPORT_CC and "transport-cc" in kinds) or (extension.uri == SEND_TIME and "goog-remb" in kinds):
                found[extension.uri] = found[extension.uri] or extension.id
    number = found[TRANSPORT_CC]
    return number, 0 if number else found[SEND_TIME]


def _extensions(media: MediaDescription) -> dict[str, int]:
    """Those that fit into one-byte elements (RFC 8285 §4.2), each id once: with another, packets would be spoilt as they are written."""
    ids: dict[int, str] = {}
    for extension in media.rtp.headerExtensions:
        if 0 < extension.id < 15:
            ids.setdefault(extension.id, extension.uri)
    return {uri: id_ for id_, uri in ids.items()}


def accepted(answer: Description) -> dict[str, Accepted]:
    """mid -> what the other side takes of that section of ours. A section with port 0 is refused, one that is inactive rests."""
    found = {}
    for media in answer.media:
        refused = media.port == 0 or media.direction not in ("recvonly", "sendrecv")
        types: dict[str, int] = {}
        for codec in () if refused else media.rtp.codecs:
            if codec.payloadType is not None and 0 <= codec.payloadType < 128:
                types.setdefault(codec.name.lower(), codec.payloadType)
        repairs = {main: rtx for rtx, main in _repaired(media).items() if 0 <= rtx < 128}
        extensions = _extensions(media)
        found[media.rtp.muxId] = Accepted(types, repairs, extensions, answer.rids.get(media.rtp.muxId, ()))
    return found


def _transport(gatherer: RTCIceGatherer, dtls: RTCDtlsTransport, setup: str) -> list[str]:
    ice = gatherer.getLocalParameters()
    return [
        f"a=ice-ufrag:{ice.usernameFragment}",
        f"a=ice-pwd:{ice.password}",
        "a=ice-options:trickle",
        *(f"a=fingerprint:{f.algorithm} {f.value}" for f in dtls.getLocalParameters().fingerprints if f.algorithm == "sha-256"),
        f"a=setup:{setup}",
        *(f"a=candidate:{candidate_to_sdp(c)}" for c in gatherer.getLocalCandidates()),
    ]


def _session(version: int, mids: list[str]) -> list[str]:
    return [
        "v=0",
        f"o=- 4611731400430051336 {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {' '.join(mids)}",
        "a=extmap-allow-mixed",
        "a=msid-semantic:WMS *",
    ]


def _data(mid: str) -> list[str]:
    return [
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        "a=sctp-port:5000",
        "a=max-message-size:65536",
    ]


def _text(lines: list[str]) -> str:
    return "\r\n".join(lines) + "\r\n"


def answer_to(offer: SessionDescription, gatherer: RTCIceGatherer, dtls: RTCDtlsTransport, version: int) -> str:
    """Accept every section that has a codec of ours; the others answer port 0 in their place."""
    lines: list[str] = []
    mids: list[str] = []
    number, send_time = feedback_asked(offer)
    feedback, extensions = FEEDBACK, {MID, LEVEL}
    if number or send_time:
        feedback = FEEDBACK | {("transport-cc" if number else "goog-remb", None)}
        extensions.add(TRANSPORT_CC if number else SEND_TIME)
    for media in offer.media:
        mid = media.rtp.muxId
        body = _data(mid) if media.kind == "application" else _answer_media(media, feedback, extensions)
        if body[0].split()[1] != "0":
            mids.append(mid)
        lines += body + _transport(gatherer, dtls, "active")
    return _text(_session(version, mids) + lines)


def _is_receivable(kind: str, codec: RTCRtpCodecParameters) -> bool:
    """Whether we unpack and decode this codec in this form."""
    name = codec.name.lower()
    if name not in RECEIVABLE.get(kind, ()):
        return False
    if name == "vp9":       # RFC 9628 §6: profile 0 where none is said
        return codec.parameters.get("profile-id") in (None, 0, "0")
    if name == "h264":      # RFC 6184 §8.1: mode 0 and Baseline where none is said
        mode, profile = codec.parameters.get("packetization-mode"), codec.parameters.get("profile-level-id")
        return mode in (None, 0, 1, "0", "1") and str(profile or "420010").lower().startswith(H264_PROFILES)
    return True


def _answer_media(media: MediaDescription, feedback: set[tuple[str, str | None]], extensions: set[str]) -> list[str]:
    codecs = [c for c in media.rtp.codecs if _is_receivable(media.kind, c)]
    main = {c.payloadType for c in codecs if c.name.lower() not in CARRIERS}
    codecs = [c for c in codecs if c.name.lower() != "rtx" or c.parameters.get("apt") in main]
    if not main:
        return [f"m={media.kind} 0 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", f"a=mid:{media.rtp.muxId}", "a=inactive"]
    direction = {"sendrecv": "recvonly", "sendonly": "recvonly"}.get(media.direction or "sendrecv", "inactive")
    body = [
        f"m={media.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(str(c.payloadType) for c in codecs)}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{media.rtp.muxId}",
        f"a={direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    for codec in codecs:
        channels = f"/{codec.channels}" if codec.channels and codec.channels > 1 else ""
        body.append(f"a=rtpmap:{codec.payloadType} {codec.name}/{codec.clockRate}{channels}")
        if codec.parameters:
            body.append(f"a=fmtp:{codec.payloadType} {parameters_to_sdp(codec.parameters)}")
        if codec.name.lower() != "rtx":
            body += [
                f"a=rtcp-fb:{codec.payloadType} {f.type}{' ' + f.parameter if f.parameter else ''}"
                for f in codec.rtcpFeedback
                if (f.type, f.parameter or None) in feedback
            ]
    body += [f"a=extmap:{x.id} {x.uri}" for x in media.rtp.headerExtensions if x.uri in extensions]
    return body


def offer_of(sections: list[Section], gatherer: RTCIceGatherer, dtls: RTCDtlsTransport, version: int) -> str:
    """Our own sections: the data section first, then media in the order they were first added."""
    lines = _data("0") + _transport(gatherer, dtls, "actpass")
    for section in sections:
        lines += _offer_media(section) + _transport(gatherer, dtls, "actpass")
    return _text(_session(version, ["0", *(s.mid for s in sections)]) + lines)


def _offer_media(section: Section) -> list[str]:
    audio = section.kind == "audio"
    types = (OPUS, RED) if audio else [number for pair in VIDEO_TYPES.values() for number in pair]
    lines = [
        f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, types))}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        "a=sendonly" if section.active else "a=inactive",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    if audio:
        lines += [f"a=rtpmap:{OPUS} opus/48000/2", f"a=fmtp:{OPUS} minptime=10;useinbandfec=1", f"a=rtcp-fb:{OPUS} nack"]
        lines += [f"a=rtpmap:{RED} red/48000/2", f"a=fmtp:{RED} {OPUS}/{OPUS}"]
    else:
        for codec, (main, repairs) in VIDEO_TYPES.items():
            lines += [f"a=rtpmap:{main} {codec.upper()}/90000"]
            if codec in VIDEO_PARAMETERS:
                lines += [f"a=fmtp:{main} {VIDEO_PARAMETERS[codec]}"]
            lines += [f"a=rtcp-fb:{main} {kind}" for kind in ("transport-cc", "nack", "nack pli", "ccm fir")]
            lines += [f"a=rtpmap:{repairs} rtx/90000", f"a=fmtp:{repairs} apt={main}"]
    lines += [f"a=extmap:{EXTENSIONS[x]} {x}" for x in ((MID, LEVEL) if audio else (MID, TRANSPORT_CC, RID, REPAIRED_RID))]
    if not section.active:
        return lines
    stream = f"- {section.cid}"
    lines += [f"a=msid:{stream}"]
    if section.rids:
        return [*lines, *(f"a=rid:{rid} send" for rid in section.rids), f"a=simulcast:send {';'.join(section.rids)}"]
    if section.repair_ssrc:
        lines += [f"a=ssrc-group:FID {section.ssrc} {section.repair_ssrc}"]
    for ssrc in (section.ssrc, section.repair_ssrc):
        lines += [f"a=ssrc:{ssrc} cname:vidconf", f"a=ssrc:{ssrc} msid:{stream}"] if ssrc else []
    return lines

"""Session descriptions of the relay: read what a client says, write our answers and offers. Pure; any thread.

A reader of our own and not aiortc's: it needs rid and simulcast lines, which that one drops, must not be shaken by anything a
stranger writes, and is asked for thirty sections at a time. JSEP (RFC 8829), BUNDLE (RFC 9143), rid (RFC 8851), simulcast
(RFC 8853), and LiveKit's habits (livekit-protocol.md §3, §6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vidconf.relay import codecs
from vidconf.relay.codecs import CODECS, FIRST, RED
from vidconf.relay.layers import MAX_LAYERS, in_order

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
SEND_TIME_ID = 3
"""Ours, of every video packet to a subscriber: with `goog-remb` it makes the client tell what its line carries. The same octets
go to all; transport-wide numbers would be another for each."""
ACCEPTED_EXTENSIONS = {"audio": (MID, LEVEL), "video": (MID, RID, REPAIRED_RID, TRANSPORT_CC)}
"""Transport-wide numbers on video only, as LiveKit does. The rid ones are echoed even without simulcast: libwebrtc offers
later only what it was granted in its first answer."""

FEEDBACK = {"audio": ("nack",), "video": ("nack", "nack pli", "ccm fir", "goog-remb")}
"""What we ask subscribers for."""

MAX_SDP = 1 << 20
MAX_SECTIONS = 512
MAX_LINE = 2048
MAX_CODECS, MAX_FEEDBACK, MAX_WILDCARDS = 128, 16, 16
"""Of one section: payload types, feedback kinds of each, and lines that speak of all of them. Browsers stay far below."""


class DescriptionError(ValueError):
    """The client's description cannot be read."""


def _is_number(text: str) -> bool:
    """Plain digits: `isdigit` alone takes ², which `int` does not."""
    return text.isascii() and text.isdigit()


@dataclass(slots=True)
class Offered:
    """One payload type of a client's section."""

    name: str
    clock_hz: int
    channels: int = 1
    parameters: str = ""
    feedback: tuple[str, ...] = ()

    def settings(self) -> dict[str, str]:
        """Its format parameters."""
        parts = (part.strip().partition("=") for part in self.parameters.split(";"))
        return {name.lower(): value for name, _, value in parts if value}

    def apt(self) -> int | None:
        """For rtx: the payload type it repairs."""
        value = self.settings().get("apt", "")
        return int(value) if _is_number(value) and len(value) < 4 else None

    def carries(self, payload_type: int) -> bool:
        """For red: whether all of its blocks are of that payload type."""
        return set(self.parameters.split("/")) == {str(payload_type)}


@dataclass(slots=True)
class Section:
    """One m-line of a client's description."""

    kind: str
    port: int
    mid: str = ""
    direction: str = "sendrecv"
    codecs: dict[int, Offered] = field(default_factory=dict)
    extensions: dict[str, int] = field(default_factory=dict)
    cid: str = ""
    """Second token of `a=msid`: what AddTrackRequest calls the track."""
    ssrcs: tuple[int, ...] = ()
    repairs: dict[int, int] = field(default_factory=dict)
    """RTX SSRC -> the SSRC it repairs."""
    rids: tuple[str, ...] = ()
    """Of the encodings it would send, in the order it names them."""
    simulcast_ssrcs: tuple[int, ...] = ()
    """The same of a client that tells its layers by `a=ssrc-group:SIM`, smallest first."""
    setup: str = ""
    wildcards: int = 0
    """Lines of feedback for all payload types read so far."""

    @property
    def sends(self) -> bool:
        return self.port != 0 and self.direction in ("sendonly", "sendrecv")


@dataclass(slots=True)
class Description:
    sections: list[Section] = field(default_factory=list)
    ufrag: str = ""
    fingerprints: tuple[tuple[str, str], ...] = ()
    setup: str = ""

    @property
    def has_data(self) -> bool:
        return any(s.kind == "application" and s.port for s in self.sections)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What of a publisher's section we take: the codec and the payload types it will send, the ids of its extensions, the rids
    of its layers, smallest first."""

    codec: codecs.Codec
    payload_type: int
    rtx_payload_type: int | None
    red_payload_type: int | None
    extensions: Mapping[str, int]
    rids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transport:
    """Our side of a peer connection, for every section of a description alike."""

    ufrag: str
    password: str
    fingerprint: str
    candidates: tuple[tuple[str, int], ...]
    tcp_candidates: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A section of our offer. `stream` and `track` are the two tokens of `a=msid`; an idle section has no `ssrc`. `red`: the
    sound may come with copies. `rtx_ssrc`: of what is sent once more."""

    kind: str
    mid: str
    ssrc: int = 0
    stream: str = ""
    track: str = ""
    cname: str = ""
    codec: codecs.Codec | None = None
    red: bool = False
    rtx_ssrc: int = 0


# ---- reading


def read(text: str) -> Description:
    """Raises DescriptionError."""
    if len(text) > MAX_SDP:
        raise DescriptionError("session description is larger than any room's")
    found = Description()
    section: Section | None = None
    fingerprints: dict[tuple[str, str], None] = {}
    try:
        for line in text.splitlines():
            if len(line) > MAX_LINE or line[1:2] != "=":
                continue
            if line.startswith("m="):
                words = line[2:].split(" ")
                section = Section(words[0], int(words[1]), mid=str(len(found.sections)))
                section.codecs = {int(w): Offered("", 0) for w in words[3 : 3 + MAX_CODECS] if _is_number(w)} if words[0] != "application" else {}
                found.sections.append(section)
                if len(found.sections) > MAX_SECTIONS:
                    raise DescriptionError("more sections than a participant may have")
            elif line.startswith("a="):
                name, _, value = line[2:].partition(":")
                if name == "fingerprint":
                    algorithm, _, digest = value.strip().partition(" ")
                    fingerprints[algorithm.lower(), digest.strip().upper()] = None
                elif name == "ice-ufrag":
                    found.ufrag = found.ufrag or value
                elif name == "setup":
                    found.setup = found.setup or value
                elif section is not None:
                    _attribute(section, name, value)
    except DescriptionError:
        raise
    except (ValueError, IndexError) as error:
        raise DescriptionError(f"session description cannot be read: {type(error).__name__}") from error
    if not found.sections:
        raise DescriptionError("session description without a section")
    if len({section.mid for section in found.sections}) < len(found.sections):
        raise DescriptionError("two sections of one name")     # RFC 9143 §7.2.1: they are told apart by it
    found.fingerprints = tuple(fingerprints)
    return found


def _attribute(section: Section, name: str, value: str) -> None:
    match name:
        case "mid":
            section.mid = value.strip()
        case "sendrecv" | "sendonly" | "recvonly" | "inactive":
            section.direction = name
        case "rtpmap":
            number, _, codec = value.partition(" ")
            parts = codec.strip().split("/")
            if (known := section.codecs.get(int(number))) is not None:
                known.name, known.clock_hz = parts[0].lower(), int(parts[1])
                known.channels = int(parts[2]) if len(parts) > 2 else 1
        case "fmtp":
            number, _, parameters = value.partition(" ")
            if (known := section.codecs.get(int(number))) is not None:
                known.parameters = parameters.strip()
        case "rtcp-fb":
            number, _, feedback = value.partition(" ")
            meant: Iterable[Offered] = ()
            if number == "*" and section.wildcards < MAX_WILDCARDS:
                section.wildcards += 1
                meant = section.codecs.values()
            elif _is_number(number) and (one := section.codecs.get(int(number))) is not None:
                meant = (one,)
            for known in meant:
                if len(known.feedback) < MAX_FEEDBACK:
                    known.feedback += (feedback.strip(),)
        case "extmap":
            number, _, uri = value.partition(" ")
            local = int(number.partition("/")[0])
            if 0 < local < 256:
                section.extensions[uri.split(" ")[0].strip()] = local
        case "msid":
            tokens = value.split()
            section.cid = tokens[-1] if tokens else ""
        case "ssrc":
            ssrc = int(value.split(" ", 1)[0])
            if ssrc not in section.ssrcs and ssrc not in section.repairs and 0 < ssrc < 1 << 32 and len(section.ssrcs) < 16:
                section.ssrcs += (ssrc,)
            words = value.split(" ")
            if not section.cid and len(words) == 3 and words[1].startswith("msid:"):
                section.cid = words[2]
        case "ssrc-group":
            words = value.split()
            ssrcs = tuple(int(w) for w in words[1:])
            if not all(0 < ssrc < 1 << 32 for ssrc in ssrcs) or len(set(ssrcs)) != len(ssrcs):
                raise DescriptionError("a group of SSRCs that are none, or the same")
            if words[0] == "SIM" and 1 < len(ssrcs) <= MAX_LAYERS:
                section.simulcast_ssrcs = ssrcs
            if words[0] == "FID" and len(ssrcs) == 2 and len(section.repairs) < 16:
                main, repair = ssrcs
                section.repairs[repair] = main
                section.ssrcs = tuple(s for s in section.ssrcs if s != repair)
        case "rid":
            words = value.split()
            if len(words) > 1 and words[1] == "send" and len(section.rids) < 8 and words[0].isascii() and words[0].isalnum():
                section.rids += (words[0][:16],)


def agree(section: Section, codec: str = "", red: bool = True) -> Agreed | None:
    """What we take of a publisher's section; None when it has no codec of ours. The codec is the one asked for, where it is
    offered, else VP8 or Opus, else the first that we know. `red`: whether its sound may be sent with copies."""
    found = {}
    for payload_type, offered in section.codecs.items():
        known = CODECS.get(offered.name)
        if known is not None and known.kind == section.kind and _is_ours(known, offered) and known.name not in found:
            found[known.name] = payload_type
    if not found:
        return None
    name = next((n for n in (codec, FIRST[section.kind].name) if n in found), next(iter(found)))
    main, audio = found[name], section.kind == "audio"
    repair = next((pt for pt, c in section.codecs.items() if c.name == "rtx" and c.apt() == main), None)
    copies = next((pt for pt, c in section.codecs.items() if c.name == "red" and c.carries(main)), None)
    extensions = {uri: section.extensions[uri] for uri in ACCEPTED_EXTENSIONS[section.kind] if uri in section.extensions}
    return Agreed(
        CODECS[name], main, None if audio else repair, copies if audio and red else None, extensions,
        () if audio else in_order(section.rids),
    )  # fmt: skip


def _is_ours(codec: codecs.Codec, offered: Offered) -> bool:
    """Of the profiles of a codec, the one that every client decodes."""
    settings = offered.settings()
    if codec is codecs.VP9:
        return settings.get("profile-id", "0") == "0"
    if codec is codecs.H264:
        return settings.get("packetization-mode") == "1" and settings.get("profile-level-id", "").lower()[:2] == "42"
    return True


# ---- writing


def _transport(transport: Transport, setup: str) -> list[str]:
    lines = [f"a=ice-ufrag:{transport.ufrag}", f"a=ice-pwd:{transport.password}", f"a=fingerprint:{transport.fingerprint}", f"a=setup:{setup}"]
    for rank, (host, port) in enumerate(transport.candidates):
        # RFC 8445 §5.1.2.1: a host candidate's type preference is 126; the local one tells our addresses apart.
        priority = 126 << 24 | (65535 - rank) << 8 | 255
        lines.append(f"a=candidate:{rank + 1} 1 udp {priority} {host} {port} typ host")
    for rank, (host, port) in enumerate(transport.tcp_candidates):
        # below all of UDP, as libwebrtc has it (port.h, ICE_TYPE_PREFERENCE_HOST_TCP)
        priority = 90 << 24 | (65535 - rank) << 8 | 255
        lines.append(f"a=candidate:t{rank + 1} 1 tcp {priority} {host} {port} typ host tcptype passive")
    return [*lines, "a=end-of-candidates"]


def _head(version: int, mids: Iterable[str]) -> list[str]:
    return [
        "v=0",
        f"o=- 3318927403 {version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=ice-lite",
        f"a=group:BUNDLE {' '.join(mids)}",
        "a=msid-semantic: WMS *",
    ]


def _data(mid: str) -> list[str]:
    return [
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        "a=sctp-port:5000",
        "a=max-message-size:65535",
    ]


def _text(lines: list[str]) -> str:
    return "\r\n".join(lines) + "\r\n"


def write_answer(offer: Description, transport: Transport, version: int, answers: Mapping[str, Agreed | None] | None = None) -> str:
    """The answer to a publisher's offer: every section in its place; those without a codec of ours with port 0. `answers`: by
    mid, what each is answered with; without them, what it offers by itself."""
    if answers is None:
        answers = {section.mid: agree(section) for section in offer.sections}
    setup = "active" if offer.setup == "passive" else "passive"
    lines: list[str] = []
    mids: list[str] = []
    for section in offer.sections:
        agreed = answers.get(section.mid)
        if section.kind == "application" and section.port:
            lines += _data(section.mid) + _transport(transport, setup)
        elif agreed is None:
            lines += [f"m={section.kind} 0 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", f"a=mid:{section.mid}", "a=inactive"]
            lines += _transport(transport, setup)  # of no use in it, but some parsers miss it
            continue
        else:
            lines += _answer_media(section, agreed) + _transport(transport, setup)
        mids.append(section.mid)
    return _text(_head(version, mids) + lines)


def _answer_media(section: Section, agreed: Agreed) -> list[str]:
    pt, offered, known = agreed.payload_type, section.codecs[agreed.payload_type], agreed.codec
    types = [t for t in (agreed.red_payload_type, pt, agreed.rtx_payload_type) if t is not None]
    audio = section.kind == "audio"
    lines = [
        f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, types))}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        "a=recvonly" if section.direction in ("sendonly", "sendrecv") else "a=inactive",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        f"a=rtpmap:{pt} {known.rtpmap}",
    ]
    parameters = known.parameters if audio else offered.parameters
    lines += [f"a=fmtp:{pt} {parameters}"] if parameters else []
    if audio:
        lines += [f"a=rtcp-fb:{pt} nack"] if "nack" in offered.feedback else []
    else:
        takes = [f for f in ("transport-cc", "ccm fir", "nack", "nack pli") if f in offered.feedback]
        lines += [f"a=rtcp-fb:{pt} {f}" for f in takes if f != "transport-cc" or TRANSPORT_CC in agreed.extensions]
    if agreed.red_payload_type is not None:
        # First in the list: the publisher prefers it.
        lines += [f"a=rtpmap:{agreed.red_payload_type} red/48000/2", f"a=fmtp:{agreed.red_payload_type} {pt}/{pt}"]
    if agreed.rtx_payload_type is not None:
        lines += [f"a=rtpmap:{agreed.rtx_payload_type} rtx/{known.clock_hz}", f"a=fmtp:{agreed.rtx_payload_type} apt={pt}"]
    lines += [f"a=extmap:{number} {uri}" for uri, number in agreed.extensions.items()]
    if agreed.rids:
        lines += [f"a=rid:{rid} recv" for rid in agreed.rids]
        lines += [f"a=simulcast:recv {';'.join(agreed.rids)}"]
    return lines


def write_offer(sections: Sequence[Outgoing], transport: Transport, version: int) -> str:
    """Our offer to a subscriber: the data section first, then ours in the order they were first made, never moved."""
    lines = _data("d") + _transport(transport, "actpass")
    for section in sections:
        codec = section.codec or FIRST[section.kind]
        pt, rtx = codec.payload_type, codec.rtx_payload_type
        types = [t for t in (RED if section.red else 0, pt, rtx) if t]
        lines += [
            f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, types))}",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{section.mid}",
            "a=sendonly" if section.ssrc else "a=inactive",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            f"a=rtpmap:{pt} {codec.rtpmap}",
        ]
        lines += [f"a=fmtp:{pt} {codec.parameters}"] if codec.parameters else []
        lines += [f"a=rtcp-fb:{pt} {f}" for f in FEEDBACK[section.kind]]
        lines += [f"a=extmap:{SEND_TIME_ID} {SEND_TIME}"] if section.kind == "video" else []
        if section.red:
            lines += [f"a=rtpmap:{RED} red/48000/2", f"a=fmtp:{RED} {pt}/{pt}"]
        if rtx:
            lines += [f"a=rtpmap:{rtx} rtx/{codec.clock_hz}", f"a=fmtp:{rtx} apt={pt}"]
        if section.ssrc:
            stream = f"{section.stream} {section.track}"
            lines += [f"a=msid:{stream}"]
            lines += [f"a=ssrc-group:FID {section.ssrc} {section.rtx_ssrc}"] if section.rtx_ssrc else []
            for ssrc in (section.ssrc, section.rtx_ssrc):
                lines += [f"a=ssrc:{ssrc} cname:{section.cname}", f"a=ssrc:{ssrc} msid:{stream}"] if ssrc else []
        lines += _transport(transport, "actpass")
    return _text(_head(version, ["d", *(s.mid for s in sections)]) + lines)

"""Messages built to be slow: what chance does not hit upon. Each is as large as its door lets it be, and read in a moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
from unit.rtp.streams import encoded, packets

from vidconf.relay import description as relay_description
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.packets import PacketError
from vidconf.rtp.payload_format import FORMATS, PayloadFormat
from vidconf.webrtc import description

HEAD = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AA\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\na=setup:actpass\r\n"
)
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF " + " ".join(map(str, [*range(64), *range(96, 256)])) + "\r\na=mid:1\r\n"
MOST = 1 << 20


def offers() -> dict[str, str]:
    """As large as a description may be, of one kind of line."""
    codecs = "".join(f"a=rtpmap:{k} VP8/90000\r\n" for k in range(96, 128))
    made = {
        "feedback of all": VIDEO + codecs + "a=rtcp-fb:* nack\r\n" * 70_000,
        "feedback of one": VIDEO + codecs + "a=rtcp-fb:97 nack\r\n" * 60_000,
        "codecs and feedback": VIDEO + "a=rtpmap:97 VP8/90000\r\n" * 15_000 + "a=rtcp-fb:* nack\r\n" * 30_000,
        "codecs and formats": VIDEO + "a=rtpmap:97 VP8/90000\r\n" * 15_000 + "a=fmtp:97 x=1\r\n" * 30_000,
        "sources": VIDEO + "".join(f"a=ssrc:{k} a:b\r\n" for k in range(1, 50_000)),
        "groups": VIDEO + "".join(f"a=ssrc-group:FID {k} {k + 1}\r\n" for k in range(1, 40_000, 2)),
        "extensions": VIDEO + "".join(f"a=extmap:{k % 250 + 1} urn:{k}\r\n" for k in range(40_000)),
        "candidates": VIDEO + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 22_000,
        "fingerprints": "".join(f"a=fingerprint:sha-256 {k}\r\n" for k in range(30_000)) + VIDEO,
        "sections": "".join(f"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{k}\r\n" for k in range(20_000)),
        "small sections of all": "".join(f"m=video 9 x 97\r\na=mid:{k}\r\n{codecs}{'a=rtcp-fb:* nack' * 1}\r\n" for k in range(900)),
        "parameters": VIDEO + codecs + "a=fmtp:97 " + "a;" * 490_000 + "\r\n",
        "one long line": VIDEO + "a=" + "x" * 1_000_000 + "\r\n",
    }
    return {name: (HEAD + text)[:MOST] for name, text in made.items()}


def seconds(run: Callable[[], object]) -> float:
    """Of this thread, whatever else the machine does."""
    began = time.thread_time()
    run()
    return time.thread_time() - began


@pytest.mark.parametrize("name", list(offers()))
def test_an_offer_made_to_be_slow(name: str) -> None:
    text = offers()[name]

    def engine() -> None:
        try:
            description.remote_tracks(description.parse(text))
        except description.DescriptionError:
            return

    def relay() -> None:
        try:
            found = relay_description.read(text)
        except relay_description.DescriptionError:
            return
        relay_description.write_answer(found, relay_description.Transport("u", "p", "sha-256 AA", (("127.0.0.1", 9),)), 1)

    assert seconds(relay) < 0.5
    assert seconds(engine) < 1.5


def test_two_sections_of_one_name_are_refused() -> None:
    """Each would be answered with what the other offers."""
    text = HEAD + "m=audio 9 x 111\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\nm=audio 9 x 8\r\na=mid:1\r\na=rtpmap:8 PCMA/8000\r\n"
    with pytest.raises(relay_description.DescriptionError):
        relay_description.read(text)


def test_a_frame_made_to_be_slow() -> None:
    """Parameter sets with every scaling list written out, as many as a frame has room for; units without end; headers without one."""
    bits = ("01100100" + "0" * 8 + "00101000" + "111101").ljust(4000, "1")
    sets = b"\0\0\0\1\x67" + int(bits, 2).to_bytes(500, "big")
    frames = {
        "h264": [sets * 64, sets * 4, b"\0\0\1\6" * 50_000, b"\0" * 200_000, b"\0\0\1\x67" + bytes(200_000)],
        "vp9": [b"\x80\x49\x83\x42" + bytes(200_000), bytes(100_000) + b"\xdf" + b"\xff" * 32 + b"\xdf", b"\x82" * 8 + b"\xc7" + b"\1" * 8 + b"\xc7"],
        "vp8": [b"\x10" + bytes(200_000)],
    }
    for codec, built in frames.items():
        known = FORMATS[codec]
        for frame in built:

            def look(frame: bytes = frame, known: PayloadFormat = known) -> None:
                with contextlib.suppress(PacketError):
                    known.is_keyframe(frame)
                    known.frame_size(frame)

            assert min(seconds(look) for _ in range(5)) < 0.001, (codec, frame[:40])


Step = tuple[int, int, bool, bytes]


def floods(codec: str) -> dict[str, list[Step]]:
    """Packets behind one that never comes, each of them some beginning; thousands, which is what a receiver would hold at most."""
    stream = packets(codec, encoded(codec)[:2], 400, first_sequence=0)
    key = [(p.sequence, p.timestamp, p.marker, p.payload) for p in stream if p.timestamp == 0]
    after = len(key)
    begins, key_begins = stream[len(key)].payload, key[0][3]
    upper = [begins] * 2400
    if codec == "vp8":      # with the picture's number, the base frame's, and layer 1 behind a base frame that was received
        key = [(0, 0, True, bytes((0x90, 0xE0, 0xFF, 0xFF, 7, 0x00)) + encoded("vp8")[0][:200])]
        after, upper = 1, [bytes((0x90, 0xE0, 0x80 | n >> 8, n & 255, 7, 0x40)) + b"\x11" for n in range(2400)]
    made: dict[str, list[Step]] = {
        "beginnings without an end": [(after + 1 + n, 3000 * n, False, begins) for n in range(2400)],
        "whole frames": [(after + 1 + n, 3000 * n, True, begins) for n in range(2400)],
        "frames of higher layers": [(after + 1 + n, 3000 * n, True, upper[n]) for n in range(2400)],
        "layers without an end": [(after + 1 + n, 3000 * n, False, upper[n]) for n in range(2400)],
        "keyframes": [(after + 1 + n, 3000 * n, False, key_begins) for n in range(2400)],
        "keyframes backwards": [(after + 2400 - n, 3000 * n, False, key_begins) for n in range(2400)],
        "backwards": [(after + 2400 - n, 3000 * n, n % 2 == 0, begins) for n in range(2400)],
        "padding": [(after + 1 + n, 0, False, b"") for n in range(2400)],
        "one frame without an end": [(after + n, 3000, False, begins if n == 0 else stream[-1].payload) for n in range(4000)],
        "every other": [(after + 2 * n + 1, 3000 * n, True, begins) for n in range(2400)],
    }
    return {name: key + steps + [(after, 3000, True, begins)] for name, steps in made.items()}


def costs(codec: str, steps: list[Step], repaired: bool) -> Iterator[float]:
    """Of each packet, with the tick that may follow it."""
    assembler = FrameAssembler(FORMATS[codec])
    for k, (number, timestamp, marker, payload) in enumerate(steps):
        now = k * 0.0005

        def step(number: int = number, timestamp: int = timestamp, marker: bool = marker, payload: bytes = payload, now: float = now) -> None:
            assembler.push(number, timestamp, marker, payload, now, repaired)

        yield seconds(step)
        if k % 40 == 0:
            yield seconds(lambda now=now: assembler.poll(now))  # type: ignore[misc]


@pytest.mark.parametrize("codec", sorted(FORMATS))
@pytest.mark.parametrize("name", list(floods("vp8")))
@pytest.mark.parametrize("repaired", [False, True], ids=["sent", "repaired"])
def test_a_flood_costs_a_moment_a_packet(codec: str, name: str, repaired: bool) -> None:
    """The same flood thrice: the best time of each packet counts. What was held back may leave at once, at its share of time."""
    steps = floods(codec)[name]
    best = [min(each) for each in zip(*(costs(codec, steps, repaired) for _ in range(3)), strict=True)]
    held = len(steps)
    assert max(best[:-1]) < 0.001
    assert best[-1] < held * 20e-6, "thousands of packets at once, each as cheap as ever"

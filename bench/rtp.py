"""What the arithmetic of media costs: `python bench/rtp.py` prints microseconds a call or a packet. No network, no codec."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable

from vidconf.rtp.feedback import TransportFeedbackBuilder, TransportFeedbackReader
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.jitter_buffer import AudioJitterBuffer
from vidconf.rtp.nack import NackScheduler, SendHistory
from vidconf.rtp.packets import build_rtp, parse_rtp
from vidconf.rtp.rtcp import TransportFeedback, parse_rtcp
from vidconf.rtp.statistics import ReceiverStatistics
from vidconf.rtp.vp8 import packetize

EXTENSIONS = ((1, b"ab"), (4, b"0"))
PAYLOAD = bytes(1100)
KEYFRAME = b"\x10\0\0\x9d\x01\x2a\x80\x02\x68\x01"


def per_call(call: Callable[[], object]) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    number = max(1, number // 4)
    return min(timer.repeat(5, number)) / number * 1e6


def per_packet(run: Callable[[], int]) -> float:
    """`run` handles some thousand packets and says how many."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        count = run()
        best = min(best, (time.perf_counter() - started) / count)
    return best * 1e6


def assembly(frame_bytes: int) -> int:
    assembler, sequence = FrameAssembler(), 0
    for number in range(max(20, 1_000_000 // frame_bytes)):
        head = b"\x11" if number else KEYFRAME
        payloads = packetize(head + bytes(frame_bytes), number)
        for k, payload in enumerate(payloads):
            assembler.push(sequence & 0xFFFF, 3000 * number, k == len(payloads) - 1, payload, number / 30)
            sequence += 1
    return sequence


def jitter_buffer() -> int:
    buffer = AudioJitterBuffer()
    for k in range(3000):
        buffer.push(k, 960 * k, b"opus" * 20, k * 0.02)
        buffer.pull(k * 0.02)
    return 3000


def statistics() -> int:
    statistics, nack = ReceiverStatistics(1, 90_000), NackScheduler()
    for k in range(5000):
        statistics.received(k, 3000 * (k // 4), 1100, k / 120)
        nack.received(k, k / 120)
    return 5000


def history() -> int:
    sent = SendHistory()
    for k in range(5000):
        sent.put(k, PAYLOAD, k / 250)
    return 5000


def transport_feedback() -> int:
    builder, reader = TransportFeedbackBuilder(1), TransportFeedbackReader()
    for k in range(6000):
        reader.sent(k, 1100, k / 1000)
        builder.received(k, k / 1000)
        if k % 60 == 59 and (report := builder.build(2)):
            (read,) = parse_rtcp(report.to_bytes())
            assert isinstance(read, TransportFeedback)
            reader.report(read)
    return 6000


def main() -> None:
    plain, extended = build_rtp(96, 1, 2, 3, True, PAYLOAD), build_rtp(96, 1, 2, 3, True, PAYLOAD, EXTENSIONS)
    rows: list[tuple[str, float]] = [
        ("parse_rtp, two extensions", per_call(lambda: parse_rtp(extended))),
        ("parse_rtp, none", per_call(lambda: parse_rtp(plain))),
        ("build_rtp, two extensions", per_call(lambda: build_rtp(96, 1, 2, 3, True, PAYLOAD, EXTENSIONS))),
        ("packetize and assemble, frames of 3 kB", per_packet(lambda: assembly(3000))),
        ("packetize and assemble, frames of 200 kB", per_packet(lambda: assembly(200_000))),
        ("audio jitter buffer, in and out", per_packet(jitter_buffer)),
        ("receiver statistics and NACK", per_packet(statistics)),
        ("sender's history", per_packet(history)),
        ("transport-wide feedback, both ends", per_packet(transport_feedback)),
    ]
    print(f"{'microseconds a packet':44}")
    for name, cost in rows:
        print(f"{name:44}{cost:8.2f}")


if __name__ == "__main__":
    main()

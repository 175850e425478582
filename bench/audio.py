"""The receive path of sound on drawn networks: `python bench/audio.py [--sentences N] [ROW …]` prints a table.

One of the demo's sentences again and again, Opus as the bot sends it, a network made of numbers (loss drawn singly or in runs,
jitter that keeps the order, a stall, a sender's clock that runs fast or slow, answers to NACK a round trip later, RED), then the
engine's own stream: jitter buffer, libopus, time stretching. Deterministic, on a clock of its own, faster than real time. Each
sentence heard is aligned by cross-correlation and scored with PESQ-WB against what was said.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
from pesq import NoUtterancesError, pesq

from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.codecs.opus import BLOCK, BLOCK_BYTES, OpusEncoder
from vidconf.engine.loudspeaker import BLOCK as MIXED
from vidconf.rtp.opus import duration
from vidconf.rtp.red import Block, build, recover

SPEECH = Path(__file__).resolve().parents[1] / "resources" / "speech" / "hue.flac"
START_S = 1000.0
BLOCK_S = 0.02
PAUSE = 25
"""Blocks of silence between sentences."""


@dataclass(frozen=True)
class Network:
    """`loss` of packets, in runs of `run` on average; `jitter_s`: deviation of a delay that keeps the order; `stall_s` at 40 % of
    the time; `drift` of the sender's clock; `rtt_s`: what is asked for again comes so much later; `red`: copies in a packet."""

    loss: float = 0.0
    run: float = 1.0
    jitter_s: float = 0.0
    stall_s: float = 0.0
    drift: float = 0.0
    rtt_s: float | None = None
    red: int = 0
    repair: int = 0
    """The loss, per cent, that the encoder adds in-band FEC for; 0: none."""


ROWS: dict[str, Network] = {
    "clean": Network(),
    "clean, FEC": Network(repair=5),
    "5 %": Network(loss=0.05),
    "5 %, FEC": Network(loss=0.05, repair=5),
    "5 %, NACK 20 ms": Network(loss=0.05, rtt_s=0.02),
    "5 %, NACK 50 ms": Network(loss=0.05, rtt_s=0.05),
    "5 %, NACK 100 ms": Network(loss=0.05, rtt_s=0.1),
    "5 %, RED": Network(loss=0.05, red=1),
    "15 %": Network(loss=0.15),
    "15 %, FEC": Network(loss=0.15, repair=15),
    "15 %, NACK 20 ms": Network(loss=0.15, rtt_s=0.02),
    "15 %, NACK 50 ms": Network(loss=0.15, rtt_s=0.05),
    "15 %, NACK 100 ms": Network(loss=0.15, rtt_s=0.1),
    "15 %, RED": Network(loss=0.15, red=1),
    "15 %, RED of two": Network(loss=0.15, red=2),
    "10 % in runs of 3": Network(loss=0.1, run=3.0),
    "10 % in runs of 3, RED of two": Network(loss=0.1, run=3.0, red=2),
    "jitter 10 ms": Network(jitter_s=0.01),
    "jitter 30 ms": Network(jitter_s=0.03),
    "stall of 500 ms": Network(stall_s=0.5),
    "clock +200 ppm": Network(drift=200e-6),
    "clock -200 ppm": Network(drift=-200e-6),
}


def sentence() -> bytes:
    resampler = av.AudioResampler("s16", "mono", 48_000)
    with av.open(str(SPEECH)) as container:
        pcm = b"".join(bytes(b.planes[0])[: 2 * b.samples] for f in container.decode(audio=0) for b in resampler.resample(f))
    return pcm + bytes(-len(pcm) % BLOCK_BYTES)


def encoded(pcm: bytes, repair: int) -> list[bytes]:
    encoder = OpusEncoder(expected_loss=repair)
    return [encoder.encode(pcm[at : at + BLOCK_BYTES]) for at in range(0, len(pcm), BLOCK_BYTES)]


def losses(network: Network, count: int, rnd: random.Random) -> Iterator[bool]:
    """Bernoulli for runs of 1; else Gilbert: two states, one of which loses all."""
    if network.run <= 1:
        yield from (rnd.random() < network.loss for _ in range(count))
        return
    bad = False
    leave, enter = 1 / network.run, network.loss / network.run / (1 - network.loss)
    for _ in range(count):
        bad = rnd.random() >= leave if bad else rnd.random() < enter
        yield bad


def arrivals(network: Network, packets: list[bytes], seed: int) -> list[tuple[float, int, bytes]]:
    """(when, number, payload) in the order of their arrival; what is asked for again has a turn of its own."""
    rnd = random.Random(seed)
    found: list[tuple[float, int, bytes]] = []
    last, whole = 0.0, len(packets) * BLOCK_S
    for k, lost in enumerate(losses(network, len(packets), rnd)):
        sent = START_S + k * BLOCK_S / (1 + network.drift)
        at = sent + 0.03 + (abs(rnd.gauss(0, network.jitter_s)) if network.jitter_s else 0.0)
        stalled = START_S + 0.4 * whole
        if network.stall_s and stalled <= at < stalled + network.stall_s:
            at = stalled + network.stall_s
        last = at = max(last, at)
        if not lost:
            found.append((at, k, packets[k]))
    return found


@dataclass
class Result:
    heard: bytes
    stream: AudioStream
    delays_ms: list[float]
    """What the buffer says, once a second."""
    cpu_s: float


def play(network: Network, packets: list[bytes], seed: int = 1) -> Result:
    stream = AudioStream("bench", lambda: None, MIXED)
    queue = [(at, number, number, payload) for at, number, payload in arrivals(network, packets, seed)]
    heapq.heapify(queue)
    rnd, order = random.Random(seed + 1), len(packets)
    highest, heard, delays, cpu = -1, [], [], 0.0
    asked: list[tuple[float, int, int]] = []
    for tick in range(2 * (len(packets) + 50)):
        now = START_S + 0.0013 + tick * BLOCK_S / 2
        while queue and queue[0][0] <= now:
            at, number, _, payload = heapq.heappop(queue)
            if number > highest:
                asked += [(at, missing, 0) for missing in range(highest + 1, number)] if network.rtt_s is not None else []
                highest = number
            started = time.thread_time()
            _arrive(stream, network, packets, number, payload, at)
            cpu += time.thread_time() - started
        waiting, asked = asked, []
        for due, number, tries in waiting:
            assert network.rtt_s is not None
            if due > now:
                asked.append((due, number, tries))
            elif stream.worth_asking(number & 0xFFFF, network.rtt_s, due):
                if rnd.random() >= network.loss:
                    order += 1
                    heapq.heappush(queue, (due + network.rtt_s, number, order, packets[number]))
                elif tries < 9:
                    asked.append((due + network.rtt_s, number, tries + 1))
        started = time.thread_time()
        heard.append(stream.block(now) or bytes(2 * MIXED))
        cpu += time.thread_time() - started
        if tick % 100 == 99:
            delays.append(stream.statistics()["jitter_buffer_ms"])
    return Result(b"".join(heard), stream, delays, cpu)


def _arrive(stream: AudioStream, network: Network, packets: list[bytes], number: int, payload: bytes, at: float) -> None:
    if not network.red:
        stream.push(number & 0xFFFF, number * BLOCK, payload, at)
        return
    copies = [Block(111, back * BLOCK, packets[number - back]) for back in range(min(network.red, number), 0, -1)]
    red = build([*copies, Block(111, 0, payload)])
    for found in recover(number & 0xFFFF, number * BLOCK, red, duration):
        stream.push(found.sequence, found.timestamp, found.payload, at, copy=found.copy)


def scores(said: bytes, heard: bytes, count: int) -> list[float]:
    """PESQ-WB of each sentence where it is most like what was said."""
    one = np.frombuffer(said, np.int16).astype(np.float64)[::3]
    other = np.frombuffer(heard, np.int16).astype(np.float64)[::3]
    size = 1 << (2 * len(one)).bit_length()
    conjugate = np.conj(np.fft.rfft(one, size))
    found, every = [], len(one) + PAUSE * BLOCK // 3
    for k in range(count):
        part = other[k * every : k * every + len(one) + 16_000]
        match = np.fft.irfft(np.fft.rfft(part, size) * conjugate)[: len(part) - len(one) + 1]
        shift = int(match.argmax())
        try:
            found.append(float(pesq(16_000, one, part[shift : shift + len(one)], "wb")))
        except NoUtterancesError:
            found.append(1.0)
    return found


def row(name: str, network: Network, said: bytes, sentences: int, encode: Callable[[int], list[bytes]]) -> str:
    result = play(network, encode(network.repair))
    values, told = scores(said, result.heard, sentences), result.stream.statistics()
    delays = result.delays_ms
    micros = 1e6 * result.cpu_s / (len(result.heard) / BLOCK_BYTES)
    return (
        f"| {name} | {statistics.median(values):.2f} / {min(values):.2f} | {statistics.mean(delays):.0f} / {max(delays):.0f} / {delays[-2]:.0f} | "
        f"{told['concealed_percent']:.1f} | {told['fec']} | {told['red']} | {told['accelerated']} | {told['expanded']} | {micros:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The receive path of sound on drawn networks.")
    parser.add_argument("--sentences", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=0.0, help="as many sentences as that takes")
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}")
    told = parser.parse_args()
    said = sentence()
    every_s = len(said) / 96_000 + PAUSE * BLOCK_S
    sentences = int(60 * told.minutes / every_s) or told.sentences
    spoken = (said + bytes(PAUSE * BLOCK_BYTES)) * sentences
    cache: dict[int, list[bytes]] = {}

    def encode(repair: int) -> list[bytes]:
        if repair not in cache:
            cache[repair] = encoded(spoken, repair)
        return cache[repair]

    print("| network | PESQ-WB, median / worst | delay ms, mean / most / last | concealed % | FEC ms | RED ms | squeezed ms | stretched ms | µs a block |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in told.rows or ROWS:
        print(row(name, replace(ROWS[name]), said, sentences, encode), flush=True)


if __name__ == "__main__":
    main()

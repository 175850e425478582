"""What is left of an echo: `python bench/echo.py [--seconds N]` prints a table for each room.

Two rooms (`ROOMS`) whose noise decays by 60 dB in 250 ms, a sound card 300 ms deep, a microphone whose clock runs 100 ppm off, a
loudspeaker that distorts a little, a quiet fan. The same recording through the engine's own `FarEnd` and `Voice` (far end tapped
where the card is written to, read at the microphone's pace) and through the processing of LiveKit's wheel (libwebrtc's own interface:
reverse frames as they were written, near frames as they came). Deterministic, on a clock of its own.

Return loss: what the microphone heard of the far end over what is left of it, while only the far end speaks, after 5 s. With the gain
off, which would raise whatever is left. Double talk: both speak from 10 s on, without a pause; PESQ-WB of what is sent against what the
near end said, after the high-pass that all of them have.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
from livekit.rtc import AudioFrame
from livekit.rtc.apm import AudioProcessingModule
from pesq import pesq
from pywebrtc_audio import AudioProcessor

from vidconf.engine.api import SetVoice
from vidconf.engine.far_end import FarEnd
from vidconf.engine.voice import Voice
from vidconf.resources import resource
from vidconf.rtp.sample_clock import SampleClock

RATE_HZ = 48_000
ROOM_S, CARD_S, DRIFT = 0.25, 0.3, 100e-6
ROOMS = {"a laptop's": (3.0, 12.0), "a hard one": (-14.0, 7.0)}
"""Direct path over what comes after it, dB; and how far below the nearer voice (-22 dB of full scale) the echo reaches the microphone."""
BLOCK, FRAME = 960, 480
SETTLED_S = 5
TALKS_S = 10
LATE_S = 0.015
"""Both threads come to their device up to so much late, now and then."""


def speech(*names: str) -> Any:
    resampler, parts = av.AudioResampler("s16", "mono", RATE_HZ), []
    for name in names:
        with av.open(str(resource("speech", f"{name}.flac"))) as container:
            for frame in container.decode(audio=0):
                parts += [bytes(m.planes[0])[: 2 * m.samples] for m in resampler.resample(frame)]
    samples = np.frombuffer(b"".join(parts), np.int16).astype(np.float64) / 32768
    return samples / loudness(samples)


def loudness(samples: Any) -> float:
    return float(np.sqrt(np.mean(samples**2) + 1e-12))


def through(room: Any, sound: Any) -> Any:
    size = 1 << (len(room) + len(sound)).bit_length()
    return np.fft.irfft(np.fft.rfft(room, size) * np.fft.rfft(sound, size), size)[: len(sound)]


class Recording:
    """`far`: what the card was given. `near`: what the microphone heard; `echo` and `spoken` are its parts, without the fan."""

    def __init__(self, seconds: int, *, double_talk: bool, direct_db: float, below_db: float, seed: int = 1) -> None:
        chance, count = np.random.default_rng(seed), seconds * RATE_HZ
        self.far = np.resize(0.08 * speech("hue", "can-tho", "dak-lak"), count)
        tail = round(ROOM_S * RATE_HZ)
        room = chance.standard_normal(tail) * np.exp(-6.9 * np.arange(tail) / tail)
        room[0] = 0.0
        room[0] = 10 ** (direct_db / 20) * np.sqrt(np.sum(room**2))
        loud = np.tanh(1.5 * self.far) / 1.5
        heard = np.concatenate([np.zeros(round(CARD_S * RATE_HZ)), through(room, loud)])[:count]
        heard *= 0.08 * 10 ** (-below_db / 20) / loudness(heard[round(CARD_S * RATE_HZ) :])
        # the microphone takes its samples by its own clock: sample j at j / (1 + DRIFT)
        self.echo = np.interp(np.arange(count) / (1 + DRIFT), np.arange(count), heard)
        self.spoken = np.zeros(count)
        if double_talk:
            self.spoken[TALKS_S * RATE_HZ :] = np.resize(0.08 * speech("quang-ninh", "quan-ly-dat-dai"), count - TALKS_S * RATE_HZ)
        self.near = self.echo + self.spoken + chance.standard_normal(count) * 10 ** (-65 / 20)


def s16(samples: Any) -> Any:
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)


def ours(recording: Recording, settings: SetVoice) -> Any:
    """As the engine runs it: the card's thread writes when there is room, the microphone's is told of blocks, both a little late."""
    late, far_end, told, out = random.Random(2), FarEnd(), SampleClock(RATE_HZ), []
    voice, far, near = Voice(far_end, settings), s16(recording.far), s16(recording.near)
    written = 0
    for first in range(0, len(near) - BLOCK, BLOCK):
        ends = 1000.0 + (first + BLOCK) / RATE_HZ / (1 + DRIFT)
        while written + FRAME <= len(far) and 1000.0 + written / RATE_HZ <= ends:
            far_end.played(far[written : written + FRAME].tobytes(), 1000.0 + written / RATE_HZ + late.choice((0, 0, LATE_S)) * late.random())
            written += FRAME
        told.note(first + BLOCK, ends + late.choice((0, 0, LATE_S)) * late.random())
        out.append(np.frombuffer(voice.process(near[first : first + BLOCK].tobytes(), told.time_of(first)), np.int16))
    return np.concatenate(out) / 32767


def livekits(recording: Recording, settings: SetVoice) -> Any:
    module = AudioProcessingModule(
        echo_cancellation=settings.echo_cancellation, noise_suppression=settings.noise_suppression, high_pass_filter=True,
        auto_gain_control=settings.gain_control,
    )
    far, near, written, out = s16(recording.far), s16(recording.near), 0, []
    for first in range(0, len(near) - FRAME, FRAME):
        ends = (first + FRAME) / RATE_HZ / (1 + DRIFT)
        while written + FRAME <= len(far) and written / RATE_HZ <= ends:
            module.process_reverse_stream(AudioFrame(far[written : written + FRAME].tobytes(), RATE_HZ, 1, FRAME))
            written += FRAME
        frame = AudioFrame(bytearray(near[first : first + FRAME].tobytes()), RATE_HZ, 1, FRAME)
        module.set_stream_delay_ms(round(1000 * CARD_S))
        module.process_stream(frame)
        out.append(np.frombuffer(bytes(frame.data), np.int16))
    return np.concatenate(out) / 32767


def high_passed(said: Any) -> Any:
    return AudioProcessor(sample_rate=RATE_HZ, high_pass_filter=True).process(s16(said)) / 32767


def scored(said: Any, sent: Any) -> float:
    """PESQ-WB, the processing's own delay found by cross-correlation."""
    size = 1 << (2 * len(said)).bit_length()
    found = np.fft.irfft(np.fft.rfft(sent, size) * np.conj(np.fft.rfft(said, size)), size)
    delay = int(np.argmax(found[: RATE_HZ // 10]))
    narrow = [av_16k(s16(part)) for part in (said[: len(sent) - delay], sent[delay:])]
    length = min(map(len, narrow))
    return float(pesq(16_000, narrow[0][:length], narrow[1][:length], "wb"))


def av_16k(samples: Any) -> Any:
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate = RATE_HZ
    resampler = av.AudioResampler("s16", "mono", 16_000)
    return np.concatenate([m.to_ndarray()[0] for f in (frame, None) for m in resampler.resample(f)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=40)
    seconds = parser.parse_args().seconds
    for name, (direct_db, below_db) in ROOMS.items():
        print(f"\n{name}: direct path {direct_db:+.0f} dB, echo {below_db:.0f} dB below the voice\n")
        table(seconds, direct_db, below_db)


def table(seconds: int, direct_db: float, below_db: float) -> None:
    alone, both = (Recording(seconds, double_talk=two, direct_db=direct_db, below_db=below_db) for two in (False, True))
    said = high_passed(both.spoken)
    ways: list[tuple[str, Callable[[Recording, SetVoice], Any], SetVoice]] = [
        ("nothing", lambda recording, _: recording.near[: len(recording.near) - BLOCK], SetVoice()),
        ("vidconf, echo only", ours, SetVoice(noise_suppression=False, gain_control=False)),
        ("LiveKit's, echo only", livekits, SetVoice(noise_suppression=False, gain_control=False)),
        ("vidconf, echo and noise", ours, SetVoice(gain_control=False)),
        ("LiveKit's, echo and noise", livekits, SetVoice(gain_control=False)),
        ("vidconf, all", ours, SetVoice()),
        ("LiveKit's, all", livekits, SetVoice()),
    ]
    print("| way | return loss, dB | in the worst second | double talk, PESQ-WB | ms of a core for 20 ms |")
    print("| --- | --- | --- | --- | --- |")
    settled, talks = slice(SETTLED_S * RATE_HZ, (seconds - 1) * RATE_HZ), slice((TALKS_S + 2) * RATE_HZ, (seconds - 1) * RATE_HZ)
    for name, way, settings in ways:
        begun = time.process_time()
        left = way(alone, settings)
        cost = (time.process_time() - begun) / (len(left) / BLOCK) * 1000
        loss = 20 * np.log10(loudness(alone.near[settled]) / loudness(left[settled]))
        worst = min(
            20 * np.log10(loudness(alone.near[at : at + RATE_HZ]) / loudness(left[at : at + RATE_HZ]))
            for at in range(settled.start, settled.stop - RATE_HZ, RATE_HZ // 2) if loudness(alone.echo[at : at + RATE_HZ]) > 0.01
        )
        print(f"| {name} | {loss:.1f} | {worst:.1f} | {scored(said[talks], way(both, settings)[talks]):.2f} | {cost:.2f} |", flush=True)


if __name__ == "__main__":
    main()

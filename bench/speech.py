"""Speech from mouth to ear: a voice through microphone, Opus, relay, jitter buffer and mix, scored against what was said.

    python bench/speech.py [--seconds 24]

`vidconf serve`, a bot that says one of the demo's sentences over and over, a bot that records what its loudspeaker would play
(`--record-audio`). Each sentence heard is aligned with the original by cross-correlation and scored with PESQ-WB; beside it the
share of energy in the octave bands of both, as a spectrum that a strange filter or a hum would show. Loopback, no loss.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from pesq import pesq

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT / "resources" / "speech" / "hue.flac"
VIDCONF = [sys.executable, "-m", "vidconf.cli.main"]
RATE_HZ = 16_000
BANDS_HZ = (125, 250, 500, 1000, 2000, 4000, 8000)


def samples(path: Path) -> np.ndarray:
    """Mono at 16 kHz, −1…1."""
    resampler = av.AudioResampler("flt", "mono", RATE_HZ)
    with av.open(str(path)) as container:
        parts = [out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate(parts)


def places(heard: np.ndarray, said: np.ndarray) -> list[int]:
    """Where the sentence begins, each time it is said whole."""
    size = 1 << (len(heard) + len(said)).bit_length()
    matched = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)[: len(heard)]
    found: list[int] = []
    least = 0.6 * matched.max()
    while matched.max() > least:
        best = int(matched.argmax())
        if best + len(said) <= len(heard):
            found.append(best)
        matched[max(0, best - len(said) // 2) : best + len(said) // 2] = 0
    return sorted(found)


def bands(pcm: np.ndarray) -> list[float]:
    power = np.abs(np.fft.rfft(pcm)) ** 2
    hz = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
    shares = [power[(hz >= centre / 2**0.5) & (hz < centre * 2**0.5)].sum() for centre in BANDS_HZ]
    return [10 * float(np.log10(share / power.sum() + 1e-12)) for share in shares]


def record(seconds: float, folder: Path) -> tuple[Path, dict[str, float]]:
    """The recording, and what the one who heard it says of the track."""
    data, wav = folder / "data", folder / "heard.wav"
    server = subprocess.Popen([*VIDCONF, "serve", "--port", "0", "--data", str(data)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    made = subprocess.run([*VIDCONF, "meeting", "create", "--title", "Bench", "--no-lobby", "--json", "--data", str(data)], capture_output=True, text=True, check=True)
    link = json.loads(made.stdout)["link"]
    speaks = subprocess.Popen([*VIDCONF, "bot", link, "--name", "Speaks", "--camera", "none", "--microphone", str(SPEECH)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hears = [*VIDCONF, "bot", link, "--name", "Hears", "--camera", "none", "--microphone", "none", "--seconds", str(seconds), "--record-audio", str(wav), "--json"]
    try:
        done = subprocess.run(hears, capture_output=True, text=True, check=True, timeout=seconds + 60)
    finally:
        for process in (speaks, server):
            process.terminate()
            process.wait(10)
    return wav, json.loads(done.stdout)["tracks"][0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Speech from mouth to ear.")
    parser.add_argument("--seconds", type=float, default=24)
    told = parser.parse_args()
    said = samples(SPEECH)
    with tempfile.TemporaryDirectory() as folder:
        wav, track = record(told.seconds, Path(folder))
        heard = samples(wav)
    at = places(heard, said)
    if not at:
        raise SystemExit("the sentence was not heard")
    scores = [pesq(RATE_HZ, said, heard[k : k + len(said)], "wb") for k in at]
    print("| figure | value |\n| --- | --- |")
    print(f"| sentences heard whole | {len(at)} |")
    print(f"| PESQ-WB, median / worst | {statistics.median(scores):.2f} / {min(scores):.2f} |")
    print(f"| held back, ms; concealed, % | {track['jitter_buffer_ms']}; {track['concealed_percent']} |")
    print(f"| squeezed out, stretched in, ms | {track['accelerated']}, {track['expanded']} |")
    print(f"| octave bands {BANDS_HZ[0]}–{BANDS_HZ[-1]} Hz, said, dB of all | {' '.join(f'{v:.0f}' for v in bands(said))} |")
    print(f"| the same, heard | {' '.join(f'{v:.0f}' for v in bands(heard[at[0] : at[0] + len(said)]))} |")


if __name__ == "__main__":
    main()

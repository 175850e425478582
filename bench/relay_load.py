"""The relay against livekit-server under the same load: N participants, each publishing 360p30 VP8 at 500 kb/s and Opus, all
seeing and hearing all. Prints a table: CPU in percent of one core, packets received, lost, repeated.

    python bench/relay_load.py [--participants 8 16] [--seconds 20] [--rounds 1]

Needs Go (for the load generator beside this file, built once into .cache/bin) and livekit-server on the PATH;
./script/install-test-peers brings both. Everything is on loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from e2e import livekitproc, relayproc  # noqa: E402

WIDTH, HEIGHT, FPS, BITS_PER_S, SECONDS = 640, 360, 30, 500_000, 8


def make_video(path: Path, width: int = WIDTH, height: int = HEIGHT, bits_per_s: int = BITS_PER_S) -> None:
    """Something that moves, with a keyframe every two seconds, as an IVF file."""
    import av

    graph = av.filter.Graph()
    source = graph.add("testsrc2", f"size={width}x{height}:rate={FPS}")
    noise = graph.add("noise", "alls=6:allf=t")
    form = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    for a, b in ((source, noise), (noise, form), (form, sink)):
        a.link_to(b)
    graph.configure()
    with av.open(str(path), "w", format="ivf") as out:
        stream = out.add_stream("libvpx", rate=FPS, options={"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = bits_per_s
        stream.codec_context.gop_size = 2 * FPS
        for _ in range(SECONDS * FPS):
            frame = graph.pull()
            frame.pict_type = 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def generator() -> Path:
    """The load generator's program, built when it is missing or older than its source."""
    source, program = ROOT / "bench" / "relay_load", ROOT / ".cache" / "bin" / "relay-load"
    if not program.exists() or program.stat().st_mtime < (source / "main.go").stat().st_mtime:
        if shutil.which("go") is None:
            sys.exit("Go is missing: ./script/install-test-peers")
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["go", "build", "-o", str(program), "."], cwd=source, check=True)
    return program


def measure(url: str, pid: int, key: str, secret: str, video: Path, participants: int, seconds: float) -> dict[str, Any]:
    argv = [str(generator()), "-url", url, "-participants", str(participants), "-seconds", str(seconds), "-video", str(video)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "LIVEKIT_KEY": key, "LIVEKIT_SECRET": secret}) as load:
        assert load.stdout is not None
        if load.stdout.readline().strip() != b"measuring":
            raise RuntimeError("the load generator did not get so far")
        with relayproc.cpu_of(pid) as cpu:
            report: dict[str, Any] = json.loads(load.stdout.readline())
    return {**report, "cpu_percent": cpu[0]}


def relay(video: Path, participants: int, seconds: float) -> dict[str, Any]:
    with relayproc.RelayProcess() as process:
        found = measure(process.ws_url, process.pid, relayproc.KEY, relayproc.SECRET, video, participants, seconds)
        counters = process.counters()
        return {**found, "nacks": counters["nacks_sent"], "resent": counters["packets_resent"], "faults": counters["port"]["faults"]}


def livekit(video: Path, participants: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        server = livekitproc.LiveKit(Path(folder))
        server.start()
        try:
            assert server._process is not None
            return measure(server.url, server._process.pid, livekitproc.KEY, livekitproc.SECRET, video, participants, seconds)
        finally:
            server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=["relay", "livekit"])
    options = parser.parse_args()
    servers = {"relay": relay, "livekit": livekit}
    if options.only:
        servers = {options.only: servers[options.only]}
    elif shutil.which("livekit-server") is None:
        sys.exit("livekit-server is missing: ./script/install-test-peers")
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "moving.ivf"
        make_video(video)
        print(f"{'server':<9}{'people':>7}{'tracks':>11}{'CPU %':>8}{'Mb/s':>8}{'packets':>10}{'lost':>7}{'repeated':>10}")
        for participants in options.participants:
            for _ in range(options.rounds):
                for name, run in servers.items():
                    r = run(video, participants, options.seconds)
                    tracks = f"{r['tracks']}/{r['expected_tracks']}"
                    print(
                        f"{name:<9}{participants:>7}{tracks:>11}{r['cpu_percent']:>8.1f}{r['bits_per_s'] / 1e6:>8.1f}"
                        f"{r['received']:>10}{r['lost']:>7}{r['repeated']:>10}",
                        *(f"{k}={r[k]}" for k in ("nacks", "resent", "faults") if r.get(k)),
                        flush=True,
                    )


if __name__ == "__main__":
    main()

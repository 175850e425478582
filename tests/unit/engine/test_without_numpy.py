"""An installation without numpy captures, sends, shows, plays and records all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, threading, time
sys.modules["numpy"] = None
from vidconf.engine import devices, recording, stamp
from vidconf.engine.capture import MicrophoneCapture, VideoCapture
from vidconf.engine.codecs.opus import OpusEncoder
from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.decoders import DecoderPool
from vidconf.engine.frame_ring import RingReader
from vidconf.engine.playout import Playout
from vidconf.engine.scaling import TileWriter
from vidconf.engine.sound import level
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.packets import build_rtp, parse_rtp
from vidconf.rtp.vp8 import packetize

errors, shown, rings = [], [], []
failed = lambda *what: errors.append(what)
pool, playout = DecoderPool(1), Playout("none", failed)
playout.start()
playout.record(sys.argv[1] + "/heard.wav")
streams = [playout.add(name, lambda: None) for name in "ab"]
film = recording.VideoRecorder(sys.argv[1] + "/seen.mp4")
tile = TileWriter(rings.append)
tile.watch(200, 200)

def show(frame, at):
    shown.append(stamp.read(frame))
    tile.show(frame, at)
    film.write(frame, time.monotonic())

decoder = pool.open(show, lambda: failed("trouble"))
vp8, opus, assembler, number = Vp8Encoder(320, 240, 30, 400_000), OpusEncoder(), FrameAssembler(), [0, 0]

def picture(frame, at):
    payloads = packetize(vp8.encode(stamp.paint(frame.reformat(format="yuv420p"))), number[0])
    for k, payload in enumerate(payloads):
        packet = parse_rtp(build_rtp(96, number[0], int(at * 90_000), 5, k == len(payloads) - 1, payload))
        number[0] += 1
        for whole in assembler.push(packet.sequence, packet.timestamp, packet.marker, packet.payload, at):
            decoder.push(whole.data, whole.timestamp, whole.keyframe, "vp8")

def block(pcm, at):
    assert level(pcm) < 1
    payload = opus.encode(pcm)
    for k, stream in enumerate(streams):
        if k or number[1] % 10 != 5:        # one loses some, the other is held back for a while
            stream.push(number[1], number[1] * 960, payload, time.monotonic())
    if number[1] == 15:
        streams[1].set_least_delay(0.15)
    number[1] += 1

captures = [VideoCapture("lavfi:testsrc2=size=320x240:rate=30", 640, 480, 30, picture, failed),
            MicrophoneCapture("lavfi:sine", block, failed)]
for capture in captures: capture.start()
until = lambda true: any(true() or time.sleep(0.05) for _ in range(400))
assert until(lambda: len(shown) > 30 and number[1] > 50 and playout._wav_blocks > 60), (len(shown), number, errors)
for capture in captures: capture.stop()
for capture in captures: capture.join(10)
film.close()
reader = RingReader(rings[0])
assert reader.newest().width == 200
reader.close(); tile.close(); pool.close(); playout.close(); playout.join(10)
devices.listed()
assert until(lambda: threading.active_count() == 1), threading.enumerate()
assert not errors, errors
lost, stretched = (stream.statistics() for stream in streams)
assert lost["fec"] + lost["concealed_percent"] > 0, lost
assert stretched["expanded"] + stretched["accelerated"] > 20, stretched
assert sum(s is not None for s in shown) > 0.9 * len(shown), shown
assert sys.modules["numpy"] is None
"""


def test_everything_works_without_numpy(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "heard.wav").stat().st_size > 96_000
    assert (tmp_path / "seen.mp4").stat().st_size > 10_000

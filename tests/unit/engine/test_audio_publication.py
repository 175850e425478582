"""One's own sound as it leaves, from a device that the test plays: its clock, its repetitions, its pauses, its hints."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import av
import pytest
from unit.engine.media import tone

from vidconf.engine import api, audio_publication
from vidconf.engine.audio_publication import AudioPublication
from vidconf.engine.capture import MicrophoneCapture
from vidconf.engine.codecs.opus import BLOCK, BLOCK_BYTES
from vidconf.engine.far_end import FarEnd
from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.engine.pacer import Pacer
from vidconf.resources import resource
from vidconf.rtp.opus import has_repair, is_silence
from vidconf.rtp.packets import RtpPacket, parse_rtp
from vidconf.rtp.red import parse
from vidconf.rtp.rtcp import ReportBlock, parse_rtcp

RED, OPUS = 63, 111


class Device(MicrophoneCapture):
    """A microphone whose blocks come when the test says, at the times it says."""

    live = True
    opened: list[Device] = []

    def __init__(self, device: str, on_block: Callable[[bytes, float], None], on_error: Callable[[str, str], None]) -> None:
        super().__init__(device, on_block, on_error)
        self.live = True
        self.begin = time.monotonic()
        self.blocks = 0
        Device.opened.append(self)

    def start(self) -> None:
        pass

    def is_alive(self) -> bool:
        return False

    def give(self, pcm: bytes, ppm: float = 0.0, late_s: float = 0.0) -> None:
        """The next block, of a device whose clock runs `ppm` fast."""
        at = self.begin + self.blocks * 0.02 / (1 + ppm * 1e-6) + late_s
        self.blocks += 1
        self._on_block(pcm, at)


class Owner:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.events: list[api.EngineEvent] = []

    def emit(self, event: api.EngineEvent) -> None:
        self.events.append(event)

    def publication_changed(self, publication: Any) -> None:
        pass

    def hints(self) -> list[tuple[str, bool]]:
        return [(e.hint, e.shown) for e in self.events if isinstance(e, api.MicrophoneHint)]


class Wire:
    def __init__(self, redundant: int = 0) -> None:
        self.packets: list[RtpPacket] = []
        self.stream = OutgoingStream(
            send=self._send, payload_type=OPUS, clock_hz=48_000, mid="1", mid_id=1, level_id=2, number_id=0, numbers=TransportNumbers(),
            ssrc=random.randrange(1, 1 << 32), redundant_payload_type=redundant,
        )  # fmt: skip

    def _send(self, data: bytes) -> bool:
        self.packets.append(parse_rtp(data))
        return True


@pytest.fixture
async def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    Device.opened.clear()
    monkeypatch.setattr(audio_publication, "MicrophoneCapture", Device)
    return Owner()


def opened(owner: Owner, wire: Wire | None = None, **how: Any) -> tuple[AudioPublication, Device]:
    microphone = AudioPublication(owner, "microphone", "pulse:desk", **{"muted": False, **how})
    microphone.start()
    if wire is not None:
        microphone.bind(wire.stream, Pacer(lambda: None))
    return microphone, Device.opened[-1]


async def give(device: Device, blocks: list[bytes], **how: float) -> None:
    for block in blocks:
        device.give(block, **how)
        await asyncio.sleep(0)
    await asyncio.sleep(0)


def speech(count: int) -> list[bytes]:
    resampler = av.AudioResampler("s16", "mono", 48_000)
    with av.open(str(resource("speech", "chair.flac"))) as container:
        pcm = b"".join(bytes(m.planes[0])[: 2 * m.samples] for f in container.decode(audio=0) for m in resampler.resample(f))
    blocks = [pcm[at : at + BLOCK_BYTES] for at in range(0, len(pcm) - BLOCK_BYTES, BLOCK_BYTES)]
    return (blocks * (count // len(blocks) + 1))[:count]


SOUND = [tone(0.02, start=k * BLOCK) for k in range(50)]


async def test_timestamps_count_by_the_device_and_reports_tell_what_its_clock_is(owner: Owner) -> None:
    """Two minutes of a device that is 200 ppm fast: 24 ms more sound than time. It had been saved up to 0.2 s, and then jumped."""
    wire = Wire()
    microphone, device = opened(owner, wire)
    await give(device, SOUND * 120, ppm=200.0)
    stamps = [p.timestamp for p in wire.packets]
    assert len(stamps) == 6000
    assert {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(stamps)} == {BLOCK}
    made_at = device.begin + 5999 * 0.02 / (1 + 200e-6)
    report = wire.stream.sender_report(made_at)
    assert report is not None
    off = (parse_rtcp(report)[0].rtp_timestamp - stamps[-1] + (1 << 31)) % (1 << 32) - (1 << 31)  # type: ignore[union-attr]
    assert abs(off) < 48 * 2, "what the report says was made now is what was made now, within 2 ms"
    assert abs(wire.stream.ahead - 24 * 48) < 48 * 2
    microphone.close()


async def test_what_the_device_lost_is_a_gap_in_the_timestamps(owner: Owner) -> None:
    wire = Wire()
    microphone, device = opened(owner, wire)
    await give(device, SOUND * 4)
    await give(device, SOUND * 4, late_s=0.5)
    stamps = [p.timestamp for p in wire.packets]
    steps = [b - a for a, b in itertools.pairwise(stamps) if b - a != BLOCK]
    assert len(steps) == 1
    assert abs(steps[0] - BLOCK - 24_000) < 480
    microphone.close()


async def test_another_device_goes_on_after_the_first(owner: Owner) -> None:
    wire = Wire()
    microphone, device = opened(owner, wire)
    await give(device, SOUND)
    microphone.switch("pulse:headset")
    await give(device, SOUND)
    await give(Device.opened[-1], SOUND)
    stamps = [p.timestamp for p in wire.packets]
    assert len(stamps) == 100, "the old one's blocks are dropped"
    assert all(b - a >= BLOCK for a, b in itertools.pairwise(stamps))
    microphone.close()


async def test_each_packet_repeats_the_one_before_where_that_is_taken(owner: Owner) -> None:
    wire = Wire(redundant=RED)
    microphone, device = opened(owner, wire)
    await give(device, SOUND)
    assert {p.payload_type for p in wire.packets} == {RED}
    said = [parse(p.payload) for p in wire.packets]
    assert len(said[0]) == 1
    for before, blocks in itertools.pairwise(said):
        assert [b.offset for b in blocks] == [BLOCK, 0]
        assert blocks[0].payload == before[-1].payload
    wire.stream.note_report(ReportBlock(wire.stream.ssrc, 64, 3, 5, 7))
    await give(device, SOUND[:5])
    assert [len(parse(p.payload)) for p in wire.packets[-3:]] == [3, 3, 3], "a quarter lost: twice"
    plain = Wire()
    microphone.bind(plain.stream, Pacer(lambda: None))
    await give(device, SOUND[:5])
    assert {p.payload_type for p in plain.packets} == {OPUS}
    microphone.close()


async def test_fec_follows_the_loss_that_is_reported(owner: Owner) -> None:
    wire = Wire()
    microphone, device = opened(owner, wire)
    await give(device, speech(200))
    little = sum(has_repair(p.payload) for p in wire.packets)
    wire.stream.note_report(ReportBlock(wire.stream.ssrc, 64, 3, 5, 7))
    wire.packets.clear()
    await give(device, speech(200))
    assert microphone._steering.expected_loss == 25
    assert sum(has_repair(p.payload) for p in wire.packets) > little
    wire.stream.note_report(ReportBlock(wire.stream.ssrc, 0, 3, 5, 7))
    await give(device, speech(300))
    assert microphone._steering.expected_loss == 5
    microphone.close()


async def test_silence_is_said_once_and_the_next_word_is_marked(owner: Owner) -> None:
    wire = Wire()
    microphone, device = opened(owner, wire, settings=api.SetVoice(dtx=True))
    await give(device, [*SOUND, *[bytes(BLOCK_BYTES)] * 100, *SOUND])
    assert len(wire.packets) < 50 + 35 + 50
    quiet = [k for k, p in enumerate(wire.packets) if is_silence(p.payload)]
    assert quiet
    assert not any(is_silence(wire.packets[k + 1].payload) for k in quiet)
    back = [p for k, p in enumerate(wire.packets) if k and is_silence(wire.packets[k - 1].payload)]
    assert all(p.marker for p in back)
    numbers = [p.sequence for p in wire.packets]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a pause is no loss"
    assert wire.packets[-1].timestamp - wire.packets[0].timestamp == 199 * BLOCK
    microphone.close()


async def test_who_speaks_while_muted_is_told_and_a_fan_is_not(owner: Owner) -> None:
    pytest.importorskip("pywebrtc_audio")
    microphone, device = opened(owner, Wire(), muted=True, far=FarEnd())
    chance = random.Random(1)
    fan = [b"".join(int(chance.gauss(0, 700)).to_bytes(2, "little", signed=True) for _ in range(BLOCK)) for _ in range(20)]
    await give(device, fan * 15)
    assert owner.hints() == []
    await give(device, speech(150))
    assert owner.hints() == [("speaking_muted", True)]
    microphone.set_muted(False)
    await give(device, speech(3))
    assert owner.hints() == [("speaking_muted", True), ("speaking_muted", False)]
    microphone.close()


async def test_a_microphone_that_gives_nothing_is_told_and_taken_back(owner: Owner) -> None:
    microphone, device = opened(owner, Wire(), far=FarEnd())
    await give(device, [bytes(BLOCK_BYTES)] * 300)
    assert owner.hints() == [("silent", True)]
    microphone.switch("pulse:headset")
    assert owner.hints() == [("silent", True), ("silent", False)], "it was about the other one"
    await give(Device.opened[-1], speech(300))
    assert len(owner.hints()) == 2
    microphone.close()


async def test_an_encoder_that_fails_is_told_once(owner: Owner) -> None:
    microphone, device = opened(owner, Wire())
    await give(device, [bytes(10)] * 5)     # no driver gives half a block; the encoder refuses it
    errors = [e.error for e in owner.events if isinstance(e, api.SourceChanged) and e.error]
    assert errors == ["encoder_failed"]
    assert microphone.state == "off"
    microphone.close()


async def test_what_was_said_while_muted_and_comes_late_does_not_leave(owner: Owner) -> None:
    """Half a second lies in the device's buffers when the microphone is opened: it was said to nobody."""
    wire = Wire(RED)
    microphone, device = opened(owner, wire, muted=True)
    device.begin = time.monotonic() - 1.5
    await give(device, SOUND)
    microphone.set_muted(False)
    for block in SOUND[:25]:
        await give(device, [block], late_s=time.monotonic() - device.begin - device.blocks * 0.02)
    assert wire.packets == []
    await give(device, SOUND[:10], late_s=0.02)
    assert 5 <= len(wire.packets) <= 10, "what is said from then on does"
    assert len(parse(wire.packets[0].payload)) == 1, "and no copy of what was before comes with it"
    microphone.close()


async def test_sound_is_repaired_after_a_mute_too_and_never_during_one(owner: Owner) -> None:
    wire = Wire()
    microphone, device = opened(owner, wire)
    pacer = microphone.pacer
    assert pacer is not None
    await give(device, SOUND[:5])
    microphone.set_muted(True)
    pacer.repair(wire.stream, [wire.packets[-1].sequence])
    assert len(wire.packets) == 5
    microphone.set_muted(False)
    device.begin = time.monotonic()
    await give(device, SOUND[:5])
    pacer.repair(wire.stream, [wire.packets[-1].sequence])
    assert wire.packets[-1].sequence == wire.packets[-2].sequence
    count = len(wire.packets)
    microphone.close()
    pacer.repair(wire.stream, [wire.packets[-3].sequence])
    assert len(wire.packets) == count, "nor when it is closed"

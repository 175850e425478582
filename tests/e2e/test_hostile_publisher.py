"""One participant sends rubbish in its picture and its sound; another's go on as if nothing were. Through livekit-server and our relay."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from e2e.livekitproc import token, until
from e2e.raw_client import RawClient, Sender
from e2e.test_engine_sfu import Ours
from fuzz.mutation import spoil
from unit.engine.media import tone
from unit.rtp.streams import encoded, vp8_payloads

from vidconf.engine.codecs.opus import OpusEncoder

ATTACK_S = 6.0
HUGE = b"\x10\x50\x00\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(900)
"""A keyframe that says 16383 × 16383."""


class Publisher:
    """A raw participant with real pictures and a real tone, sent at their pace until `stop`."""

    def __init__(self, client: RawClient) -> None:
        self.client = client
        self.pictures = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def publish(self) -> None:
        picture, sound = await self.client.publish("video", start=False), await self.client.publish("audio", start=False)
        encoder = OpusEncoder()
        blocks = [encoder.encode(tone(0.02, start=960 * k)) for k in range(50)]
        self._tasks = [asyncio.create_task(self._show(picture)), asyncio.create_task(self._sing(sound, blocks))]

    async def _show(self, picture: Sender) -> None:
        frames, due = encoded("vp8"), time.monotonic()
        while True:
            number = 0 if picture.want_keyframe else self.pictures % len(frames)
            self.pictures, picture.want_keyframe = self.pictures - self.pictures % len(frames) + number, False
            payloads = vp8_payloads(frames[number], number, 900)
            for k, payload in enumerate(payloads):
                picture._send(payload, k == len(payloads) - 1, [])
            picture.timestamp = (picture.timestamp + 3000) & 0xFFFFFFFF
            self.pictures += 1
            due += 1 / 30
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _sing(self, sound: Sender, blocks: list[bytes]) -> None:
        due, number = time.monotonic(), 0
        while True:
            sound._send(blocks[number % len(blocks)], number == 0, [])
            sound.timestamp = (sound.timestamp + 960) & 0xFFFFFFFF
            number += 1
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()


async def attack(chance: random.Random, picture: Sender, sound: Sender) -> None:
    """Good beginnings and bad continuations, all out of step, as fast as a camera and a microphone that mean it."""
    frames = encoded("vp8")
    good = [p for number, frame in enumerate(frames) for p in vp8_payloads(frame, number, 900)]
    ends = time.monotonic() + ATTACK_S
    while time.monotonic() < ends:
        for payload in vp8_payloads(frames[0], 0, 900):
            picture._send(payload, False, [])
        for _ in range(8):
            match chance.randrange(6):
                case 0:
                    payload = HUGE
                case 1:
                    payload = chance.randbytes(chance.randrange(1, 1100))
                case 2:
                    picture.sequence = (picture.sequence + chance.choice((1, 7, 300, 3000))) & 0xFFFF
                    payload = chance.choice(good)
                case _:
                    payload = spoil(chance, good)[:1100]
            picture.timestamp = chance.choice((picture.timestamp, picture.timestamp + 3000, chance.randrange(1 << 32))) & 0xFFFFFFFF
            picture._send(payload or b"\x10", chance.random() < 0.4, [])
        for _ in range(3):
            sound._send(chance.randbytes(chance.choice((1, 2, 3, 60, 900))), chance.random() < 0.1, [])
            sound.timestamp = chance.choice((sound.timestamp + 960, chance.randrange(1 << 32))) & 0xFFFFFFFF
        await asyncio.sleep(0.05)


async def share(ours: Ours, good: Publisher, meanwhile: Awaitable[None]) -> float:
    """Of the pictures that were sent, how many came out of our decoder while something else went on."""

    def decoded() -> int:
        receiver = next(s.video for s in ours.engine.session.subscriptions() if s.identity == "good" and s.video is not None)
        return receiver.timing.frames + receiver.undrawn

    before, sent = decoded(), good.pictures
    await meanwhile
    return (decoded() - before) / max(1, good.pictures - sent)


@pytest.mark.timeout(90)
async def test_the_others_go_on_as_if_nothing_were(sfu: Any, ours: Ours) -> None:
    good = Publisher(RawClient(sfu.url, token("room", "good", can_subscribe=False)))
    bad = RawClient(sfu.url, token("room", "bad", can_subscribe=False))
    bad.answer_nacks = False
    try:
        await good.client.join()
        await good.publish()
        await bad.join()
        picture, sound = await bad.publish("video", start=False), await bad.publish("audio", start=False)
        ours.join()
        assert await until(lambda: ours.frames("good") > 30 and ours.heard("good"), 10), ours.report()
        assert await until(lambda: ("bad", "camera") in ours.report(), 5)
        calm = await share(ours, good, asyncio.sleep(2))
        before = dict(ours.report()[("good", "camera")])
        attacked = await share(ours, good, attack(random.Random(5), picture, sound))
        entry, hostile = ours.report()[("good", "camera")], ours.report()[("bad", "camera")]
        # that not one picture is touched is tested where the machine's other work does not count: engine/test_video_codecs.py
        assert attacked > 0.6 * calm, (calm, attacked, entry)
        assert entry["lost"] == before["lost"]
        assert hostile["packets"] > 100, "the rubbish came through to us"
        assert ours.report()[("good", "microphone")]["concealed_percent"] < 30
        connection = ours.engine.session._connection
        assert connection is not None
        assert connection._subscriber is not None
        assert connection._subscriber.dtls.faults == 0, "nothing was raised past its reader"
        assert ours.state() == "connected"
        assert ours.engine.session.reconnects == 0
        # and whoever sent it is seen as soon as it publishes a picture that is one
        await bad.unpublish(picture)
        await bad.unpublish(sound)
        better = Publisher(bad)
        await better.publish()
        assert await until(lambda: ours.frames("bad") > 20, 12), ours.report()
        await better.stop()
    finally:
        await bad.close()
        await good.stop()

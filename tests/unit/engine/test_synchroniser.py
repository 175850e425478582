"""Who is brought together with whom, measured where sound and pictures really come out."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from unit.engine.test_subscription import AUDIO, VIDEO, Film, Owner, owner, pictures, settled  # noqa: F401 - a fixture

from vidconf.engine.codecs.opus import BLOCK_BYTES, OpusEncoder
from vidconf.engine.subscription import Subscription
from vidconf.engine.synchroniser import Synchroniser
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.rtcp import SenderReport

NTP = 3_900_000_000 << 32


class Person:
    """Sends a sound and a picture live, the picture so much later; with reports on both."""

    def __init__(self, owner: Owner, identity: str, sources: tuple[str, str] = ("microphone", "camera")) -> None:  # noqa: F811
        self.sound = Subscription(owner, f"A_{identity}", "audio", decode_unwatched=True)
        self.picture = Subscription(owner, f"V_{identity}", "video", decode_unwatched=True)
        for subscription, track, source in ((self.sound, AUDIO, sources[0]), (self.picture, VIDEO, sources[1])):
            subscription.bind(track, owner.send)
            subscription.announced, subscription.identity = True, identity
            subscription.source = source  # type: ignore[assignment]
        self.tracks = [self.sound, self.picture]

    async def run(self, seconds: float, late_s: float, each_second: Callable[[float], None]) -> None:
        film, encoder, began, loop = Film(), OpusEncoder(), time.monotonic(), asyncio.get_running_loop()
        film.ssrc = 1000
        sounds = pictures_sent = 0
        told = 0.0
        while (at := time.monotonic() - began) < seconds:
            while sounds * 0.02 <= at:
                packet = RtpPacket(111, sounds & 0xFFFF, 960 * sounds, 3000, sounds == 0, encoder.encode(random.Random(sounds).randbytes(BLOCK_BYTES)))
                self.sound.on_rtp(packet, time.monotonic())
                sounds += 1
            while pictures_sent / 30 <= at:
                for packet in film.frame():
                    packet.timestamp = pictures_sent * 3000
                    loop.call_later(late_s, lambda p=packet: self.picture.on_rtp(p, time.monotonic()))
                pictures_sent += 1
            if at - told >= 0.25:
                told = at
                ntp = NTP + int(at * (1 << 32))
                self.sound.on_sender_report(SenderReport(3000, ntp, int(at * 48_000), 0, 0), time.monotonic())
                self.picture.on_sender_report(SenderReport(1000, ntp, int(at * 90_000), 0, 0), time.monotonic())
                each_second(at)
            await asyncio.sleep(0.005)


async def test_a_late_picture_holds_the_sound_back(owner: Owner) -> None:  # noqa: F811
    owner.playout.start()
    person, synchroniser = Person(owner, "an"), Synchroniser()
    await person.run(5.0, 0.3, lambda at: synchroniser.look(person.tracks, time.monotonic()))
    skews = synchroniser.skews_s(person.sound.sid)
    assert len(skews) > 10
    assert 0.1 < max(skews) < 0.5
    (pair,) = synchroniser._pairs.values()
    assert pair.sync.least_sound_s > 0.2
    assert pictures(person.picture).render.least_delay_s == 0
    # one of the two is gone: the other is free
    synchroniser.look([person.sound], time.monotonic())
    assert pair.sync.least_sound_s == 0
    for subscription in person.tracks:
        subscription.close()


async def test_only_what_belongs_together_is_brought_together(owner: Owner) -> None:  # noqa: F811
    owner.playout.start()
    person, synchroniser = Person(owner, "an"), Synchroniser()
    other = Subscription(owner, "V_binh", "video", decode_unwatched=True)
    other.announced, other.identity, other.source = True, "binh", "camera"
    share = Subscription(owner, "V_share", "video", decode_unwatched=True)
    share.announced, share.identity, share.source = True, "an", "screen_share"
    person.sound.cname, person.picture.cname = "one clock", "another clock"
    await person.run(1.2, 0.1, lambda at: synchroniser.look([*person.tracks, other, share], time.monotonic()))
    assert synchroniser.skews_s(person.sound.sid) == ()
    person.picture.cname = "one clock"
    await person.run(1.2, 0.1, lambda at: synchroniser.look([*person.tracks, other, share], time.monotonic()))
    assert set(synchroniser._pairs) == {(person.sound.sid, person.picture.sid)}
    for subscription in (*person.tracks, other, share):
        subscription.close()


async def test_without_reports_nothing_is_held_back(owner: Owner) -> None:  # noqa: F811
    person, synchroniser = Person(owner, "an"), Synchroniser()
    for _ in range(5):
        synchroniser.look(person.tracks, time.monotonic())
    assert synchroniser.skews_s(person.sound.sid) == ()
    assert pictures(person.picture).render.least_delay_s == 0
    assert await settled(lambda: True)
    for subscription in person.tracks:
        subscription.close()


async def test_a_pair_that_is_none_any_more_frees_both(owner: Owner) -> None:  # noqa: F811
    """Their clocks turn out to be two: neither is held back for the other any longer."""
    person, synchroniser = Person(owner, "an"), Synchroniser()
    sound, video = person.sound, pictures(person.picture)
    held: list[float] = []
    assert sound.audio is not None
    sound.audio.set_least_delay = held.append  # type: ignore[method-assign]
    synchroniser.look(person.tracks, time.monotonic())
    (pair,) = synchroniser._pairs.values()
    pair.sync.least_sound_s, video.render.least_delay_s = 0.3, 0.2
    sound.cname, person.picture.cname = "one clock", "another clock"
    synchroniser.look(person.tracks, time.monotonic())
    assert held == [0.0]
    assert video.render.least_delay_s == 0.0
    for subscription in person.tracks:
        subscription.close()

"""What a person chose is what is re-applied after every loss, never the opposite: reconnected over and over, mutes pressed meanwhile.

The SFU is killed, signalling is cut, the way of media dies; the microphone's mute is pressed before, during and after, and the last
word counts. Judged by who listens: whether packets of the microphone come, and what the SFU says of it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from e2e.livekitproc import until
from e2e.test_engine_sfu import Ours

from vidconf.engine import api

QUIET_S = 0.4


def microphone(listener: Ours) -> dict[str, Any]:
    """The listener's entry of our microphone; {} while it has none."""
    return listener.report().get(("ours", "microphone"), {})


async def lose(kind: str, ours: Ours, sfu: Any) -> Any:
    """Take the present connection away; returns it."""
    connection = ours.engine.session._connection
    assert connection is not None
    if kind == "signalling":
        connection.signalling._ws.get_extra_info("socket").shutdown(2)
    elif kind == "way":
        for peer in (connection._subscriber, connection._publisher):
            for way in list(peer.agent._protocols):
                way.transport.abort()
            peer.failed.set()
    else:
        sfu.kill()
        await asyncio.sleep(0.2)
        sfu.start()
    return connection


async def through(rounds: int, sfu: Any, seed: int) -> None:
    chance = random.Random(seed)
    listener, ours = await Ours(sfu, "listener").start(), await Ours(sfu, "ours").start()
    listener.join()
    muted = True
    ours.publish(muted=True)
    ours.join()
    assert await until(lambda: ours.state() == listener.state() == "connected", 8)
    for turn in range(rounds):
        kind = "kill" if turn % 5 == 4 else chance.choice(("signalling", "way"))
        presses = [chance.random() < 0.5 for _ in range(chance.randrange(4))]
        when = chance.randrange(len(presses) + 1)
        for muted in presses[:when]:
            ours.engine.send(api.MuteSource("microphone", muted))
        lost = await lose(kind, ours, sfu)
        for muted in presses[when:]:
            await asyncio.sleep(chance.choice((0.0, 0.01, 0.05, 0.2)))
            ours.engine.send(api.MuteSource("microphone", muted))
        said = (turn, kind, presses, when, muted)
        assert await until(lambda lost=lost: ours.state() == "connected" and ours.engine.session._connection not in (None, lost), 10), said
        assert await until(lambda: listener.state() == "connected" and microphone(listener) != {}, 10), said
        assert await until(lambda muted=muted: microphone(listener).get("muted") is muted, 5), (said, microphone(listener))
        if muted:
            assert ours.engine.session.publications["microphone"].muted
            await asyncio.sleep(0.1)            # what was on its way when it was pressed
            before = microphone(listener)["packets"]
            await asyncio.sleep(QUIET_S)
            assert microphone(listener)["packets"] == before, (said, "a muted person is heard")
        else:
            before = microphone(listener)["packets"]
            assert await until(lambda before=before: microphone(listener).get("packets", 0) > before + 5, 5), (said, microphone(listener))
    await ours.close()
    await listener.close()


@pytest.mark.timeout(120)
async def test_ten_losses(sfu: Any) -> None:
    await through(10, sfu, 5)


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_hundred_losses(sfu: Any) -> None:
    await through(100, sfu, 11)

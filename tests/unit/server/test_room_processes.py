"""Several processes with rooms on one database: whoever asks where, nothing is lost and one order holds."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from unit.meeting.test_meeting_machine import same
from unit.server.live_room import CHAIR, MEETING, Following, done, loaded_anew, room_of

from vidconf.meeting import messages as m
from vidconf.server.room import Rooms
from vidconf.server.storage import Storage


async def test_two_processes_on_one_meeting_lose_nothing(rooms: Rooms, tmp_path: Path, storage: Storage) -> None:
    elsewhere = await Storage.open(tmp_path)
    others = Rooms(elsewhere)
    both = (rooms, others)
    await done(rooms, "server", CHAIR)
    for n in range(2, 8):
        await done(both[n % 2], "server", m.Knock(f"p{n}", f"Người {n}", straight_in=True))
    watchers = []
    for each in both:
        room = await room_of(each)
        await room.refresh()
        room.watchers["p1"] = Following(room, "p1")
        watchers.append((room, room.watchers["p1"]))
    words = [f"{n}" for n in range(60)]
    await asyncio.gather(*(done(both[n % 2], f"p{n % 7 + 1}", m.Chat(word)) for n, word in enumerate(words)))
    for room, _ in watchers:
        await room.refresh()
    one, other = watchers[0][0].state, watchers[1][0].state
    assert one == other == await loaded_anew(storage)
    assert Counter(message.text for message in one.chat) == Counter(words)
    for room, watcher in watchers:
        assert isinstance(watcher, Following)
        assert watcher.seqs == sorted(set(watcher.seqs))
        assert watcher.snapshots == 0
        assert same(watcher.view, room.view("p1"))
    assert (await storage.verify())[3] == []
    await others.close()
    await elsewhere.close()


async def test_who_lost_the_race_decides_again_on_what_the_other_made(rooms: Rooms, tmp_path: Path) -> None:
    elsewhere = await Storage.open(tmp_path)
    others = Rooms(elsewhere)
    await done(rooms, "server", CHAIR)
    await done(rooms, "server", m.Knock("p2", "An", straight_in=True))
    await room_of(others)
    await done(rooms, "p1", m.Remove(("p2",)))
    refused = await others.ask(MEETING, "p2", m.Chat("tôi còn đây"))
    assert isinstance(refused, m.Refusal), "decided on what it knew, and found out"
    assert refused.code == "not_in_meeting"
    await others.close()
    await elsewhere.close()


PROCESS = """
import asyncio, sys
from pathlib import Path
from vidconf.meeting import messages as m
from vidconf.server.room import Rooms
from vidconf.server.storage import Storage

async def main():
    storage = await Storage.open(Path(sys.argv[1]))
    rooms = Rooms(storage)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(25):
        result = await rooms.ask("m1", "p1", m.Chat(f"{sys.argv[2]} {n}"))
        assert isinstance(result, tuple), result
        print(result[0].seq, result[0].event.text, flush=True)
    await rooms.close()
    await storage.close()

asyncio.run(main())
"""


async def test_real_processes_racing_for_one_meeting(rooms: Rooms, storage: Storage, tmp_path: Path) -> None:
    await done(rooms, "server", CHAIR)
    pipe = asyncio.subprocess.PIPE
    racers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", PROCESS, str(tmp_path), name, stdin=pipe, stdout=pipe) for name in ("a", "b")
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    outs = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
    assert [racer.returncode for racer in racers] == [0, 0]
    said = dict(line.split(" ", 1) for out, _ in outs for line in out.decode().splitlines())
    assert len(said) == 50, "each got numbers of its own"
    state = await loaded_anew(storage)
    assert {message.id: message.text for message in state.chat} == said
    for name in ("a", "b"):
        assert [message.text for message in state.chat if message.text.startswith(name)] == [f"{name} {n}" for n in range(25)]
    assert (await storage.verify())[3] == []

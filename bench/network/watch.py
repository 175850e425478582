"""One measurement: an SFU, publishers, receivers each behind an impaired way, a watch, and what it says. Runner's loop.

Everybody is a child process of its own; only the ways and their doorways live here, where nothing else works during a watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT / "tests"), str(ROOT / "src")) if path not in sys.path]

from e2e import sfuproc  # noqa: E402
from e2e.children import bound  # noqa: E402
from e2e.livekitproc import token  # noqa: E402

from bench.network.doorway import Doorway  # noqa: E402
from bench.network.impairment import Settings, Timetable  # noqa: E402
from bench.network.path import UdpPath  # noqa: E402

SETTLE_S = 4.0
SEED = 317
"""One whose patterns lose within a tenth of what they are told, in the first twenty seconds of a voice and of a picture already."""
READY_S = 40.0
RECEIVERS = {"ours": "bench.network.receiver_ours", "sdk": "bench.network.receiver_sdk", "chromium": "bench.network.receiver_chromium"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT), str(ROOT / "tests")))}
_rooms = itertools.count(1)


class WatchError(RuntimeError):
    """A part did not come so far that anything could be measured."""


class Child:
    """A program of the laboratory: says `ready`, ends with its input, may leave a line of JSON."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, browser: bool) -> None:
        self.process, self._log, self._browser = process, log, browser

    @classmethod
    async def start(cls, log: Path, module: str, *arguments: str) -> Child:
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *bound(sys.executable, "-m", module, *arguments), cwd=ROOT, env=ENVIRONMENT, limit=1 << 28,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=file,
            )  # fmt: skip
        return cls(process, log, module.endswith("chromium"))

    async def ready(self) -> bool:
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                return (await self.process.stdout.readline()).strip() == b"ready"
        except TimeoutError:
            return False

    async def end(self) -> bytes:
        """What it printed after `ready`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            async with asyncio.timeout(20):
                said = await self.process.stdout.read()
                await self.process.wait()
                return said
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            return b""

    def words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def cpu_s(self) -> float:
        """User and system time so far, children included; of a browser its own processes, not what drives it."""
        own = psutil.Process(self.process.pid)
        total = 0.0
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                if not self._browser or "chrom" in process.name():
                    spent = process.cpu_times()
                    total += spent.user + spent.system
        return total


@dataclass
class Watch:
    """What one receiver saw and heard between `begin` and `end`, both `time.monotonic`."""

    receiver: str
    begin: float
    end: float
    cpu_percent: float
    report: dict[str, Any]
    way: dict[str, Any]
    repairs: dict[int, int]
    kinds: dict[int, str]
    record: Path | None = None

    def counted(self, kind: str, name: str) -> float:
        """By how much a counter of all tracks of a kind rose within the watch."""
        inside = [s for s in self.report["samples"] if self.begin - 0.3 <= s["at"] <= self.end + 0.3]
        total = 0.0
        for track in inside[-1]["tracks"] if inside else ():
            values = [s["tracks"][track] for s in inside if track in s["tracks"]]
            if values[0]["kind"] == kind:
                total += values[-1].get(name, 0) - values[0].get(name, 0)
        return total

    def buffers(self, kind: str) -> list[tuple[float, float]]:
        """(seconds since `begin`, delay in the buffer in ms), the mean of all tracks of a kind."""
        found = []
        for sample in self.report["samples"]:
            values = [t["buffer_ms"] for t in sample["tracks"].values() if t["kind"] == kind and t["buffer_ms"] is not None]
            if values:
                found.append((sample["at"] - self.begin, sum(values) / len(values)))
        return found

    def on_the_way(self, kind: str) -> dict[str, int]:
        """What the impairment knows of a kind: packets, lost ones, repairs sent for them, lost ones never repaired."""
        streams = {s["ssrc"]: s for s in self.way["down"]["streams"]}
        found = {"packets": 0, "lost": 0, "repairs": 0}
        for ssrc, stream in streams.items():
            if ssrc in self.repairs:
                if self.kinds.get(self.repairs[ssrc]) == kind:
                    found["repairs"] += stream["packets"] - stream["padding"]
            elif self.kinds.get(ssrc) == kind:
                found["packets"] += stream["packets"]
                found["lost"] += stream["lost"]
                found["repairs"] += stream["repeated"]
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """A row's conditions."""

    receivers: Sequence[str]
    seconds: float = 20.0
    rtt_ms: float = 0.0
    down: Timetable = ((0.0, Settings()),)
    up: Timetable | None = None
    seed: int = SEED
    picture: str = ""
    bps: int = 1_500_000
    simulcast: bool = False
    sound: bool = True
    red: bool = False
    crowd: int = 0
    """So many participants with film and voice instead of one live publisher."""
    record: bool = False
    ages: bool = False
    settle_s: float = SETTLE_S


def delayed(timetable: Timetable, rtt_ms: float) -> Timetable:
    """The same with half the round trip added each way."""
    return [(at, dataclasses.replace(s, delay_ms=s.delay_ms + rtt_ms / 2)) for at, s in timetable]


@contextlib.asynccontextmanager
async def sfu(kind: str) -> AsyncIterator[Any]:
    """`relay` or `livekit`, on ports of its own, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        made = sfuproc.made(kind, Path(folder))
        await asyncio.to_thread(made.start)
        try:
            yield made
        finally:
            await asyncio.to_thread(made.stop)


async def measure(server: Any, plan: Plan, folder: Path) -> list[Watch]:
    """All of the plan's receivers in one room at the same time. Raises WatchError."""
    room = f"lab-{os.getpid()}-{next(_rooms)}"
    log = folder / f"{room}.log"
    async with contextlib.AsyncExitStack() as closing:
        publisher = await _publisher(server, plan, room, log)
        closing.push_async_callback(publisher.end)
        if not await publisher.ready():
            raise WatchError(f"nothing is published: {publisher.words()}")
        ways: list[tuple[str, UdpPath, Doorway, Child, Path | None]] = []
        for number, name in enumerate(plan.receivers):
            path = UdpPath(delayed(plan.down, plan.rtt_ms), delayed(plan.up or [(0.0, Settings())], plan.rtt_ms), seed=plan.seed, delay_ms=plan.rtt_ms / 2)
            closing.callback(path.close)
            doorway = await closing.enter_async_context(Doorway(server.url, path))
            record = folder / f"{room}-{number}-{name}.wav" if plan.record else None
            ways.append((name, path, doorway, await _receiver(name, doorway.url, plan, room, f"{name}-{number}", log, record), record))
        came = await asyncio.gather(*(child.ready() for _, _, _, child, _ in ways))
        for ready, (name, _, _, child, _) in zip(came, ways, strict=True):
            if not ready:
                await asyncio.gather(*(child.end() for _, _, _, child, _ in ways))
                raise WatchError(f"{name} received nothing: {child.words()}")
        await asyncio.sleep(plan.settle_s)
        spent = [child.cpu_s() for _, _, _, child, _ in ways]
        begun = [path.begin() for _, path, _, _, _ in ways]
        await asyncio.sleep(plan.seconds)
        ended = time.monotonic()
        cpu = [100 * (child.cpu_s() - before) / (ended - begin) for (_, _, _, child, _), before, begin in zip(ways, spent, begun, strict=True)]
        told = [path.report() for _, path, _, _, _ in ways]
        await asyncio.sleep(0.3)
        said = await asyncio.gather(*(child.end() for _, _, _, child, _ in ways))
        watches = []
        for k, (name, _, doorway, child, record) in enumerate(ways):
            try:
                report = json.loads(said[k])
            except ValueError:
                raise WatchError(f"{name} left no report: {child.words()}") from None
            watches.append(Watch(name, begun[k], ended, cpu[k], report, told[k], doorway.repairs, doorway.kinds, record))
        return watches


async def _publisher(server: Any, plan: Plan, room: str, log: Path) -> Child:
    if plan.crowd:
        tokens = [token(room, f"crowd-{k}") for k in range(plan.crowd)]
        return await Child.start(log, "bench.network.load", server.url, "--picture", plan.picture or "none", "--bps", str(plan.bps), "--tokens", *tokens)
    options = ["--picture", plan.picture, "--bps", str(plan.bps)] if plan.picture else []
    options += [f"--{name}" for name in ("simulcast", "sound", "red") if getattr(plan, name)]
    return await Child.start(log, "bench.network.publisher", server.url, token(room, "publisher"), *options)


async def _receiver(name: str, url: str, plan: Plan, room: str, identity: str, log: Path, record: Path | None) -> Child:
    count = plan.crowd or 1
    arguments = [url, token(room, identity, can_publish=False), "--pictures", str(count if plan.picture else 0)]
    arguments += ["--sounds", str(count if plan.sound or plan.crowd else 0)]
    arguments += [*(["--record", str(record)] if record else []), *(["--ages"] if plan.ages else [])]
    return await Child.start(log, RECEIVERS[name], *arguments)

"""Ours and the official SDK as senders: the same picture through the same way to the SFU, one after the other.

    python -m bench.network --sending --row free,loss,narrow,cut --sfu livekit --senders ours,sdk

Rows: free (how soon it sends 2 Mb/s), loss (what it sends where 2, 5 and 10 % are lost), narrow (1 Mb/s and a queue of 300 ms: how much
of it is used, how old pictures come), cut (2.5 Mb/s, half a megabit for half a minute, 2.5 again). Both may send 2.5 Mb/s at most.
What is sent is counted on the way, alike for both; the target is what each says of itself. Who watches is always ours, on a way
that is free. Prints Markdown; `--json FILE` keeps the records.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.network import precedence
from bench.network.doorway import Doorway
from bench.network.impairment import Settings, Timetable
from bench.network.path import UdpPath
from bench.network.sender_ours import scene_file
from bench.network.sending_figures import Sent, of_cut, of_free, of_loss, of_narrow
from bench.network.watch import RECEIVERS, ROOT, SEED, Child, WatchError, delayed, sfu, token

SENDERS = {"ours": "bench.network.sender_ours", "sdk": "bench.network.sender_sdk"}
PICTURE = "1280x720"
CAP_BPS = 2_500_000
SAMPLE_S = 0.1
QUEUE_S = 0.3
CUT_S = (12.0, 42.0)
AFTER_S = 15.0


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One condition: what the way to the SFU is like from when the picture is seen, and how long it is watched."""

    name: str
    words: str
    up: Timetable
    seconds: float
    figures: Any


def narrowed(bps: float) -> Settings:
    return Settings(rate_bps=bps, queue_bytes=int(bps * QUEUE_S / 8))


def rows(names: Sequence[str], seconds: float, losses: Sequence[float]) -> list[Row]:
    """Raises KeyError for a name that is none."""
    made: dict[str, list[Row]] = {
        "free": [Row("free", "nothing in the way", [(0.0, Settings())], min(seconds, 10.0), of_free)],
        "loss": [Row("loss", f"{100 * loss:.0f} % lost", [(0.0, Settings(loss=loss))], seconds, of_loss) for loss in losses],
        "narrow": [Row("narrow", "1 Mb/s, 300 ms queue", [(0.0, narrowed(1e6))], seconds, of_narrow)],
        "cut": [
            Row(
                "cut", f"2.5 Mb/s, 0.5 for {CUT_S[1] - CUT_S[0]:.0f} s, 2.5 again",
                [(0.0, narrowed(2.5e6)), (CUT_S[0], narrowed(0.5e6)), (CUT_S[1], narrowed(2.5e6))], CUT_S[1] + AFTER_S,
                lambda sent: of_cut(sent, *CUT_S),
            )
        ],
    }  # fmt: skip
    return [row for name in names for row in made[name]]


async def sample(path: UdpPath, into: list[tuple[float, dict[int, dict[str, int]]]]) -> None:
    """What has gone up the way so far, by SSRC, again and again."""
    while True:
        into.append((time.monotonic(), path.gone_up()))
        await asyncio.sleep(SAMPLE_S)


async def measure(server: Any, name: str, row: Row, rtt_ms: float, folder: Path, layers: bool) -> Sent:
    """One sender through one way. Raises WatchError."""
    room = f"sending-{os.getpid()}-{row.name}-{name}-{time.monotonic_ns()}"
    log = folder / f"{room}.log"
    async with contextlib.AsyncExitStack() as closing:
        watcher = await Child.start(log, RECEIVERS["ours"], server.url, token(room, "watcher", can_publish=False), "--pictures", "1", "--ages")
        closing.push_async_callback(watcher.end)
        path = UdpPath(delayed([(0.0, Settings())], rtt_ms), delayed(row.up, rtt_ms), seed=SEED, delay_ms=rtt_ms / 2)
        closing.callback(path.close)
        doorway = await closing.enter_async_context(Doorway(server.url, path))
        before: list[tuple[float, dict[int, dict[str, int]]]] = []
        early = asyncio.create_task(sample(path, before))
        closing.callback(early.cancel)
        options = ["--picture", PICTURE, "--bps", str(CAP_BPS), *(["--simulcast"] if layers else []), "--scratch", str(folder)]
        sender = await Child.start(log, SENDERS[name], doorway.url, token(room, name), *options)
        closing.push_async_callback(sender.end)
        came = await asyncio.gather(sender.ready(), watcher.ready())
        if not all(came):
            raise WatchError(f"{name}: {'nothing is seen' if came[0] else 'nothing is published'}: {sender.words()}")
        early.cancel()
        spent, begin = sender.cpu_s(), path.begin()
        after: list[tuple[float, dict[int, dict[str, int]]]] = []
        late = asyncio.create_task(sample(path, after))
        closing.callback(late.cancel)
        await asyncio.sleep(row.seconds)
        late.cancel()
        end = time.monotonic()
        cpu = 100 * (sender.cpu_s() - spent) / (end - begin)
        told = path.report()
        said, seen = await sender.end(), await watcher.end()
        try:
            targets, pictures = json.loads(said), json.loads(seen)["pictures"]
        except ValueError:
            raise WatchError(f"{name} left no report: {sender.words()}") from None
        (times, *_) = pictures.values() or [[]]
        return Sent(name, begin, end, before, after, [(at, bps) for at, bps in targets], times, cpu, told["own_delay_ms"]["p99"])


def table(row: Row, found: dict[str, dict[str, float | None]], rtt_ms: float) -> str:
    """A line a figure, a column a sender."""
    names = list(found)
    both = "ours" in found and "sdk" in found
    lines = [f"| {row.words}, {rtt_ms:.0f} ms round trip | {' | '.join(names)} |" + (" ours / sdk |" if both else "")]
    lines.append("| --- |" + " ---: |" * (len(names) + both))
    for figure in dict.fromkeys(f for values in found.values() for f in values):
        cells = [_cell(found[name].get(figure)) for name in names]
        if both:
            ours, theirs = found["ours"].get(figure), found["sdk"].get(figure)
            cells.append(f"{ours / theirs:.2f}" if ours is not None and theirs else "")
        lines.append(f"| {figure} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2f}"


async def run(told: argparse.Namespace, chosen: Sequence[Row], keep: Path | None) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(scene_file, folder, *(int(part) for part in PICTURE.split("x")))
        async with sfu(told.sfu) as server:
            for row in chosen:
                found: dict[str, dict[str, float | None]] = {}
                for name in told.senders.split(","):
                    try:
                        sent = await measure(server, name, row, told.rtt, folder, told.layers)
                    except WatchError as error:
                        print(f"{row.words}: {name} not measured: {error}", flush=True)
                        records.append({"row": row.words, "sender": name, "failed": str(error)})
                        continue
                    found[name] = row.figures(sent)
                    records.append({"row": row.words, "sender": name, "figures": found[name], "rates": sent.rates(), "targets": sent.targets})
                if found:
                    print(table(row, found, told.rtt), flush=True)
    return records


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.network --sending", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", default="free,loss,narrow,cut", help="several by commas")
    parser.add_argument("--senders", default="ours,sdk")
    parser.add_argument("--sfu", choices=["livekit", "relay"], default="livekit")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--loss", default="2,5,10", help="per cent; several by commas")
    parser.add_argument("--rtt", type=float, default=50, help="ms")
    parser.add_argument("--layers", action="store_true", help="the SDK sends simulcast too")
    parser.add_argument("--nice", type=int, default=0, help="-10 keeps a busy machine out of the figures; needs the right to it")
    parser.add_argument("--json", type=Path, help="keep the records in this file")
    parser.add_argument("--keep", type=Path, help="leave logs in this folder")
    told = parser.parse_args(arguments)
    sys.setswitchinterval(0.0002)
    if told.nice:
        precedence.take(told.nice)
    os.environ["PATH"] = f"{ROOT / '.cache' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    if unknown := set(told.senders.split(",")) - {*SENDERS}:
        parser.error(f"unknown: {', '.join(unknown)}")
    if told.sfu == "livekit" and shutil.which("livekit-server") is None:
        sys.exit("livekit-server is missing: ./script/install-test-peers")
    try:
        chosen = rows(told.row.split(","), told.seconds, [float(p) / 100 for p in told.loss.split(",")])
    except KeyError as error:
        parser.error(f"unknown: {error.args[0]}")
    records = asyncio.run(run(told, chosen, told.keep))
    if told.json:
        told.json.write_text(json.dumps(records, ensure_ascii=False, indent=1))
    if any("failed" in record for record in records):
        sys.exit(1)

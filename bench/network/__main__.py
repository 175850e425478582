"""Ours, the official SDK and Chromium through the same bad networks, side by side.

    python -m bench.network --row speech --receivers ours,sdk,chromium --sfu livekit --seconds 30 --loss 0,5,15 --rtt 0,50

Rows: speech (PESQ-WB by loss, with and without RED), pictures (freezes, latency and repairs at 720p), narrow (a line
that shrinks under simulcast), stall (half a second of
nothing, then all at once), nine and wall (CPU of 9 × 360p and 25 × 180p with voices), way (what the laboratory itself costs).
With `--sending` it is senders that are compared (`bench.network.sending`, which has options of its own).
Prints Markdown; `--json FILE` keeps the records. Needs livekit-server and Chromium for what names them (script/install-test-peers).
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.network import precedence, self_test, sending
from bench.network.receiver_chromium import program
from bench.network.rows import ROWS, Record, Told
from bench.network.watch import RECEIVERS, ROOT, SEED, sfu


def table(record: Record) -> str:
    """One condition: a line a figure, a column a receiver, ours over the first other one."""
    if record.failed:
        return f"{record.condition}: not measured: {record.failed}\n"
    receivers = list(dict.fromkeys(r for values in record.figures.values() for r in values))
    other = next((r for r in receivers if r != "ours"), None)
    ratio = "ours" in receivers and other is not None
    lines = [f"| {record.condition} | {' | '.join(receivers)} |" + (f" ours / {other} |" if ratio else "")]
    lines.append("| --- |" + " ---: |" * (len(receivers) + ratio))
    for name, values in record.figures.items():
        cells = [_cell(values.get(receiver)) for receiver in receivers]
        if ratio and other is not None:
            ours, theirs = values.get("ours"), values.get(other)
            cells.append(f"{ours / theirs:.2f}" if ours is not None and theirs else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


async def run(rows: list[str], told: Told, kind: str, keep: Path | None) -> list[Record]:
    records: list[Record] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        async with sfu(kind) as server:
            for row in rows:
                async for record in ROWS[row](server, told, folder):
                    records.append(record)
                    print(table(record), flush=True)
    return records


def main() -> None:
    if "--sending" in sys.argv:
        sending.main([word for word in sys.argv[1:] if word != "--sending"])
        return
    parser = argparse.ArgumentParser(prog="python -m bench.network", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", default="speech,pictures,stall,nine,wall", help=f"of {', '.join((*ROWS, 'way'))}; several by commas")
    parser.add_argument("--receivers", default="ours,sdk,chromium")
    parser.add_argument("--sfu", choices=["livekit", "relay"], default="livekit")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--loss", default="0,2,5,10,15", help="per cent; several by commas")
    parser.add_argument("--burst", default="1", help="mean length of a run of losses")
    parser.add_argument("--jitter", default="0", help="ms")
    parser.add_argument("--rtt", default="50", help="ms")
    parser.add_argument("--red", default="off,on")
    parser.add_argument("--alone", action="store_true", help="one receiver after the other")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--nice", type=int, default=0, help="-10 keeps a busy machine out of the figures; needs the right to it")
    parser.add_argument("--json", type=Path, help="keep the records in this file")
    parser.add_argument("--keep", type=Path, help="leave recordings and logs in this folder")
    given = parser.parse_args()
    sys.setswitchinterval(0.0002)       # the ways are threads of this process, and a packet waits for nobody's turn
    if given.nice:
        precedence.take(given.nice)
    os.environ["PATH"] = f"{ROOT / '.cache' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    rows, receivers = given.row.split(","), given.receivers.split(",")
    if unknown := [*(set(rows) - {*ROWS, "way"}), *(set(receivers) - {*RECEIVERS})]:
        parser.error(f"unknown: {', '.join(unknown)}")
    if "chromium" in receivers and program() is None:
        print("Chromium or livekit-client is missing: ./script/install-test-peers", file=sys.stderr)
        receivers.remove("chromium")
    if given.sfu == "livekit" and shutil.which("livekit-server") is None:
        sys.exit("livekit-server is missing: ./script/install-test-peers")
    told = Told(
        receivers=receivers, seconds=given.seconds, losses=[p / 100 for p in numbers(given.loss)], rtts_ms=numbers(given.rtt),
        reds=[word == "on" for word in given.red.split(",")], bursts=numbers(given.burst),
        jitters_ms=numbers(given.jitter), alone=given.alone, seed=given.seed,
    )  # fmt: skip
    if "way" in rows:
        rows.remove("way")
        print(self_test.table(self_test.run()), flush=True)
    records = asyncio.run(run(rows, told, given.sfu, given.keep)) if rows else []
    if given.json:
        given.json.write_text(json.dumps([dataclasses.asdict(record) for record in records], ensure_ascii=False, indent=1))
    if any(record.failed for record in records):
        sys.exit(1)


if __name__ == "__main__":
    main()

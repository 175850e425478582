"""Spoilt inputs for every parser that reads what strangers send: `python bench/fuzz.py --inputs 1000000`.

The inputs are shared out evenly; the same seed makes the same ones. Prints, for each parser, how many were read and what the
slowest cost; exits 1 where one raised out of its module or took longer than it may, with the input to keep as a test.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzz.campaign import attack
from fuzz.parsers import PARSERS


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    words.add_argument("--inputs", type=int, default=100_000, help="of all parsers together")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", default="", help="parsers whose name contains this")
    asked = words.parse_args()
    chosen = [p for p in PARSERS if asked.only in p.name]
    if not chosen or asked.inputs < len(chosen):
        words.error("no such parser, or fewer inputs than parsers")
    ill = 0
    print(f"{'parser':28}{'inputs':>10}{'read':>8}{'mean µs':>10}{'worst µs':>10}{'may take':>10}")
    for parser in chosen:
        found = attack(parser, asked.inputs // len(chosen), asked.seed)
        mean = found.total_s / max(1, found.inputs)
        print(
            f"{found.name:28}{found.inputs:10}{found.read / found.inputs:8.0%}{mean * 1e6:10.1f}{found.worst_s * 1e6:10.0f}{parser.longest_s * 1e6:10.0f}",
            flush=True,
        )
        for data, trace in found.raised:
            print(f"  raised on {data!r}\n{trace}", flush=True)
        for data, took in found.slow:
            print(f"  took {took * 1e6:.0f} µs: {data!r}", flush=True)
        ill += not found.is_well
    return 1 if ill else 0


if __name__ == "__main__":
    sys.exit(main())

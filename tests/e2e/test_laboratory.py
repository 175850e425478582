"""`python -m bench.network` from end to end: two receivers behind ways of their own, the same losses, figures of both."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


async def laboratory(tmp_path: Path, *arguments: str) -> list[dict[str, Any]]:
    kept = tmp_path / "records.json"
    command = [sys.executable, "-m", "bench.network", "--sfu", "relay", "--receivers", "ours,sdk", "--json", str(kept), *arguments]
    command += ["--nice", "-20"] if sys.platform == "linux" and os.geteuid() == 0 else []
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env={**os.environ}, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    found: list[dict[str, Any]] = json.loads(kept.read_text())
    return found


@pytest.mark.soak
async def test_pictures_and_a_voice_with_losses_that_are_the_same_for_both(tmp_path: Path) -> None:
    (record,) = await laboratory(tmp_path, "--row", "pictures", "--seconds", "6", "--loss", "5", "--rtt", "20")
    figures = record["figures"]
    lost = figures["lost packets"]
    assert lost["ours"] > 10
    assert abs(lost["ours"] - lost["sdk"]) <= 2
    assert all(value >= 0.9 for value in figures["repairs per loss"].values())
    assert all(value > 10 for value in figures["pictures a second"].values())
    assert all(20 < value < 2000 for value in figures["latency p50, ms"].values())


@pytest.mark.soak
async def test_a_voice_is_scored_for_both(tmp_path: Path) -> None:
    (record,) = await laboratory(tmp_path, "--row", "speech", "--seconds", "14", "--loss", "0", "--rtt", "0", "--red", "on")
    figures = record["figures"]
    assert all(value >= 2 for value in figures["sentences"].values())
    assert all(value > 2.5 for value in figures["PESQ-WB median"].values())
    assert all(value == 0 for value in figures["lost on the way %"].values())

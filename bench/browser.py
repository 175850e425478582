"""A browser in the same meeting: our window beside headless Chromium with livekit-client, each seeing and hearing the same nine people.

    python bench/browser.py [--rounds 3] [--seconds 15] [--people 9] [--nice N]

One `vidconf serve` with its relay, and nine participants that send 360p30 VP8 and speech, encoded beforehand. The window joins by
the meeting's link, the browser with a token, in turns, because two cores do not bear both at once; each paints every picture, in
tiles of the same size (the page takes the window's), without a GPU: Qt's offscreen platform with the raster stage, Chromium's own
software drawing. CPU is of one core; memory is RSS of all its processes (what they share counts each time) and PSS (shared pages
divided). Pictures a second are of the slowest tile. Prints a table. Needs what `script/install-test-peers` installs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "src")]

import psutil  # noqa: E402
from e2e.control_client import Api  # noqa: E402
from e2e.serverproc import ServeProcess  # noqa: E402

from bench.network import precedence  # noqa: E402
from bench.network.receiver_chromium import FLAGS, ORIGIN, program, script  # noqa: E402

ENVIRONMENT = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
WIDTH, HEIGHT = 1280, 800
PATIENCE_S = 60.0
SETTLE_S = 3.0
"""From every tile's first picture to the first second that counts."""

WINDOW = f"""
import asyncio, json, sys
from vidconf.client.credentials import Credentials
from vidconf.client.settings import Settings
from vidconf.engine.host import EngineHost
from vidconf.gui import app as composition
from vidconf.gui.stage.stage import Stage
link, server, people = sys.argv[1], sys.argv[2], int(sys.argv[3])
application = composition.make_application()
loop = composition.make_loop(application)
told = {{"name": "Cửa sổ", "server": server, "close_to_tray": False, "start_muted": True, "camera_off_on_join": True,
        "speaker": "none", "stage_renderer": "raster"}}
async def live():
    shell = composition.Shell(application, Settings(command_line=told), EngineHost(speaker="none"), Credentials(None), tray=False)
    shell.window.resize({WIDTH}, {HEIGHT})
    await shell.start(link)
    store = shell.client.store
    while not (store.state.phase == "prejoin" and store.state.link_meeting is not None):
        await asyncio.sleep(0.05)
    shell.do.join()
    def painted():
        stage = shell.window.findChild(Stage)
        tiles = [] if stage is None else stage.painted()
        return sorted((tile for tile in tiles if tile["source"] == "camera"), key=lambda tile: tile["participant"])
    while sum(tile["painted"] > 5 for tile in painted()) < people:
        await asyncio.sleep(0.1)
    print(json.dumps({{"width": painted()[0]["width"], "height": painted()[0]["height"]}}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps([tile["painted"] for tile in painted()]), flush=True)
    await shell.close()
loop.run_until_complete(live())
loop.close()
"""

PAGE = """<!doctype html><meta charset="utf-8"><style>body { margin: 0; background: #111; display: grid; gap: 8px;
grid-template-columns: repeat(3, max-content); } video { width: WIDTHpx; height: HEIGHTpx; object-fit: cover; }</style>
<script src="/livekit-client.umd.js"></script><script>
const painted = [];
async function join(url, token) {
  const room = new LivekitClient.Room({ adaptiveStream: true, singlePeerConnection: false });
  room.on(LivekitClient.RoomEvent.TrackSubscribed, (track) => {
    const element = track.attach();
    document.body.appendChild(element);
    if (track.kind !== "video") return;
    const place = painted.push(0) - 1;
    const next = () => { painted[place] += 1; element.requestVideoFrameCallback(next); };
    element.requestVideoFrameCallback(next);
  });
  await room.connect(url, token);
}
</script>"""


@dataclass(frozen=True, slots=True)
class Figures:
    cpu_percent: float
    rss_mb: float
    pss_mb: float
    fps: float


class Processes:
    """CPU and memory of some processes together."""

    def __init__(self, found: list[psutil.Process]) -> None:
        self.all = found

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.all if process.is_running())

    def memory_mb(self) -> tuple[float, float]:
        full = [process.memory_full_info() for process in self.all if process.is_running()]
        return sum(one.rss for one in full) / 1e6, sum(one.pss for one in full) / 1e6


async def measured(processes: Processes, painted: Any, seconds: float) -> Figures:
    """`painted()` answers how many pictures each tile has shown."""
    await asyncio.sleep(SETTLE_S)
    before, began, cpu = await painted(), time.monotonic(), processes.cpu_s()
    await asyncio.sleep(seconds)
    after, took, spent = await painted(), time.monotonic() - began, processes.cpu_s() - cpu
    return Figures(100 * spent / took, *processes.memory_mb(), min(b - a for a, b in zip(before, after, strict=True)) / took)


async def window(link: str, server: str, people: int, seconds: float) -> tuple[Figures, dict[str, int]]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WINDOW, link, server, str(people), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None

    async def painted() -> list[int]:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"\n")
        counts: list[int] = json.loads(await child.stdout.readline())
        return counts

    try:
        async with asyncio.timeout(PATIENCE_S):
            size: dict[str, int] = json.loads(await child.stdout.readline())
        own = psutil.Process(child.pid)
        return await measured(Processes([own, *own.children(recursive=True)]), painted, seconds), size
    finally:
        child.stdin.close()
        try:
            async with asyncio.timeout(10):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


async def browser(url: str, token: str, people: int, size: dict[str, int], seconds: float) -> Figures:
    from playwright.async_api import async_playwright

    html = PAGE.replace("WIDTHpx", f"{size['width']}px").replace("HEIGHTpx", f"{size['height']}px")
    client = script()
    assert client is not None

    async def serve(route: Any) -> None:
        is_script = route.request.url.endswith(".js")
        await route.fulfill(body=client.read_text() if is_script else html, content_type="text/javascript" if is_script else "text/html")

    async with async_playwright() as playwright:
        before = set(psutil.Process().children(recursive=True))
        started = await playwright.chromium.launch(executable_path=program(), args=list(FLAGS))
        try:
            page = await started.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            await page.route(f"{ORIGIN}/**", serve)
            await page.goto(f"{ORIGIN}/")
            await page.evaluate("([url, token]) => join(url, token)", [url, token])

            async def painted() -> list[int]:
                counts: list[int] = await page.evaluate("painted")
                return counts

            await page.wait_for_function("n => painted.filter((count) => count > 5).length >= n", arg=people, timeout=1000 * PATIENCE_S)
            precedence.pass_on()
            processes = Processes([one for one in psutil.Process().children(recursive=True) if one not in before])
            return await measured(processes, painted, seconds)
        finally:
            await started.close()


async def run(rounds: int, seconds: float, people: int) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {"window": [], "browser": []}
    async with AsyncExitStack() as stack:
        server = stack.enter_context(ServeProcess(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        admin: Api = await stack.enter_async_context(server.admin())
        made = (await admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body
        chair = admin.with_bearer(made["chair_token"])

        async def token(identity: str) -> dict[str, Any]:
            granted: dict[str, Any] = (await chair.post(f"/api/v1/meetings/{made['id']}/external", {"identity": identity, "ttl": 3600})).body
            return granted

        sent = [await token(f"nguoi-{n}") for n in range(people)]
        load = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.network.load", sent[0]["url"], "--tokens", *(one["token"] for one in sent),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT, cwd=ROOT,
        )  # fmt: skip
        assert load.stdin is not None
        assert load.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                await load.stdout.readline()
            await asyncio.sleep(6)  # the server has seen at the SFU who sends what
            looks_on = await token("trinh-duyet")
            for n in range(rounds):
                ours, size = await window(made["link"], server.url, people, seconds)
                found["window"].append(ours)
                found["browser"].append(await browser(looks_on["url"], looks_on["token"], people, size, seconds))
                print(f"round {n + 1}: {ours}, {found['browser'][-1]}, tiles of {size}", file=sys.stderr)
        finally:
            load.stdin.close()
            await load.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Our window beside a browser in the same meeting.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--people", type=int, default=9)
    parser.add_argument("--nice", type=int, default=0, help="Below 0: before what else runs on the machine (root).")
    told = parser.parse_args()
    if told.nice:
        precedence.take(told.nice)
    if program() is None:
        raise SystemExit("Chromium or livekit-client is missing: ./script/install-test-peers")
    found = asyncio.run(run(told.rounds, told.seconds, told.people))
    middle = {who: [statistics.median(getattr(one, name) for one in all_) for name in Figures.__slots__] for who, all_ in found.items()}
    print("| client | CPU, % of a core | RSS, MB | PSS, MB | pictures/s of the slowest tile |\n| --- | --- | --- | --- | --- |")
    for who, name in (("window", "vidconf, window and engine"), ("browser", "Chromium with livekit-client, all its processes")):
        cpu, rss, pss, fps = middle[who]
        print(f"| {name} | {cpu:.0f} | {rss:.0f} | {pss:.0f} | {fps:.1f} |")
    ratios = [ours / theirs for ours, theirs in zip(middle["window"][:3], middle["browser"][:3], strict=True)]
    print(f"\nOurs beside theirs: CPU × {ratios[0]:.2f}, RSS × {ratios[1]:.2f}, PSS × {ratios[2]:.2f}.")


if __name__ == "__main__":
    main()

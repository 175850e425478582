"""The demo's simulated participants: who they are, what they do and when; and the process that plays them all.

`cast(n)` is pure. Hidden command `vidconf cast`: reads what to play as JSON on stdin, plays until SIGTERM, prints the reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import signal
import sys
from dataclasses import dataclass
from typing import Any

import click

from vidconf.cli.parent import end_with


@dataclass(frozen=True, slots=True)
class Part:
    """One simulated participant. `film`: of `resources/demo`, with its voice. `script`: see `BotOptions.script`."""

    film: str
    name: str
    kind: str
    position: str
    unit: str
    script: tuple[dict[str, Any], ...] = ()
    knocks_late: bool = False
    """Knocks while the meeting runs, and waits for somebody to admit it by hand."""


CHAIR = Part("chair", "Lê Minh Khôi", "person", "Thứ trưởng", "Bộ Nông nghiệp và Môi trường")
PAGE = "page.png"

HAND_AT_S, CHAT_AT_S, SHARE_AT_S, SHARE_END_S = 5.0, 6.0, 9.0, 12.5
"""From a participant's own admission."""

_PARTS = (
    Part(
        "hue", "Trần Thị Hương", "person", "Phó Giám đốc", "Sở Nông nghiệp và Môi trường thành phố Huế",
        script=(
            {"at": CHAT_AT_S, "do": "chat", "text": "Huế đã gửi báo cáo bảng giá đất, kính mời các đơn vị xem."},
            {"at": SHARE_AT_S, "local": "open", "source": "screen_share", "device": "@page"},
            {"at": SHARE_END_S, "local": "close", "source": "screen_share"},
        ),
    ),
    Part(
        "quang-ninh", "Điểm cầu Quảng Ninh", "site", "", "Sở Nông nghiệp và Môi trường tỉnh Quảng Ninh",
        script=({"at": HAND_AT_S, "do": "raise_hand"},),
    ),
    Part("can-tho", "Điểm cầu Cần Thơ", "site", "", "Sở Nông nghiệp và Môi trường thành phố Cần Thơ",
         script=({"at": CHAT_AT_S + 1.5, "do": "chat", "text": "Cần Thơ nghe rõ, hình tốt."},)),
    Part("quan-ly-dat-dai", "Phạm Quốc Hưng", "person", "Cục trưởng", "Cục Quản lý đất đai",
         script=({"at": HAND_AT_S + 1.0, "do": "raise_hand"},)),
    Part("dak-lak", "H’Linh Niê", "person", "Phó Giám đốc", "Sở Nông nghiệp và Môi trường tỉnh Đắk Lắk"),
    Part("ca-mau", "Điểm cầu Cà Mau", "site", "", "Sở Nông nghiệp và Môi trường tỉnh Cà Mau"),
    Part("dia-chat", "Vũ Đình Toàn", "person", "Phó Cục trưởng", "Cục Địa chất và Khoáng sản Việt Nam"),
)  # fmt: skip


def cast(count: int) -> list[Part]:
    """`count` participants; the last one knocks late. Beyond the drawn ones, the same faces come again under other numbers."""
    parts = []
    for number in range(count):
        part = _PARTS[number % len(_PARTS)]
        again = number // len(_PARTS)
        if again:
            part = dataclasses.replace(part, name=f"{part.name} {again + 1}", script=())
        parts.append(part)
    if parts:
        parts[-1] = dataclasses.replace(parts[-1], knocks_late=True, script=())
    return parts


@click.command("cast", hidden=True)
@click.option("--parent", type=int, required=True)
def command(parent: int) -> None:
    """Play simulated participants. Started by the demo: what to play comes on stdin."""
    if not end_with(parent):
        raise click.ClickException("the demo has ended")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s cast %(name)s: %(message)s")
    for noisy in ("aiortc", "aioice", "libav", "vidconf.frames"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        told = json.loads(sys.stdin.readline())
        link, parts = str(told["link"]), [Part(**{**part, "script": tuple(part["script"])}) for part in told["parts"]]
        late_s = float(told["late_s"])
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"this is not for calling by hand: {error}") from error
    reports = _run(link, parts, late_s)
    print(json.dumps({"bots": reports}, ensure_ascii=False), flush=True)


def _run(link: str, parts: list[Part], late_s: float) -> list[dict[str, Any]]:
    sys.setswitchinterval(0.0005)
    if sys.platform == "win32":
        return asyncio.run(_play(link, parts, late_s))
    import uvloop

    return uvloop.run(_play(link, parts, late_s))


async def _play(link: str, parts: list[Part], late_s: float) -> list[dict[str, Any]]:
    from vidconf.cli.bot_participant import Bot, BotOptions
    from vidconf.resources import resource

    def options(part: Part) -> BotOptions:
        film = str(resource("demo", f"{part.film}.mp4"))
        page = str(resource("demo", PAGE))
        script = tuple({**entry, "device": page} if entry.get("device") == "@page" else entry for entry in part.script)
        return BotOptions(
            link=link, name=part.name, kind=part.kind, unit=part.unit, position=part.position, camera=film, microphone=film,
            subscribe="speaker", script=script,
        )  # fmt: skip

    bots = [Bot(options(part)) for part in parts]
    over = asyncio.Event()

    def stop() -> None:
        over.set()
        for bot in bots:
            bot.stop("done")

    async def play(bot: Bot, part: Part) -> dict[str, Any]:
        if part.knocks_late:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(late_s):
                    await over.wait()
        return await bot.run()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop)
    gc.collect()
    gc.freeze()
    reports = await asyncio.gather(*(play(bot, part) for bot, part in zip(bots, parts, strict=True)))
    for report in reports:  # one process plays them all: each is charged its share
        report["cpu_percent"] = round(report["cpu_percent"] / len(bots), 1)
        report["rss_mb"] = round(report["rss_mb"] / len(bots), 1)
    return list(reports)

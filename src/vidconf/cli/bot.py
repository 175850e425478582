"""`vidconf bot`: headless participants, for tests, load and the demo. Reports to stdout, logs to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidconf import __version__
from vidconf.cli.link_argument import conceal, given_link
from vidconf.cli.network_arguments import network_arguments
from vidconf.engine.codec_choice import CAMERA_CODECS

if TYPE_CHECKING:
    from vidconf.cli.bot_participant import BotOptions
    from vidconf.network.options import NetworkOptions

FACES = ("hue", "can-tho", "dak-lak", "quang-ninh", "ca-mau", "dia-chat", "quan-ly-dat-dai")
VOICES = ("hue", "can-tho", "dak-lak", "quang-ninh", "quan-ly-dat-dai")

KEPT_OUT = {
    "guest_join_closed": "policy lets nobody join as a guest from this computer, and a bot is one (GuestJoin)",
    "link_not_allowed": "policy does not let this computer use the link's server (AllowedServers, ServerURLLocked)",
}


@click.command("bot")
@click.argument("link", required=False, default="")
@click.option("--name", default="Bot", show_default=True, help="Name in the meeting; numbered when there are several.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 100), help="How many participants, in one process.")
@click.option("--seconds", type=click.FloatRange(min=0), default=None, help="Leave so long after admission. Default: on SIGTERM.")
@click.option("--camera", default=None, metavar="SRC", help="A device's name, a file, lavfi:…, or none. Default: a drawn speaker.")
@click.option("--microphone", default=None, metavar="SRC", help="As --camera. Default: speech.")
@click.option("--speaker", default="none", metavar="DEVICE", help="A loudspeaker that plays what the bot hears, or default. Default: none.")
@click.option("--muted", is_flag=True, help="Begin with the microphone muted.")
@click.option("--screen", default="none", metavar="SRC", help="What to share: a page image, a file, screen:0, window:ID, lavfi:…, or none.")
@click.option("--record-audio", default="", metavar="WAV", help="Write exactly what the loudspeaker would play.")
@click.option("--record-video", default="", metavar="MP4", help="Write the first picture received.")
@click.option("--codec", type=click.Choice(CAMERA_CODECS), default=None, help="What the camera is sent by, where the server takes it. Default: VP8.")
@click.option("--stamp", is_flag=True, help="Paint a time code into what is sent, for latency_ms at the far end.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON document.")
@click.option("--livekit-url", default="", metavar="WSS", help="Straight to a LiveKit server instead of a meeting.")
@click.option("--token", default="", metavar="T", help="Its token; also by VIDCONF_TOKEN.", envvar="VIDCONF_TOKEN")
@click.option("--subscribe", type=click.Choice(["all", "none", "speaker"]), default="all", hidden=True)
@click.option("--kind", type=click.Choice(["person", "site"]), default="person", hidden=True)
@click.option("--unit", default="", hidden=True)
@click.option("--position", default="", hidden=True)
@click.option("--script", default="", type=click.Path(dir_okay=False), hidden=True)
@network_arguments
def command(
    link: str, name: str, count: int, seconds: float | None, camera: str | None, microphone: str | None, speaker: str, muted: bool, screen: str,
    record_audio: str, record_video: str, codec: str | None, stamp: bool, as_json: bool, livekit_url: str, token: str, subscribe: str, kind: str,
    unit: str, position: str, script: str, network: NetworkOptions,
) -> None:  # fmt: skip
    """Join a meeting by its LINK (`-`: the first line of stdin) as one or more headless participants; at the end report what was
    seen and heard.

    SIGTERM ends early and still prints the report. Denied, removed or 300 s in the lobby: exit 1, and where policy keeps it out.
    """
    link = given_link(link)
    conceal(token)
    if bool(link) == bool(livekit_url):
        raise click.UsageError("give either LINK or --livekit-url")
    if livekit_url and not token:
        raise click.UsageError("--livekit-url needs --token")
    if livekit_url and count > 1:
        raise click.UsageError("one token is one participant: --count needs a LINK")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("aiortc", "aioice", "libav", "vidconf.frames"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from vidconf.cli.bot_meeting import MeetingError, parse_link
    from vidconf.cli.bot_participant import BotOptions, read_script
    from vidconf.client.closed import closed_by_policy
    from vidconf.client.settings import machine_policies
    from vidconf.client.updates.watch import too_old_by_policy
    from vidconf.engine.signalling import SignalError, websocket_url

    try:
        origin = ""
        if link:
            origin, _, _ = parse_link(link)
        else:
            websocket_url(livekit_url, auto_subscribe=True, adaptive_stream=False)
        entries = read_script(script) if script else ()
    except (MeetingError, SignalError, ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    if link and (needed := too_old_by_policy()):
        raise click.ClickException(f"this is version {__version__}: to join, policy wants {needed} or later")
    if link and (closed := closed_by_policy(origin, machine_policies().read())):
        raise click.ClickException(KEPT_OUT.get(closed, f"policy names the servers that may be used, and the link's is odd ({closed})"))
    base = BotOptions(
        link=link, livekit_url=livekit_url, token=token, name=name, kind=kind, unit=unit, position=position, seconds=seconds,
        screen=screen, speaker=speaker, muted=muted, codec=codec or "", stamp=stamp, subscribe=subscribe, script=entries, network=network,
    )
    options = [
        dataclasses.replace(
            base,
            name=name if count == 1 else f"{name} {k + 1}",
            camera=camera or _face(k),
            microphone=microphone or _voice(k),
            record_audio=_numbered(record_audio, k, count),
            record_video=_numbered(record_video, k, count),
        )
        for k in range(count)
    ]
    reports, failed = _run(options)
    if as_json:
        print(json.dumps(reports[0] if count == 1 else {"bots": reports}, ensure_ascii=False))
    else:
        for report in reports:
            _tell(report)
    sys.stdout.flush()
    sys.exit(1 if failed else 0)


def _run(options: list[BotOptions]) -> tuple[list[dict[str, Any]], bool]:
    from vidconf.cli.bot_participant import Bot

    async def main() -> tuple[list[dict[str, Any]], bool]:
        bots = [Bot(o) for o in options]
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for bot in bots:
                bot.stop("done")

        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError):      # Windows: Ctrl-C interrupts, and there is no SIGTERM
                loop.add_signal_handler(number, stop)
        gc.collect()
        gc.freeze()
        reports = await asyncio.gather(*(bot.run() for bot in bots))
        for report in reports:
            # one process carries them all: each is charged its share
            report["cpu_percent"] = round(report["cpu_percent"] / len(bots), 1)
            report["rss_mb"] = round(report["rss_mb"] / len(bots), 1)
        return reports, any(bot.failed for bot in bots)

    sys.setswitchinterval(0.0005)
    if sys.platform == "win32":
        # as the engine: the proactor stops reading after an ICMP unreachable
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(main())
    import uvloop

    return uvloop.run(main())


def _face(number: int) -> str:
    return _resource(f"demo/{FACES[number % len(FACES)]}.mp4") or "lavfi:testsrc2=size=640x360:rate=30"


def _voice(number: int) -> str:
    return _resource(f"speech/{VOICES[number % len(VOICES)]}.flac") or f"lavfi:sine=frequency={300 + 40 * (number % 20)}:sample_rate=48000"


def _resource(name: str) -> str:
    from vidconf.resources import resource

    try:
        path = Path(str(resource(*name.split("/"))))
    except (FileNotFoundError, ValueError):
        return ""
    return str(path) if path.is_file() else ""


def _numbered(path: str, number: int, count: int) -> str:
    if not path or count == 1:
        return path
    place = Path(path)
    return str(place.with_name(f"{place.stem}-{number + 1}{place.suffix}"))


def _tell(report: dict[str, Any]) -> None:
    print(f"{report['name']}: ended {report['ended']}, joined after {report['joined_s']} s, first picture {report['first_video_s']} s, "
          f"first sound {report['first_audio_s']} s, {report['reconnects']} reconnects, {report['cpu_percent']} % of a core, "
          f"{report['rss_mb']} MB")
    for track in report["tracks"]:
        print(f"  {track['participant']} {track['source']}: {track['packets']} packets, {track['lost']} lost, "
              f"{track['frames']} frames at {track['fps']}/s, {track['freezes']} freezes, {track['bitrate_bps'] // 1000} kb/s"
              + (f", {track['latency_ms']['p50']} ms" if "latency_ms" in track else ""))

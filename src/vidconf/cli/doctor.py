"""`vidconf doctor [LINK]`: what a help desk asks, in the order it asks it, each line with what to do next.

This process only collects: whatever may crash or hang runs in children (`parts.py`), which `patience` ends. Nothing is joined
and nothing is sent to the server that opens a door; the report carries neither the meeting's code nor its title.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console

from vidconf import __version__, words
from vidconf.cli import doctor_updates as updates
from vidconf.cli.doctor_options import network_options
from vidconf.cli.findings import Finding, prepare_stdout, print_findings, print_json, print_summary, worst
from vidconf.cli.link_argument import given_link
from vidconf.cli.parts import Part
from vidconf.cli.selftest import SelfTest, program, system_name
from vidconf.client.links import LinkError, parse_link
from vidconf.client.network_options import network_of
from vidconf.client.settings import Settings

SECTIONS = (
    ("doctor.section.machine", ("selftest.", "doctor.selftest", "doctor.cpu", "doctor.memory", "doctor.graphics", "doctor.policies")),
    ("doctor.section.updates", ("doctor.updates",)),
    ("doctor.section.devices", ("doctor.camera", "doctor.microphone", "doctor.speaker", "doctor.sound")),
    ("doctor.section.server", ("doctor.network", "doctor.server")),
    ("doctor.section.media", ("doctor.media",)),
)
SERVER_ORDER = ("address", "proxy", "name", "connect", "tls", "http", "ready", "clock", "control", "meeting")
MEDIA_ORDER = ("where", "signalling", "udp", "turn")
ORDER = (
    "doctor.selftest", "doctor.cpu", "doctor.memory", "doctor.graphics", "doctor.policies", "doctor.updates", "doctor.camera", "doctor.microphone",
    "doctor.speaker", "doctor.sound", "doctor.network", *(f"doctor.server.{name}" for name in SERVER_ORDER), "doctor.server",
    *(f"doctor.media.{name}" for name in MEDIA_ORDER),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: `whole` for everything, of it `machine` at most for the look at this machine, which comes first."""

    whole: float
    machine: float


def patience(platform: str = sys.platform) -> Patience:
    """Twenty seconds at most, the program's own start and end among them; on Windows forty-five: a process takes longer to start there,
    with a virus scanner that reads each library for the first time much longer, and nine start at once."""
    return Patience(42.5, 16.0) if platform == "win32" else Patience(17.5, 6.5)


@click.command("doctor")
@click.argument("link", default="", metavar="[LINK]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--part", default="", hidden=True)
def command(link: str, as_json: bool, part: str) -> None:
    """Look this PC over for a meeting: the program, camera, microphone, loudspeaker, and the way to the server of LINK (or of the
    settings) with its certificate, clock, round trip and loss. Takes up to 20 seconds (on Windows 45) and joins nothing. LINK may be
    `-`: read from stdin.

    Exit 1: something would keep a meeting from working. Exit 2: LINK is none.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if part:
        _run_part(part)
    link = given_link(link)
    prepare_stdout()
    began, at = time.monotonic(), time.time()
    settings = Settings.of_user(looking=True)
    words.set_language(settings.text("language"))
    origin, code, confirm = _target(link, settings)
    with Console(stderr=True).status(words.text("doctor.looking")):
        found = _look(settings, origin, code, confirm, began, patience())
    if as_json:
        print_json(
            {
                "vidconf": __version__, "system": system_name(), "at": round(at), "took_s": round(time.monotonic() - began, 1),
                "language": words.language(), "server": origin or None, "ok": worst(found) != "failure",
                "checks": [finding.as_json() for finding in found],
            }
        )  # fmt: skip
    else:
        print_findings((words.text(heading), lines) for heading, lines in sections(found) if lines)
        print_summary(found, "doctor.good")
    sys.exit(1 if worst(found) == "failure" else 0)


def _target(link: str, settings: Settings) -> tuple[str, str, bool]:
    """(origin, code, never used before) of the link, else of the server in the settings. Raises UsageError."""
    server = settings.text("server")
    if not link:
        return server, "", False
    try:
        parsed = parse_link(link, server=server, known=settings.items("known_servers"), allowed=settings.items("allowed_servers"))
    except LinkError as error:
        raise click.UsageError(f"{words.error(error.code)} {words.help_for(error.code)} ({error.code})") from None
    return parsed.origin, parsed.code, parsed.confirm


def _look(settings: Settings, origin: str, code: str, confirm: bool, began: float, limits: Patience) -> list[Finding]:
    deadline = began + limits.whole
    chosen = {name: settings.text(name) for name in ("camera", "microphone", "speaker")}
    # First, and alone: what follows keeps the processor busy itself.
    owes, told = ("doctor.cpu", "doctor.memory", "doctor.graphics"), {"stage_renderer": settings.text("stage_renderer")}
    machine = Part("doctor", "machine", owes, told=told).wait(began + limits.machine)
    options = network_of(settings)
    asked = {"origin": origin, "code": code, "confirm": confirm, "network": asdict(options)}
    network = Part("doctor", "network", ("doctor.server",), told=asked) if origin else None
    devices = Part("doctor", "devices", ("doctor.camera", "doctor.microphone", "doctor.speaker"), told=chosen)
    versions, ask = updates.settled(settings)
    site = Part("doctor", "updates", ("doctor.updates",), told={"url": settings.text("update_url").strip()}) if ask else None
    selftest = SelfTest()
    found = [*machine, *_short(selftest.wait(deadline)), *_policies(settings), *network_options(settings, options), *versions, *devices.wait(deadline)]
    found += updates.softened(site.wait(deadline)) if site is not None else []
    if network is None:
        found.append(Finding("doctor.server", "warning", "none"))
    else:
        found += [finding for finding in network.wait(deadline) if (finding.code, finding.result) != ("doctor.server", "done")]
    order = {code: place for place, code in enumerate(ORDER)}
    return sorted(found, key=lambda finding: order.get(finding.code, 0.5 if finding.code.startswith("selftest.") else len(order)))


def _short(found: Sequence[Finding]) -> list[Finding]:
    """The self-test in one line, and whatever of it is not good."""
    good = sum(finding.status == "ok" for finding in found)
    detail: dict[str, Any] = {**program().detail, "good": good, "count": len(found)}
    bad = [finding for finding in found if finding.status != "ok"]
    return [Finding("doctor.selftest", "ok", "some" if bad else "all", detail), *bad]


def _policies(settings: Settings) -> list[Finding]:
    if not settings.problems:
        return []
    files = sorted({problem.origin for problem in settings.problems})
    return [Finding("doctor.policies", "warning", "ignored", {"count": len(settings.problems), "files": files})]


def sections(found: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """(heading's word, its lines), every finding once."""

    def place(finding: Finding) -> int:
        return next(number for number, (_, codes) in enumerate(SECTIONS) if finding.code.startswith(codes))

    return [(heading, [finding for finding in found if place(finding) == number]) for number, (heading, _) in enumerate(SECTIONS)]


def _run_part(part: str) -> None:
    from vidconf.cli.parts import child

    if part in ("machine", "devices"):
        from vidconf.cli import doctor_devices as devices

        child([devices.machine] if part == "machine" else [devices.camera, devices.sound], polite=True)
    elif part == "network":
        from vidconf.cli.doctor_network import network

        child([network])
    elif part == "updates":
        child([updates.updates])
    raise click.UsageError(f"there is no part called {part}")

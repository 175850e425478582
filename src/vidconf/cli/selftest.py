"""`vidconf selftest`: whether everything the program needs is here and works, really tried. The checks are `selftest_checks.py`.

They run in processes of their own (`parts.py`): a codec built for another CPU or Qt without its display is a line of the
report. Exit 1 when something the program needs fails; what it can do without (numpy, a keyring, the server's part) is a warning.
"""

from __future__ import annotations

import logging
import os
import sys
import time

import click

from vidconf import __version__, words
from vidconf.cli.findings import Finding, prepare_stdout, print_findings, print_json, print_summary, worst
from vidconf.cli.parts import Part

DEADLINE_S = 60.0
SECTIONS = (
    ("selftest.section.program", ("program", "packages", "numpy", "uvloop", "server", "sqlite", "resources", "licences")),
    ("selftest.section.media", ("opus", "vp8", "ring", "voice")),
    ("selftest.section.window", ("qt", "input_method")),
    ("selftest.section.security", ("tls", "keyring")),
)
ORDER = tuple(f"selftest.{name}" for _, names in SECTIONS for name in names)


@click.command("selftest")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--part", default="", hidden=True)
def command(as_json: bool, part: str) -> None:
    """Imports and versions, Qt on this display, codecs, shared memory, TLS, keyring: tried, not only looked for."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if part:
        _run_part(part)
    prepare_stdout()
    began = time.monotonic()
    try:
        _read_words()
    except (OSError, ValueError) as error:
        # without its words the program cannot say more; its codes it can
        checks = [{"code": "selftest.resources", "status": "failure", "result": "missing", "detail": {"missing": [str(error)]}}]
        if as_json:
            print_json({"vidconf": __version__, "ok": False, "checks": checks})
        raise click.ClickException(f"the program's words cannot be read ({error}): install it again") from None
    running = SelfTest()
    found = running.wait(began + DEADLINE_S)
    if as_json:
        print_json(
            {
                "vidconf": __version__, "ok": worst(found) != "failure", "language": words.language(),
                "took_s": round(time.monotonic() - began, 1), "checks": [finding.as_json() for finding in found],
            }
        )  # fmt: skip
    else:
        codes = {f"selftest.{name}": section for section, names in SECTIONS for name in names}
        sections = [(words.text(section), [f for f in found if codes.get(f.code) == section]) for section, _ in SECTIONS]
        print_findings(sections)
        print_summary(found, "selftest.good")
    sys.exit(1 if worst(found) == "failure" else 0)


class SelfTest:
    """All parts at once; the constructor starts them."""

    def __init__(self) -> None:
        no_display = (
            sys.platform == "linux" and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
        )  # fmt: skip
        window = ["selftest.qt", *(["selftest.input_method"] if sys.platform == "linux" else [])]
        self._parts = [
            Part("selftest", "packages", ("selftest.packages", "selftest.uvloop", "selftest.numpy", "selftest.server")),
            Part("selftest", "media", ("selftest.opus", "selftest.vp8", "selftest.ring", "selftest.voice")),
            Part(
                "selftest", "window", window, told={"no_display": no_display},
                environment={"QT_QPA_PLATFORM": "offscreen"} if no_display else None,
            ),
            Part("selftest", "system", ("selftest.sqlite", "selftest.resources", "selftest.tls", "selftest.keyring")),
        ]  # fmt: skip

    def wait(self, deadline: float) -> list[Finding]:
        found = [program(), *(finding for part in self._parts for finding in part.wait(deadline))]
        order = {code: place for place, code in enumerate(ORDER)}
        return sorted(found, key=lambda finding: order.get(finding.code, len(order)))


def program() -> Finding:
    """Which program on which Python on which system."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    detail = {"version": __version__, "python": version, "system": system_name()}
    return Finding("selftest.program", "ok" if fits else "failure", "fits" if fits else "python", detail)


def system_name() -> str:
    """Without `platform`'s own guesses: on Windows they may wait for a locked service."""
    if sys.platform == "win32":
        version = sys.getwindowsversion()
        return f"Windows {version.major}.{version.minor}.{version.build}"
    if sys.platform == "linux":
        import platform

        try:
            return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
        except OSError:
            return "Linux"
    return sys.platform


def _read_words() -> None:
    """The report's language is the user's. Raises OSError or ValueError without words."""
    from vidconf.client.settings import Settings

    for language in words.LANGUAGES:
        words.table(language)
    words.set_language(Settings.of_user(looking=True).text("language"))


def _run_part(part: str) -> None:
    from vidconf.cli import selftest_checks as checks
    from vidconf.cli.parts import child

    found = {
        "packages": [checks.packages],
        "media": [checks.media],
        "window": [checks.window],
        "system": [checks.sqlite, checks.resources, checks.components, checks.tls, checks.keyring],
    }.get(part)
    if found is None:
        raise click.UsageError(f"there is no part called {part}")
    child(found, polite=True)

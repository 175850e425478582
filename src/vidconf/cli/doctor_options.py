"""What administrators have said of the network, as the report shows it: what is in force, and what is left out. Any thread."""

from __future__ import annotations

from dataclasses import fields

from vidconf.cli.findings import Finding
from vidconf.client.network_options import network_problems
from vidconf.client.settings import Settings
from vidconf.client.settings_table import SETTINGS
from vidconf.network.options import DEFAULTS, NetworkOptions


def network_options(settings: Settings, options: NetworkOptions) -> list[Finding]:
    """`options`: those of `settings`. Nothing where all is as it comes."""
    said = {field.name: getattr(options, field.name) for field in fields(options)}
    other = [f"{SETTINGS[key].policy}={_shown(value)}" for key, value in said.items() if value != getattr(DEFAULTS, key)]
    problems = network_problems(settings)
    found = [Finding("doctor.network", "ok", "set", {"settings": other})] if other else []
    if problems:
        names = list(dict.fromkeys(problem.name for problem in problems))
        found.append(Finding("doctor.network", "warning", "ignored", {"count": len(problems), "names": names}))
    return found


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

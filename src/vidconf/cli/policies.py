"""`vidconf policies`: every setting with its value, where that comes from and whether policy holds it; and what was ignored, why.

Reads what the window would read, as this user, and changes nothing. Guests' badges let somebody in under a guest's name: of
those only the servers are shown.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidconf import __version__, words
from vidconf.cli.findings import cleaned, prepare_stdout, print_json
from vidconf.client.policies import texts as policy_texts
from vidconf.client.policies.reading import Problem
from vidconf.client.settings import Resolved, Settings
from vidconf.client.settings_table import BY_POLICY, SETTINGS, Setting

SECRET = ("badges",)
WIDEST = 160
_BY_NAME = {name.lower(): setting for name, setting in ({setting.key: setting for setting in BY_POLICY.values()} | BY_POLICY).items()}


@click.command("policies")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.argument("names", nargs=-1, metavar="[POLICY]...")
def command(as_json: bool, names: tuple[str, ...]) -> None:
    """Every setting with its value, its source (policy, command line, user, recommended, default) and its lock.

    What was ignored in a policy or in the user's own file is listed below, with what to do about it. With the names of POLICIES:
    what each of them does, what it may be set to, and what it is.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    prepare_stdout()
    asked = []
    for name in names:
        if name.lower() not in _BY_NAME:
            raise click.UsageError(f"there is no policy called {cleaned(name)}")
        asked.append(_BY_NAME[name.lower()])
    settings = Settings.of_user(looking=True)
    words.set_language(settings.text("language"))
    if as_json:
        print_json(document(settings, asked))
    elif asked:
        explain(settings, asked)
    else:
        tell(settings)


def document(settings: Settings, asked: list[Setting] | None = None) -> dict[str, Any]:
    """The report as JSON, of all settings or of those `asked` for. `source` and `code` are stable, `title`, `text` and `help` are for
    people; `value` of what is not for the eye has the keys only."""
    return {
        "vidconf": __version__,
        "policy_places": list(settings.policy_places),
        "policy_found": settings.policies.found,
        "settings": [_entry(settings.resolved(setting.key)) for setting in asked or SETTINGS.values()],
        "problems": [
            {"origin": problem.origin, "code": problem.code, "name": problem.name, "text": said(problem), "help": cure(problem)}
            for problem in problems(settings)
        ],
    }


def _entry(resolved: Resolved) -> dict[str, Any]:
    setting = resolved.setting
    language = words.language()
    meaning = (
        {"title": policy_texts.title(setting, language), "help": policy_texts.explanation(setting, language)} if setting.policy else {}
    )
    return {
        "name": setting.key, "policy": setting.policy or None, "kind": setting.kind, "value": _shown(resolved), "default": setting.default,
        "source": resolved.source, "origin": resolved.origin or None, "locked": resolved.locked, **meaning,
    }  # fmt: skip


def _shown(resolved: Resolved) -> Any:
    if resolved.setting.key in SECRET:
        return dict.fromkeys(resolved.value, "…")
    return list(resolved.value) if isinstance(resolved.value, tuple) else resolved.value


def problems(settings: Settings) -> tuple[Problem, ...]:
    """What was ignored in policies and in the user's file, and what of the network's and the updates' settings cannot be used as it is set."""
    from vidconf.client.network_options import network_problems  # a connection's parts, which no other line of this report needs
    from vidconf.client.updates.check import update_problems

    return (*settings.problems, *network_problems(settings), *update_problems(settings))


def said(problem: Problem) -> str:
    """What was ignored."""
    key = f"policies.problem.{problem.code}"
    values = {"file": cleaned(problem.origin), "name": cleaned(problem.name), "code": problem.code}
    return words.text(key if words.has(key) else "policies.problem.unknown", **values)


def cure(problem: Problem) -> str:
    """What to do about it, "" where nothing is known."""
    key = f"policies.problem.{problem.code}.help"
    return words.text(key) if words.has(key) else ""


def _source(resolved: Resolved) -> str:
    return words.text(f"policies.source.{resolved.source.replace(' ', '_')}", file=cleaned(resolved.origin))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return words.text("policies.on" if value else "policies.off")
    if value in ("", [], {}):
        return words.text("policies.empty")
    if isinstance(value, dict):
        return str(cleaned(json.dumps(value, ensure_ascii=False)))
    if isinstance(value, list | tuple):
        return ", ".join(str(cleaned(one)) for one in value) or words.text("policies.empty")
    return str(cleaned(value))


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDEST  # into a file or a mail: nobody's window is that narrow
    return console


def tell(settings: Settings) -> None:
    """The report for the eye."""
    console = _console()
    origins = [held.origin for held in (*settings.policies.managed.values(), *settings.policies.recommended.values())]
    for place in settings.policy_places:
        count = sum(origin == place or origin.startswith(f"{place}/") for origin in origins)
        console.print(words.text("policies.place", place=place, count=count), soft_wrap=True)
    table = Table(*(words.text(f"policies.column.{name}") for name in ("setting", "policy", "value", "source", "locked")))
    for key in SETTINGS:
        resolved = settings.resolved(key)
        style = "bold" if resolved.locked else "dim" if resolved.source == "default" else ""
        locked = words.text("policies.locked") if resolved.locked else ""
        cells = (key, resolved.setting.policy, _value(_shown(resolved)), _source(resolved), locked)
        table.add_row(*(Text(cell, style, overflow="fold") for cell in cells))
    console.print(table)
    _tell_problems(settings, console)


def explain(settings: Settings, asked: list[Setting]) -> None:
    """What the policies asked for mean, and what they are here."""
    console = _console()
    for setting in asked:
        resolved = settings.resolved(setting.key)
        console.print(Text(f"{setting.policy} · {policy_texts.title(setting, words.language())}", "bold"), soft_wrap=True)
        console.print(Text(f"  {policy_texts.explanation(setting, words.language())}"), soft_wrap=True)
        locked = f" ({words.text('policies.locked')})" if resolved.locked else ""
        lines = {
            "values": policy_texts.values(setting), "default": _value(setting.default),
            "value": f"{_value(_shown(resolved))}{locked}", "source": _source(resolved),
        }  # fmt: skip
        for name, shown in lines.items():
            console.print(Text(f"  {words.text(f'policies.column.{name}')}: {shown}"), soft_wrap=True)
    _tell_problems(settings, console)


def _tell_problems(settings: Settings, console: Console) -> None:
    if ignored := problems(settings):
        console.print(Text(words.text("policies.problems"), "bold yellow"))
        for problem in ignored:
            console.print(Text(f"  {said(problem)}"), soft_wrap=True)
            if cure(problem):
                console.print(Text(f"  → {cure(problem)}", "italic"), soft_wrap=True)

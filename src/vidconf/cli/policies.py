"""`vidconf policies`: every setting with its value, where that comes from and whether policy holds it; and what was ignored, why.

Reads what the window would read, as this user, and changes nothing. Guests' badges let somebody in under a guest's name: of
those only the servers are shown.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidconf import __version__, words
from vidconf.cli.findings import cleaned, prepare_stdout, print_json
from vidconf.client.settings import POLICY_FOLDER, Problem, Resolved, Settings
from vidconf.client.settings_table import SETTINGS

SECRET = ("badges",)
WIDEST = 160


@click.command("policies")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(as_json: bool) -> None:
    """Every setting with its value, its source (policy, command line, user, recommended, default) and its lock.

    What was ignored in a policy or in the user's own file is listed below, with what to do about it.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    prepare_stdout()
    settings = Settings.of_user(looking=True)
    words.set_language(settings.text("language"))
    folder = POLICY_FOLDER if sys.platform == "linux" else None
    if as_json:
        print_json(document(settings, folder))
    else:
        tell(settings, folder)


def document(settings: Settings, folder: Path | None) -> dict[str, Any]:
    """The report as JSON. `source` and `code` are stable; `value` of what is not for the eye has the keys only."""
    return {
        "vidconf": __version__,
        "policy_folder": str(folder) if folder is not None else None,
        "policy_files": policy_files(folder),
        "settings": [_entry(settings.resolved(key)) for key in SETTINGS],
        "problems": [
            {"file": problem.file, "code": problem.code, "name": problem.name, "text": said(problem), "help": cure(problem)}
            for problem in settings.problems
        ],
    }


def _entry(resolved: Resolved) -> dict[str, Any]:
    setting = resolved.setting
    return {
        "name": setting.key, "policy": setting.policy or None, "kind": setting.kind, "value": _shown(resolved), "default": setting.default,
        "source": resolved.source, "file": resolved.origin or None, "locked": resolved.locked,
    }  # fmt: skip


def _shown(resolved: Resolved) -> Any:
    if resolved.setting.key in SECRET:
        return dict.fromkeys(resolved.value, "…")
    return list(resolved.value) if isinstance(resolved.value, tuple) else resolved.value


def policy_files(folder: Path | None) -> list[str]:
    """Every file that is read, or would be if it were sound, in the order it is read."""
    found: list[str] = []
    for level in ("managed", "recommended"):
        try:
            found += [str(file) for file in sorted((folder / level).iterdir()) if file.suffix == ".json"] if folder is not None else []
        except OSError:
            continue  # not there, or not to be read: then a problem says so
    return found


def said(problem: Problem) -> str:
    """What was ignored."""
    key = f"policies.problem.{problem.code}"
    values = {"file": cleaned(problem.file), "name": cleaned(problem.name), "code": problem.code}
    return words.text(key if words.has(key) else "policies.problem.unknown", **values)


def cure(problem: Problem) -> str:
    key = f"policies.problem.{problem.code}.help"
    return words.text(key) if words.has(key) else ""


def _source(resolved: Resolved) -> str:
    return words.text(f"policies.source.{resolved.source.replace(' ', '_')}", file=cleaned(resolved.origin))


def _value(resolved: Resolved) -> str:
    value = _shown(resolved)
    if isinstance(value, bool):
        return words.text("policies.on" if value else "policies.off")
    if value in ("", [], {}):
        return words.text("policies.empty")
    if isinstance(value, dict):
        return str(cleaned(json.dumps(value, ensure_ascii=False)))
    return str(cleaned(value))


def tell(settings: Settings, folder: Path | None) -> None:
    """The report for the eye."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDEST  # into a file or a mail: nobody's window is that narrow
    files = policy_files(folder)
    if folder is None:
        console.print(words.text("policies.not_here"))
    elif files:
        console.print(words.text("policies.read_from", folder=folder, count=len(files)), soft_wrap=True)
    else:
        console.print(words.text("policies.no_folder", folder=folder), soft_wrap=True)
    table = Table(*(words.text(f"policies.column.{name}") for name in ("setting", "policy", "value", "source", "locked")))
    for key in SETTINGS:
        resolved = settings.resolved(key)
        style = "bold" if resolved.locked else "dim" if resolved.source == "default" else ""
        cells = (key, resolved.setting.policy, _value(resolved), _source(resolved), words.text("policies.locked") if resolved.locked else "")
        table.add_row(*(Text(cell, style, overflow="fold") for cell in cells))
    console.print(table)
    if settings.problems:
        console.print(Text(words.text("policies.problems"), "bold yellow"))
        for problem in settings.problems:
            console.print(Text(f"  {said(problem)}"), soft_wrap=True)
            if cure(problem):
                console.print(Text(f"  → {cure(problem)}", "italic"), soft_wrap=True)

"""`vidconf licences [NAME]`: what this installation consists of and under which licences; with a name, the licence's text."""

from __future__ import annotations

import logging
import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidconf import __version__, licences
from vidconf.cli.findings import prepare_stdout, print_json

WIDEST = 160


@click.command("licences")
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(name: str, as_json: bool) -> None:
    """Every component with its version and licence. With the NAME of one: the text of its licence."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    prepare_stdout()
    found = [one for one in licences.components() if not name or licences.normal(one.name) == licences.normal(name)]
    if not found:
        raise click.ClickException(f"no component is called {name!r}; `vidconf licences` lists them")
    if as_json:
        print_json({"vidconf": __version__, "components": [_entry(one) for one in found]})
    elif name:
        for one in found:
            click.echo(f"{one.name} {one.version} ({one.licence})\n\n{one.text()}\n")
    else:
        _tell(found)


def _entry(one: licences.Component) -> dict[str, str]:
    return {"name": one.name, "version": one.version, "licence": one.licence, "part_of": one.part_of, "home": one.home}


def _tell(found: list[licences.Component]) -> None:
    console = Console(file=sys.stdout, soft_wrap=False, width=None if sys.stdout.isatty() else WIDEST)
    table = Table(box=None, pad_edge=False)
    for title in ("component", "version", "licence", "inside"):
        table.add_column(title, overflow="fold")
    for one in found:
        table.add_row(*(Text(said) for said in (one.name, one.version, one.licence, one.part_of)))
    console.print(table)

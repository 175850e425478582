"""`vidconf account`: local accounts, on the server's own machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from vidconf.cli.local_server import LocalServer, data_option, either, json_option, print_json, run
from vidconf.server.accounts import SYSTEM_ROLES, AccountError, Accounts
from vidconf.server.storage import Storage


@click.group("account")
def command() -> None:
    """Local accounts. Works while the server runs, and while it does not."""


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(8192).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("give the password on stdin with --password-stdin")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


async def _with_accounts(storage: Storage, work: Any) -> Any:
    accounts = await Accounts.open(storage, None)
    try:
        return await work(accounts)
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    finally:
        accounts.close()


@command.command("add")
@click.argument("name")
@click.option("--role", default="member", type=click.Choice(SYSTEM_ROLES), show_default=True, help="What it may do on this server.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@data_option
@json_option
def add(name: str, role: str, password_stdin: bool, data: Path, as_json: bool) -> None:
    """Add account NAME. An organiser may make meetings, an admin also manages accounts, an auditor reads the event chains."""
    password = _password(password_stdin)

    async def running(server: LocalServer) -> dict[str, Any]:
        return await server.call("POST", "/api/v1/accounts", {"name": name, "password": password, "role": role})

    async def resting(storage: Storage) -> dict[str, Any]:
        account = await _with_accounts(storage, lambda accounts: accounts.add(name, password, role))
        return {"id": account.id, "name": account.name, "role": account.role}

    added = run(either(data, running, resting, make=True))
    if as_json:
        print_json(added)
    else:
        print(f"{added['name']}: {added['role']}")


@command.command("list")
@data_option
@json_option
def list_(data: Path, as_json: bool) -> None:
    """All accounts."""

    async def running(server: LocalServer) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await server.call("GET", "/api/v1/accounts"))["accounts"]
        return found

    async def resting(storage: Storage) -> list[dict[str, Any]]:
        found = await _with_accounts(storage, lambda accounts: accounts.all())
        return [{"id": one.id, "name": one.name, "role": one.role, "disabled": one.disabled} for one in found]

    accounts = run(either(data, running, resting))
    if as_json:
        print_json({"accounts": accounts})
        return
    table = Table("name", "role", "state")
    for one in accounts:
        table.add_row(one["name"], one["role"], "disabled" if one["disabled"] else "")
    Console().print(table)


@command.command("disable")
@click.argument("name")
@data_option
def disable(name: str, data: Path) -> None:
    """No more sign-ins for NAME; whoever is signed in is out within seconds, of its meetings too."""
    from urllib.parse import quote

    async def running(server: LocalServer) -> None:
        await server.call("POST", f"/api/v1/accounts/{quote(name, safe='')}/disable", {})

    async def resting(storage: Storage) -> None:
        await _with_accounts(storage, lambda accounts: accounts.disable(name))

    run(either(data, running, resting))
    print(f"{name}: disabled")

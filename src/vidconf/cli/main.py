"""The command line's front: finds the command's module and runs it. One file a command beside this one.

Commands are imported when used, so `vidconf --help` and the window's start pay for nothing else.
"""

from __future__ import annotations

import importlib

import click

from vidconf import __version__

COMMANDS: dict[str, tuple[str, bool]] = {
    # name: (module under vidconf.cli, hidden); the module's `command` is a click command or group
    "window": ("window", True),
    "serve": ("serve", False),
    "demo": ("demo", False),
    "account": ("account", False),
    "meeting": ("meeting", False),
    "bot": ("bot", False),
    "relay": ("relay", False),
    "doctor": ("doctor", False),
    "policies": ("policies", False),
    "selftest": ("selftest", False),
    "audit": ("audit", False),
    "engine": ("engine", True),
    "cast": ("demo_cast", True),
}


class _Commands(click.Group):
    """Loads a command's module on first use; a bare link (or nothing) opens the window."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (_, hidden) in COMMANDS.items() if not hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"vidconf.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {"--help", "-h", "--version"}
        if not args or (args[0] not in COMMANDS and args[0] not in options and ("/" in args[0] or args[0].startswith("--"))):
            args = ["window", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vidconf")
def cli() -> None:
    """vidconf: join and run video conferences.

    `vidconf [LINK]` opens the window; with a link it goes straight to its pre-join page.
    """


def main() -> None:
    cli(prog_name="vidconf")


if __name__ == "__main__":
    main()

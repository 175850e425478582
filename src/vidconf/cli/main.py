"""The command line's front: finds the command's module and runs it. One file a command beside this one.

Commands are imported when used, so `vidconf --help` and the window's start pay for nothing else.
"""

from __future__ import annotations

import importlib

import click

from vidconf import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module under vidconf.cli, a line for --help; "" is hidden); the module's `command` is a click command or group
    "window": ("window", ""),
    "serve": ("serve", "The server: accounts, meetings, lobby, rules, media."),
    "demo": ("demo", "The main job on this machine: server, meeting, participants, window."),
    "account": ("account", "Local accounts: add, list, disable."),
    "meeting": ("meeting", "Make a meeting; a token for another LiveKit client."),
    "bot": ("bot", "Headless participants, with a report of what they saw and heard."),
    "relay": ("relay", "The media relay alone, as a small LiveKit server."),
    "doctor": ("doctor", "What a help desk asks: devices, server, network, with what to do next."),
    "policies": ("policies", "Every setting with its value, source and lock."),
    "licences": ("licences", "What the program consists of, and under which licences."),
    "selftest": ("selftest", "Whether everything the program needs is here."),
    "audit": ("audit", "The event chains: verify."),
    "backup": ("backup", "Backups of the server's database: create, list, verify, restore."),
    "updates": ("updates", "The site that tells clients of new versions: make, publish, refresh, verify."),
    "engine": ("engine", ""),
    "cast": ("demo_cast", ""),
    "graphics": ("graphics", ""),
}


SERVER_PART = ("serve", "account", "meeting", "audit", "backup", "demo")


class _Commands(click.Group):
    """Loads a command's module on first use; a bare link (or nothing) opens the window."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (_, line) in COMMANDS.items() if line]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table: nothing is imported to be listed, and what needs the server's part is listed without it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            command = importlib.import_module(f"vidconf.cli.{COMMANDS[cmd_name][0]}").command
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("vidconf"):
                raise
            need = "the server's part, vidconf[server]" if cmd_name in SERVER_PART else "all its dependencies"
            raise click.ClickException(f"{error.name} is missing: `vidconf {cmd_name}` needs {need}") from None
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {"--help", "-h", "--version"}
        if not args or (args[0] not in COMMANDS and args[0] not in options and (args[0] == "-" or "/" in args[0] or args[0].startswith("--"))):
            args = ["window", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vidconf")
def cli() -> None:
    """vidconf: join and run video conferences.

    `vidconf [LINK]` opens the window; with a link it goes straight to its pre-join page. LINK may be `-`: read from stdin.
    """


def main() -> None:
    cli(prog_name="vidconf")


if __name__ == "__main__":
    main()

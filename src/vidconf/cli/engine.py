"""`vidconf engine`: the media engine's process. Hidden: `engine.host` starts it and speaks to it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click


@click.command("engine", hidden=True)
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]))
def command(log_level: str) -> None:
    """The media engine. Started by the window: where to connect, and the secret, come on stdin."""
    from vidconf.client.crash_files import CrashReports
    from vidconf.client.log_files import start_logging
    from vidconf.engine.process import read_config, run

    try:
        config = read_config()
        folder, level, days, crash_reports = _logs(config, log_level)
    except (ValueError, OSError) as error:
        raise click.UsageError(f"this is not for calling by hand: {error}") from error
    start_logging("engine", folder, level, days)
    reports = CrashReports(folder, "engine", on=crash_reports) if folder is not None else None
    if reports is not None:
        reports.listen()
    try:
        sys.exit(run(config))
    except OSError as error:
        logging.getLogger("vidconf.engine").error("no way to the window: %s", error)
        sys.exit(1)
    finally:
        if reports is not None:
            reports.close()


def _logs(config: dict[str, Any], level: str) -> tuple[Path | None, str, int, bool]:
    """Where the log goes, how much, for how many days, and whether crashes are reported. Raises ValueError."""
    told = config.get("logs") or {}
    if not isinstance(told, dict):
        raise ValueError("logs: not understood")
    folder, days = told.get("folder"), told.get("days", 14)
    level = str(told.get("level", level))
    if not isinstance(folder, str | None) or not isinstance(days, int) or level not in ("debug", "info", "warning", "error"):
        raise ValueError("logs: not understood")
    return Path(folder) if folder else None, level, days, told.get("crash_reports") is True

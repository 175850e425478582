"""`vidconf audit`: proves that the meetings' events are as they were written; on the server's own machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from vidconf.cli.local_server import LocalServer, data_option, either, json_option, print_json, run
from vidconf.server.storage import Storage


@click.group("audit")
def command() -> None:
    """The chains of events of all meetings."""


@command.command("verify")
@data_option
@json_option
def verify(data: Path, as_json: bool) -> None:
    """Recompute every meeting's chain from its stored events. Exit 1 when one is not as it was written, and it is named."""

    async def running(server: LocalServer) -> dict[str, Any]:
        return await server.call("GET", "/api/v1/audit")

    async def resting(storage: Storage) -> dict[str, Any]:
        meetings, events, erased, broken = await storage.verify()
        found = [{"meeting": one.meeting, "seq": one.seq, "why": one.why} for one in broken]
        return {"ok": not broken, "meetings": meetings, "events": events, "erased": erased, "broken": found}

    report = run(either(data, running, resting))
    if as_json:
        print_json(report)
    else:
        for one in report["broken"]:
            print(f"meeting {one['meeting']}, event {one['seq']}: {one['why']}")
        print(f"{report['meetings']} meetings, {report['events']} events, {report['erased']} contents erased: "
              + ("whole" if report["ok"] else f"{len(report['broken'])} broken"))  # fmt: skip
    sys.exit(0 if report["ok"] else 1)

"""Commands (what someone asks), events (what happened), refusals (a rule said no). Plain frozen values.

Pure and shared; any thread. On the wire a command is `{"do": name, …}` and an event `{"ev": name, …}`; the names are
the classes' `name`, the fields are these fields. Conversion lives in `vidconf.protocol.control`. Everybody names them by this
module; commands and events are each written down in a file of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vidconf.meeting.commands import *  # noqa: F403
from vidconf.meeting.events import *  # noqa: F403


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule said no. `code` has words in every language; `detail` fills them."""

    code: str
    detail: dict[str, Any] = field(default_factory=dict)

"""The database's history. `storage.Storage.open` runs what is missing; a released revision is never edited."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

FOLDER = Path(__file__).parent


def config() -> Config:
    """What alembic asks: where the revisions are."""
    found = Config()
    found.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return found


def scripts() -> ScriptDirectory:
    """All revisions this version knows."""
    return ScriptDirectory.from_config(config())

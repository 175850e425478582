"""What each policy is called and means, in the words of an administrator. Standard library only; any thread.

Kept once a language in `resources/words/policies.<language>.json`; `vidconf policies`, the templates for group policy, the JSON schema
and the documentation all say the same. Keys: `ServerURL` (its name for people), `ServerURL.help` (what it does, its unit, what its
empty value means), `UpdateMode.off` (a choice), `group.network` (where it stands), `template.…` (what only the templates say).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from vidconf.client.settings_table import Setting
from vidconf.resources import resource
from vidconf.words import Language


@lru_cache(maxsize=2)
def table(language: Language) -> Mapping[str, str]:
    """Every text of one language by key."""
    texts: dict[str, str] = json.loads(resource("words", f"policies.{language}.json").read_text(encoding="utf-8"))
    return texts


def title(setting: Setting, language: Language) -> str:
    """A policy's name for people. Raises `KeyError` for a setting that policy has no say in."""
    return table(language)[setting.policy]


def explanation(setting: Setting, language: Language) -> str:
    """What a policy does, in a few sentences."""
    return table(language)[f"{setting.policy}.help"]


def choice(setting: Setting, value: str, language: Language) -> str:
    """What one of its choices means."""
    return table(language)[f"{setting.policy}.{value}"]


def values(setting: Setting) -> str:
    """What may be set, in the form of an administrator's file: `true, false`, `0 to 63`, `vi, en`."""
    match setting.kind:
        case "switch":
            return "true, false"
        case "choice":
            return ", ".join(setting.choices)
        case "number":
            return f"{setting.least:g} – {setting.most:.0f}"
        case "list":
            return '["…", "…"]'
        case "origin":
            return "https://…"
    return "…"

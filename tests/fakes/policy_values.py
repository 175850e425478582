"""For every setting that policy has a say in: values it takes that are not its default, and one that it does not."""

from __future__ import annotations

from typing import Any

from vidconf.client.settings_table import Setting


def good(setting: Setting) -> tuple[Any, Any]:
    """Two values, unlike each other where the setting has two, both unlike its default where it has three; as a file writes them."""
    match setting.kind:
        case "switch":
            return not setting.default, setting.default
        case "choice":
            others = [choice for choice in setting.choices if choice != setting.default]
            return others[0], others[1] if len(others) > 1 else setting.default
        case "number":
            return setting.least + 7, setting.least + 8
        case "list":
            return ["hop.example.gov.vn", "*.example.vn"], ["other.example"]
        case "origin":
            return "https://hop.example.gov.vn", "https://other.example"
    return "Jabra Speak 750", "another"


def wrong(setting: Setting) -> Any:
    """A value of a type that the setting has not."""
    return {"switch": "true", "number": "7", "list": "a.example", "choice": 1, "origin": True, "text": 7}[setting.kind]

"""The JSON schema of policy files, and samples: a file for Linux, a configuration profile for macOS."""

from __future__ import annotations

import json
import plistlib
import uuid
from typing import Any

from vidconf.client.policies import texts as policy_texts
from vidconf.client.policies.preferences import DOMAIN
from vidconf.client.settings_table import BY_POLICY, ITEMS_LIMIT, TEXT_LIMIT, Setting

SAMPLE: dict[str, Any] = {
    "ServerURL": "https://hop.example.gov.vn",
    "ServerURLLocked": True,
    "AllowedServers": ["hop.example.gov.vn", "*.example.gov.vn"],
    "Language": "vi",
    "MuteOnJoin": True,
    "AutoStart": True,
    "UpdateMode": "notify",
    "UpdateURL": "https://hop.example.gov.vn/updates",
    "UdpPortMin": 50000,
    "UdpPortMax": 50199,
    "Dscp": 46,
    "LogDays": 30,
}
"""What an agency with one server would set."""


def files() -> dict[str, bytes]:
    return {"vidconf.schema.json": _json(_schema()), "managed-sample.json": _json(SAMPLE), "vidconf.mobileconfig": _profile()}


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _schema() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vidconf policies",
        "description": policy_texts.table("en")["template.description"],
        "type": "object",
        "additionalProperties": False,
        "properties": {setting.policy: _property(setting) for setting in BY_POLICY.values()},
    }


def _property(setting: Setting) -> dict[str, Any]:
    told = policy_texts.explanation(setting, "en")
    if setting.kind == "choice":
        told += " " + "; ".join(f"{choice}: {policy_texts.choice(setting, choice, 'en')}" for choice in setting.choices) + "."
    shape: dict[str, Any]
    match setting.kind:
        case "switch":
            shape = {"type": "boolean"}
        case "choice":
            shape = {"type": "string", "enum": list(setting.choices)}
        case "number":
            shape = {"type": "integer" if setting.whole else "number", "minimum": setting.least, "maximum": setting.most}
        case "list":
            shape = {"type": "array", "items": {"type": "string", "maxLength": TEXT_LIMIT}, "maxItems": ITEMS_LIMIT}
        case _:
            shape = {"type": "string", "maxLength": TEXT_LIMIT}
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    return {"title": policy_texts.title(setting, "en"), "description": told, **shape, "default": default}


def _profile() -> bytes:
    """All of a profile is forced; identifiers stay the same from one making to the next."""
    name = f"{DOMAIN}.policies"
    inner = {
        "PayloadType": DOMAIN,
        "PayloadIdentifier": f"{name}.settings",
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"settings.{name}")).upper(),
        "PayloadVersion": 1,
        "PayloadDisplayName": "vidconf",
        **SAMPLE,
    }
    outer = {
        "PayloadType": "Configuration",
        "PayloadIdentifier": name,
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)).upper(),
        "PayloadVersion": 1,
        "PayloadDisplayName": "vidconf",
        "PayloadDescription": policy_texts.table("en")["template.description"],
        "PayloadScope": "System",
        "PayloadContent": [inner],
    }
    return plistlib.dumps(outer, sort_keys=False)

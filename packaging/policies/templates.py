"""Group policy's templates: vidconf.admx, and its words for each language (ADML).

A forced policy and its recommendation are two policies in two trees of categories; what no user can choose is not recommended.
The order of an element's children is the schema's and matters. No other template is referred to and no comboBox is used, so that
Intune takes the file alone.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from vidconf.client.policies import texts as policy_texts
from vidconf.client.policies.registry import POLICY_KEY, RECOMMENDED
from vidconf.client.settings_table import BY_POLICY, TEXT_LIMIT, Setting
from vidconf.words import Language

NAMESPACE = "http://schemas.microsoft.com/GroupPolicy/2006/07/PolicyDefinitions"
REVISION = {"revision": "1.0", "schemaVersion": "1.0"}
CULTURES: dict[Language, str] = {"en": "en-US", "vi": "vi-VN"}
"""The editor falls back to English, so that must be there."""
PATHS = ("LogDir", "CAFile")
"""Texts in which %VARIABLES% are filled in."""
_GROUPS = tuple(dict.fromkeys(setting.group for setting in BY_POLICY.values()))


def files() -> dict[str, bytes]:
    return {
        "vidconf.admx": _written(_definitions()),
        **{f"{culture}/vidconf.adml": _written(_resources(language)) for language, culture in CULTURES.items()},
    }


def _written(root: ET.Element) -> bytes:
    ET.indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="utf-8").replace(b" />", b"/>") + b"\n"


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: str) -> ET.Element:
    made = ET.SubElement(parent, tag, attributes)
    made.text = text or None
    return made


def _recommendable(setting: Setting) -> bool:
    return not setting.hidden


def _levels(setting: Setting) -> tuple[bool, ...]:
    """False: forced; True: recommended."""
    return (False, True) if _recommendable(setting) else (False,)


def _id(setting: Setting, recommended: bool) -> str:
    return f"{setting.policy}_recommended" if recommended else setting.policy


def _choice_id(setting: Setting, choice: str) -> str:
    return f"{setting.policy}_is_{re.sub(r'[^A-Za-z0-9]', '_', choice)}"


# ---- what is set (ADMX) ----


def _definitions() -> ET.Element:
    root = ET.Element("policyDefinitions", {"xmlns": NAMESPACE, **REVISION})
    _add(_add(root, "policyNamespaces"), "target", prefix="vidconf", namespace="Vidconf.Policies.Vidconf")
    _add(root, "resources", minRequiredRevision=REVISION["revision"], fallbackCulture=CULTURES["en"])
    _add(_add(_add(root, "supportedOn"), "definitions"), "definition", name="supported", displayName="$(string.supported)")
    categories = _add(root, "categories")
    _add(categories, "category", name="vidconf", displayName="$(string.vidconf)")
    trees = [
        ("group", "vidconf", BY_POLICY.values()),
        ("recommended", "recommended", [one for one in BY_POLICY.values() if _recommendable(one)]),
    ]
    for prefix, parent, settings in trees:
        if parent != "vidconf":
            category = _add(categories, "category", name=parent, displayName=f"$(string.{parent})")
            _add(category, "parentCategory", ref="vidconf")
        for group in _GROUPS:
            if any(setting.group == group for setting in settings):
                category = _add(categories, "category", name=f"{prefix}_{group}", displayName=f"$(string.group_{group})")
                _add(category, "parentCategory", ref=parent)
    policies = _add(root, "policies")
    for setting in BY_POLICY.values():
        for recommended in _levels(setting):
            _policy(policies, setting, recommended)
    return root


def _policy(policies: ET.Element, setting: Setting, recommended: bool) -> None:
    key = rf"{POLICY_KEY}\{RECOMMENDED}" if recommended else POLICY_KEY
    id_ = _id(setting, recommended)
    switch = {"valueName": setting.policy} if setting.kind == "switch" else {}
    policy = _add(
        policies, "policy", name=id_, **{"class": "Both"}, displayName=f"$(string.{id_})", explainText=f"$(string.{id_}_help)",
        presentation=f"$(presentation.{id_})", key=key, **switch,
    )  # fmt: skip
    _add(policy, "parentCategory", ref=f"{'recommended' if recommended else 'group'}_{setting.group}")
    _add(policy, "supportedOn", ref="supported")
    if setting.kind == "switch":
        _add(_add(policy, "enabledValue"), "decimal", value="1")
        _add(_add(policy, "disabledValue"), "decimal", value="0")
        return
    elements = _add(policy, "elements")
    named = {"id": setting.policy, "valueName": setting.policy}
    if setting.kind == "number":
        _add(elements, "decimal", **named, required="true", minValue=f"{setting.least:.0f}", maxValue=f"{setting.most:.0f}")
    elif setting.kind == "list":
        _add(elements, "list", id=setting.policy, key=rf"{key}\{setting.policy}", valuePrefix="")
    elif setting.kind == "choice":
        choices = _add(elements, "enum", **named, required="true")
        for choice in setting.choices:
            item = _add(choices, "item", displayName=f"$(string.{_choice_id(setting, choice)})")
            _add(_add(item, "value"), "string", choice)
    else:
        path = {"expandable": "true"} if setting.policy in PATHS else {}
        _add(elements, "text", **named, required="true", maxLength=str(TEXT_LIMIT), **path)


# ---- what it is called (ADML) ----


def _resources(language: Language) -> ET.Element:
    texts = policy_texts.table(language)
    root = ET.Element("policyDefinitionResources", {"xmlns": NAMESPACE, **REVISION})
    _add(root, "displayName", "vidconf")
    _add(root, "description", texts["template.description"])
    resources = _add(root, "resources")
    strings = _add(resources, "stringTable")
    for id_, text in _strings(language).items():
        _add(strings, "string", text, id=id_)
    presentations = _add(resources, "presentationTable")
    for setting in BY_POLICY.values():
        for recommended in _levels(setting):
            _presentation(_add(presentations, "presentation", id=_id(setting, recommended)), setting, language)
    return root


def _strings(language: Language) -> dict[str, str]:
    texts = policy_texts.table(language)
    made = {"vidconf": "vidconf", "recommended": texts["template.recommended"], "supported": texts["template.supported"]}
    made |= {f"group_{group}": texts[f"group.{group}"] for group in _GROUPS}
    for setting in BY_POLICY.values():
        for recommended in _levels(setting):
            id_, title = _id(setting, recommended), policy_texts.title(setting, language)
            made[id_] = texts["template.recommended.name"].format(title=title) if recommended else title
            made[f"{id_}_help"] = _help(setting, recommended, language)
        for choice in setting.choices:
            made[_choice_id(setting, choice)] = policy_texts.choice(setting, choice, language)
    return made


def _help(setting: Setting, recommended: bool, language: Language) -> str:
    texts = policy_texts.table(language)
    match setting.kind:
        case "switch":
            value = texts["template.on" if setting.default else "template.off"]
        case "choice":
            value = policy_texts.choice(setting, setting.default, language)
        case "number":
            value = f"{setting.default:g}"
        case _:
            value = str(setting.default) if setting.default else texts["template.none"]
    parts = [policy_texts.explanation(setting, language), texts["template.default"].format(value=value)]
    return "\n\n".join([*parts, *([texts["template.recommended.help"]] if recommended else [])])


def _presentation(presentation: ET.Element, setting: Setting, language: Language) -> None:
    """The editor's field, called as the policy is; a switch has none but on and off."""
    title = policy_texts.title(setting, language)
    match setting.kind:
        case "number":
            _add(presentation, "decimalTextBox", f"{title}:", refId=setting.policy, defaultValue=f"{setting.default:.0f}")
        case "list":
            _add(presentation, "listBox", f"{title} – {policy_texts.table(language)['template.items']}:", refId=setting.policy)
        case "choice":
            _add(
                presentation,
                "dropdownList",
                f"{title}:",
                refId=setting.policy,
                noSort="true",
                defaultItem=str(setting.choices.index(setting.default)),
            )
        case "text" | "origin":
            box = _add(presentation, "textBox", refId=setting.policy)
            _add(box, "label", f"{title}:")
            if setting.default:
                _add(box, "defaultValue", str(setting.default))

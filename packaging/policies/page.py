"""The table of every policy in docs/policies.md, between two marks; what stands around them is written by hand."""

from __future__ import annotations

from itertools import groupby

from vidconf.client.policies import texts as policy_texts
from vidconf.client.settings_table import BY_POLICY, Setting

FILE = "docs/policies.md"
BEGIN = "<!-- made by packaging/policies/generate: every policy -->"
END = "<!-- made until here -->"


def filled(text: str) -> str:
    """`text` with the table made anew. Raises `ValueError` where a mark is missing."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{FILE} has no place for the table")
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def table() -> str:
    lines: list[str] = []
    ordered = sorted(BY_POLICY.values(), key=lambda setting: [*dict.fromkeys(one.group for one in BY_POLICY.values())].index(setting.group))
    for group, settings in groupby(ordered, lambda setting: setting.group):
        lines += [
            "",
            f"### {policy_texts.table('en')[f'group.{group}']}",
            "",
            "| policy | value | without it | what it does |",
            "|---|---|---|---|",
        ]
        lines += [_row(setting) for setting in settings]
    return "\n".join(lines) + "\n\n"


def _row(setting: Setting) -> str:
    told = policy_texts.explanation(setting, "en")
    if setting.kind == "choice" and any(policy_texts.choice(setting, choice, "en") != choice for choice in setting.choices):
        told += " " + "; ".join(f"`{choice}`: {policy_texts.choice(setting, choice, 'en')}" for choice in setting.choices) + "."
    for sign, written in (("|", r"\|"), ("*.", r"\*."), ("<", "&lt;")):
        told = told.replace(sign, written)
    return f"| `{setting.policy}` | {_values(setting)} | {_default(setting)} | **{policy_texts.title(setting, 'en')}.** {told} |"


def _values(setting: Setting) -> str:
    match setting.kind:
        case "switch":
            return "true, false"
        case "choice":
            return ", ".join(f"`{choice}`" for choice in setting.choices)
        case "number":
            return f"{setting.least:g} to {setting.most:.0f}"
        case "list":
            return "list of texts"
        case "origin":
            return "address"
    return "text"


def _default(setting: Setting) -> str:
    match setting.kind:
        case "switch":
            return "true" if setting.default else "false"
        case "number":
            return f"{setting.default:g}"
    return f"`{setting.default}`" if setting.default else "none"

"""What is made from the table of settings: as committed, complete, and of the form that group policy, JSON schemas and profiles have."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from fakes.policy_values import good, wrong

from vidconf import words
from vidconf.client.policies import texts as policy_texts
from vidconf.client.policies.registry import POLICY_KEY
from vidconf.client.settings_table import BY_POLICY, SETTINGS, Setting, checked

ROOT = Path(__file__).resolve().parents[3]
POLICIES = ROOT / "packaging" / "policies"
CULTURES = {"en": "en-US", "vi": "vi-VN"}
NS = "{http://schemas.microsoft.com/GroupPolicy/2006/07/PolicyDefinitions}"
EVERY = pytest.mark.parametrize("policy", BY_POLICY)
BOTH = pytest.mark.parametrize("language", words.LANGUAGES)
ADMX = ET.parse(POLICIES / "vidconf.admx").getroot()
ADML = {language: ET.parse(POLICIES / culture / "vidconf.adml").getroot() for language, culture in CULTURES.items()}
SCHEMA = json.loads((POLICIES / "vidconf.schema.json").read_text(encoding="utf-8"))
SAMPLE = json.loads((POLICIES / "managed-sample.json").read_text(encoding="utf-8"))
NAMED = {element.get("name"): element for element in ADMX.iter(f"{NS}policy")}


def tags(element: ET.Element) -> list[str]:
    return [child.tag.removeprefix(NS) for child in element]


def child(element: ET.Element, *path: str) -> ET.Element:
    found = element.find("/".join(NS + tag for tag in path))
    assert found is not None, (element.attrib, path)
    return found


def test_what_is_committed_is_what_is_made(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, POLICIES / "generate", "--to", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    made = {str(file.relative_to(tmp_path)): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert len(made) == 7
    for name, content in made.items():
        assert content == (ROOT / name).read_bytes(), f"{name}: run packaging/policies/generate"
    (tmp_path / "packaging" / "policies" / "vidconf.admx").write_text("old")
    told = subprocess.run([sys.executable, POLICIES / "generate", "--check", "--to", tmp_path], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout) == (1, "packaging/policies/vidconf.admx: not as it is made\n")
    assert (tmp_path / "packaging" / "policies" / "vidconf.admx").read_text() == "old"


# ---- group policy ----


def test_the_parts_of_the_template_stand_in_the_schemas_order() -> None:
    assert tags(ADMX) == ["policyNamespaces", "resources", "supportedOn", "categories", "policies"]
    for policy in NAMED.values():
        shape = tags(policy)
        assert shape in (["parentCategory", "supportedOn", "elements"], ["parentCategory", "supportedOn", "enabledValue", "disabledValue"])
        assert policy.get("class") == "Both"
    for root in ADML.values():
        assert tags(root) == ["displayName", "description", "resources"]
        assert tags(child(root, "resources")) == ["stringTable", "presentationTable"]
    text = (POLICIES / "vidconf.admx").read_text(encoding="utf-8")
    assert not re.search("<using|comboBox|windows", text, re.IGNORECASE), "nothing that another template would have to bring"


@BOTH
def test_every_reference_is_answered_once_and_nothing_is_left_over(language: str) -> None:
    text = (POLICIES / "vidconf.admx").read_text(encoding="utf-8")
    for kind, tag in (("string", "string"), ("presentation", "presentation")):
        asked = set(re.findall(rf"\$\({kind}\.(\w+)\)", text))
        answers = [element.get("id") for element in ADML[language].iter(NS + tag)]
        assert len(answers) == len(set(answers))
        assert set(answers) == asked
    assert all((element.text or "").strip() for element in ADML[language].iter(f"{NS}string"))


def test_names_are_there_once_and_every_category_has_its_parent() -> None:
    for tag in ("policy", "category"):
        names = [element.get("name") for element in ADMX.iter(NS + tag)]
        assert len(names) == len({str(name).lower() for name in names})
    categories = {element.get("name") for element in ADMX.iter(f"{NS}category")}
    used = {element.get("ref") for element in ADMX.iter(f"{NS}parentCategory")}
    assert used <= categories
    assert categories - used == set(), "no category is empty"


@EVERY
def test_a_policy_writes_what_the_program_reads(policy: str) -> None:
    setting = BY_POLICY[policy]
    levels = {policy: POLICY_KEY} | ({} if setting.hidden else {f"{policy}_recommended": f"{POLICY_KEY}\\Recommended"})
    assert {name for name in NAMED if name and name.removesuffix("_recommended") == policy} == set(levels)
    for name, key in levels.items():
        element = NAMED[name]
        assert element.get("key") == key
        if setting.kind == "switch":
            assert element.get("valueName") == policy
            assert [child(element, f"{on}Value", "decimal").get("value") for on in ("enabled", "disabled")] == ["1", "0"]
            continue
        (part,) = child(element, "elements")
        assert part.get("id") == policy
        kind = part.tag.removeprefix(NS)
        assert kind == {"number": "decimal", "choice": "enum", "list": "list"}.get(setting.kind, "text")
        if kind == "list":
            assert (part.get("key"), part.get("valuePrefix")) == (f"{key}\\{policy}", "")
        else:
            assert part.get("valueName") == policy
        if kind == "decimal":
            assert (int(part.get("minValue", "")), int(part.get("maxValue", ""))) == (setting.least, setting.most)
        if kind == "enum":
            assert [child(item, "value", "string").text for item in part] == list(setting.choices)


@EVERY
@BOTH
def test_a_policys_field_in_the_editor_begins_with_its_default(policy: str, language: str) -> None:
    setting = BY_POLICY[policy]
    presentation = next(one for one in ADML[language].iter(f"{NS}presentation") if one.get("id") == policy)
    if setting.kind == "switch":
        assert len(presentation) == 0
        return
    (part,) = presentation
    assert part.get("refId") == policy
    assert policy_texts.title(setting, "vi" if language == "vi" else "en") in "".join(part.itertext())
    match setting.kind:
        case "number":
            assert (part.tag, part.get("defaultValue")) == (f"{NS}decimalTextBox", str(setting.default))
        case "choice":
            assert setting.choices[int(part.get("defaultItem", ""))] == setting.default
            assert part.tag == f"{NS}dropdownList"
        case "list":
            assert part.tag == f"{NS}listBox"
        case _:
            assert part.tag == f"{NS}textBox"
            assert part.findtext(f"{NS}defaultValue", "") == setting.default


# ---- schema and samples ----


def fits(value: Any, shape: dict[str, Any]) -> bool:
    """Of JSON schema what ours uses; an unknown word is an error here."""
    assert set(shape) <= {
        "$schema",
        "title",
        "description",
        "default",
        "type",
        "enum",
        "minimum",
        "maximum",
        "items",
        "maxItems",
        "maxLength",
        "properties",
        "additionalProperties",
    }
    kinds: dict[str, Any] = {"boolean": bool, "string": str, "array": list, "object": dict, "integer": int, "number": int | float}
    if not isinstance(value, kinds[shape["type"]]) or (isinstance(value, bool) and shape["type"] != "boolean"):
        return False
    if "enum" in shape and value not in shape["enum"]:
        return False
    if "minimum" in shape and not shape["minimum"] <= value <= shape["maximum"]:
        return False
    if isinstance(value, str):
        return len(value) <= shape.get("maxLength", len(value))
    if isinstance(value, list):
        return len(value) <= shape["maxItems"] and all(fits(one, shape["items"]) for one in value)
    if isinstance(value, dict):
        return set(value) <= set(shape["properties"]) and all(fits(one, shape["properties"][name]) for name, one in value.items())
    return True


@EVERY
def test_the_schema_takes_what_the_program_takes_and_no_other_type(policy: str) -> None:
    setting = BY_POLICY[policy]
    assert set(SCHEMA["properties"]) == set(BY_POLICY)
    for value in (*good(setting), SCHEMA["properties"][policy]["default"]):
        assert fits({policy: value}, SCHEMA)
        checked(setting, value)
    assert not fits({policy: wrong(setting)}, SCHEMA)
    assert checked(setting, SCHEMA["properties"][policy]["default"]) == setting.default


def test_the_samples_are_what_the_schema_and_the_program_take() -> None:
    assert fits(SAMPLE, SCHEMA)
    assert not fits({**SAMPLE, "Colour": 1}, SCHEMA)
    for name, value in SAMPLE.items():
        checked(BY_POLICY[name], value)
    profile = plistlib.loads((POLICIES / "vidconf.mobileconfig").read_bytes())
    (inner,) = profile["PayloadContent"]
    assert (profile["PayloadType"], inner["PayloadType"]) == ("Configuration", "vn.vidconf.client")
    assert {name: value for name, value in inner.items() if not name.startswith("Payload")} == SAMPLE
    for payload in (profile, inner):
        assert {"PayloadIdentifier", "PayloadUUID", "PayloadVersion"} <= set(payload)
    assert profile["PayloadUUID"] != inner["PayloadUUID"]


def test_the_page_tells_every_policy_once_and_its_example_is_one() -> None:
    paper = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", paper, re.MULTILINE)
    assert sorted(rows) == sorted(BY_POLICY)
    example = re.search(r"```json\n(.*?)```", paper, re.DOTALL)
    assert example is not None
    assert fits(json.loads(example[1]), SCHEMA)
    assert all(line.count(" | ") == 3 for line in paper.splitlines() if re.match(r"\| `[A-Z]\w+` \|", line)), (
        "a | in a text would end its cell"
    )


# ---- the words ----


def keys(setting: Setting) -> set[str]:
    return {setting.policy, f"{setting.policy}.help", *(f"{setting.policy}.{choice}" for choice in setting.choices)}


@BOTH
def test_every_policy_has_its_words_and_no_others_are_kept(language: str) -> None:
    file = ROOT / "resources" / "words" / f"policies.{language}.json"
    pairs: list[tuple[str, str]] = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=list)
    assert [key for key, _ in pairs] == sorted({key for key, _ in pairs})
    used = set().union(*map(keys, BY_POLICY.values())) | {f"group.{setting.group}" for setting in SETTINGS.values() if setting.policy}
    assert {key for key, _ in pairs if not key.startswith("template.")} == used
    sources = "".join((POLICIES / f"{name}.py").read_text(encoding="utf-8") for name in ("templates", "profiles", "page"))
    for key, said in pairs:
        assert not key.startswith("template.") or key in sources, f"nobody says {key}"
        assert said == unicodedata.normalize("NFC", said).strip(), key
        assert "  " not in said, key
        assert "..." not in said, key
        assert not re.search(r"\s[,.;:!?](\s|$)|vui lòng|xin hãy|\bbạn\b|\bplease\b", said, re.IGNORECASE), key
        assert said.endswith(".") == (key.endswith(".help") or key in ("template.default", "template.description")), key

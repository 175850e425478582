"""The installer's source and the SQL that finishes it: read as the tools would read them, and compared with what is meant."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from winbuild import product, tables, wxs

FILES = [
    "vidconf.exe",
    "vidconf-cli.exe",
    "python313.dll",
    "app/vidconf/cli/main.py",
    "app/vidconf/a.py",
    "app/av.libs/x.dll",
    "app/av/x.py",
]
NS = f"{{{wxs.NAMESPACE}}}"


def parsed(files: list[str], version: str = "1.2.3") -> ET.Element:
    product_element = ET.fromstring(wxs.source(version, "content", Path("pay"), files, Path("vidconf.ico"))).find(f"{NS}Product")
    assert product_element is not None
    return product_element


def installed(element: ET.Element, place: str = "") -> dict[str, str]:
    """Every file below the program's folder: where it will lie, and where it is taken from."""
    found = {
        f"{place}{file.get('Name')}": str(file.get("Source"))
        for part in element.findall(f"{NS}Component")
        for file in part.findall(f"{NS}File")
    }
    for folder in element.findall(f"{NS}Directory"):
        found |= installed(folder, f"{place}{folder.get('Name')}/")
    return found


def program_folder(element: ET.Element) -> ET.Element:
    return next(folder for folder in element.iter(f"{NS}Directory") if folder.get("Id") == "INSTALLDIR")


def test_each_file_is_installed_where_it_lies_in_the_payload() -> None:
    assert installed(program_folder(parsed(FILES))) == {path: f"pay/{path}" for path in FILES}


NAME = st.text("abcdefgh._-", min_size=1, max_size=4).filter(lambda name: name.strip("."))


@given(st.sets(st.lists(NAME, min_size=1, max_size=4).map("/".join), max_size=25))
def test_any_tree_of_files_is_laid_out_as_it_is(paths: set[str]) -> None:
    files = sorted(path for path in paths | {product.WINDOW} if not any(other.startswith(f"{path}/") for other in paths))
    assert set(installed(program_folder(parsed(files)))) == set(files)


def test_identifiers_are_unique_and_every_component_is_in_the_feature() -> None:
    source = parsed(FILES)
    for kind in ("Component", "File", "Directory", "Shortcut"):
        ids = [str(each.get("Id")) for each in source.iter(f"{NS}{kind}")]
        assert len(ids) == len(set(ids)), kind
        assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]{0,71}", each) for each in ids), kind
    components = [each.get("Id") for each in source.iter(f"{NS}Component")]
    assert sorted(components) == sorted(str(ref.get("Id")) for ref in source.iter(f"{NS}ComponentRef")) == sorted(wxs.components(FILES))
    guids = [each.get("Guid") for each in source.iter(f"{NS}Component")]
    assert len(guids) == len(set(guids))
    assert all(each.get("Win64") == "yes" for each in source.iter(f"{NS}Component"))


def test_a_file_keeps_its_component_from_version_to_version() -> None:
    first, second = (
        {each.get("Id"): each.get("Guid") for each in parsed(files, version).iter(f"{NS}Component")}
        for files, version in ((FILES, "1.2.3"), ([*FILES, "app/new.py"], "1.3.0"))
    )
    assert first.items() <= second.items()


def test_the_source_is_ascii() -> None:
    """wixl takes the strings of an MSI as they come; only ASCII is the same in every code page."""
    assert wxs.source("1.2.3", "x", Path("pay"), FILES, Path("vidconf.ico")).isascii()
    assert all(statement.isascii() for statement in tables.finishing("1.2.3"))


def test_nothing_wixl_would_choke_on_or_silently_drop() -> None:
    source = parsed(FILES)
    for name in ("Environment", "RemoveFile", "RemoveRegistryKey", "Permission", "IniFile", "SetProperty", "UIRef", "CustomAction"):
        assert source.find(f".//{NS}{name}") is None, name
    assert not [each for each in source.iter(f"{NS}Component") if each.find(f"{NS}Condition") is not None]
    assert not [each for each in source.iter() if "Secure" in each.attrib or "Schedule" in each.attrib]


REMEMBERED = ["SERVERURL", "ALLOWEDSERVERS", "LANGUAGE", "AUTOSTART", "UPDATEMODE", "UPDATEURL", "DESKTOPSHORTCUT", "FIREWALL"]


def placed(sequence: str) -> dict[str, tuple[str, int]]:
    """Condition and place by action, as the SQL writes them."""
    matches = (
        re.fullmatch(rf"INSERT INTO `{sequence}` \(.*\) VALUES \('(\w+)','(.*)',(\d+)\)", statement)
        for statement in tables.finishing("1.2.3")
    )
    return {match[1]: (match[2], int(match[3])) for match in matches if match}


def test_the_sequence_that_sql_writes() -> None:
    remembering = {
        **{f"Save{name}": (name, 5 + at) for at, name in enumerate(REMEMBERED)},
        **{f"Rest{name}": (f"TOLD{name}", 51 + at) for at, name in enumerate(REMEMBERED)},
    }
    assert placed("InstallUISequence") == remembering
    inserted = placed("InstallExecuteSequence")
    assert inserted == {
        **remembering,
        "CloseRunning": ("Installed OR WIX_UPGRADE_DETECTED", 1401),
        "RuleDrop": ('REMOVE="ALL"', 3499),
        "RuleClear": ("NOT REMOVE AND NOT REINSTALL", 5101),
        "RuleAdd": ('FIREWALL<>"0" AND NOT REMOVE AND NOT REINSTALL', 5102),
    }
    places = [place for _, place in inserted.values()]
    assert len(places) == len(set(places))
    assert max(places[: 2 * len(REMEMBERED)]) < 100, "behind LaunchConditions"


def test_a_repair_starts_no_program_as_the_system() -> None:
    """Any user may ask for a repair, and a console window of the system's on his screen has been a way to become it (CVE-2024-38014)."""
    as_system = {match[1] for one in tables.finishing("1.2.3") if (match := re.search(rf"VALUES \('(\w+)',{tables.AS_SYSTEM},", one))}
    assert as_system == {"RuleDrop", "RuleClear", "RuleAdd"}
    conditions = {name: condition for name, (condition, _) in placed("InstallExecuteSequence").items() if name in as_system}
    assert all(condition == 'REMOVE="ALL"' or condition.endswith(" AND NOT REINSTALL") for condition in conditions.values())


def test_the_actions_that_sql_writes() -> None:
    actions = {}
    for statement in tables.finishing("1.2.3"):
        match = re.fullmatch(r"INSERT INTO `CustomAction` \(.*\) VALUES \('(\w+)',(\d+),'(\w+)','(.*)'\)", statement)
        if match:
            actions[match[1]] = (int(match[2]), match[3], match[4])
    rule = 'name="Vidconf (UDP)"'
    netsh = '"[System64Folder]netsh.exe" advfirewall firewall'
    assert actions["CloseRunning"] == (98, "INSTALLDIR", '"[System64Folder]taskkill.exe" /F /IM vidconf.exe /IM vidconf-cli.exe')
    assert actions["RuleAdd"] == (
        3170, "INSTALLDIR",
        f'{netsh} add rule {rule} dir=in action=allow protocol=UDP program="[INSTALLDIR]vidconf.exe" profile=domain,private',
    )  # fmt: skip
    assert actions["RuleDrop"] == actions["RuleClear"] == (3170, "INSTALLDIR", f"{netsh} delete rule {rule}")
    assert actions["SaveSERVERURL"] == (51, "TOLDSERVERURL", "[SERVERURL]")
    assert actions["RestSERVERURL"] == (51, "SERVERURL", "[TOLDSERVERURL]")
    assert set(actions) == {
        "CloseRunning",
        "RuleDrop",
        "RuleClear",
        "RuleAdd",
        *(f"{verb}{name}" for verb in ("Save", "Rest") for name in REMEMBERED),
    }


def test_conditions_are_those_of_the_properties() -> None:
    found = dict(
        re.fullmatch(r"UPDATE `Component` SET `Condition`='(.*)' WHERE `Component`='(\w+)'", statement).groups()[::-1]  # type: ignore[union-attr]
        for statement in tables.finishing("1.2.3")
        if statement.startswith("UPDATE `Component`")
    )
    assert found == {
        **{f"cProperty{each.name}": each.accepted for each in product.PROPERTIES}, "cRun": 'AUTOSTART="1"', "cDesktop": 'DESKTOPSHORTCUT="1"',
    }  # fmt: skip
    assert set(found) <= set(wxs.components(FILES))


def test_the_upgrade_row_covers_other_builds_of_the_same_version() -> None:
    statements = [statement for statement in tables.finishing("1.2.3") if "`Upgrade`" in statement]
    assert statements[0].startswith("DELETE")
    assert "VALUES ('{7A9B5C8E-4F0A-4E11-9D6C-3D9E51C0A001}','1.2.3',513,'WIX_UPGRADE_DETECTED')" in statements[1]


@pytest.mark.parametrize("version", ["1.2", "1.2.3.4", "300.0.0"])
def test_no_source_for_a_version_windows_cannot_count(version: str) -> None:
    with pytest.raises(product.VersionError):
        wxs.source(version, "x", Path("pay"), FILES, Path("vidconf.ico"))

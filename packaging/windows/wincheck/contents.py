"""The MSI's tables and files against what is promised: nothing is installed. Reads the file with msitools."""

from __future__ import annotations

from pathlib import Path

from winbuild import product, tables, wxs
from winbuild.build import LARGEST_MSI
from winbuild.running import run

from wincheck.report import Report, must

NEEDED = (
    product.WINDOW, product.CONSOLE, "python313.dll", "python313.zip", "python313._pth", "LICENSE.txt", "app/vidconf/cli/main.py",
    "app/vidconf/cli/__pycache__/main.cpython-313.pyc", "app/vidconf/_resources/words/vi.json", "app/numpy/__init__.py", "app/av/__init__.py",
    "app/PySide6/plugins/platforms/qwindows.dll", "app/PySide6/plugins/tls/qschannelbackend.dll",
    "app/_sounddevice_data/portaudio-binaries/libportaudio64bit.dll", "app/tuf/__init__.py",
)  # fmt: skip
REFUSED = (
    "python.exe", "pythonw.exe", "_wmi.pyd", "icuuc.dll", "mscms.dll", "bcryptprimitives.dll", product.PORTABLE_MARKER, "app/sqlalchemy/__init__.py",
    "app/pytest/__init__.py",
)  # fmt: skip
"""A bare interpreter, what waits for a locked service, what is for checks only, the portable's mark, the server's part, tests."""
ORDER = (
    "SaveSERVERURL", "FindRelatedProducts", "AppSearch", "RestSERVERURL", "LaunchConditions", "InstallValidate", "CloseRunning",
    "InstallInitialize", "RemoveExistingProducts", "RuleDrop", "RemoveFiles", "InstallFiles", "WriteRegistryValues", "RuleClear", "RuleAdd",
    "InstallFinalize",
)  # fmt: skip


def check(report: Report, msi: Path) -> None:
    """Every promise about what the file holds. Raises `RunError` for what is no MSI."""
    properties = {row["Property"]: row["Value"] for row in tables.table(msi, "Property")}
    written = {(row["Key"], row["Name"]): row["Value"] for row in tables.table(msi, "Registry")}
    paths = files(msi)
    with report.promise("one MSI for all users of a 64-bit computer, under its fixed upgrade code") as told:
        must(properties["UpgradeCode"] == f"{{{product.UPGRADE_CODE}}}", f"upgrade code {properties['UpgradeCode']}")
        must(properties["ALLUSERS"] == "1", f"ALLUSERS {properties.get('ALLUSERS')}")
        must(properties["REBOOT"] == "ReallySuppress", "it might restart the computer")
        product.version_parts(properties["ProductVersion"])
        summary = run(["msiinfo", "suminfo", msi])
        must("Template: x64;1033" in summary, summary)
        told.append(f"version {properties['ProductVersion']}, product {properties['ProductCode']}")
    with report.promise(f"at most {LARGEST_MSI // 1_000_000} MB, with numpy") as told:
        told.append(f"{msi.stat().st_size / 1e6:.1f} MB")
        must(msi.stat().st_size <= LARGEST_MSI, "it is larger")
    with report.promise("the program, its runtime and every dependency are in it; an interpreter, tests and shims are not") as told:
        missing = [path for path in NEEDED if path not in paths]
        refused = [path for path in paths if path in REFUSED or "/tests/" in path]
        must(not missing and not refused, f"missing {missing}, too much {refused[:10]}")
        told.append(f"{len(paths)} files")
    with report.promise("one component a file, whose GUID is its path's, in every version"):
        codes = {row["Component"]: row["ComponentId"] for row in tables.table(msi, "Component")}
        for path in paths:
            if path != product.WINDOW:
                must(codes[wxs.file_id("c", path)] == f"{{{product.component_code(path)}}}", f"{path}: another GUID")
        must(set(codes) == set(wxs.components(paths)), "other components than promised")
    with report.promise("what msiexec may be told is secured, remembered, and written under the names of the policies"):
        secured = properties["SecureCustomProperties"].split(";")
        searched = {row["Property"] for row in tables.table(msi, "AppSearch")}
        for each in product.PROPERTIES:
            must(each.name in secured and each.name in searched, f"{each.name} is not carried over")
            must(written[(product.SETTINGS_KEY, each.remembered)] == f"[{each.name}]", f"{each.remembered} is not written")
        must(all(row["Type"] == str(tables.VIEW_64) for row in tables.table(msi, "RegLocator")), "a search in the 32-bit view")
    with report.promise(f"the scheme {product.SCHEME}://, Start menu, registered application"):
        for key, name, text in wxs.MAIN_VALUES:
            must(written[(key, name)] == text, f"{key} {name}: {written.get((key, name))!r}")
        must({row["Directory_"] for row in tables.table(msi, "Shortcut")} == {"ProgramMenuFolder", "DesktopFolder"}, "other shortcuts")
    with report.promise("the firewall rule is for the program alone; what runs is closed before files are replaced"):
        actions = {row["Action"]: (int(row["Type"]), row["Target"]) for row in tables.table(msi, "CustomAction")}
        kind, line = actions["RuleAdd"]
        must(kind == tables.AS_SYSTEM and f'program="[INSTALLDIR]{product.WINDOW}"' in line and "profile=domain,private" in line, line)
        must(all(f"/IM {name}" in actions["CloseRunning"][1] for name in product.CLOSED_PROGRAMS), actions["CloseRunning"][1])
    with report.promise("the order: settings found, running programs closed, the old version removed within what can be rolled back"):
        places = {row["Action"]: int(row["Sequence"]) for row in tables.table(msi, "InstallExecuteSequence")}
        there = sorted(ORDER, key=lambda name: places[name])
        must(tuple(there) == ORDER, " ".join(there))
        shown = {row["Action"]: int(row["Sequence"]) for row in tables.table(msi, "InstallUISequence")}
        for each in product.PROPERTIES:
            for row in (places, shown):
                around = row[f"Save{each.name}"] < row["AppSearch"] < row[f"Rest{each.name}"] < row["LaunchConditions"]
                must(around, f"{each.name} on the command line would lose against the registry")


def files(msi: Path) -> list[str]:
    """Every installed file, from the program's folder, with slashes."""
    folders = {row["Directory"]: (row["Directory_Parent"], row["DefaultDir"].split("|")[-1]) for row in tables.table(msi, "Directory")}
    component = {row["Component"]: row["Directory_"] for row in tables.table(msi, "Component")}

    def place(folder: str) -> str:
        if folder == "INSTALLDIR":
            return ""
        parent, name = folders[folder]
        return f"{place(parent)}{name}/"

    return sorted(place(component[row["Component_"]]) + row["FileName"].split("|")[-1] for row in tables.table(msi, "File"))

"""What wixl cannot write into the MSI's tables, as SQL for msibuild; and the tables read back. `finishing` is pure.

Backticks stand around names, because msibuild's SQL wants them; one statement a line.
"""

from __future__ import annotations

from pathlib import Path

from winbuild import product, wxs
from winbuild.running import run

SAVE, REST = 5, 51
"""Before and after AppSearch (50), which overwrites what the command line said; one place for each property."""
REMOVE_OLD, CLOSE, DROP_RULE, CLEAR_RULE, ADD_RULE = 1501, 1401, 3499, 5101, 5102
"""Places in the sequence. What runs is closed after InstallValidate (1400), where Windows' restart manager has asked the program to
end by itself; the old version goes just after InstallInitialize (1500), within what can be rolled back."""
SET_PROPERTY, AT_ONCE, AS_SYSTEM = 51, 34 + 64, 34 + 64 + 1024 + 2048
"""A property set from a text; a program beside a folder, its exit code ignored, at once; and the same later, among the changes, and as the installer service."""
NO_REPAIR = "NOT REINSTALL"
"""Any user may ask for a repair, before Windows' updates of September 2024 without a password (CVE-2024-38014): then nothing is started as
the installer service, whose console window on the screen was a way to become it."""
VIEW_64 = 18
"""A raw registry value, of the 64-bit view."""
SAME_VERSION = 1 + 512
"""Upgrade: take over features, and replace another build of this very version too."""


def secure_properties() -> str:
    """What a user's word may carry over into the elevated half of the installation."""
    return ";".join(("WIX_DOWNGRADE_DETECTED", "WIX_UPGRADE_DETECTED", *(each.name for each in product.PROPERTIES)))


def finishing(version: str) -> list[str]:
    """Every statement for this version, in order."""
    netsh = '"[System64Folder]netsh.exe" advfirewall firewall'
    rule = f'name="{product.FIREWALL_RULE}"'
    add = f'{netsh} add rule {rule} dir=in action=allow protocol=UDP program="[INSTALLDIR]{product.WINDOW}" profile=domain,private'
    delete = f"{netsh} delete rule {rule}"
    close = '"[System64Folder]taskkill.exe" /F ' + " ".join(f"/IM {name}" for name in product.CLOSED_PROGRAMS)
    conditions = [(wxs.property_component(each.name), each.accepted) for each in product.PROPERTIES]
    conditions += [("cRun", 'AUTOSTART="1"'), ("cDesktop", 'DESKTOPSHORTCUT="1"')]
    return [
        *(f"UPDATE `Component` SET `Condition`='{condition}' WHERE `Component`='{component}'" for component, condition in conditions),
        f"UPDATE `RegLocator` SET `Type`={VIEW_64}",
        # a key cannot be changed, so the row is written anew
        "DELETE FROM `Upgrade` WHERE `ActionProperty`='WIX_UPGRADE_DETECTED'",
        "INSERT INTO `Upgrade` (`UpgradeCode`,`VersionMax`,`Attributes`,`ActionProperty`) "
        f"VALUES ('{{{product.UPGRADE_CODE}}}','{version}',{SAME_VERSION},'WIX_UPGRADE_DETECTED')",
        f"UPDATE `Property` SET `Value`='{secure_properties()}' WHERE `Property`='SecureCustomProperties'",
        f"UPDATE `InstallExecuteSequence` SET `Sequence`={REMOVE_OLD} WHERE `Action`='RemoveExistingProducts'",
        *_remembering(),
        *_action("CloseRunning", AT_ONCE, close, "Installed OR WIX_UPGRADE_DETECTED", CLOSE),
        *_action("RuleDrop", AS_SYSTEM, delete, 'REMOVE="ALL"', DROP_RULE),
        *_action("RuleClear", AS_SYSTEM, delete, f"NOT REMOVE AND {NO_REPAIR}", CLEAR_RULE),
        *_action("RuleAdd", AS_SYSTEM, add, f'FIREWALL<>"0" AND NOT REMOVE AND {NO_REPAIR}', ADD_RULE),
    ]


def _remembering() -> list[str]:
    """wixl would place these by chance, some behind the end of the installation. In both sequences: a double click runs one before
    the other, and each searches."""
    found: list[str] = []
    for at, each in enumerate(product.PROPERTIES):
        told = f"TOLD{each.name}"
        found += _action(f"Save{each.name}", SET_PROPERTY, f"[{each.name}]", each.name, SAVE + at, told)
        found += _action(f"Rest{each.name}", SET_PROPERTY, f"[{told}]", told, REST + at, each.name)
        found += [
            _place("InstallUISequence", *row) for row in ((f"Save{each.name}", each.name, SAVE + at), (f"Rest{each.name}", told, REST + at))
        ]
    return found


def _action(name: str, kind: int, line: str, condition: str, place: int, source: str = "INSTALLDIR") -> tuple[str, str]:
    return (
        f"INSERT INTO `CustomAction` (`Action`,`Type`,`Source`,`Target`) VALUES ('{name}',{kind},'{source}','{line}')",
        _place("InstallExecuteSequence", name, condition, place),
    )


def _place(sequence: str, name: str, condition: str, place: int) -> str:
    return f"INSERT INTO `{sequence}` (`Action`,`Condition`,`Sequence`) VALUES ('{name}','{condition}',{place})"


def names(msi: Path) -> list[str]:
    """The tables of an MSI. Raises `RunError`."""
    return sorted(run(["msiinfo", "tables", msi]).split())


def table(msi: Path, name: str) -> list[dict[str, str]]:
    """A table's rows by column. Raises `RunError`."""
    lines = run(["msiinfo", "export", msi, name]).replace("\r", "").split("\n")
    columns = lines[0].split("\t")
    return [dict(zip(columns, line.split("\t"), strict=False)) for line in lines[3:] if line]

"""What the installer is: its names, its fixed identities, what it may be told, and what it promises. Pure; any thread.

Everything else (the product's source for wixl, the SQL that finishes it, the checks and their tests) is made from here.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

NAME = "Vidconf"
MANUFACTURER = "Vidconf"
SCHEME = "vidconf"
WINDOW, CONSOLE = "vidconf.exe", "vidconf-cli.exe"
PORTABLE_MARKER = "portable.marker"
"""Beside the programs of the portable ZIP, and only there."""

UPGRADE_CODE = "7A9B5C8E-4F0A-4E11-9D6C-3D9E51C0A001"
"""Windows knows by it that one version follows another: it never changes, and msiexec wants it in capitals."""
_NAMES = uuid.UUID("6f1c0c1e-9d3b-4d57-9f2b-2f1d3a7b8c10")

SETTINGS_KEY = rf"Software\{MANUFACTURER}\{NAME}"
"""Under HKLM: what the installer was told. Names that are policies' are what it recommends; the program reads them as texts."""
RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"
FIREWALL_RULE = "Vidconf (UDP)"
VERSION_LIMITS = (255, 255, 65535)


CLOSED_PROGRAMS = (WINDOW, CONSOLE)
"""Ended before their files are replaced or removed."""
WINDOWS_BUILD = 17763
"""Windows 10 1809 and Server 2019: the first with the ICU library that Qt needs."""


@dataclass(frozen=True, slots=True)
class Property:
    """A word for `msiexec /i … NAME=value`. `remembered`: its value under `SETTINGS_KEY`, from which the next version has it;
    `accepted`: the condition under which it counts."""

    name: str
    remembered: str
    accepted: str


PROPERTIES = (
    Property("SERVERURL", "ServerURL", "SERVERURL"),
    Property("ALLOWEDSERVERS", "AllowedServers", "ALLOWEDSERVERS"),
    Property("LANGUAGE", "Language", 'LANGUAGE="vi" OR LANGUAGE="en"'),
    Property("AUTOSTART", "AutoStart", 'AUTOSTART="0" OR AUTOSTART="1"'),
    Property("UPDATEMODE", "UpdateMode", 'UPDATEMODE="off" OR UPDATEMODE="notify"'),
    Property("UPDATEURL", "UpdateURL", "UPDATEURL"),
    Property("DESKTOPSHORTCUT", "DesktopShortcut", 'DESKTOPSHORTCUT="0" OR DESKTOPSHORTCUT="1"'),
    Property("FIREWALL", "Firewall", 'FIREWALL="0" OR FIREWALL="1"'),
)


class VersionError(ValueError):
    """A version that Windows Installer cannot compare."""


def version_parts(version: str) -> tuple[int, int, int]:
    """`X.Y.Z` as numbers. Windows Installer compares just three, of at most 255.255.65535. Raises `VersionError`."""
    match = re.fullmatch(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})", version)
    if match is None:
        raise VersionError(f"a version is X.Y.Z in plain numbers, not {version!r}")
    major, minor, patch = (int(part) for part in match.groups())
    if any(part > limit for part, limit in zip((major, minor, patch), VERSION_LIMITS, strict=True)):
        raise VersionError(f"{version} is above 255.255.65535, where Windows Installer stops counting")
    return major, minor, patch


def component_code(path: str) -> str:
    """A component's GUID: the same for one installed path (or named part) in every version."""
    return str(uuid.uuid5(_NAMES, path)).upper()


def product_code(version: str, content: str) -> str:
    """This very product's GUID, from its version and a digest of its content: the same build has the same one."""
    return str(uuid.uuid5(_NAMES, f"product {version} {content}")).upper()


def package_code(version: str, content: str) -> str:
    """The GUID of one MSI file."""
    return str(uuid.uuid5(_NAMES, f"package {version} {content}")).upper()


def file_name(version: str, ending: str) -> str:
    return f"vidconf-{version}-x64{ending}"

"""The product's source for wixl: files, registry, shortcuts, what is remembered. Pure but for listing the payload's files.

wixl knows a part of WiX only: conditions of components, custom actions that run programs, and their places are added afterwards
(`tables.py`). One component a file, its GUID made of its path, so that each version counts the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import quoteattr

from winbuild import product

NAMESPACE = "http://schemas.microsoft.com/wix/2006/wi"
DOWNGRADE = "A newer version of Vidconf is installed: remove it first."
TOO_OLD = "Vidconf needs 64-bit Windows 10 1809 (build 17763) or newer."
RUN_WORDS = "--at-login"
PROGRAM = f'"[INSTALLDIR]{product.WINDOW}"'
CAPABILITIES = rf"{product.SETTINGS_KEY}\Capabilities"

MAIN_VALUES = (
    # key under HKLM, name ("" is the key's default), text
    (rf"Software\Classes\{product.SCHEME}", "", "URL:Vidconf meeting"),
    (rf"Software\Classes\{product.SCHEME}", "URL Protocol", ""),
    (rf"Software\Classes\{product.SCHEME}\DefaultIcon", "", f"[INSTALLDIR]{product.WINDOW},0"),
    (rf"Software\Classes\{product.SCHEME}\shell\open\command", "", f'{PROGRAM} -- "%1"'),
    (CAPABILITIES, "ApplicationName", product.NAME),
    (CAPABILITIES, "ApplicationDescription", "Video conferences"),
    (rf"{CAPABILITIES}\URLAssociations", product.SCHEME, product.SCHEME),
    (r"Software\RegisteredApplications", product.NAME, CAPABILITIES),
    (rf"Software\Microsoft\Windows\CurrentVersion\App Paths\{product.WINDOW}", "", f"[INSTALLDIR]{product.WINDOW}"),
    (product.SETTINGS_KEY, "InstallDir", "[INSTALLDIR]"),
    (product.SETTINGS_KEY, "Version", "[ProductVersion]"),
)


def main_component() -> str:
    return "cMain"


def property_component(name: str) -> str:
    return f"cProperty{name}"


def file_id(kind: str, path: str) -> str:
    """An identifier of the tables for a path: `kind` c, d or f."""
    return kind + hashlib.sha256(path.encode()).hexdigest()[:20]


def source(version: str, content: str, root: Path, files: Sequence[str], icon: Path) -> str:
    """The whole of it. `content`: digest of the payload; `files`: paths below `root`, with slashes. Raises `VersionError`."""
    product.version_parts(version)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<Wix xmlns="{NAMESPACE}">',
        _tag("Product", Id=product.product_code(version, content), Name=product.NAME, Language="1033", Codepage="1252", Version=version,
             Manufacturer=product.MANUFACTURER, UpgradeCode=product.UPGRADE_CODE),
        _tag("Package", "/", InstallerVersion="500", Compressed="yes", InstallScope="perMachine", Comments="Vidconf desktop client"),
        _tag("MajorUpgrade", "/", DowngradeErrorMessage=DOWNGRADE),
        _tag("MediaTemplate", "/", EmbedCab="yes"),
        _tag("Icon", "/", Id="app.ico", SourceFile=str(icon)),
        *(_tag("Property", "/", Id=name, Value=value) for name, value in _properties()),
        _tag("Property", Id="WINDOWSBUILD"),
        _tag("RegistrySearch", "/", Id="rsWINDOWSBUILD", Root="HKLM", Key=r"SOFTWARE\Microsoft\Windows NT\CurrentVersion",
             Name="CurrentBuildNumber", Type="raw"),
        "</Property>",
        f'{_tag("Condition", Message=TOO_OLD)}Installed OR (VersionNT64 AND WINDOWSBUILD &gt;= {product.WINDOWS_BUILD})</Condition>',
        *_remembering(),
        _tag("Directory", Id="TARGETDIR", Name="SourceDir"),
        _tag("Directory", Id="ProgramFiles64Folder"),
        _tag("Directory", Id="INSTALLDIR", Name=product.NAME),
        *_main(root),
        *_property_components(),
        *_files(root, [path for path in files if path != product.WINDOW]),
        "</Directory>", "</Directory>",
        *_shortcut("ProgramMenuFolder", "cMenu", "MenuShortcut"),
        *_shortcut("DesktopFolder", "cDesktop", "DesktopShortcutMade"),
        "</Directory>",
        _tag("Feature", Id="Main", Level="1", Title=product.NAME),
        *(_tag("ComponentRef", "/", Id=component) for component in components(files)),
        "</Feature>", "</Product>", "</Wix>", "",
    ]  # fmt: skip
    return "\n".join(lines)


def components(files: Iterable[str]) -> list[str]:
    """Every component's identifier."""
    named = [main_component(), "cRun", "cMenu", "cDesktop", *(property_component(each.name) for each in product.PROPERTIES)]
    return [*named, *(file_id("c", path) for path in files if path != product.WINDOW)]


def _properties() -> tuple[tuple[str, str], ...]:
    return (
        ("ARPPRODUCTICON", "app.ico"),
        ("ARPNOMODIFY", "1"),
        ("REBOOT", "ReallySuppress"),  # in a silent installation nobody is asked before the computer restarts
    )


def _remembering() -> Iterable[str]:
    """Each property is looked up where the last version left it; how the command line's word wins, `tables.py` knows."""
    for each in product.PROPERTIES:
        yield _tag("Property", Id=each.name)
        yield _tag("RegistrySearch", "/", Id=f"rs{each.name}", Root="HKLM", Key=product.SETTINGS_KEY, Name=each.remembered, Type="raw")
        yield "</Property>"


def _main(root: Path) -> Iterable[str]:
    yield _component(main_component())
    yield _tag("File", "/", Id="fMain", Name=product.WINDOW, Source=str(root / product.WINDOW), KeyPath="yes")
    for key, name, text in MAIN_VALUES:
        yield _value(key, name, text)
    yield "</Component>"


def _property_components() -> Iterable[str]:
    for each in product.PROPERTIES:
        yield _component(property_component(each.name))
        yield _value(product.SETTINGS_KEY, each.remembered, f"[{each.name}]", key_path=True)
        yield "</Component>"
    yield _component("cRun")
    yield _value(product.RUN_KEY, product.NAME, f"{PROGRAM} {RUN_WORDS}", key_path=True)
    yield "</Component>"


def _shortcut(folder: str, component: str, value: str) -> Iterable[str]:
    yield _tag("Directory", Id=folder)
    yield _component(component)
    yield _tag("Shortcut", "/", Id=f"s{component[1:]}", Name=product.NAME, Target=f"[INSTALLDIR]{product.WINDOW}",
               WorkingDirectory="INSTALLDIR", Icon="app.ico")  # fmt: skip
    yield _value(product.SETTINGS_KEY, value, "1", key_path=True)
    yield "</Component>"
    yield "</Directory>"


def _files(root: Path, files: Sequence[str]) -> Iterable[str]:
    """Folders within folders, as the paths say, in their order."""
    here: list[str] = []
    for path in sorted(files, key=lambda path: PurePosixPath(path).parts):
        *folders, name = path.split("/")
        common = next((n for n, (a, b) in enumerate(zip(here, folders, strict=False)) if a != b), min(len(here), len(folders)))
        for _ in here[common:]:
            yield "</Directory>"
        for at in range(common, len(folders)):
            yield _tag("Directory", Id=file_id("d", "/".join(folders[: at + 1])), Name=folders[at])
        here = folders
        yield _component(file_id("c", path), path)
        yield _tag("File", "/", Id=file_id("f", path), Name=name, Source=str(root / path), KeyPath="yes")
        yield "</Component>"
    for _ in here:
        yield "</Directory>"


def _component(component: str, path: str = "") -> str:
    return _tag("Component", Id=component, Guid=product.component_code(path or component), Win64="yes")


def _value(key: str, name: str, text: str, *, key_path: bool = False) -> str:
    told = {"Root": "HKLM", "Key": key, **({"Name": name} if name else {}), "Type": "string", "Value": text}
    return _tag("RegistryValue", "/", **told, **({"KeyPath": "yes"} if key_path else {}))


def _tag(element: str, end: str = "", /, **told: str) -> str:
    return f"<{element}{''.join(f' {key}={quoteattr(value)}' for key, value in told.items())}{end}>"

"""`packaging/windows/agency`: an MSI that knows its organisation's server, for ways of installing that give msiexec no properties.

Group policy is such a way, and transforms (MST) cannot be made on Linux. The copy is a product of its own: installed over the plain
one of the same version it replaces that, and its words win over what was remembered, as a command line's do.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from winbuild import msi, payload, product, signing, tables
from winbuild.running import RunError, run

LONGEST = 2048
_FORBIDDEN = re.compile(r"['\"`\[\]{}\x00-\x1f\x7f-\U0010ffff]")
"""What SQL or Windows Installer would read as more than a text."""


class AgencyError(ValueError):
    """Something that is no address, or cannot stand in an MSI."""


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="packaging/windows/agency",
        description="Copy an MSI and write an organisation's settings into it. They are defaults: policies are stronger, and users may choose.",
    )
    parser.add_argument("msi", type=Path, metavar="MSI")
    parser.add_argument("--out", type=Path, required=True, metavar="MSI", help="the file to write")
    parser.add_argument("--server-url", metavar="URL", help="SERVERURL: https://host[:port]")
    parser.add_argument("--allowed-server", action="append", metavar="HOST", help="ALLOWEDSERVERS; may be given several times")
    parser.add_argument("--language", choices=["vi", "en"], help="LANGUAGE")
    parser.add_argument("--autostart", choices=["0", "1"], help="AUTOSTART")
    parser.add_argument("--update-url", metavar="URL", help="UPDATEURL: where signed word of new versions lies")
    parser.add_argument("--update-mode", choices=["off", "notify"], help="UPDATEMODE")
    parser.add_argument("--desktop-shortcut", choices=["0", "1"], help="DESKTOPSHORTCUT")
    parser.add_argument("--firewall", choices=["0", "1"], help="FIREWALL: 0 where a policy has the rule")
    signing.add_options(parser)
    return parser


def values(told: argparse.Namespace) -> dict[str, str]:
    """What to write, by property. Raises `AgencyError`."""
    given = {
        "SERVERURL": _address(told.server_url), "ALLOWEDSERVERS": ";".join(told.allowed_server or ()), "LANGUAGE": told.language,
        "AUTOSTART": told.autostart, "UPDATEURL": _address(told.update_url), "UPDATEMODE": told.update_mode,
        "DESKTOPSHORTCUT": told.desktop_shortcut, "FIREWALL": told.firewall,
    }  # fmt: skip
    found = {name: value for name, value in given.items() if value}
    if not found:
        raise AgencyError("there is nothing to write: give at least one setting")
    for name, value in found.items():
        if len(value) > LONGEST or _FORBIDDEN.search(value):
            raise AgencyError(f"{name}: {value[:80]!r} cannot stand in an installer")
    return found


def _address(text: str | None) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise AgencyError(f"{text[:80]!r} is no address") from None
    if parts.scheme != "https" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise AgencyError(f"{text[:80]!r} is no https address")
    return text


def has_signature(msi: Path) -> bool:
    """Whether somebody signed it, rightly or not. Raises `RunError`."""
    return any("DigitalSignature" in name for name in run(["msiinfo", "streams", msi]).splitlines())


def write(source: Path, target: Path, written: dict[str, str], epoch: int) -> str:
    """The copy; returns its product code. Raises `RunError`, `AgencyError`."""
    properties = {row["Property"]: row["Value"] for row in tables.table(source, "Property")}
    if properties.get("UpgradeCode", "").strip("{}") != product.UPGRADE_CODE:
        raise AgencyError(f"{source.name} is no installer of Vidconf")
    version = properties["ProductVersion"]
    told = properties["ProductCode"] + "".join(f"\0{name}\0{value}" for name, value in sorted(written.items()))
    target.parent.mkdir(parents=True, exist_ok=True)
    if has_signature(source):
        run(["osslsigncode", "remove-signature", "-in", source, "-out", target])
    else:
        shutil.copy(source, target)
    known = [name for name in written if name in properties]
    code = product.product_code(version, told)
    msi.finish(
        target,
        [
            *(f"DELETE FROM `Property` WHERE `Property`='{name}'" for name in known),
            *(f"INSERT INTO `Property` (`Property`,`Value`) VALUES ('{name}','{value}')" for name, value in written.items()),
            f"UPDATE `Property` SET `Value`='{{{code}}}' WHERE `Property`='ProductCode'",
        ],
        product.package_code(version, told),
        epoch,
    )
    return code


def main(words: list[str] | None = None) -> int:
    parser = options()
    told = parser.parse_args(words)
    try:
        written, signer = values(told), signing.from_options(told)
    except (AgencyError, signing.SigningError) as error:
        parser.error(str(error))
    if told.out.resolve() == told.msi.resolve():
        parser.error("--out is the installer itself: a copy is written")
    try:
        code = write(told.msi, told.out, written, payload.last_change())
        if signer is not None:
            signer.sign(told.out)
    except (RunError, AgencyError, signing.SigningError, OSError) as error:
        print(f"agency: {error}", file=sys.stderr)
        return 1
    print(f"{told.out}: product {{{code}}}")
    for name, value in written.items():
        print(f"  {name}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

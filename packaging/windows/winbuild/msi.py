"""From a payload to an MSI: wixl packs, SQL finishes, and nothing of when, where or by whom it was built stays in it.

Two clocks would show: wixl and msibuild write the time into the file, and give it random codes. They run under a stopped clock
(faketime) in UTC, the codes come from version and content.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from winbuild import launcher, payload, product, tables, wxs
from winbuild.running import run

TEMPLATE = "x64;1033"


def stopped_clock(epoch: int) -> tuple[list[str], dict[str, str]]:
    """What to put before a command, and its environment, so that it takes `epoch` (seconds) for the time."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(epoch))
    return ["faketime", "-f", moment], {"TZ": "UTC", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(epoch)}


def build(folder: Path, version: str, epoch: int, msi: Path, content: str) -> str:
    """Pack the payload in `folder`, whose digest before any signing is `content`; returns the product code. Raises `RunError`, `VersionError`."""
    files = [path.relative_to(folder).as_posix() for path in payload.files(folder)]
    with tempfile.TemporaryDirectory(prefix="vidconf-msi-") as name:
        work = Path(name)
        # short, equal names: what wixl writes must not depend on where the build lies
        (work / "pay").symlink_to(folder.resolve())
        (work / "vidconf.ico").symlink_to(launcher.ICON)
        text = wxs.source(version, content, Path("pay"), files, Path("vidconf.ico"))
        (work / "vidconf.wxs").write_text(text, encoding="utf-8")
        before, environment = stopped_clock(epoch)
        run([*before, "wixl", "-a", "x64", "-o", "vidconf.msi", "vidconf.wxs"], cwd=work, environment=environment)
        finish(work / "vidconf.msi", tables.finishing(version), product.package_code(version, content), epoch)
        msi.write_bytes((work / "vidconf.msi").read_bytes())
    return product.product_code(version, content)


def finish(msi: Path, statements: Sequence[str], code: str, epoch: int) -> None:
    """Run the SQL on an MSI and give the file its own code. Raises `RunError`."""
    before, environment = stopped_clock(epoch)
    run([*before, "msibuild", msi, "-q", *statements], environment=environment)
    run([*before, "msibuild", msi, "-s", product.NAME, product.MANUFACTURER, TEMPLATE, f"{{{code}}}"], environment=environment)

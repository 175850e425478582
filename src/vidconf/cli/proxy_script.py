"""Whether this PC is told to choose its proxies by a script (PAC, WPAD): such a script is not run, and whoever wonders why is told so.

Any thread; reads settings only. Windows keeps it in the registry, macOS in its configuration, GNOME in its settings.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

ASK_S = 2.0
_WINDOWS = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"


def proxy_script() -> str:
    """The script's address, `auto` where one is to be looked for without an address, "" where none is set."""
    if sys.platform == "win32":
        return _of_windows()
    if sys.platform == "darwin":
        return of_scutil(_said("scutil", "--proxy"))
    if told := os.environ.get("auto_proxy"):  # noqa: SIM112 - so it is written, as http_proxy is
        return told
    if _said("gsettings", "get", "org.gnome.system.proxy", "mode").strip() != "'auto'":
        return ""
    return _said("gsettings", "get", "org.gnome.system.proxy", "autoconfig-url").strip().strip("'") or "auto"


def of_scutil(said: str) -> str:
    """What `scutil --proxy` says of a script."""
    if re.search(r"^\s*ProxyAutoConfigEnable : 1\s*$", said, re.MULTILINE):
        found = re.search(r"^\s*ProxyAutoConfigURLString : (\S+)\s*$", said, re.MULTILINE)
        return found.group(1) if found else "auto"
    return "auto" if re.search(r"^\s*ProxyAutoDiscoveryEnable : 1\s*$", said, re.MULTILINE) else ""


def _said(*command: str) -> str:
    program = shutil.which(command[0])
    if program is None:
        return ""
    try:
        return subprocess.run([program, *command[1:]], capture_output=True, text=True, errors="replace", timeout=ASK_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _of_windows() -> str:
    if sys.platform != "win32":
        return ""
    import winreg

    try:
        with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _WINDOWS) as key:
            return str(winreg.QueryValueEx(key, "AutoConfigURL")[0])
    except OSError:
        return ""

"""The life of an installation under Wine: installed, upgraded while it runs, repaired, refused, replaced, removed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from winbuild import agency, payload, portable, product, tables, wxs
from winbuild.wine import end

from wincheck.machine import Machine
from wincheck.report import Report, must

SERVER, OTHER_SERVER = "https://hop.example.gov.vn", "https://hop2.example.gov.vn"
TOLD = {
    "SERVERURL": SERVER, "ALLOWEDSERVERS": "hop.example.gov.vn;hop2.example.gov.vn", "LANGUAGE": "en", "AUTOSTART": "1", "DESKTOPSHORTCUT": "1",
    "FIREWALL": "0",
}  # fmt: skip
SETTINGS = rf"HKLM\{product.SETTINGS_KEY}"
POLICIES = r"HKLM\Software\Policies\Vidconf\Vidconf"
RUN = rf"HKLM\{product.RUN_KEY}"
SCHEME = rf"HKLM\Software\Classes\{product.SCHEME}"
CLOSED_S = 30


@dataclass(frozen=True, slots=True)
class Files:
    """The MSI that is checked, one of a higher version, and (or None) a portable ZIP."""

    msi: Path
    higher: Path
    zip_file: Path | None

    @property
    def version(self) -> str:
        return version_of(self.msi)


def version_of(msi: Path) -> str:
    return next(row["Value"] for row in tables.table(msi, "Property") if row["Property"] == "ProductVersion")


def code_of(msi: Path) -> str:
    return next(row["Value"] for row in tables.table(msi, "Property") if row["Property"] == "ProductCode")


def install(report: Report, machine: Machine, files: Files) -> None:
    with report.promise("silent installation with SERVERURL, ALLOWEDSERVERS, LANGUAGE, AUTOSTART, DESKTOPSHORTCUT, FIREWALL") as told:
        done = machine.msiexec("/i", files.msi, *(f"{name}={value}" for name, value in TOLD.items()))
        must(done.code == 0, f"exit {done.code} {done.err}")
        told.append(f"msiexec {done.took_s:.1f} s")
        for each in product.PROPERTIES:
            must(
                machine.value(SETTINGS, each.remembered) == TOLD.get(each.name),
                f"{each.remembered}: {machine.value(SETTINGS, each.remembered)!r}",
            )
    with report.promise("what is installed is, byte for byte, what the build says") as told:
        said = files.msi.with_suffix(".json")
        digest = payload.digest(machine.installed)
        if not said.is_file() or json.loads(said.read_text(encoding="utf-8"))["signed"]:
            told.append("no report of an unsigned build beside the MSI to compare with")
        else:
            must(digest == json.loads(said.read_text(encoding="utf-8"))["payload"]["sha256"], f"SHA-256 {digest}")
    with report.promise("Start menu and desktop shortcut; vidconf:// starts the program; log-on starts it hidden"):
        names = machine.links()
        must(len(names) == 2, f"shortcuts {names}")
        command = machine.value(rf"{SCHEME}\shell\open\command")
        program = rf'"C:\Program Files\{product.NAME}\{product.WINDOW}"'
        must(command == f'{program} -- "%1"', f"{command}")
        must(machine.value(SCHEME, "URL Protocol") == "", "no URL Protocol")
        must(machine.value(RUN, product.NAME) == f"{program} {wxs.RUN_WORDS}", f"{machine.value(RUN, product.NAME)}")
    with report.promise("vidconf-cli.exe starts from Program Files and tells its version") as told:
        first, again = machine.program("--version"), machine.program("--version")
        must(first.out.split()[-1:] == [files.version], f"{first.out!r} {first.err[-1000:]}")
        told.append(f"{first.took_s:.1f} s, then {again.took_s:.1f} s")


def policies(report: Report, machine: Machine) -> None:
    def settings() -> dict[str, dict[str, object]]:
        done = machine.program("policies", "--json")
        return {str(entry["policy"]): entry for entry in json.loads(done.out)["settings"]}

    with report.promise("the program reads what the installer was told as recommended, and is not held by it"):
        found = settings()
        for name, value in (
            ("ServerURL", SERVER),
            ("AutoStart", True),
            ("Language", "en"),
            ("AllowedServers", TOLD["ALLOWEDSERVERS"].split(";")),
        ):
            entry = found[name]
            must((entry["value"], entry["source"], entry["locked"]) == (value, "recommended", False), f"{name}: {entry}")
    with report.promise("group policy in the registry holds, above what the installer was told"):
        machine.wine.checked(["reg", "add", POLICIES, "/v", "ServerURL", "/t", "REG_SZ", "/d", OTHER_SERVER, "/f"])
        machine.wine.checked(["reg", "add", POLICIES, "/v", "AutoStart", "/t", "REG_DWORD", "/d", "0", "/f"])
        try:
            found = settings()
            for name, value in (("ServerURL", OTHER_SERVER), ("AutoStart", False)):
                entry = found[name]
                must((entry["value"], entry["source"], entry["locked"]) == (value, "policy", True), f"{name}: {entry}")
        finally:
            machine.wine.checked(["reg", "delete", POLICIES, "/f"])


def upgrade(report: Report, machine: Machine, files: Files) -> None:
    higher = version_of(files.higher)
    running: list[subprocess.Popen[str]] = []
    try:
        with report.promise("upgrade in place while it runs: the program is closed, nothing waits for a restart") as told:
            running += [_hold(machine, name) for name in (product.WINDOW, product.CONSOLE)]
            must(all(process.poll() is None for process in running), "the program did not stay open")
            done = machine.msiexec("/i", files.higher)
            must(done.code == 0, f"exit {done.code} (194: a restart is needed) {done.err}")
            ends = time.monotonic() + CLOSED_S
            while any(process.poll() is None for process in running) and time.monotonic() < ends:
                time.sleep(0.2)
            must(all(process.poll() is not None for process in running), "the old version still runs")
            waiting = machine.value(r"HKLM\System\CurrentControlSet\Control\Session Manager", "PendingFileRenameOperations")
            must(waiting is None, f"for a restart waits {waiting}")
            must(machine.program("--version").out.split()[-1:] == [higher], "another version runs")
            told.append(f"msiexec {done.took_s:.1f} s, to {higher}")
    finally:
        for process in running:
            end(process)
    with report.promise("an upgrade keeps what the installer was told before"):
        for each in product.PROPERTIES:
            must(
                machine.value(SETTINGS, each.remembered) == TOLD.get(each.name),
                f"{each.remembered}: {machine.value(SETTINGS, each.remembered)!r}",
            )
        must(machine.value(SETTINGS, "Version") == higher, "the old version's values")
        must(_products(machine) == [higher], f"installed: {_products(machine)}")
    with report.promise("an older version is refused, and the newer one stays") as told:
        done = machine.msiexec("/i", files.msi)
        must(done.code != 0, "it was installed")
        told.append(f"exit {done.code} (Windows: 1603)")
        must(machine.program("--version").out.split()[-1:] == [higher], "another version runs")
    with report.promise("repair puts back what was damaged"):
        damaged = machine.installed / "app" / "vidconf" / "cli" / "main.py"
        before = hashlib.sha256(damaged.read_bytes()).hexdigest()
        damaged.unlink()
        machine.wine.checked(["reg", "delete", rf"{SCHEME}\shell\open\command", "/f"])
        done = machine.msiexec("/i", files.higher, "REINSTALL=ALL", "REINSTALLMODE=omus")  # Windows: /fomus, which Wine's msiexec lacks
        must(done.code == 0, f"exit {done.code} {done.err}")
        must(damaged.is_file() and hashlib.sha256(damaged.read_bytes()).hexdigest() == before, "the file is not back")
        must(machine.value(rf"{SCHEME}\shell\open\command") is not None, "the registry is not back")


def replace(report: Report, machine: Machine, files: Files) -> None:
    with report.promise("an agency's edition of the same version replaces the plain one, and its server wins") as told:
        edition = machine.folder / "agency.msi"
        agency.write(files.higher, edition, {"SERVERURL": OTHER_SERVER, "AUTOSTART": "0"}, payload.last_change())
        done = machine.msiexec("/i", edition)
        must(done.code == 0, f"exit {done.code} {done.err}")
        must(machine.value(SETTINGS, "ServerURL") == OTHER_SERVER, f"{machine.value(SETTINGS, 'ServerURL')}")
        must(machine.value(SETTINGS, "Language") == TOLD["LANGUAGE"], "the rest is forgotten")
        must(machine.value(RUN, product.NAME) is None, "it still starts at log-on")
        must(len(_products(machine)) == 1, f"installed: {_products(machine)}")
        told.append(f"msiexec {done.took_s:.1f} s")


def remove(report: Report, machine: Machine) -> None:
    with report.promise("removal leaves nothing of the program: files, shortcuts, registry") as told:
        done = machine.msiexec("/x", code_of(machine.folder / "agency.msi"))
        must(done.code == 0, f"exit {done.code} {done.err}")
        told.append(f"msiexec {done.took_s:.1f} s")
        left = payload.files(machine.installed) if machine.installed.exists() else []
        must(not machine.installed.exists(), f"left: {[str(path) for path in left[:5]]}")
        must(not machine.links(), f"left: {machine.links()}")
        for key in (SCHEME, rf"HKLM\Software\{product.MANUFACTURER}"):
            must(not machine.has_key(key), f"left: {key}")
        must(machine.value(RUN, product.NAME) is None, "left: the entry at log-on")
        must(not _products(machine), f"left: {_products(machine)}")


def portable_program(report: Report, machine: Machine, zip_file: Path) -> None:
    with report.promise("the portable ZIP runs from any folder, and knows that it is portable") as told:
        folder = machine.folder / "Mang theo được"
        with zipfile.ZipFile(zip_file) as archive:
            archive.extractall(folder)
        top = folder / portable.TOP
        version = (top / "current").read_text(encoding="ascii").strip()
        must((top / product.PORTABLE_MARKER).is_file(), "no marker")
        done = machine.wine.run([top / product.CONSOLE, "--version"])
        must(done.code == 0 and done.out.split()[-1:] == [version], f"exit {done.code} {done.out!r} {done.err[-1000:]}")
        wrong = machine.wine.run([top / product.CONSOLE, "bot", "--count", "a b"])
        must(wrong.code == 2 and "a b" in wrong.err, f"words are not passed on whole: exit {wrong.code} {wrong.err[-500:]}")
        (top / "current").write_text(r"..\..\elsewhere", encoding="ascii")
        lost = machine.wine.run([top / product.CONSOLE, "--version"])
        must(lost.code == 70, f"a path in `current` was followed: exit {lost.code}")
        told.append(f"version {version}, {done.took_s:.1f} s")


def _hold(machine: Machine, name: str) -> subprocess.Popen[str]:
    """The installed program, waiting for a link on stdin: it holds its libraries open."""
    process = machine.wine.start([machine.installed / name, "-"])
    time.sleep(6)
    return process


def _products(machine: Machine) -> list[str]:
    """Versions under "Apps" in Windows' settings."""
    done = machine.wine.run(["reg", "query", r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall", "/s"])
    found = []
    for block in done.out.split("HKEY_"):
        values = {words[1]: words[3].strip() for words in (line.split("    ") for line in block.splitlines()) if len(words) > 3}
        if values.get("DisplayName") == product.NAME:
            found.append(values.get("DisplayVersion", ""))
    return found

"""A fresh root of a release, booted with systemd in a container whose network is its own loopback. For `check`; standard library only.

What is expected and seen is a line on stdout; what is not raises `Failed`. Needs root rights, debootstrap, systemd-nspawn, nsenter.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAIN = (
    "env",
    "-i",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL=C.UTF-8",
    "DEBIAN_FRONTEND=noninteractive",
)


class Failed(Exception):
    """What should have been seen was not; the text says what was."""


def expect(what: str, seen: bool, found: object = "") -> None:
    if not seen:
        raise Failed(f"{what}: {found}")
    print(f"  ok  {what}", flush=True)


def wait_for(what: str, true: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


def run(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=options.pop("timeout", 300), **options)


def must(*argv: str, **options: Any) -> str:
    done = run(*argv, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv[:6])}: exit {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout


class Container:
    """The root, booted; its network is a loopback of its own. `with Container(root) as there: there("systemctl", "…")`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> Container:
        argv = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", f"--directory={self.root}", "--boot"]
        self._log = (self.root.parent / "boot.log").open("wb")
        self._nspawn = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True)
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        try:
            wait_for("the container's first process", lambda: bool(children.read_text().split()), 30)
            self.leader = children.read_text().split()[0]
            wait_for("systemd in the container", self._up, 90)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _up(self) -> bool:
        return run("nsenter", "-t", self.leader, "-a", "systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def __exit__(self, *_: object) -> None:
        if self._nspawn.poll() is None:
            self._nspawn.terminate()
            try:
                self._nspawn.wait(30)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self._nspawn.wait()
        self._log.close()

    def enter(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return run("nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C", *PLAIN, *argv, **options)

    def begin(self, *argv: str) -> subprocess.Popen[str]:
        """Started, not waited for; what it says on stdout can be read."""
        entered = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-n", "-p", "-C", *PLAIN, *argv]
        return subprocess.Popen(entered, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __call__(self, *argv: str, **options: Any) -> str:
        """What it said on stdout. Raises Failed when it failed."""
        done = self.enter(*argv, **options)
        if done.returncode != 0:
            raise Failed(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-2500:]}")
        return done.stdout

    def file(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def says(self, *argv: str, stdin: str = "") -> Any:
        """`vidconf-server …`'s report."""
        return json.loads(self("vidconf-server", *argv, "--json", input=stdin))

    def active(self) -> bool:
        return self.enter("systemctl", "is-active", "vidconf-server").stdout.strip() == "active"

    def main_pid(self) -> str:
        return self("systemctl", "show", "-p", "MainPID", "--value", "vidconf-server").strip()

    def install(self, package: Path) -> subprocess.CompletedProcess[str]:
        shutil.copy(package, self.root / "root")
        return self.enter("dpkg", "--force-confold", "-i", f"/root/{package.name}")


def fresh_root(kept: Path | None, work: Path, suite: str, mirror: str, package: Path) -> Path:
    """A root with systemd and what the package depends on, but not it."""
    root = work / "root"
    if kept is None or not (kept / "usr/bin/dpkg").exists():
        made = kept or root
        include = "systemd,systemd-sysv,dbus,python3,python3-venv,adduser,ca-certificates"
        must("debootstrap", "--variant=minbase", f"--include={include}", suite, str(made), *([mirror] if mirror else []), timeout=1200)
        depends = must("dpkg-deb", "-f", str(package), "Depends")
        names = [part.split("(")[0].split("|")[0].strip() for part in depends.split(",")]
        here = {line.split()[0].split(":")[0] for line in must("chroot", str(made), "dpkg-query", "-W").splitlines()}
        missing = [name for name in [*names, "nginx"] if name not in here]
        (made / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # nothing is started in a root that is not booted
        (made / "usr/sbin/policy-rc.d").chmod(0o755)
        must("chroot", str(made), "apt-get", "install", "-y", "--no-install-recommends", *missing, timeout=600)
        (made / "usr/sbin/policy-rc.d").unlink()
    if kept is not None:
        must("cp", "-a", "--reflink=auto", str(kept), str(root), timeout=600)
    return root

"""What `vidconf doctor` says of updates: whether this version may join, whether there is a newer one, what keeps that from being known.

`settled` is the part that asks nobody; `updates` asks the update site, in a child of the doctor's, and remembers nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vidconf import __version__
from vidconf.cli.findings import Finding
from vidconf.client.settings import Settings
from vidconf.client.updates.versions import VersionError, older, parse_version

CODE = "doctor.updates"
LOOK_S = 7.0
"""Less than what the doctor has left for it, so that a slow site is called slow."""


def settled(settings: Settings, own: str = __version__) -> tuple[list[Finding], bool]:
    """What policy alone says, and whether the site is to be asked besides."""
    found: list[Finding] = []
    said = settings.text("min_version").strip()
    try:
        if said and older(own, said):
            found.append(Finding(CODE, "failure", "too_old", {"needed": str(parse_version(said)), "own": own}))
    except VersionError:
        found.append(Finding(CODE, "warning", "bad_minimum", {"said": said[:40]}))
    if settings["update_mode"] == "off" or not settings.text("update_url").strip():
        result = "off" if settings["update_mode"] == "off" else "no_site"
        return [*found, *([] if found else [Finding(CODE, "ok", result)])], False
    return found, True


def softened(found: Iterable[Finding]) -> list[Finding]:
    """A look that crashed or hung keeps nobody from a meeting."""
    return [replace(one, status="warning") if one.result in ("hung", "crashed") else one for one in found]


def updates(put: Callable[[Finding], None], told: Mapping[str, Any]) -> None:
    """A part of the doctor. `told`: `url`; for tests also `roots`, `folder`, `own`."""
    from vidconf.client.network_options import network_of
    from vidconf.client.updates.check import Site, UpdateError, memory_of, read_root, root_places
    from vidconf.client.updates.fetcher import HttpFetcher
    from vidconf.client.updates.memory import update_folder

    url, own = str(told["url"]), str(told.get("own", __version__))
    roots = tuple(Path(root) for root in told["roots"]) if "roots" in told else root_places()
    folder = Path(told["folder"]) if "folder" in told else update_folder()
    try:
        root, _ = read_root(roots)
        with TemporaryDirectory(prefix="vidconf-doctor-") as copy:
            memory = Path(copy) / "memory"
            if memory_of(folder, url).is_dir():  # so that it is refused what the program would refuse
                shutil.copytree(memory_of(folder, url), memory)
            with HttpFetcher(network_of(Settings.of_user(looking=True)), total_s=LOOK_S) as fetcher:
                release = Site(url, root, memory, fetcher).release()
    except UpdateError as error:
        detail = {"site": url, "said": str(error).partition(": ")[2] or error.code, "reason": error.reason or error.code}
        put(Finding(CODE, "warning", error.code, {**detail, "places": [str(root.parent) for root in roots]}))
        return
    detail = {"own": own, "version": release.version, "site": url}
    if release.minimum and older(own, release.minimum):
        put(Finding(CODE, "failure", "too_old", {**detail, "needed": release.minimum}))
    else:
        put(Finding(CODE, "ok", "available" if older(own, release.version) else "newest", detail))

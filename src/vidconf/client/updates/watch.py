"""Whether there is a newer version, and whether this one may still join: asked in the background, told in the window. The loop's thread.

Part of `core.Client`. Installed per machine, the program only tells: administrators bring the next version. The portable program
replaces itself where `update_mode` is `auto`, while nobody is in a meeting. A look never holds anything up, and one that fails is
a line in the log and in `vidconf doctor`, not in the window.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from vidconf import __version__
from vidconf.client import changes as c
from vidconf.client.network_options import network_of
from vidconf.client.settings import Settings, machine_policies
from vidconf.client.state import ClientState, UpdateView
from vidconf.client.store import Store
from vidconf.client.updates.check import Site, UpdateError, memory_of, read_root, root_places
from vidconf.client.updates.memory import Seen, recall, remember, update_folder
from vidconf.client.updates.portable import Portable, PortableError, find_portable, replace_with, tidy
from vidconf.client.updates.release import Release, portable_kind
from vidconf.client.updates.versions import VersionError, older, parse_version
from vidconf.network.options import NetworkOptions

log = logging.getLogger("vidconf.updates")

FIRST_S = (8.0, 40.0)
"""After the start, somewhere in between: thousands of PCs are turned on at eight."""
EVERY_S = (72_000.0, 100_000.0)
AGAIN_S = (2_400.0, 4_800.0)
"""After a look that failed."""
LOOK_S = 60.0
FETCH_S = 3600.0
BUSY = ("joining", "lobby", "meeting")
KEYS = ("update_mode", "update_url", "min_version")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Place:
    """Where updates are at home on this machine; tests have their own. `portable` None: the program is an installed one."""

    folder: Path
    roots: tuple[Path, ...]
    portable: Portable | None = None
    first_s: tuple[float, float] = FIRST_S
    again_s: tuple[float, float] = AGAIN_S


def too_old_by_policy(own: str = __version__) -> str:
    """The version this machine's policy wants for joining, "" when `own` will do: for who joins without settings. Reads policy."""
    held = machine_policies().read().managed.get("min_version")
    minimum = _minimum(held.value) if held is not None else ""
    return minimum if minimum and older(own, minimum) else ""


def _minimum(said: str) -> str:
    try:
        return str(parse_version(said.strip())) if said.strip() else ""
    except VersionError:
        log.warning("MinVersion is no version and is left out: %s", said[:40])
        return ""


def own_place() -> Place:
    return Place(update_folder(), root_places(), find_portable())


class Updates:
    """`needed` is asked before joining; `run` is a task of the client's."""

    def __init__(self, store: Store, settings: Settings, *, place: Place | None = None, own: str = __version__) -> None:
        """`own`: the version that runs."""
        self._settings, self._store = settings, store
        self.place, self.own = place, own
        self._seen = Seen()
        self._ready = ""
        self._changed, self._quiet = asyncio.Event(), asyncio.Event()
        self._quiet.set()
        self._over, self._disturbed = threading.Event(), threading.Event()
        self._unsubscribe = (self._settings.subscribe(self._on_setting), self._store.subscribe(self._on_state))

    def needed(self) -> str:
        """The version one must have to join, "" when this one will do: policy's word, and the update site's."""
        found = [policy for policy in (_minimum(self._settings.text("min_version")),) if policy]
        if self._seen.release is not None and self._seen.release.minimum and self._site():
            found.append(self._seen.release.minimum)
        missing = [version for version in found if older(self.own, version)]
        return max(missing, key=parse_version, default="")

    def put_away(self) -> None:
        """The user has read of the version, and wants to see no more of it."""
        if self._seen.release is not None:
            self._seen = replace(self._seen, put_away=self._seen.release.version)
            self._show()
            if self.place is not None:
                self._in_thread(partial(remember, self.place.folder, self._seen))

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._live()
        finally:
            self._over.set()
            self._disturbed.set()
            for unsubscribe in self._unsubscribe:
                unsubscribe()

    async def _live(self) -> None:
        while not self._site():
            await self._wait(None)
        if self.place is None:
            self.place = await self._in_thread(own_place)
        place = self.place
        self._seen = await self._in_thread(partial(recall, place.folder, self._site()))
        self._show()
        if place.portable is not None:
            await self._in_thread(partial(tidy, place.portable))
        await self._wait(random.uniform(*place.first_s))
        while True:
            await self._wait(random.uniform(*(EVERY_S if await self._once(place) else place.again_s)))

    async def _once(self, place: Place) -> bool:
        """One look, and what follows from it; whether it was good."""
        url = self._site()
        if not url:
            self._seen = Seen()
            self._show()
            return True
        if self._seen.url != url:
            self._seen = await self._in_thread(partial(recall, place.folder, url))
        network = network_of(self._settings)
        try:
            release = await self._in_thread(partial(look, url, place, network, self._over))
        except UpdateError as error:
            log.warning("the update site is not believed: %s", error)
            self._seen = replace(self._seen, at=time.time(), trouble=error.code)
            await self._in_thread(partial(remember, place.folder, self._seen))
            return error.code == "no_root"
        log.info("version %s is offered, %s runs", release.version, self.own)
        self._seen = replace(self._seen, at=time.time(), trouble="", release=release)
        await self._in_thread(partial(remember, place.folder, self._seen))
        self._show()
        if (
            self._settings["update_mode"] == "auto"
            and place.portable is not None
            and self._is_newer(release)
            and self._ready != release.version
        ):
            return await self._replace(place.portable, place, release, network)
        return True

    async def _replace(self, portable: Portable, place: Place, release: Release, network: NetworkOptions) -> bool:
        """The portable program's next version; whether asking again soon would change nothing."""
        name = release.files.get(portable_kind())
        if name is None:
            log.info("version %s has no %s: it has to be fetched by hand", release.version, portable_kind())
            return True
        while True:
            await self._quiet.wait()
            stop = self._disturbed = threading.Event()
            try:
                await self._in_thread(partial(fetch_and_replace, self._seen.url, place, portable, release, name, network, stop))
            except (UpdateError, PortableError) as error:
                if stop.is_set():
                    continue  # a meeting came between; after it, then
                log.warning("version %s was not brought in: %s", release.version, error)
                return isinstance(error, PortableError)  # this PC or this ZIP is the reason: in an hour it would be no other
            self._ready = release.version
            self._show()
            return True

    # ---- what is seen ----

    def _site(self) -> str:
        """The address to ask, "" where nothing is to be asked."""
        return "" if self._settings["update_mode"] == "off" else self._settings.text("update_url").strip()

    def _is_newer(self, release: Release) -> bool:
        return older(self.own, release.version)

    def _show(self) -> None:
        """The window's notice."""
        release = self._seen.release
        view: UpdateView | None = None
        if release is not None and self._is_newer(release) and self._seen.put_away != release.version:
            own_doing = self._settings["update_mode"] == "auto" and self.place is not None and self.place.portable is not None
            view = UpdateView(release.version, release.page, dict(release.notes), self._ready == release.version, own_doing)
        if view != self._store.state.update:
            self._store.dispatch(c.Set({"update": view}))

    # ---- when ----

    async def _wait(self, seconds: float | None) -> None:
        """So long, or until a setting says otherwise."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    def _on_setting(self, key: str) -> None:
        if key in KEYS:
            self._changed.set()

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if new.phase not in BUSY:
            self._quiet.set()
        elif old.phase not in BUSY:
            self._quiet.clear()
            self._disturbed.set()  # what is being fetched or unpacked waits until the meeting is over

    def _in_thread(self, work: Callable[[], R]) -> asyncio.Future[R]:
        """In a thread that holds up nobody's end: the loop's own executor is waited for when the program stops."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()

        def settle(result: R | None, error: Exception | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        def run() -> None:
            result, trouble = None, None
            try:
                result = work()
            except Exception as error:  # whatever it is, it is the waiting task's
                trouble = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, trouble)

        threading.Thread(target=run, name="updates", daemon=True).start()
        return done


# ---- in the worker thread -----------------------------------------------------------------------------------------------


def look(url: str, place: Place, network: NetworkOptions, stop: threading.Event) -> Release:
    """The newest version of the site. Raises `UpdateError`."""
    root, _ = read_root(place.roots)
    from vidconf.client.updates.fetcher import HttpFetcher

    with HttpFetcher(network, total_s=LOOK_S, stop=stop) as fetcher:
        return Site(url, root, memory_of(place.folder, url), fetcher).release()


def fetch_and_replace(
    url: str, place: Place, portable: Portable, release: Release, name: str, network: NetworkOptions, stop: threading.Event
) -> None:  # fmt: skip
    """Raises `UpdateError`, `PortableError`."""
    root, _ = read_root(place.roots)
    from vidconf.client.updates.fetcher import HttpFetcher

    with HttpFetcher(network, total_s=LOOK_S, stop=stop) as fetcher:
        site = Site(url, root, memory_of(place.folder, url), fetcher)
        if site.release() != release:
            raise UpdateError("bad_release", "it has changed meanwhile")
        site.forget_files(name)  # an older version's, never brought in
        fetcher.more_time(FETCH_S)
        replace_with(portable, site.file(name), release.version, stop)
        site.forget_files()

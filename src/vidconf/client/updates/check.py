"""Asks an update site for the newest version and believes only what is signed: TUF's client, its memory, its trusted root.

Blocks on the network and the disk: for one worker thread. What was believed once is kept in `memory`, a folder of the user's,
so that nobody can later show an older state (rollback) or show the same one for ever (freeze). Whose signatures count says the
trusted root, which administrators install: `root_places`. Without one nothing is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vidconf.client.policies.files import FilePolicies
from vidconf.client.policies.reading import Problem
from vidconf.client.settings import Settings
from vidconf.client.updates.portable import find_portable
from vidconf.client.updates.release import SIZE_LIMIT, TARGET, Release, ReleaseError, is_safe_url, parse_release
from vidconf.client.updates.versions import is_version
from vidconf.resources import resource

log = logging.getLogger("vidconf.updates")

ROOT_NAME = "update-root.json"
ROOT_LIMIT = 512_000
GUARDED = (Path("/etc"), Path("/Library"))
"""Below these a root counts as a policy does: only where nobody but root could have put it."""
FILE_LIMIT = 1 << 30

CODES = (
    "no_root", "bad_root", "bad_url", "unreachable", "missing", "too_slow", "too_large", "bad_signature", "older_than_seen", "expired",
    "tampered", "bad_metadata", "bad_release", "not_written",
)  # fmt: skip
"""What can be wrong; words: `updates.<code>`. Of `unreachable`, `UpdateError.detail` has the reason as one of `rest.CODES`."""


class UpdateError(Exception):
    """Nothing is believed. `code`: one of `CODES`; the text is for a log."""

    def __init__(self, code: str, text: str = "", reason: str = "") -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code, self.reason = code, reason


# ---- the trusted root ----


def root_places() -> tuple[Path, ...]:
    """Where the trusted root may lie; the first that is there counts. Of an installed program none can be written by its user."""
    beside = (Path(sys.executable).parent / ROOT_NAME,) if _is_installed() else ()
    portable = find_portable()
    if portable is not None:
        beside = (portable.root / ROOT_NAME, *beside)
    match sys.platform:
        case "linux":
            managed: tuple[Path, ...] = (Path("/etc/opt/vidconf") / ROOT_NAME,)
        case "darwin":
            managed = (Path("/Library/Application Support/vidconf") / ROOT_NAME,)
        case _:
            managed = ()  # ProgramData would let any user make the folder
    return (*managed, *beside, resource(ROOT_NAME))


def _is_installed() -> bool:
    return bool(getattr(sys, "frozen", False)) or Path(sys.executable).stem.casefold() in ("vidconf", "vidconf-cli")


def read_root(places: Sequence[Path]) -> tuple[bytes, Path]:
    """The trusted root and where it lies. Raises `UpdateError`: `no_root`, or `bad_root` for one that must not be used."""
    for place in places:
        try:
            raw = FilePolicies().trusted(place) if any(place.is_relative_to(folder) for folder in GUARDED) else _content(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UpdateError("bad_root", f"{place}: {error.strerror}") from error
        if len(raw) > ROOT_LIMIT:
            raise UpdateError("bad_root", f"{place} is too large")
        return raw, place
    raise UpdateError("no_root", f"no {ROOT_NAME} in {', '.join(str(place.parent) for place in places)}")


def update_problems(settings: Settings, places: Sequence[Path] | None = None) -> tuple[Problem, ...]:
    """What of the updates' settings has no effect as it is set: `minimum_odd`, `update_url_unsafe`, `update_root_missing`,
    `update_root_unusable`. `places`: of the root; None: this machine's."""
    found: list[Problem] = []

    def problem(key: str, code: str) -> None:
        resolved = settings.resolved(key)
        found.append(Problem(resolved.origin or resolved.source, code, resolved.setting.policy))

    minimum, url = settings.text("min_version").strip(), settings.text("update_url").strip()
    if minimum and not is_version(minimum):
        problem("min_version", "minimum_odd")
    if url and settings["update_mode"] != "off":
        if not is_safe_url(url):
            problem("update_url", "update_url_unsafe")
        try:
            read_root(root_places() if places is None else places)
        except UpdateError as error:
            problem("update_url", "update_root_missing" if error.code == "no_root" else "update_root_unusable")
    return tuple(found)


def _content(place: Path) -> bytes:
    with place.open("rb") as file:
        return file.read(ROOT_LIMIT + 1)


# ---- the look ----


def memory_of(folder: Path, url: str) -> Path:
    """Where what one site said is remembered."""
    return folder / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


class Site:
    """One look at the site `url`, through `fetcher`. Constructed, used and let go in one worker thread."""

    def __init__(self, url: str, root: bytes, memory: Path, fetcher: Any) -> None:
        """Raises `UpdateError`. `url`: https (http to this machine), or `file:` for a folder."""
        if not url.startswith("file:") and not is_safe_url(url):
            raise UpdateError("bad_url", url[:200])
        if not root:  # TUF would trust what it remembers instead
            raise UpdateError("bad_root", "it is empty")
        from tuf.ngclient.config import UpdaterConfig
        from tuf.ngclient.updater import Updater

        class LinklessUpdater(Updater):
            """Windows lets no plain user make symbolic links. The link is for who starts without a root, and we never do."""

            def _update_root_symlink(self) -> None:
                return

        base, self._files = url.rstrip("/"), memory / "files"
        with _explained():
            self._files.mkdir(parents=True, exist_ok=True)
        config = UpdaterConfig(max_root_rotations=64, snapshot_max_length=512_000, targets_max_length=2_000_000)
        try:
            with _explained():
                self._updater = LinklessUpdater(
                    str(memory), f"{base}/metadata/", str(self._files), f"{base}/targets/", fetcher, config, root
                )
        except UpdateError as error:
            # the root itself, before anything was asked
            raise error if error.code == "not_written" else UpdateError("bad_root", str(error)) from error

    def release(self) -> Release:
        """The newest version. Raises `UpdateError`."""
        with _explained():
            self._updater.refresh()
            raw = self._target(TARGET, SIZE_LIMIT).read_bytes()
        try:
            return parse_release(raw)
        except ReleaseError as error:
            raise UpdateError("bad_release", str(error)) from error

    def file(self, name: str) -> Path:
        """The target `name`, fetched (or here already) and verified; kept until `forget_files`. Raises `UpdateError`."""
        with _explained():
            return self._target(name, FILE_LIMIT)

    def _target(self, name: str, limit: int) -> Path:
        info = self._updater.get_targetinfo(name)
        if info is None:
            raise UpdateError("missing", f"the site names no {name}")
        if info.length > limit:
            raise UpdateError("too_large", f"{name}: {info.length} bytes")
        return Path(self._updater.find_cached_target(info) or self._updater.download_target(info))

    def forget_files(self, but: str = "") -> None:
        """Let go what was fetched, but for the target `but`; what guards against rollback stays. Raises `UpdateError`."""
        with _explained():
            for file in self._files.iterdir():
                if file.name != quote(but, ""):  # TUF's name for it
                    file.unlink()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """TUF's exceptions as an `UpdateError` with one code for each attack and each trouble."""
    from tuf.api import exceptions as tuf

    from vidconf.client.updates.fetcher import FetchError

    try:
        yield
    except UpdateError:
        raise
    except tuf.UnsignedMetadataError as error:
        raise UpdateError("bad_signature", str(error)) from error
    except tuf.BadVersionNumberError as error:
        raise UpdateError("older_than_seen", str(error)) from error
    except tuf.ExpiredMetadataError as error:
        raise UpdateError("expired", str(error)) from error
    except tuf.LengthOrHashMismatchError as error:
        raise UpdateError("tampered", str(error)) from error
    except tuf.RepositoryError as error:
        raise UpdateError("bad_metadata", str(error)) from error
    except tuf.DownloadLengthMismatchError as error:
        raise UpdateError("too_large", str(error)) from error
    except tuf.SlowRetrievalError as error:
        raise UpdateError("too_slow", str(error)) from error
    except tuf.DownloadHTTPError as error:
        raise UpdateError("missing" if error.status_code in (403, 404) else "unreachable", str(error), str(error.status_code)) from error
    except FetchError as error:
        raise UpdateError("unreachable", str(error), error.code) from error
    except tuf.DownloadError as error:
        raise UpdateError("unreachable", str(error)) from error
    except OSError as error:
        raise UpdateError("not_written", error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UpdateError("bad_metadata", str(error)) from error

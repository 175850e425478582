"""What an update site says of the newest version: `vidconf.json`, a signed target of its repository. Pure; any thread.

    {"format": 1, "version": "1.4.0", "minimum": "1.2.0", "page": "https://intranet.example.gov.vn/vidconf",
     "notes": {"vi": "…", "en": "…"}, "files": {"windows-msi": "vidconf-1.4.0.msi", "windows-portable": "vidconf-1.4.0-portable.zip"}}

`minimum`, `page`, `notes` and `files` may be missing. Signed is not yet sound: sizes, types and grammar are checked here.
Unknown fields are a later version's and left alone; an unknown `format` is not read.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vidconf.client.links import is_loopback
from vidconf.client.updates.versions import VersionError, parse_version

TARGET = "vidconf.json"
"""Its name in the repository."""
SIZE_LIMIT = 65_536
NOTES_LIMIT = 4000
URL_LIMIT = 2048
FILES_LIMIT = 40
FORMAT = 1

_KIND = re.compile(r"[a-z0-9]{1,20}(-[a-z0-9]{1,20}){0,3}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}")


class ReleaseError(ValueError):
    """The document is none of ours; the text says which part."""


@dataclass(frozen=True, slots=True)
class Release:
    """A version that can be had. `minimum`: what a client must be to join, "" for any. `files`: names of targets by kind."""

    version: str
    minimum: str = ""
    page: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        told = {"minimum": self.minimum, "page": self.page, "notes": dict(self.notes), "files": dict(self.files)}
        return {"format": FORMAT, "version": self.version, **{name: value for name, value in told.items() if value}}


def parse_release(raw: bytes) -> Release:
    """Raises `ReleaseError`, and nothing else."""
    if len(raw) > SIZE_LIMIT:
        raise ReleaseError("too large")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ReleaseError("no JSON") from None
    if not isinstance(body, dict):
        raise ReleaseError("no JSON object")
    if body.get("format") != FORMAT or isinstance(body.get("format"), bool):
        raise ReleaseError("format")
    return checked_release(
        Release(
            _text(body, "version", 40), _text(body, "minimum", 40), _text(body, "page", URL_LIMIT),
            _texts(body, "notes", NOTES_LIMIT), _texts(body, "files", 200),
        )
    )  # fmt: skip


def checked_release(release: Release) -> Release:
    """`release`, when all of it is sound. Raises `ReleaseError`."""
    version = _version(release.version, "version")
    if release.minimum and _version(release.minimum, "minimum") > version:
        raise ReleaseError("minimum is above version: nobody could join")
    if release.page and not is_safe_url(release.page):
        raise ReleaseError("page")
    if len(release.notes) > 10 or any(language not in ("vi", "en") or len(text) > NOTES_LIMIT for language, text in release.notes.items()):
        raise ReleaseError("notes")
    if len(release.files) > FILES_LIMIT:
        raise ReleaseError("files")
    for kind, name in release.files.items():
        if not _KIND.fullmatch(kind) or not _FILE.fullmatch(name) or name == TARGET:
            raise ReleaseError("files")
    return release


def is_safe_url(text: str) -> bool:
    """Whether it is an https address (http only to this machine), without user names, spaces and control characters."""
    if len(text) > URL_LIMIT or not text.isascii() or not text.isprintable() or any(char in ' \\"<>' for char in text):
        return False
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        return False
    if port == 0 or not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def portable_kind(platform: str = sys.platform) -> str:
    """The kind of file a portable program on this system is replaced by."""
    return {"win32": "windows", "darwin": "macos"}.get(platform, "linux") + "-portable"


def _version(text: str, name: str) -> Any:
    try:
        return parse_version(text)
    except VersionError:
        raise ReleaseError(name) from None


def _text(body: Mapping[str, Any], name: str, limit: int) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > limit:
        raise ReleaseError(name)
    return value


def _texts(body: Mapping[str, Any], name: str, limit: int) -> dict[str, str]:
    value = body.get(name, {})
    if not isinstance(value, dict) or len(value) > FILES_LIMIT:
        raise ReleaseError(name)
    if not all(isinstance(text, str) and len(text) <= limit for text in value.values()):
        raise ReleaseError(name)
    return dict(value)

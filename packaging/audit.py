"""Asks whether the locked packages have known vulnerabilities: OSV's database over HTTPS, or a copy of it where there is no network.

Run by `script/audit`, which tells the options. Standard library, and `packaging` for versions. What OSV says is read as hostile input.

The same question is asked once a day a lock (answers lie in `.cache/audit/`). Where the database cannot be had, that is said, and is no
failure unless `--strict` makes it one: a silent "nothing known" would be a lie.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
URL = "https://api.osv.dev"
ALL_S, CALL_S = 10.0, 5.0
ANSWER_LIMIT = 4 << 20
RECORD_LIMIT = 1 << 20
UNREACHABLE_S = 3600.0
DETAILS = 20
"""Vulnerabilities whose summary is asked for; the rest are named only."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NotHad(Exception):
    """The database cannot be asked; the text says why."""


class AuditError(Exception):
    """What was given cannot be read; the text says why."""


@dataclass(frozen=True, order=True)
class Known:
    """One known vulnerability of one locked package."""

    package: str
    version: str
    id: str
    summary: str = ""


def pins(text: str) -> list[tuple[str, str]]:
    """(package, version) of a lock, each once."""
    return sorted({(canonicalize_name(name), version) for name, version in _PIN.findall(text)})


# ---- over the network ---------------------------------------------------------------------------------------------------


def ask(wanted: list[tuple[str, str]], url: str, deadline: float) -> list[Known]:
    """What OSV knows of `wanted`; `deadline` in monotonic seconds. Raises NotHad."""
    queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in wanted]
    answer = _call(f"{url}/v1/querybatch", deadline, json.dumps({"queries": queries}).encode())
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(wanted):
        raise NotHad("the database answered something else than was asked")
    found = []
    for (name, version), result in zip(wanted, results, strict=True):
        if isinstance(result, dict) and result.get("next_page_token"):
            raise NotHad(f"the database answered only a part of what it knows of {name}")
        for one in _dicts(result, "vulns"):
            if isinstance(one.get("id"), str) and _ID.fullmatch(one["id"]):
                found.append(Known(name, version, one["id"]))
            else:
                raise NotHad("the database named a vulnerability that has no name")
    return [_told(one, url, deadline) if number < DETAILS else one for number, one in enumerate(found)]


def _told(one: Known, url: str, deadline: float) -> Known:
    try:
        record = _call(f"{url}/v1/vulns/{one.id}", deadline)
    except NotHad as error:
        print(f"audit: {one.id} is known, but not what it is: {error}", file=sys.stderr)
        return one
    return Known(one.package, one.version, one.id, _plain(record.get("summary") or record.get("details")))


def _call(url: str, deadline: float, body: bytes | None = None) -> dict[str, Any]:
    left = min(CALL_S, deadline - time.monotonic())
    if left <= 0:
        raise NotHad(f"no answer within {ALL_S:.0f} s")
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json", "User-Agent": "vidconf-audit"})
    try:
        with urllib.request.urlopen(request, timeout=left) as response:
            read = response.read(ANSWER_LIMIT + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise NotHad(f"the database cannot be reached: {getattr(error, 'reason', error)}") from None
    if len(read) > ANSWER_LIMIT:
        raise NotHad("the database's answer is too long")
    return _object(read)


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise NotHad("the database answered what is no JSON") from None
    if not isinstance(found, dict):
        raise NotHad("the database answered something else than was asked")
    return found


# ---- in a copy ------------------------------------------------------------------------------------------------------------


def look_up(wanted: Iterable[tuple[str, str]], copy: Path) -> list[Known]:
    """What a copy of OSV's database (`all.zip` of its PyPI part: a JSON record a file) knows of `wanted`. Raises AuditError."""
    by_name: dict[str, list[str]] = {}
    for name, version in wanted:
        by_name.setdefault(name, []).append(version)
    found = set()
    records = 0
    try:
        with zipfile.ZipFile(copy) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".json") or member.file_size > RECORD_LIMIT:
                    continue
                try:
                    record = _object(archive.read(member))
                except NotHad:
                    raise AuditError(f"{copy}: {member.filename} is no record") from None
                records += 1
                if not record.get("withdrawn"):
                    found |= set(_affected(record, by_name))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise AuditError(f"{copy}: {error}") from None
    if not records:
        raise AuditError(f"{copy} holds no record of OSV's")
    return sorted(found)


def _affected(record: Mapping[str, Any], by_name: Mapping[str, list[str]]) -> Iterable[Known]:
    told = record.get("id")
    if not isinstance(told, str) or not _ID.fullmatch(told):
        return
    for part in _dicts(record, "affected"):
        package = part.get("package")
        if not isinstance(package, dict) or package.get("ecosystem") != "PyPI" or not isinstance(package.get("name"), str):
            continue
        name = canonicalize_name(package["name"])
        for version in by_name.get(name, ()):
            if holds(part, version):
                yield Known(name, version, told, _plain(record.get("summary") or record.get("details")))


def holds(part: Mapping[str, Any], version: str) -> bool:
    """Whether one `affected` of a record holds for a version: it is listed, or lies in a range of versions."""
    listed = part.get("versions")
    if isinstance(listed, list) and version in listed:
        return True
    return any(_in_range(one, version) for one in _dicts(part, "ranges") if one.get("type") in ("ECOSYSTEM", "SEMVER"))


def _in_range(told: Mapping[str, Any], version: str) -> bool:
    inside = False
    try:
        own = Version(version)
        events = sorted(
            (Version("0.dev0" if at == "0" else at), kind)
            for event in _dicts(told, "events") for kind, at in event.items()
            if kind in ("introduced", "fixed", "last_affected") and isinstance(at, str)
        )  # fmt: skip
    except InvalidVersion:
        return True  # it cannot be told: a person looks
    for at, kind in events:
        if kind == "introduced" and own >= at:
            inside = True
        elif (kind == "fixed" and own >= at) or (kind == "last_affected" and own > at):
            inside = False
    return inside


def _dicts(told: Any, name: str) -> list[dict[str, Any]]:
    """The objects of the list called so; whatever else somebody sent is none."""
    found = told.get(name) if isinstance(told, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _plain(text: Any) -> str:
    """What a stranger wrote, as one short line of letters a terminal may be sent."""
    line = " ".join(str(text or "").split())
    return "".join(letter if letter.isprintable() else "?" for letter in line)[:160]


# ---- what is accepted, and what was asked before ------------------------------------------------------------------------------


def accepted(text: str, today: datetime.date) -> dict[str, str]:
    """Id -> reason, of lines `ID until YYYY-MM-DD: reason` that have not run out. Raises AuditError."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\S+) until (\d{4}-\d{2}-\d{2}): (.+)", line.strip())
        try:
            until = datetime.date.fromisoformat(match[2]) if match else None
        except ValueError:
            until = None
        if match is None or until is None:
            raise AuditError(f"line {number} of what is accepted is not `ID until YYYY-MM-DD: reason`")
        if today <= until:
            found[match[1]] = match[3]
    return found


class Answers:
    """Answers of today, by what was asked; and whether the database was out of reach within the last hour."""

    def __init__(self, folder: Path, wanted: list[tuple[str, str]], url: str, today: datetime.date) -> None:
        key = hashlib.sha256(json.dumps([wanted, url, str(today)]).encode()).hexdigest()[:24]
        self._file, self._away = folder / f"{key}.json", folder / "unreachable"
        self._url = url

    def kept(self) -> list[Known] | None:
        try:
            return [Known(*row) for row in json.loads(self._file.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, found: list[Known]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps([[one.package, one.version, one.id, one.summary] for one in found]), encoding="utf-8")
        self._away.unlink(missing_ok=True)

    def away(self) -> str:
        """Why it was out of reach within the last hour; "" when it was not."""
        try:
            url, _, why = self._away.read_text(encoding="utf-8").partition("\n")
            return why if url == self._url and time.time() - self._away.stat().st_mtime < UNREACHABLE_S else ""
        except OSError:
            return ""

    def keep_away(self, why: str) -> None:
        self._away.parent.mkdir(parents=True, exist_ok=True)
        self._away.write_text(f"{self._url}\n{why}", encoding="utf-8")


def find(told: argparse.Namespace, wanted: list[tuple[str, str]], today: datetime.date) -> list[Known]:
    """Raises NotHad, AuditError."""
    if told.data:
        return look_up(wanted, told.data)
    answers = Answers(told.cache, wanted, told.url, today)
    if not told.fresh:
        if (kept := answers.kept()) is not None:
            return kept
        if why := answers.away():
            raise NotHad(f"{why} (asked within the last hour)")
    try:
        found = ask(wanted, told.url, time.monotonic() + ALL_S)
    except NotHad as error:
        answers.keep_away(str(error))
        raise
    answers.keep(found)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="script/audit", description="Whether the locked packages have known vulnerabilities. Exit 1 when one has.",
        epilog="Accepted ones stand in packaging/audit-accepted.txt, each with a day until when, and the reason.",
    )  # fmt: skip
    parser.add_argument("--lock", type=Path, action="append", metavar="FILE", help="instead of all locks that ship")
    parser.add_argument("--data", type=Path, metavar="ZIP", help="a copy of OSV's PyPI database instead of asking it")
    parser.add_argument("--strict", action="store_true", help="a database that cannot be had is a failure, too")
    parser.add_argument("--fresh", action="store_true", help="ask again, whatever was answered today")
    parser.add_argument("--url", default=os.environ.get("VIDCONF_OSV_URL", URL), help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/audit", help=argparse.SUPPRESS)
    parser.add_argument("--accepted", type=Path, default=ROOT / "packaging/audit-accepted.txt", help=argparse.SUPPRESS)
    told = parser.parse_args(arguments)
    locks = told.lock or sorted({ROOT / "requirements.lock", *ROOT.glob("packaging/**/requirements-*.lock")})
    today = datetime.datetime.now(datetime.UTC).date()
    try:
        wanted = sorted({pin for lock in locks for pin in pins(lock.read_text(encoding="utf-8"))})
        if not wanted:
            raise AuditError("the locks pin nothing")
        passed = accepted(told.accepted.read_text(encoding="utf-8"), today) if told.accepted.is_file() else {}
        found = find(told, wanted, today)
    except NotHad as error:
        print(f"audit: left out, {len(wanted)} packages were not looked at: {error}", file=sys.stderr)
        return 1 if told.strict else 0
    except (AuditError, OSError) as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    bad = [one for one in found if one.id not in passed]
    for one in found:
        why = f" (accepted: {passed[one.id]})" if one.id in passed else ""
        print(f"audit: {one.package} {one.version}: {one.id} {one.summary}{why}", file=sys.stderr)
    print(
        f"audit: {len(wanted)} packages, {len(bad)} known vulnerabilities{f', {len(found) - len(bad)} accepted' if len(found) > len(bad) else ''}",
        file=sys.stderr,
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a client believes of an update site: a real web server, a repository made by the program's own tool, and every attack on it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes.portable_program import made_portable
from fakes.update_site import PASSPHRASE, UpdateSite, dripping, endless, silent, update_site

from vidconf.cli import policies
from vidconf.cli.update_keys import Keys, KeyTrouble
from vidconf.client.settings import Settings
from vidconf.client.updates import check as update_check
from vidconf.client.updates.check import ROOT_NAME, Site, UpdateError, memory_of, read_root, root_places, update_problems
from vidconf.client.updates.fetcher import HttpFetcher
from vidconf.client.updates.release import Release
from vidconf.network.options import NetworkOptions


@pytest.fixture
def site(tmp_path: Path) -> Iterator[UpdateSite]:
    with update_site(tmp_path) as made:
        made.publish("1.0")
        yield made


class Looker:
    """A client's memory, from look to look."""

    def __init__(self, site: UpdateSite, memory: Path) -> None:
        self.site, self.memory, self.root = site, memory, site.root

    def look(self, url: str = "", total_s: float = 10.0, piece_s: float = 5.0) -> Release:
        with HttpFetcher(NetworkOptions(), total_s=total_s, piece_s=piece_s) as fetcher:
            return Site(url or self.site.url, self.root, self.memory, fetcher).release()

    def refused(self, **how: Any) -> str:
        with pytest.raises(UpdateError) as caught:
            self.look(**how)
        return caught.value.code


@pytest.fixture
def looker(site: UpdateSite, tmp_path: Path) -> Looker:
    return Looker(site, tmp_path / "memory")


def rewrite(file: Path, **signed: Any) -> None:
    """The file with other words under the old signatures."""
    body = json.loads(file.read_text())
    body["signed"] |= signed
    file.write_text(json.dumps(body))


def newest(site: UpdateSite, role: str) -> Path:
    return max(site.folder.glob(f"metadata/*.{role}.json"), key=lambda file: int(file.name.split(".")[0]))


# ---- what is good ----


def test_a_new_version_is_seen_and_the_next_one_too(site: UpdateSite, looker: Looker) -> None:
    release = looker.look()
    assert (release.version, release.notes["vi"]) == ("1.0", "Sửa lỗi")
    site.publish("1.1", minimum="1.0", page="https://intranet.example.gov.vn/vidconf")
    release = looker.look()
    assert (release.version, release.minimum, release.page) == ("1.1", "1.0", "https://intranet.example.gov.vn/vidconf")


def test_a_second_look_fetches_only_what_may_be_new(site: UpdateSite, looker: Looker) -> None:
    looker.look()
    site.asked.clear()
    assert looker.look().version == "1.0"
    assert site.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_no_symbolic_link_is_made(site: UpdateSite, looker: Looker) -> None:
    """Windows lets no plain user make one."""
    looker.look()
    assert [file for file in looker.memory.rglob("*") if file.is_symlink()] == []


def test_the_daily_refresh_keeps_it_fresh_without_offline_keys(site: UpdateSite, looker: Looker) -> None:
    later = datetime.now(UTC) - timedelta(days=8)
    site.publish("1.2", now=later)
    assert looker.refused() == "expired"
    for name in ("root-1.pem", "targets.pem"):
        (site.key_folder / name).unlink()
    online_only = Keys([site.key_folder], lambda: pytest.fail("no passphrase is needed"))
    days = site.repository.refresh(online_only)
    assert days["timestamp"] == 7
    assert looker.look().version == "1.2"


@pytest.mark.parametrize("name", ["root", "targets", "online"])
def test_replaced_keys_are_followed_and_the_old_ones_count_no_longer(site: UpdateSite, looker: Looker, name: Any) -> None:
    looker.look()
    before = {file.name for file in site.key_folder.iterdir()}
    old = Keys([shutil.copytree(site.key_folder, site.key_folder.parent / "stolen")], lambda: PASSPHRASE)
    site.repository.rotate(name, site.keys)
    assert len({file.name for file in site.key_folder.iterdir()} - before) == 1
    site.publish("1.1")
    assert looker.look().version == "1.1"
    assert Looker(site, looker.memory.with_name("fresh")).look().version == "1.1", "who has only the first root follows, too"
    with pytest.raises(KeyTrouble, match=r"no .* key that counts"):
        site.repository.rotate("root", old) if name == "root" else site.repository.publish(Release("1.2"), {}, old)


# ---- attacks ----


def test_a_timestamp_somebody_else_signed_is_refused(site: UpdateSite, looker: Looker, tmp_path: Path) -> None:
    with update_site(tmp_path / "other") as other:
        other.publish("6.6.6")
        for name in ("timestamp.json",):
            site.answers[f"/metadata/{name}"] = other.file(name).read_bytes()
        assert looker.refused() == "bad_signature"
        assert looker.refused(url=other.url) == "bad_signature", "nor a whole site of theirs"


def test_a_root_somebody_else_signed_is_refused(site: UpdateSite, looker: Looker, tmp_path: Path) -> None:
    with update_site(tmp_path / "other") as other:
        other.repository.rotate("root", other.keys)
        site.answers["/metadata/2.root.json"] = newest(other, "root").read_bytes()
        assert looker.refused() == "bad_signature"


@pytest.mark.parametrize(("role", "code"), [("targets", "bad_signature"), ("snapshot", "bad_signature")])
def test_changed_words_under_old_signatures_are_refused(site: UpdateSite, looker: Looker, role: str, code: str) -> None:
    rewrite(newest(site, role), expires="2099-01-01T00:00:00Z")
    assert looker.refused() == code


def test_a_changed_document_is_refused(site: UpdateSite, looker: Looker) -> None:
    (file,) = site.folder.glob("targets/*.vidconf.json")
    file.write_bytes(file.read_bytes().replace(b"1.0", b"6.6"))
    assert looker.refused() == "tampered"


def test_an_older_timestamp_is_refused(site: UpdateSite, looker: Looker) -> None:
    old = site.file("timestamp.json").read_bytes()
    site.publish("1.1")
    assert looker.look().version == "1.1"
    site.answers["/metadata/timestamp.json"] = old
    assert looker.refused() == "older_than_seen"


def test_an_older_snapshot_or_targets_is_refused_though_freshly_signed(site: UpdateSite, looker: Looker) -> None:
    """The online key was stolen: it can say an old state is the newest, and is not believed."""
    old = shutil.copytree(site.folder, site.folder.with_name("old"))
    site.publish("1.1")
    assert looker.look().version == "1.1"
    for name in ("metadata", "targets"):
        shutil.rmtree(site.folder / name)
        shutil.copytree(old / name, site.folder / name)
    for _ in range(5):
        site.repository.refresh(site.keys)
    assert looker.refused() == "older_than_seen"


def test_what_is_frozen_is_refused_when_its_time_is_over(site: UpdateSite, looker: Looker) -> None:
    site.publish("1.1", now=datetime.now(UTC) - timedelta(days=7, hours=-1))
    assert looker.look().version == "1.1"
    site.publish("1.2", now=datetime.now(UTC) - timedelta(days=7, hours=1))
    assert looker.refused() == "expired"


def test_parts_of_two_states_are_refused(site: UpdateSite, looker: Looker) -> None:
    """Mix and match: each part is rightly signed."""
    old = newest(site, "targets").read_bytes()
    site.publish("1.1")
    site.answers[f"/metadata/{newest(site, 'targets').name}"] = old
    assert looker.refused() == "older_than_seen"


@pytest.mark.parametrize("path", ["/metadata/timestamp.json", "/metadata/2.root.json"])
def test_data_without_end_is_refused_soon(site: UpdateSite, looker: Looker, path: str) -> None:
    site.answers[path] = endless
    began = time.monotonic()
    assert looker.refused() == "too_large"
    assert time.monotonic() - began < 5


def test_a_document_without_end_is_cut_off_at_its_signed_length(site: UpdateSite, looker: Looker) -> None:
    (file,) = site.folder.glob("targets/*.vidconf.json")
    site.answers[f"/targets/{file.name}"] = endless
    assert looker.refused() == "too_large"


@pytest.mark.parametrize("answer", [dripping, silent])
def test_a_site_that_is_too_slow_is_left(site: UpdateSite, looker: Looker, answer: Any) -> None:
    site.answers["/metadata/timestamp.json"] = answer
    began = time.monotonic()
    assert looker.refused(total_s=0.6, piece_s=0.4) == "too_slow"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"[" * 15_000, b'{"signed": 1, "signatures": {}}', b"\xff\xfe" * 100, b"9" * 10_000]
)
def test_what_is_no_metadata_is_refused(site: UpdateSite, looker: Looker, raw: bytes) -> None:
    site.answers["/metadata/timestamp.json"] = raw
    assert looker.refused() == "bad_metadata"


def test_a_signed_document_that_is_none_of_ours_is_refused(site: UpdateSite, looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.cli.update_repository.checked_release", lambda release: release)
    site.publish("1.1", page="javascript:alert(1)")
    assert looker.refused() == "bad_release"


def test_a_huge_signed_document_is_not_even_fetched(site: UpdateSite, looker: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.cli.update_repository.checked_release", lambda release: release)
    site.repository.publish(Release("1.1", notes={"vi": "x" * 70_000}), {}, site.keys)
    site.asked.clear()
    assert looker.refused() == "too_large"
    assert not [path for path in site.asked if "vidconf.json" in path]


# ---- troubles ----


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/metadata/timestamp.json", 404, "missing"), ("/metadata/timestamp.json", 500, "unreachable"),
        ("/metadata/timestamp.json", 302, "unreachable"), ("/metadata/2.root.json", 500, "unreachable"),
    ],
)  # fmt: skip
def test_missing_files_and_failing_servers_are_told_apart(site: UpdateSite, looker: Looker, path: str, status: int, code: str) -> None:
    site.answers[path] = status
    assert looker.refused() == code


def test_nobody_there(looker: Looker) -> None:
    assert looker.refused(url="http://127.0.0.1:9") == "unreachable"


@pytest.mark.parametrize("url", ["http://updates.example.gov.vn", "ftp://x/", "https://u:p@x/", "x", ""])
def test_only_safe_addresses_are_asked(site: UpdateSite, looker: Looker, url: str) -> None:
    with HttpFetcher(NetworkOptions(), total_s=1) as fetcher, pytest.raises(UpdateError) as caught:
        Site(url, site.root, looker.memory, fetcher)
    assert caught.value.code == "bad_url"


def test_a_memory_that_cannot_be_written(site: UpdateSite, looker: Looker, tmp_path: Path) -> None:
    looker.memory = tmp_path / "a file" / "memory"
    looker.memory.parent.write_text("")
    assert looker.refused() == "not_written"


def test_a_broken_memory_is_made_good_from_the_site(site: UpdateSite, looker: Looker) -> None:
    looker.look()
    for name in ("timestamp.json", "snapshot.json", "targets.json", "files/vidconf.json"):
        (looker.memory / name).write_bytes(b"\x00{")
    assert looker.look().version == "1.0"


def test_who_stops_is_let_go_at_once(site: UpdateSite, looker: Looker) -> None:
    with HttpFetcher(NetworkOptions(), total_s=5) as fetcher:
        fetcher.stop.set()
        with pytest.raises(UpdateError, match="stopped"):
            Site(site.url, site.root, looker.memory, fetcher).release()


# ---- the trusted root ----


def test_the_first_root_that_is_there_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / ROOT_NAME, tmp_path / "b" / ROOT_NAME
    with pytest.raises(UpdateError, match="no_root"):
        read_root((first, second))
    second.parent.mkdir()
    second.write_bytes(b"2")
    assert read_root((first, second)) == (b"2", second)
    first.parent.mkdir()
    first.write_bytes(b"1")
    assert read_root((first, second)) == (b"1", first)


@pytest.mark.parametrize("spoiled", ["file", "folder"])
def test_a_root_anybody_could_have_put_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoiled: str) -> None:
    place = tmp_path / "vidconf" / ROOT_NAME
    place.parent.mkdir(mode=0o755)
    place.write_bytes(b"{}")
    monkeypatch.setattr(update_check, "GUARDED", (tmp_path,))
    if os.getuid() == 0:
        assert read_root((place,)) == (b"{}", place)
    (place if spoiled == "file" else place.parent).chmod(0o777)
    with pytest.raises(UpdateError, match="bad_root"):
        read_root((place,))


@pytest.mark.parametrize("raw", [b"", b"{}", b"[" * 100_000, b"\xff"])
def test_a_root_that_is_none_is_refused(site: UpdateSite, looker: Looker, raw: bytes) -> None:
    looker.root = raw
    assert looker.refused() == "bad_root"
    assert site.asked == []


def test_a_root_too_large_is_refused(tmp_path: Path) -> None:
    place = tmp_path / ROOT_NAME
    place.write_bytes(b" " * 600_000)
    with pytest.raises(UpdateError, match="bad_root"):
        read_root((place,))


def test_each_site_has_a_memory_of_its_own(tmp_path: Path) -> None:
    assert memory_of(tmp_path, "https://a/u") == memory_of(tmp_path, "https://a/u/")
    assert memory_of(tmp_path, "https://a/u") != memory_of(tmp_path, "https://b/u")


def test_the_places_are_not_a_users(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path("/etc/opt/vidconf/update-root.json") in root_places()
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("sys.executable", "/programs/vidconf/vidconf.exe")
    assert root_places()[0] == Path("/programs/vidconf/update-root.json")


def test_a_portable_program_keeps_its_root_beside_its_starter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = made_portable(tmp_path, "1.0.0")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("sys.executable", str(place.versions / "1.0.0" / "vidconf.exe"))
    assert root_places()[:2] == (place.root / ROOT_NAME, place.versions / "1.0.0" / ROOT_NAME)


@pytest.mark.parametrize(
    ("values", "root", "codes"),
    [
        ({}, None, []),
        ({"min_version": "1.4"}, None, []),
        ({"min_version": "newest"}, None, ["minimum_odd"]),
        ({"update_url": "https://x.example.vn"}, b"{}", []),
        ({"update_url": "https://x.example.vn"}, None, ["update_root_missing"]),
        ({"update_url": "https://x.example.vn", "update_mode": "off"}, None, []),
        ({"update_url": "http://x.example.vn"}, b" " * 600_000, ["update_url_unsafe", "update_root_unusable"]),
    ],
)  # fmt: skip
def test_settings_without_effect_are_named(tmp_path: Path, values: dict[str, str], root: bytes | None, codes: list[str]) -> None:
    settings = Settings()
    for key, value in values.items():
        settings.set(key, value)
    if root is not None:
        (tmp_path / ROOT_NAME).write_bytes(root)
    found = update_problems(settings, (tmp_path / ROOT_NAME,))
    assert [problem.code for problem in found] == codes
    for problem in found:
        assert policies.cure(problem)
        assert problem.name in policies.said(problem)


def test_tuf_is_quiet_in_the_log(site: UpdateSite, looker: Looker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        looker.look()
    assert [record for record in caplog.records if record.name.startswith("tuf")] == []

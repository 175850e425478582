"""Known vulnerabilities fail; a database that cannot be had is told, never taken for a clean one."""

from __future__ import annotations

import datetime
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging_scripts import ROOT, load

audit = load("packaging/audit.py")
LOCK = "one==1.0 \\\n    --hash=sha256:aa\nTwo_Parts==2.5 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n"
RECORD = {
    "id": "PYSEC-1", "summary": "a hole\x1b[31m", "affected": [
        {"package": {"ecosystem": "PyPI", "name": "two-parts"}, "ranges": [
            {"type": "ECOSYSTEM", "events": [{"introduced": "2.0"}, {"fixed": "2.6"}]}]}],
}  # fmt: skip


class Database(BaseHTTPRequestHandler):
    """What OSV answers, over a real socket."""

    answers: dict[str, bytes] = {}
    asked: list[Any] = []

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.asked.append((self.path, self.rfile.read(length)))
        body = self.answers.get(self.path, b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def database() -> Iterator[tuple[str, type[Database]]]:
    handler = type("Handler", (Database,), {"answers": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


def run(folder: Path, *words: str, lock: str = LOCK) -> int:
    (folder / "x.lock").write_text(lock, encoding="utf-8")
    result: int = audit.main(
        ["--lock", str(folder / "x.lock"), "--cache", str(folder / "cache"), "--accepted", str(folder / "accepted"), *words]
    )
    return result


def batch(*vulnerabilities: list[dict[str, Any]]) -> bytes:
    return json.dumps({"results": [{"vulns": found} if found else {} for found in vulnerabilities]}).encode()


def test_nothing_known(tmp_path: Path, database: tuple[str, type[Database]], capsys: pytest.CaptureFixture[str]) -> None:
    url, handler = database
    handler.answers["/v1/querybatch"] = batch([], [])
    assert run(tmp_path, "--url", url) == 0
    assert "2 packages, 0 known" in capsys.readouterr().err
    asked = json.loads(handler.asked[0][1])["queries"]
    assert [(one["package"]["name"], one["version"]) for one in asked] == [("one", "1.0"), ("two-parts", "2.5")]


def test_a_known_one_fails_and_is_told(tmp_path: Path, database: tuple[str, type[Database]], capsys: pytest.CaptureFixture[str]) -> None:
    url, handler = database
    handler.answers |= {"/v1/querybatch": batch([], [{"id": "PYSEC-1"}]), "/v1/vulns/PYSEC-1": json.dumps(RECORD).encode()}
    assert run(tmp_path, "--url", url) == 1
    said = capsys.readouterr().err
    assert "two-parts 2.5: PYSEC-1 a hole?[31m" in said
    # asked once a day
    assert run(tmp_path, "--url", url) == 1
    assert len(handler.asked) == 2
    assert run(tmp_path, "--url", url, "--fresh") == 1
    assert len(handler.asked) == 4


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b'{"results": []}', b'{"results": [{}, {"vulns": [{"id": "../x"}]}]}', b'{"results": [{}, {"vulns": [{}]}]}',
     b'{"results": [{"next_page_token": "x"}, {}]}', b"[" * 100_000],
)  # fmt: skip
def test_an_answer_that_is_none_is_not_taken_for_a_clean_one(
    tmp_path: Path, database: tuple[str, type[Database]], answer: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    url, handler = database
    handler.answers["/v1/querybatch"] = answer
    assert run(tmp_path, "--url", url) == 0
    assert "left out, 2 packages were not looked at" in capsys.readouterr().err
    assert run(tmp_path, "--url", url, "--strict", "--fresh") == 1


def test_out_of_reach_is_told_and_not_asked_again_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--url", "http://127.0.0.1:9") == 0
    assert "cannot be reached" in capsys.readouterr().err
    assert run(tmp_path, "--url", "http://127.0.0.1:9") == 0
    assert "within the last hour" in capsys.readouterr().err
    assert run(tmp_path, "--url", "http://127.0.0.1:9", "--strict") == 1


def copy(folder: Path, *records: dict[str, Any]) -> str:
    path = folder / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, record in enumerate(records):
            archive.writestr(f"{number}.json", json.dumps(record))
    return str(path)


def test_a_copy_of_the_database_will_do(tmp_path: Path) -> None:
    assert run(tmp_path, "--data", copy(tmp_path, RECORD)) == 1
    assert run(tmp_path, "--data", copy(tmp_path, RECORD), lock=LOCK.replace("2.5", "2.6")) == 0
    assert run(tmp_path, "--data", copy(tmp_path, RECORD | {"withdrawn": "2026-01-01T00:00:00Z"})) == 0


def test_a_copy_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    assert run(tmp_path, "--data", str(tmp_path / "no.zip")) == 2
    assert run(tmp_path, "--data", copy(tmp_path)) == 2


def test_an_accepted_one_passes_until_its_day(tmp_path: Path) -> None:
    data = copy(tmp_path, RECORD)
    (tmp_path / "accepted").write_text("# why\nPYSEC-1 until 2999-01-01: not reached\n", encoding="utf-8")
    assert run(tmp_path, "--data", data) == 0
    (tmp_path / "accepted").write_text("PYSEC-1 until 2020-01-01: not reached\n", encoding="utf-8")
    assert run(tmp_path, "--data", data) == 1
    (tmp_path / "accepted").write_text("PYSEC-1 for ever\n", encoding="utf-8")
    assert run(tmp_path, "--data", data) == 2


def test_what_is_accepted_here_can_be_read() -> None:
    audit.accepted((ROOT / "packaging/audit-accepted.txt").read_text(encoding="utf-8"), datetime.date(2026, 1, 1))


@pytest.mark.parametrize(
    ("events", "version", "hit"),
    [
        ([{"introduced": "0"}], "1.0", True), ([{"introduced": "0"}, {"fixed": "1.0"}], "1.0", False), ([{"introduced": "0"}, {"fixed": "1.0.1"}], "1.0", True),
        ([{"introduced": "1.0"}, {"last_affected": "2.0"}], "2.0", True), ([{"introduced": "1.0"}, {"last_affected": "2.0"}], "2.0.1", False),
        ([{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}], "1.7", False),
        ([{"introduced": "1.0"}, {"fixed": "1.5"}, {"introduced": "2.0"}], "2.1", True), ([{"introduced": "nonsense"}], "1.0", True), ([], "1.0", False),
    ],
)  # fmt: skip
def test_ranges(events: list[dict[str, str]], version: str, hit: bool) -> None:
    assert audit.holds({"ranges": [{"type": "ECOSYSTEM", "events": events}]}, version) is hit


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "affected", "package", "ranges", "events", "introduced", "versions"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["id", "affected", "summary", "details"]), json_values))
def test_any_record_is_read(record: dict[str, Any]) -> None:
    for one in audit._affected(record, {"one": ["1.0"]}):
        assert one.package == "one"


def test_the_locks_that_ship_are_looked_at() -> None:
    assert len(audit.pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))) > 40

"""An update site as an agency would run it: a repository made with the program's own tool, behind a real web server on loopback
that can be made to lie, to be slow and to send without end.

    with update_site(tmp_path) as site: site.publish("9.0"); …; site.url; site.root; site.answers["/metadata/timestamp.json"] = b"…"
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vidconf.cli.update_keys import Keys
from vidconf.cli.update_repository import UpdateRepository
from vidconf.client.updates.release import Release

PASSPHRASE = "one long passphrase"
Answer = bytes | int | Callable[[BaseHTTPRequestHandler], None]


class UpdateSite:
    """`answers`: what is sent for a path instead of the file: bytes, a status, or a function that writes. `asked`: every path."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key_folder = folder / "site", folder / "keys"
        self.keys = Keys([self.key_folder], lambda: PASSPHRASE)
        self.repository.create(self.keys)
        self.root = self.repository.root_bytes()
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.url = ""

    @property
    def repository(self) -> UpdateRepository:
        return self.at(None)

    def at(self, now: datetime | None) -> UpdateRepository:
        """The repository as it is worked on at `now`."""
        return UpdateRepository(self.folder, now=now)

    def publish(
        self, version: str, *, minimum: str = "", files: dict[str, Path] | None = None, page: str = "", now: datetime | None = None
    ) -> None:
        release = Release(version, minimum, page, {"vi": "Sửa lỗi", "en": "Fixes"})
        self.at(now).publish(release, files or {}, self.keys)

    def file(self, name: str) -> Path:
        """`timestamp.json`, or the newest `targets` …"""
        return self.folder / "metadata" / name


class _Handler(BaseHTTPRequestHandler):
    site: UpdateSite

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        answer = self.site.answers.get(self.path)
        if callable(answer):
            with contextlib.suppress(ConnectionError):  # who has had enough hangs up
                answer(self)
            return
        if answer is None:
            try:
                answer = (self.site.folder / self.path.lstrip("/")).read_bytes()
            except OSError:
                answer = 404
        if isinstance(answer, int):
            self.send_error(answer)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Bytes without end, and without saying how many."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65_536)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: each comes in time, all of them never."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Takes the question and says nothing."""
    time.sleep(3)


@contextlib.contextmanager
def update_site(folder: Path) -> Iterator[UpdateSite]:
    site = UpdateSite(folder)
    handler = type("Handler", (_Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        serving.join()

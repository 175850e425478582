"""Fetches the update site's files for TUF's client, which blocks: for one worker thread, never for the loop's.

Speaks HTTP as the rest of the program does, by the same proxies and certificates, on a loop of its own. No redirects,
nothing unpacked on the way, an end to everything: a piece that does not come, and all pieces together, have their time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

import aiohttp
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from vidconf import __version__
from vidconf.client.rest import transport_error
from vidconf.network.http import open_session
from vidconf.network.options import NetworkOptions

PIECE = 65_536
PIECE_S = 15.0
CONNECT_S = 8.0


class FetchError(DownloadError):
    """The site could not be asked. `code`: one of `rest.CODES`, or `stopped`."""

    def __init__(self, code: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail or {}


class HttpFetcher(FetcherInterface):
    """A context manager, for one site and one thread. `stop` may be set by any: what is being fetched then ends with the next piece."""

    def __init__(self, network: NetworkOptions, *, total_s: float, piece_s: float = PIECE_S, stop: threading.Event | None = None) -> None:
        """`total_s`: for all that is fetched until `more_time`; `piece_s`: for a site that is silent."""
        self.stop = stop or threading.Event()
        self._network, self._piece_s = network, piece_s
        self._until = time.monotonic() + total_s
        self._runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
        self._session: aiohttp.ClientSession | None = None
        self._response: aiohttp.ClientResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """In the thread that used it."""
        try:
            self._runner.run(self._let_go())
        finally:
            self._runner.close()

    def more_time(self, total_s: float) -> None:
        """From now on."""
        self._until = time.monotonic() + total_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Raises `DownloadHTTPError`, `SlowRetrievalError`, `FetchError`."""
        # Whoever has enough of it just stops asking: what is open is closed with the next file, or at the end.
        response = self._run(self._ask(url))
        if response.status != 200:
            raise DownloadHTTPError(f"{response.status} for {url}", response.status)
        while piece := self._run(response.content.read(PIECE)):
            yield piece

    async def _ask(self, url: str) -> aiohttp.ClientResponse:
        if self._response is not None:
            self._response.close()
        if self._session is None:
            self._session = open_session(
                self._network, url, auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=self._piece_s),
                headers={"User-Agent": f"vidconf/{__version__}", "Accept-Encoding": "identity"},
            )  # fmt: skip
        self._response = await self._session.get(url, allow_redirects=False)
        return self._response

    async def _let_go(self) -> None:
        if self._response is not None:
            self._response.close()
        if self._session is not None:
            await self._session.close()

    def _run(self, work: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                return await work

        if self.stop.is_set():
            if isinstance(work, Coroutine):
                work.close()
            raise FetchError("stopped")
        try:
            return self._runner.run(bounded())
        except TimeoutError as error:
            raise SlowRetrievalError("the update site is too slow") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            trouble = transport_error(error)
            raise FetchError(trouble.code, trouble.detail) from error


class FolderFetcher(FetcherInterface):
    """The same files from a folder of this machine, as `file:` URLs: for who looks at a repository before it is served."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url2pathname(urlsplit(url).path))
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece
        except FileNotFoundError:
            raise DownloadHTTPError(f"{path} is not there", 404) from None
        except OSError as error:
            raise FetchError("unreachable", {"reason": error.strerror or str(error)}) from error

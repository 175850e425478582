"""The refresh token of each server, in the OS keyring where there is one; else for this run only. Called on the loop's thread.

Keyrings are other people's programs: they may be missing, locked behind a question, slow or broken. Each call runs in a daemon
thread of its own with a time limit, so that neither the window nor the program's end ever waits for one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

log = logging.getLogger("vidconf.credentials")

USER = "session"
TIMEOUT_S = 10.0
"""A keyring that asks the user to unlock it gets this long; after that the token is kept for this run."""
ENTRY_LIMIT = 2000
"""Bytes; Windows Credential Manager holds about 2,560."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept for a server."""

    name: str
    refresh_token: str = field(repr=False)
    role: str = "member"


class KeyringLike(Protocol):
    """The part of a keyring backend that is used."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


class KeyringUnusable(Exception):
    """No keyring here, or it failed."""


def system_keyring() -> KeyringLike:
    """The OS keyring. Blocks (it looks for backends). Raises `KeyringUnusable`."""
    import keyring
    from keyring.backends import fail, null

    found = keyring.get_keyring()
    if isinstance(found, fail.Keyring | null.Keyring):
        raise KeyringUnusable("none")
    return found


class Credentials:
    """By server origin. `open_keyring` finds the backend, once, at first use; None: this run only."""

    def __init__(self, open_keyring: Callable[[], KeyringLike] | None = system_keyring, *, timeout_s: float = TIMEOUT_S) -> None:
        self._open = open_keyring
        self._keyring: KeyringLike | None = None
        self._lock = threading.Lock()
        self._memory: dict[str, Kept] = {}
        self._only_here: set[str] = set()
        """Origins whose token the keyring did not take: what it still holds for them is used up."""
        self._timeout_s = timeout_s
        self.usable = open_keyring is not None
        self.counts: Counter[str] = Counter()

    async def get(self, origin: str) -> tuple[Kept, bool] | None:
        """What is kept for `origin`, and whether the keyring holds it."""
        if origin not in self._only_here:
            kept = await self._in_keyring("read", lambda keyring: keyring.get_password(_service(origin), USER))
            if isinstance(kept, str) and (found := _decoded(kept)) is not None:
                self._memory[origin] = found
                return found, True
        held = self._memory.get(origin)
        return None if held is None else (held, False)

    async def put(self, origin: str, kept: Kept, *, keep: bool = True) -> bool:
        """Keep it; whether the keyring took it. `keep` False: this run only, and what the keyring had goes."""
        self._memory[origin] = kept
        self._only_here.add(origin)
        if keep and await self._write(origin, kept):
            self._only_here.discard(origin)
            return True
        await self._delete(origin)
        return False

    async def _write(self, origin: str, kept: Kept) -> bool:
        entry = json.dumps({"name": kept.name, "role": kept.role, "refresh_token": kept.refresh_token}, ensure_ascii=False)
        if len(entry.encode("utf-8", "replace")) > ENTRY_LIMIT:
            self.counts["too_long"] += 1
            return False

        def write(keyring: KeyringLike) -> bool:
            keyring.set_password(_service(origin), USER, entry)
            return True

        return bool(await self._in_keyring("write", write))

    async def forget(self, origin: str) -> None:
        self._memory.pop(origin, None)
        await self._delete(origin)

    async def _delete(self, origin: str) -> None:
        def delete(keyring: KeyringLike) -> None:
            if keyring.get_password(_service(origin), USER) is not None:
                keyring.delete_password(_service(origin), USER)

        await self._in_keyring("delete", delete)

    async def _in_keyring(self, what: str, call: Callable[[KeyringLike], T]) -> T | None:
        """None when there is no keyring, or it fails or hangs; after a hang it is not tried again in this run."""
        if not self.usable:
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)

        def run() -> None:
            value: Any = None
            failed: BaseException | None = None
            try:
                with self._lock:
                    if self._keyring is None:
                        assert self._open is not None
                        self._keyring = self._open()
                    value = call(self._keyring)
            except Exception as error:  # backends raise whatever their desktops do
                failed = error
            try:
                loop.call_soon_threadsafe(settle, value, failed)
            except RuntimeError:
                log.debug("the keyring answered after the program's end")

        threading.Thread(target=run, name="keyring", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError:
            self.counts["timeout"] += 1
            self.usable = False
            log.warning("the keyring does not answer: tokens are kept for this run only")
        except KeyringUnusable:
            self.counts["none"] += 1
            self.usable = False
            log.info("no keyring: tokens are kept for this run only")
        except Exception as error:
            self.counts[f"{what}_failed"] += 1
            log.warning("the keyring failed to %s: %s", what, type(error).__name__)
        return None


def _service(origin: str) -> str:
    return f"vidconf {origin}"


def _decoded(entry: str) -> Kept | None:
    try:
        loaded = json.loads(entry)
        name, role, token = loaded["name"], loaded.get("role", "member"), loaded["refresh_token"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        log.warning("the keyring's entry is none of ours")
        return None
    if not (isinstance(name, str) and isinstance(role, str) and isinstance(token, str) and token):
        return None
    return Kept(name, token, role)

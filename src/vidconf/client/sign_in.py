"""Being signed in at one server: the access token, renewed in time by the rotating refresh token. The loop's thread.

Each refresh token is good once. So one refresh runs at a time and all who need a token wait for it; and when the server refuses
ours, the keyring is read once more: another program of the same user may have renewed it meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import time

from vidconf.client.credentials import Credentials, Kept
from vidconf.client.rest import Rest, RestError, SignedIn

log = logging.getLogger("vidconf.sign_in")

EARLY_S = 60.0
"""An access token with less left to live is renewed first."""


class SignIn:
    """One account at one server. `name` is "" when signed out."""

    def __init__(self, rest: Rest, credentials: Credentials, *, keep: bool = True) -> None:
        self._rest, self._credentials, self._keep = rest, credentials, keep
        self._signed_in: SignedIn | None = None
        self._refresh_token = ""
        self._turn = asyncio.Lock()
        self._asked: set[asyncio.Future[str]] = set()
        self.name = ""
        self.role = ""
        self.token_kept = False

    async def close(self) -> None:
        """Wait for a renewal under way: its token is not to be lost."""
        await asyncio.gather(*self._asked, return_exceptions=True)

    async def recall(self) -> bool:
        """Take up what is kept from last time; whether somebody is signed in. Asks the server for nothing yet."""
        async with self._turn:
            found = await self._credentials.get(self._rest.origin)
            if found is None:
                return False
            kept, self.token_kept = found
            self.name, self.role, self._refresh_token = kept.name, kept.role, kept.refresh_token
            return True

    async def sign_in(self, name: str, password: str) -> None:
        """Raises `RestError`."""
        async with self._turn:
            await self._take(await self._rest.login(name, password))
            log.info("signed in (token %s)", "in the keyring" if self.token_kept else "for this run only")

    async def sign_out(self) -> None:
        """Signed out here whatever the server says."""
        async with self._turn:
            token = self._refresh_token
            self._clear()
            await self._credentials.forget(self._rest.origin)
            if token:
                try:
                    await self._rest.logout(token)
                except RestError as error:
                    log.info("the server was not told of the sign-out: %s", error.code)

    async def keep(self, on: bool) -> None:
        """Whether the token lies in the keyring between runs, from now on: not only from the next sign-in."""
        async with self._turn:
            self._keep = on
            if self._refresh_token:
                kept = Kept(self.name, self._refresh_token, self.role)
                self.token_kept = await self._credentials.put(self._rest.origin, kept, keep=on)

    async def bearer(self) -> str:
        """An access token good for a while yet, "" when nobody is signed in. Raises `RestError`: `signed_out` when the server
        no longer knows the account's token (then nobody is), or why it could not be asked."""
        # Not to be cancelled half-way: the server has used up the old token once it has answered.
        asked = asyncio.ensure_future(self._bearer())
        self._asked.add(asked)
        asked.add_done_callback(self._done)
        return await asyncio.shield(asked)

    def _done(self, asked: asyncio.Future[str]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled() and asked.exception() is not None:
            log.debug("no access token: %r", asked.exception())

    async def _bearer(self) -> str:
        async with self._turn:
            held = self._signed_in
            if held is not None and held.expires_at - time.monotonic() > EARLY_S:
                return held.access_token
            if not self._refresh_token:
                return ""
            return await self._renew()

    async def _renew(self) -> str:
        tried = self._refresh_token
        try:
            taken = await self._rest.refresh(tried)
        except RestError as error:
            if error.code != "signed_out":
                raise
            found = await self._credentials.get(self._rest.origin)
            if found is None or found[0].refresh_token == tried:
                await self._lost()
                raise
            try:
                taken = await self._rest.refresh(found[0].refresh_token)
            except RestError as again:
                if again.code == "signed_out":
                    await self._lost()
                raise
        await self._take(taken)
        return taken.access_token

    async def _take(self, taken: SignedIn) -> None:
        self._signed_in, self._refresh_token = taken, taken.refresh_token
        self.name, self.role = taken.name, taken.role
        kept = Kept(taken.name, taken.refresh_token, taken.role)
        self.token_kept = await self._credentials.put(self._rest.origin, kept, keep=self._keep)

    async def _lost(self) -> None:
        log.info("the server no longer knows the sign-in")
        self._clear()
        await self._credentials.forget(self._rest.origin)

    def _clear(self) -> None:
        self._signed_in, self._refresh_token, self.name, self.role, self.token_kept = None, "", "", "", False

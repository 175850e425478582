"""The way in and out: links, signing in, joining, leaving, coming back after the seat was lost. The loop's thread.

Part of `core.Client`; `actions.Actions` is its face. One join at a time: a newer intent (cancel, another link) makes the answers
of an older one count for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from vidconf.client import changes as c
from vidconf.client import phases
from vidconf.client.closed import only_server, way_in_closed
from vidconf.client.connection import AskError, Refused
from vidconf.client.links import LinkError, is_allowed, parse_link, parse_origin
from vidconf.client.rest import Rest, RestError, code_of
from vidconf.client.settings_table import SettingError
from vidconf.client.sign_in import SignIn
from vidconf.client.state import AccountView, JoinLink, MeetingPreview
from vidconf.meeting import messages as m
from vidconf.meeting.names import NameRefused, clean_name

if TYPE_CHECKING:
    from vidconf.client.core import Client

log = logging.getLogger("vidconf.entry")

SEATED_TIMEOUT_S = 20.0
"""How long the control connection may take to come up at joining before the user is told."""
LEAVE_S = 2.0
REJOINS_S = (0.0, 1.0, 3.0, 6.0, 10.0)


class Entry:
    """Holds one `Rest` and one `SignIn` a server."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._store = client.store
        self._settings = client.settings
        self._rests: dict[str, Rest] = {}
        self._sign_ins: dict[str, SignIn] = {}
        self._intent = 0
        self._seated = asyncio.Event()
        self._settings.subscribe(self._on_setting)

    # ---- servers ----

    def rest(self, origin: str) -> Rest:
        if origin not in self._rests:
            self._rests[origin] = Rest(origin, tls=self._client.tls, network=lambda: self._client.network)
        return self._rests[origin]

    def _sign_in(self, origin: str) -> SignIn:
        if origin not in self._sign_ins:
            keep = self._settings.on("keep_signed_in")
            self._sign_ins[origin] = SignIn(self.rest(origin), self._client.credentials, keep=keep)
        return self._sign_ins[origin]

    def _on_setting(self, key: str) -> None:
        if key == "keep_signed_in" and self._sign_ins:
            self._client.spawn(self._keep(self._settings.on(key)), "keep the sign-in")

    async def _keep(self, on: bool) -> None:
        for origin, sign_in in list(self._sign_ins.items()):
            await sign_in.keep(on)
            if origin == self._store.state.server:
                self._show_account(origin)

    def may_use(self, origin: str) -> bool:
        """Whether the organisation lets this server be used: the one it has named, where it keeps to that one, or one of its list."""
        return only_server(self._settings) in ("", origin) and is_allowed(origin, self._settings.items("allowed_servers"))

    def _must_use(self, origin: str) -> None:
        """Raises `LinkError`."""
        if not self.may_use(origin):
            raise LinkError("link_not_allowed")

    async def accounts_changed(self) -> None:
        """Policy has closed signing in, or opened it: an account is no longer ours, or the kept one is again."""
        held, self._sign_ins = self._sign_ins, {}
        for sign_in in held.values():
            await sign_in.close()
        if self._store.state.phase == "sign_in":
            self._store.dispatch(c.Navigate(phases.SignInDone()))
        if origin := self._store.state.server:
            await self._use(origin)

    async def start(self) -> None:
        """Take up the server and the account of last time."""
        origin = self._store.state.server
        if origin and self.may_use(origin):
            await self._use(origin)
            await self.refresh_upcoming(quietly=True)

    async def close(self) -> None:
        for sign_in in self._sign_ins.values():
            await sign_in.close()
        for rest in self._rests.values():
            await rest.close()

    async def _use(self, origin: str) -> None:
        """From now on this is the server; its account, if one is kept, is ours."""
        sign_in = self._sign_in(origin)
        if not sign_in.name and "password_login" not in self._store.state.closed:
            await sign_in.recall()
        self._show_account(origin)

    def _show_account(self, origin: str) -> None:
        sign_in = self._sign_in(origin)
        state = self._store.state
        fields: dict[str, Any] = {"server": origin, "account": None}
        if sign_in.name:
            fields |= {"account": AccountView(sign_in.name, sign_in.role, sign_in.token_kept), "name": sign_in.name}
        elif state.account is not None:
            fields |= {"name": self._settings.text("name")}
        if state.server != origin or not sign_in.name:
            fields["upcoming"] = ()
        self._store.dispatch(c.Set(fields))

    def _remember(self, origin: str) -> None:
        """A server that was of use is known from now on."""
        known = self._settings.items("known_servers")
        try:
            if origin not in known:
                self._settings.remember("known_servers", (*known, origin)[-100:])
            self._settings.remember("server", origin)
        except SettingError as error:
            log.warning("the server is not remembered: %s", error)

    async def _bearer(self, origin: str) -> str:
        """Of who is signed in there, "" for guests. Raises `RestError`; after `signed_out` the account is gone."""
        if not self.may_use(origin):
            raise RestError("link_not_allowed")
        try:
            bearer = await self._sign_in(origin).bearer()
        except RestError as error:
            if error.code == "signed_out":
                self._show_account(origin)
            raise
        self._show_account(origin)
        return bearer

    # ---- links ----

    async def open_link(self, text: str) -> None:
        state = self._store.state
        known = (*self._settings.items("known_servers"), *((self._settings.text("server"),) if self._settings.text("server") else ()))
        try:
            link = parse_link(text, server=state.server, known=known, allowed=self._settings.items("allowed_servers"))
            self._must_use(link.origin)
        except LinkError as error:
            self._failed(error.code)
            return
        if state.phase in (*phases.IN, "joining"):
            # A second link while in a meeting: never leave it unasked.
            self._client.tell("warn", "in_meeting", {"code": link.code})
            return
        self._intent += 1
        self._store.dispatch(c.Navigate(phases.LinkOpened(link)))
        self._client.open_devices()
        if not link.confirm:
            await self._look(link)

    async def confirm_host(self) -> None:
        link = self._store.state.link
        if link is None or self._store.state.phase != "prejoin":
            return
        trusted = JoinLink(link.origin, link.code, link.secret)
        self._store.dispatch(c.Set({"link": trusted}))
        await self._look(trusted)

    async def _look(self, link: JoinLink) -> None:
        """The preview; a meeting that is over or unknown says so before anybody types a name."""
        intent = self._intent
        self._store.dispatch(c.Busy("preview", True))
        try:
            await self._use(link.origin)
            preview = await self.rest(link.origin).preview(link.code)
        except RestError as error:
            if intent == self._intent:
                self._failed(error.code, error.detail)
            return
        finally:
            self._store.dispatch(c.Busy("preview", False))
        if intent != self._intent:
            return
        self._note_clock(link.origin)
        self._store.dispatch(c.Set({"link_meeting": preview, "join_error": "", "join_detail": {}}))
        if preview.state == "ended":
            self._failed("ended")

    def _failed(self, code: str, detail: dict[str, Any] | None = None) -> None:
        self._store.dispatch(c.Navigate(phases.Failed(code, detail or {})))

    def _note_clock(self, origin: str) -> None:
        self._store.dispatch(c.Set({"clock_offset_s": self.rest(origin).clock_offset_s}))

    # ---- accounts ----

    def open_sign_in(self) -> None:
        if "password_login" in self._store.state.closed:
            self._client.tell("warn", "sign_in_closed", {}, "error")
            return
        self._store.dispatch(c.Navigate(phases.SignInOpened()))

    async def sign_in(self, server: str, name: str, password: str) -> None:
        if "password_login" in self._store.state.closed:
            self._failed("sign_in_closed")
            return
        try:
            origin = parse_origin(server) if server.strip() else self._store.state.server
            if not origin:
                raise LinkError("link_no_server")
            self._must_use(origin)
        except LinkError as error:
            self._failed(error.code)
            return
        self._store.dispatch(c.Busy("sign_in", True))
        try:
            await self._sign_in(origin).sign_in(name, password)
        except RestError as error:
            self._failed(error.code, error.detail)
            return
        finally:
            self._store.dispatch(c.Busy("sign_in", False))
        self._remember(origin)
        self._show_account(origin)
        self._store.dispatch(c.Navigate(phases.SignInDone()))
        await self.refresh_upcoming(quietly=True)

    async def sign_out(self) -> None:
        origin = self._store.state.server
        if origin:
            await self._sign_in(origin).sign_out()
            self._show_account(origin)

    async def refresh_upcoming(self, quietly: bool = False) -> None:
        """`quietly`: a server that is away is no news on home's opening."""
        origin = self._store.state.server
        if not origin or self._store.state.account is None:
            return
        self._store.dispatch(c.Busy("upcoming", True))
        try:
            bearer = await self._bearer(origin)
            if bearer:
                found = await self.rest(origin).upcoming(bearer)
                if self._store.state.server == origin:
                    self._store.dispatch(c.Set({"upcoming": found}))
                    self._note_clock(origin)
        except RestError as error:
            if not quietly or error.code == "signed_out":
                self._failed(error.code, error.detail)
        finally:
            self._store.dispatch(c.Busy("upcoming", False))

    async def create_meeting(self, title: str, start: float | None, lobby: bool, duration_s: float | None) -> None:
        origin = self._store.state.server
        self._store.dispatch(c.Set({"created": None}))
        self._store.dispatch(c.Busy("create", True))
        try:
            bearer = await self._bearer(origin) if origin else ""
            if not bearer:
                raise RestError("signed_out")
            created = await self.rest(origin).create(bearer, title, start, lobby, duration_s)
            self._store.dispatch(c.Set({"created": created}))
        except RestError as error:
            self._failed(error.code, error.detail)
            return
        finally:
            self._store.dispatch(c.Busy("create", False))
        await self.refresh_upcoming(quietly=True)

    # ---- joining ----

    def set_name(self, name: str) -> None:
        if self._store.state.account is None:
            self._store.dispatch(c.Set({"name": name}))

    async def join(self) -> None:
        state = self._store.state
        link = state.link
        if link is None or link.confirm or state.phase not in ("prejoin", "ended"):
            return
        why = "" if self.may_use(link.origin) else "link_not_allowed"
        if why := why or way_in_closed(state.closed, signed_in=state.account is not None):
            self._not_begun(why)
            return
        if needed := self._client.updates.needed():
            self._not_begun("version_too_old", {"needed": needed, "own": self._client.updates.own})
            return
        try:
            name = clean_name(state.name)
        except NameRefused as refused:
            self._failed("bad_name", {"reason": refused.reason})
            return
        self._intent += 1
        intent = self._intent
        if state.account is None:
            self._settings.remember("name", name)
        self._seated.clear()
        self._store.dispatch(c.MeetingForgotten())
        self._store.dispatch(c.Set({"unsent_chat": (), "name": name}))
        self._store.dispatch(c.Navigate(phases.JoinStarted()))
        self._client.open_devices()
        try:
            await self._take_seat(link, name, intent)
            async with asyncio.timeout(SEATED_TIMEOUT_S):
                await self._seated.wait()
        except RestError as error:
            if intent == self._intent:
                await self._client.disconnect()
                self._failed(error.code, error.detail)
        except TimeoutError:
            if intent == self._intent and self._store.state.phase == "joining":
                trouble = self._client.connection.last_error if self._client.connection is not None else None
                await self._client.disconnect()
                self._failed(trouble.code if trouble else "timeout", trouble.detail if trouble else {})

    def _not_begun(self, code: str, detail: dict[str, Any] | None = None) -> None:
        """A join that is refused before the server is asked. The page of the end has no place for an error: pre-join has."""
        if self._store.state.phase == "ended":
            self._store.dispatch(c.Navigate(phases.JoinStarted()))
        self._failed(code, detail)

    async def _take_seat(self, link: JoinLink, name: str, intent: int) -> None:
        """Raises `RestError`."""
        bearer = await self._bearer(link.origin)
        if why := way_in_closed(self._store.state.closed, signed_in=bool(bearer)):
            raise RestError(why)
        badges = self._settings.mapping("badges")
        rest = self.rest(link.origin)
        options = self._client.identity
        seat = await rest.join(
            link, name, kind=options.kind, unit=options.unit, position=options.position, bearer=bearer,
            badge="" if bearer else badges.get(link.origin, ""),
        )  # fmt: skip
        if intent != self._intent:
            return
        self._note_clock(link.origin)
        self._remember(link.origin)
        if self._store.state.link_meeting is None:
            self._store.dispatch(c.Set({"link_meeting": MeetingPreview(link.code, seat.title)}))
        if seat.badge and badges.get(link.origin) != seat.badge:
            self._settings.remember("badges", {**badges, link.origin: seat.badge})
        log.info("seated: %s", seat.state)
        await self._client.connect(rest, seat.session_token)

    def seated(self) -> None:
        """The first snapshot is there, or never will be."""
        self._seated.set()

    async def refused(self, code: str, detail: dict[str, Any]) -> None:
        """The control connection was refused for good. A seat that was lost while we were away is taken again."""
        state = self._store.state
        place = detail.get("place", "")
        if state.phase == "joining":
            await self._client.disconnect()
            self._failed(str(place) if place in ("removed", "banned", "denied") else code_of(code), detail)
            self.seated()
        elif code == "replaced":
            self._over("replaced")
        elif place in ("removed", "banned", "denied"):
            self._over(str(place))
        elif code in ("bad_token", "not_in_meeting", "no_such_meeting") and state.phase in phases.IN and state.link is not None:
            await self._rejoin(state.link)
        elif code in ("meeting_ended", "ended"):
            self._over("meeting_ended")
        else:
            self._over(f"error:{code_of(code)}", {**detail, "server_code": code})

    async def _rejoin(self, link: JoinLink) -> None:
        intent = self._intent
        log.info("the seat was lost: knocking again")
        self._store.dispatch(c.Navigate(phases.ControlChanged("reconnecting")))
        tries = 0
        while intent == self._intent and self._store.state.phase in phases.IN:
            await asyncio.sleep(REJOINS_S[min(tries, len(REJOINS_S) - 1)])
            tries += 1
            try:
                await self._take_seat(link, self._store.state.name, intent)
                return
            except RestError as error:
                if error.code in ("unreachable", "timeout", "host_not_found", "server_restarting", "server_error", "rate_limited"):
                    continue
                if error.code == "signed_out":
                    continue  # as a guest, then: the next try carries no bearer
                reason = {"ended": "meeting_ended", "banned": "banned", "removed": "removed", "denied": "denied"}.get(error.code)
                self._over(reason or f"error:{error.code}", error.detail)
                return

    def _over(self, reason: str, detail: dict[str, Any] | None = None) -> None:
        self._store.dispatch(c.Navigate(phases.Over(reason, detail or {})))

    # ---- leaving ----

    async def leave(self, reason: str = "left") -> None:
        """Say goodbye as far as the line allows, and be gone at once for the user."""
        state = self._store.state
        if state.phase not in (*phases.IN, "joining"):
            return
        self._intent += 1
        connection = self._client.take_connection()
        self._over(reason)
        if connection is not None:
            try:
                if connection.connected:
                    await connection.ask(m.Leave(), LEAVE_S)
            except (AskError, Refused) as error:
                log.info("the goodbye was not heard: %s", error)
            finally:  # also when the program ends while it waits for the answer
                await connection.close()

    async def cancel(self) -> None:
        state = self._store.state
        if state.phase == "joining":
            self._intent += 1
            await self._client.disconnect()
            self._store.dispatch(c.Navigate(phases.Failed("")))
        elif state.phase == "lobby":
            await self.leave()
            await self.back_home()
        elif state.phase == "sign_in":
            self._store.dispatch(c.Navigate(phases.SignInDone()))
        else:
            await self.back_home()

    async def back_home(self) -> None:
        if self._store.state.phase in (*phases.IN, "joining"):
            await self.leave()
        self._intent += 1
        self._client.close_devices()
        self._store.dispatch(c.MeetingForgotten())
        self._store.dispatch(c.Navigate(phases.WentHome()))
        await self.refresh_upcoming(quietly=True)

    def lobby_waited_too_long(self, now: float) -> bool:
        """Whether nobody answered for as long as the setting says (0: wait on)."""
        since, limit_s = self._store.state.lobby_since, self._client.lobby_timeout_s
        return since is not None and limit_s > 0 and now + self._store.state.clock_offset_s - since > limit_s

"""What the organisation has closed on this computer: other servers, ways in, sharing, chat. Pure; any thread.

These are locks of the program, for order: what nobody may do at all, the server has to refuse. What is closed stands in
`ClientState.closed`, so that pages leave it out, and is asked again wherever something would happen.
"""

from __future__ import annotations

from typing import Literal

from vidconf.client.links import LinkError, is_allowed, parse_origin
from vidconf.client.policies.reading import Policies
from vidconf.client.settings import Settings
from vidconf.meeting import messages as m

Part = Literal["other_servers", "password_login", "guest_join", "screen_share", "chat"]
KEYS = frozenset({"server", "server_locked", "password_login", "guest_join", "no_screen_share", "no_chat"})
"""Settings that `closed_parts` looks at."""
CODE = "closed_here"
"""The refusal's code; words: `refusal.closed_here`."""


def closed_parts(settings: Settings) -> frozenset[Part]:
    """What is closed by the settings as they are now."""
    found: set[Part] = set()
    if only_server(settings):
        found.add("other_servers")
    if not settings.on("password_login"):
        found.add("password_login")
    if not settings.on("guest_join"):
        found.add("guest_join")
    if settings.on("no_screen_share"):
        found.add("screen_share")
    if settings.on("no_chat"):
        found.add("chat")
    return frozenset(found)


def only_server(settings: Settings) -> str:
    """The one server's origin that may be used, "" where any may: the lock counts with a server that administrators have named."""
    return _named_server(settings.policies) if settings.on("server_locked") else ""


def _named_server(policies: Policies) -> str:
    named = policies.managed.get("server") or policies.recommended.get("server")
    return str(named.value) if named is not None else ""


def closed_by_policy(origin: str, policies: Policies) -> str:
    """Why a guest without settings may not go to `origin` (as in a link, not looked at yet): `guest_join_closed` or a link's code, both
    of `error.<code>`; "" when it may. Only what policy holds counts."""
    held = {key: policies.managed[key].value for key in ("server_locked", "allowed_servers", "guest_join") if key in policies.managed}
    if not held.get("guest_join", True):
        return "guest_join_closed"
    only, allowed = _named_server(policies) if held.get("server_locked") else "", held.get("allowed_servers", ())
    if not only and not allowed:
        return ""
    try:
        named = parse_origin(origin)
    except LinkError as error:
        return error.code  # such as a name before an @ that passes for the host
    return "" if only in ("", named) and is_allowed(named, allowed) else "link_not_allowed"


def way_in_closed(closed: frozenset[str], *, signed_in: bool) -> str:
    """The code of `error.<code>` why nobody can join so, "" when one can."""
    if signed_in or "guest_join" not in closed:
        return ""
    return "no_way_in" if "password_login" in closed else "guest_join_closed"


def refusal(closed: frozenset[str], command: m.Command) -> m.Refusal | None:
    """Why `command` is not sent from here; None when it may be."""
    match command:
        case m.SetSource(source="screen_share", state=state) if state != "off" and "screen_share" in closed:
            return m.Refusal(CODE)
        case m.Chat() if "chat" in closed:
            return m.Refusal(CODE)
    return None

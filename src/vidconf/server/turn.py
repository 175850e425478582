"""TURN servers as a participant is told of them: with a password of his own that soon runs out, where the operator gave a secret.

Pure. coturn's `use-auth-secret` (draft-uberti-behave-turn-rest-00): the name is when it ends and whose it is, the password is
HMAC-SHA1 of the name by the secret that both servers know. Nobody's password then opens the TURN server for long, and the
secret is never told.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

LIVES_S = 12 * 3600
"""A meeting's day; an allocation that is kept up outlives its password anyway."""


def ice_servers_for(participant: str, entries: Iterable[Mapping[str, Any]], now: float) -> list[dict[str, Any]]:
    """The `[media] ice_servers` of the configuration for one participant; `now` in Unix seconds."""
    told = []
    for entry in entries:
        kept = {key: value for key, value in entry.items() if key != "secret"}
        secret = entry.get("secret", "")
        if secret:
            name = f"{int(now) + LIVES_S}:{participant}"
            kept |= {"username": name, "credential": base64.b64encode(hmac.digest(secret.encode(), name.encode(), "sha1")).decode()}
        told.append(kept)
    return told

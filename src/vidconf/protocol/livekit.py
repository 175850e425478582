"""LiveKit's access tokens and names: what the relay checks, the engine sends and tools mint. Pure but for the clock's default.

Any thread. Standard library only, so that whoever needs a word of it pays for nothing; the protobuf messages themselves come
from `livekit.protocol`. Source: livekit/protocol auth/ (grants.go, accesstoken.go, verifier.go), livekit-protocol.md §1.5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROTOCOL = 17
"""The client protocol number that this version implements, and the relay's own."""

MAX_TOKEN_BYTES = 16384
LEEWAY_S = 60.0
"""LiveKit's own, for clocks that differ."""

CAMERA, MICROPHONE, SCREEN_SHARE, SCREEN_SHARE_AUDIO = 1, 2, 3, 4
SOURCE_NUMBERS: dict[str, int] = {
    "camera": CAMERA,
    "microphone": MICROPHONE,
    "screen_share": SCREEN_SHARE,
    "screen_share_audio": SCREEN_SHARE_AUDIO,
}
"""The words of `canPublishSources` -> livekit.TrackSource."""
SOURCE_NAMES: dict[int, str] = {number: name for name, number in SOURCE_NUMBERS.items()}

RELIABLE, LOSSY = "_reliable", "_lossy"
"""Labels of the data channels."""


class TokenError(ValueError):
    """A token that does not hold. The text says why and is safe to show: nothing of the token is in it."""


@dataclass(frozen=True, slots=True)
class Grants:
    """The claim `video`. None means absent: `can_publish` and `can_subscribe` are then true, `can_publish_data` follows
    `can_publish`. An empty `can_publish_sources` means all."""

    room: str = ""
    room_join: bool = False
    room_create: bool = False
    room_list: bool = False
    room_admin: bool = False
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    can_publish_sources: tuple[str, ...] = ()
    can_update_own_metadata: bool = False
    hidden: bool = False
    recorder: bool = False

    def to_claim(self) -> dict[str, Any]:
        """As JSON, defaults left out."""
        claim: dict[str, Any] = {"room": self.room} if self.room else {}
        claim |= {_CLAIM[name]: True for name in _FLAGS if getattr(self, name)}
        claim |= {_CLAIM[name]: value for name in _TRISTATE if (value := getattr(self, name)) is not None}
        if self.can_publish_sources:
            claim["canPublishSources"] = list(self.can_publish_sources)
        return claim

    @classmethod
    def from_claim(cls, claim: Mapping[str, Any]) -> Grants:
        """Raises TokenError for a value of the wrong type: a permission is never guessed."""
        room = claim.get("room", "")
        sources = claim.get("canPublishSources") or []
        if not isinstance(room, str) or not isinstance(sources, list) or not all(isinstance(s, str) for s in sources):
            raise TokenError("malformed grants")
        values: dict[str, Any] = {}
        for name in _FLAGS + _TRISTATE:
            value = claim.get(_CLAIM[name])
            if value is not None and not isinstance(value, bool):
                raise TokenError("malformed grants")
            if value is not None:
                values[name] = value
        return cls(room=room, can_publish_sources=tuple(s.lower() for s in sources), **values)

    def permits_publishing(self) -> bool:
        return self.can_publish is not False

    def permits_subscribing(self) -> bool:
        return self.can_subscribe is not False

    def permits_data(self) -> bool:
        return self.permits_publishing() if self.can_publish_data is None else self.can_publish_data


_FLAGS = ("room_join", "room_create", "room_list", "room_admin", "can_update_own_metadata", "hidden", "recorder")
_TRISTATE = ("can_publish", "can_subscribe", "can_publish_data")
_CLAIM = {
    "room_join": "roomJoin", "room_create": "roomCreate", "room_list": "roomList", "room_admin": "roomAdmin",
    "can_update_own_metadata": "canUpdateOwnMetadata", "hidden": "hidden", "recorder": "recorder",
    "can_publish": "canPublish", "can_subscribe": "canSubscribe", "can_publish_data": "canPublishData",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claims:
    """A token's content, once its signature and times hold."""

    key: str
    identity: str
    grants: Grants
    name: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    sha256: str = ""
    expires_at: float = 0.0
    issued_at: float | None = None
    not_before: float | None = None


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("malformed token") from error


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """A JWT, HS256 (RFC 7519, RFC 7518 §3.2)."""
    head = _encode(b'{"alg":"HS256","typ":"JWT"}')
    body = _encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{head}.{body}.{_encode(hmac.digest(secret.encode(), f'{head}.{body}'.encode(), 'sha256'))}"


def make_token(
    key: str, secret: str, identity: str, grants: Grants, ttl_s: float, *, name: str = "", metadata: str = "",
    attributes: Mapping[str, str] | None = None, sha256: str = "", now: float | None = None,
) -> str:  # fmt: skip
    """An access token. `iat` is there so that it can be told from one made after a removal."""
    at = time.time() if now is None else now
    claims: dict[str, Any] = {"iss": key, "nbf": int(at), "iat": math.floor(at * 1000) / 1000, "exp": int(at + ttl_s)}
    claims |= {k: v for k, v in (("sub", identity), ("name", name), ("metadata", metadata), ("sha256", sha256)) if v}
    if attributes:
        claims["attributes"] = dict(attributes)
    if video := grants.to_claim():
        claims["video"] = video
    return sign(claims, secret)


def verify_token(token: str, secrets: Mapping[str, str], *, now: float | None = None, leeway_s: float = LEEWAY_S) -> Claims:
    """Check signature, `exp` (required) and `nbf`, and read the claims. `secrets` by API key. Raises TokenError."""
    claims, key = _verified(token, secrets)
    at = time.time() if now is None else now
    expires, not_before, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise TokenError("the token has no expiry")
    if at > expires + leeway_s:
        raise TokenError("the token has expired")
    if not_before is not None and at < not_before - leeway_s:
        raise TokenError("the token is not valid yet")
    video = claims.get("video", {})
    attributes = claims.get("attributes") or {}
    texts = {name: claims.get(name) or "" for name in ("sub", "name", "metadata", "kind", "sha256")}
    if (
        not isinstance(video, dict)
        or not isinstance(attributes, dict)
        or not all(isinstance(v, str) for v in (*texts.values(), *attributes.values()))
    ):
        raise TokenError("malformed claims")
    return Claims(
        key, texts["sub"], Grants.from_claim(video), texts["name"], texts["metadata"], attributes, texts["kind"], texts["sha256"],
        expires, issued, not_before,
    )  # fmt: skip


def _verified(token: str, secrets: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    if not token or len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise TokenError("malformed token")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenError("malformed token")
    try:
        head, claims = json.loads(_decode(parts[0])), json.loads(_decode(parts[1]))
    except (ValueError, RecursionError) as error:
        raise TokenError("malformed token") from error
    if not isinstance(head, dict) or not isinstance(claims, dict) or head.get("alg") != "HS256":
        raise TokenError("malformed token")
    key = claims.get("iss")
    secret = secrets.get(key) if isinstance(key, str) else None
    expected = hmac.digest((secret or "").encode(), f"{parts[0]}.{parts[1]}".encode(), "sha256")
    if not hmac.compare_digest(expected, _decode(parts[2])) or secret is None:
        raise TokenError("invalid token: signature or API key")
    return claims, str(key)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise TokenError("malformed claims")
    return float(value)


def body_digest(body: bytes) -> str:
    """The claim `sha256` of a webhook's token: base64 of the SHA-256 of the raw body."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()

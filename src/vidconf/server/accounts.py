"""People who may sign in, and every kind of bearer: access and refresh tokens, keys, session tokens. The loop's thread.

Passwords are argon2id, hashed in a thread of their own. An access token is a signed JWT of 15 minutes; all other tokens are
random and kept as SHA-256 only. A refresh token is good once: when a used one comes again, somebody copied it, and its whole
family dies.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy.exc import IntegrityError

from vidconf.meeting.names import NameRefused, clean_line, clean_name
from vidconf.server import tables
from vidconf.server.storage import Storage

log = logging.getLogger("vidconf.accounts")

SystemRole = Literal["member", "organiser", "admin", "auditor"]
SYSTEM_ROLES: tuple[SystemRole, ...] = ("member", "organiser", "admin", "auditor")
ACCESS_S = 15 * 60
REFRESH_S = 30 * 86400
PASSWORD_MIN, PASSWORD_MAX = 8, 1024
TOKEN_MAX = 1024
NAME_KEY_MAX = 128


class AccountError(Exception):
    """Cannot be done as asked. `code` is for programs, the text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    name: str
    role: SystemRole
    disabled: bool = False
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who holds a token: `account` (signed in), `admin` (the machine's own key), `service` or `chair` (a key)."""

    kind: Literal["account", "admin", "service", "chair"]
    name: str
    account: Account | None = None
    meeting: str | None = None
    """The one meeting of a chair key."""

    @property
    def is_admin(self) -> bool:
        return self.kind == "admin" or (self.account is not None and self.account.role == "admin")


@dataclass(frozen=True, slots=True)
class SignedIn:
    account: Account
    access_token: str
    expires_in: int
    refresh_token: str


def token_hash(token: str) -> str:
    """How a random token is kept. They have 256 bits: a plain hash cannot be searched."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token(prefix: str) -> str:
    """Random, with a prefix that says in a leaked log what it was."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def _name_key(name: str) -> str:
    """What all ways to type one name have in common. Raises NameRefused."""
    key = unicodedata.normalize("NFC", clean_name(name).casefold())
    if len(key) > NAME_KEY_MAX:
        raise NameRefused("too_long")
    return key


def _password(typed: str) -> str:
    """As it is hashed: composed, because macOS types Vietnamese letters in other pieces than Windows. Raises AccountError."""
    password = unicodedata.normalize("NFC", typed)
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX or any("\ud800" <= char <= "\udfff" for char in password):
        raise AccountError("bad_password", f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return password


def _account(row: sa.Row[tuple[object, ...]]) -> Account:
    found = row._mapping
    return Account(found["id"], found["name"], found["role"], found["disabled"], found["created_at"])


class Accounts:
    """`await Accounts.open(storage, admin_key)`; `close` ends its threads."""

    def __init__(self, storage: Storage, access_secret: str, admin_key: str | None) -> None:
        self._storage = storage
        self._access_key = OctKey.import_key(access_secret)
        self._admin_hash = token_hash(admin_key) if admin_key else None
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="argon2")
        self._nobody = ""
        self.disabled = asyncio.Event()
        """Set when an account was disabled here; `Expulsion` clears it."""

    @classmethod
    async def open(cls, storage: Storage, admin_key: str | None) -> Accounts:
        return cls(storage, await storage.secret("access_secret"), admin_key)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _hash(self, password: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def _fits(self, hashed: str, password: str) -> bool:
        def verify() -> bool:
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

        return await asyncio.get_running_loop().run_in_executor(self._threads, verify)

    # ---- people ----

    async def add(self, name: str, password: str, role: str) -> Account:
        """Raises AccountError: bad_name, bad_password, bad_role, name_taken."""
        try:
            name, key = clean_name(name), _name_key(name)
        except NameRefused:
            raise AccountError("bad_name", "a name has 1 to 64 visible characters") from None
        password = _password(password)
        if role not in SYSTEM_ROLES:
            raise AccountError("bad_role", f"role is one of {', '.join(SYSTEM_ROLES)}")
        account = Account("a" + secrets.token_hex(8), name, role, created_at=time.time())
        values = {
            "id": account.id, "name": name, "name_key": key, "role": role, "disabled": False,
            "password_hash": await self._hash(password), "created_at": account.created_at,
        }  # fmt: skip
        try:
            await self._storage.execute(sa.insert(tables.accounts).values(**values))
        except IntegrityError:
            raise AccountError("name_taken", f"there is an account {name} already") from None
        log.info("account added: role %s", role)
        return account

    async def all(self) -> list[Account]:
        return [_account(row) for row in await self._storage.rows(sa.select(tables.accounts).order_by(tables.accounts.c.name_key))]

    async def disable(self, name: str) -> None:
        """No more sign-ins; its tokens are refused from now on, and `Expulsion` puts it out of the meetings it is in. Whoever made
        meetings holds their chair links and chair tokens: those are dead, too, until somebody makes new ones. Raises AccountError."""
        a, r, k = tables.accounts.c, tables.refresh_tokens.c, tables.keys.c
        row = await self._named(name)
        if row is None:
            raise AccountError("no_such_account", f"there is no account {clean_line(name, 64)}")
        account, now = _account(row), time.time()
        own = sa.select(tables.meetings.c.id).where(tables.meetings.c.owner == account.id)
        await self._storage.execute(
            sa.update(tables.refresh_tokens).where(r.account == account.id, r.revoked_at.is_(None)).values(revoked_at=now),
            sa.update(tables.keys).where(k.scope == "chair", k.meeting.in_(own), k.revoked_at.is_(None)).values(revoked_at=now),
            sa.update(tables.meetings).where(tables.meetings.c.owner == account.id).values(chair_secret_hash=None),
            sa.delete(tables.tickets).where(tables.tickets.c.meeting.in_(own)),
            sa.update(tables.accounts).where(a.id == account.id).values(disabled=True),
        )
        self.disabled.set()
        log.info("account disabled")

    async def _named(self, name: str) -> sa.Row[Any] | None:
        try:
            key = _name_key(name)
        except NameRefused:
            return None
        return await self._storage.row(sa.select(tables.accounts).where(tables.accounts.c.name_key == key))

    # ---- signing in ----

    async def login(self, name: str, password: str) -> SignedIn | None:
        """None: wrong, and it takes as long whether the name exists or not."""
        try:
            password = _password(password)
        except AccountError:
            return None
        row = await self._named(name)
        if row is None:
            if not self._nobody:
                self._nobody = await self._hash("nobody has this password")
            await self._fits(self._nobody, password)
            return None
        if not await self._fits(row._mapping["password_hash"], password):
            return None
        account = _account(row)
        if account.disabled:
            return None
        signed_in, statements = self._issue(account, "f" + secrets.token_hex(12))
        await self._storage.execute(*statements)
        return signed_in

    def _issue(self, account: Account, family: str) -> tuple[SignedIn, list[sa.Executable]]:
        """A pair of tokens, and the statements that make the refresh token good."""
        now = time.time()
        refresh = new_token("vcr")
        values = {"token_hash": token_hash(refresh), "family": family, "account": account.id, "issued_at": now, "expires_at": now + REFRESH_S}
        expired = sa.delete(tables.refresh_tokens).where(tables.refresh_tokens.c.expires_at < now - 86400)
        claims = {"sub": account.id, "iat": int(now), "exp": int(now) + ACCESS_S, "aud": "vidconf"}
        signed_in = SignedIn(account, jwt.encode({"alg": "HS256"}, claims, self._access_key), ACCESS_S, refresh)
        return signed_in, [expired, sa.insert(tables.refresh_tokens).values(**values)]

    async def refresh(self, token: str) -> SignedIn | None:
        """The next pair. None: unknown, expired, revoked, or used before (then the family is revoked)."""
        r = tables.refresh_tokens.c
        now = time.time()
        hashed = token_hash(token)
        # One transaction: of two at the same moment one gets the next token, and the other finds it there to revoke.
        async with self._storage.writing() as connection:
            used = await connection.execute(
                sa.update(tables.refresh_tokens)
                .where(r.token_hash == hashed, r.used_at.is_(None), r.revoked_at.is_(None), r.expires_at > now)
                .values(used_at=now)
            )
            row = (await connection.execute(sa.select(tables.refresh_tokens).where(r.token_hash == hashed))).first()
            if row is None:
                return None
            found = row._mapping
            if used.rowcount != 1:
                if found["used_at"] is not None and found["revoked_at"] is None:
                    await connection.execute(
                        sa.update(tables.refresh_tokens).where(r.family == found["family"], r.revoked_at.is_(None)).values(revoked_at=now)
                    )
                    log.warning("a used refresh token came again: its family is revoked")
                return None
            account = (await connection.execute(sa.select(tables.accounts).where(tables.accounts.c.id == found["account"]))).first()
            if account is None or account.disabled:
                return None
            signed_in, statements = self._issue(_account(account), found["family"])
            for statement in statements:
                await connection.execute(statement)
        return signed_in

    async def logout(self, token: str) -> None:
        r = tables.refresh_tokens.c
        row = await self._storage.row(sa.select(r.family).where(r.token_hash == token_hash(token)))
        if row is not None:
            await self._storage.execute(
                sa.update(tables.refresh_tokens).where(r.family == row[0], r.revoked_at.is_(None)).values(revoked_at=time.time())
            )

    async def account(self, account: str) -> Account | None:
        row = await self._storage.row(sa.select(tables.accounts).where(tables.accounts.c.id == account))
        return None if row is None else _account(row)

    # ---- keys and bearers ----

    async def add_key(self, name: str, scope: Literal["service", "chair"], meeting: str | None = None) -> str:
        key = new_token("vck")
        await self._storage.execute(self.key_row(key, name, scope, meeting))
        return key

    @staticmethod
    def key_row(key: str, name: str, scope: Literal["service", "chair"], meeting: str | None) -> sa.Executable:
        return sa.insert(tables.keys).values(key_hash=token_hash(key), name=name, scope=scope, meeting=meeting, created_at=time.time())

    async def bearer(self, token: str) -> Bearer | None:
        """Who holds it. None: nobody we know (any more)."""
        if not token or len(token) > TOKEN_MAX:
            return None
        hashed = token_hash(token)
        if self._admin_hash is not None and secrets.compare_digest(hashed, self._admin_hash):
            return Bearer("admin", "admin")
        if token.startswith("vck_"):
            k = tables.keys.c
            row = await self._storage.row(sa.select(tables.keys).where(k.key_hash == hashed, k.revoked_at.is_(None)))
            return None if row is None else Bearer(row.scope, row.name, meeting=row.meeting)
        try:
            claims = jwt.decode(token, self._access_key, algorithms=["HS256"]).claims
            registry = jwt.JWTClaimsRegistry(exp={"essential": True}, sub={"essential": True}, aud={"essential": True, "value": "vidconf"})
            registry.validate(claims)
        except (JoseError, ValueError, TypeError, KeyError):
            return None
        account = await self.account(str(claims["sub"]))
        if account is None or account.disabled:
            return None
        return Bearer("account", account.name, account)

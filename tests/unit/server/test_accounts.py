"""Accounts: argon2id off the loop, refresh tokens good once, names and passwords as people type them, forged bearers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey

from vidconf.server import tables
from vidconf.server.accounts import ACCESS_S, AccountError, Accounts, SignedIn
from vidconf.server.storage import FILE, Storage

NAME, PASSWORD = "Nguyễn Thị Hương", "đất đai là của toàn dân"
ADMIN_KEY = "the machine's own key, forty-three characters"


@pytest.fixture
async def accounts(storage: Storage) -> AsyncIterator[Accounts]:
    opened = await Accounts.open(storage, ADMIN_KEY)
    opened._hasher = PasswordHasher(time_cost=1, memory_cost=64)  # the real cost is looked at once, below
    await opened.add(NAME, PASSWORD, "organiser")
    yield opened
    opened.close()


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob(f"{FILE}*"))


async def signed_in(accounts: Accounts) -> SignedIn:
    found = await accounts.login(NAME, PASSWORD)
    assert found is not None
    return found


# ---- passwords -------------------------------------------------------------------------------------------------------


async def test_signing_in_gives_an_access_token_of_15_minutes_and_a_small_refresh_token(accounts: Accounts) -> None:
    found = await signed_in(accounts)
    assert (found.account.name, found.account.role, found.expires_in) == (NAME, "organiser", 900)
    assert len(found.refresh_token.encode()) <= 1024
    bearer = await accounts.bearer(found.access_token)
    assert bearer is not None
    assert (bearer.kind, bearer.name, bearer.account, bearer.is_admin) == ("account", NAME, found.account, False)
    claims = json.loads(base64.urlsafe_b64decode(found.access_token.split(".")[1] + "=="))
    assert claims["exp"] - claims["iat"] == 900
    assert set(claims) == {"sub", "iat", "exp", "aud"}


async def test_a_wrong_password_and_a_wrong_name_get_nothing(accounts: Accounts) -> None:
    for name, password in ((NAME, PASSWORD + " "), (NAME, PASSWORD.upper()), (NAME, ""), ("Trần Văn An", PASSWORD), ("", "")):
        assert await accounts.login(name, password) is None


async def test_nothing_that_opens_a_door_is_kept_as_it_is(accounts: Accounts, storage: Storage, tmp_path: Path) -> None:
    found = await signed_in(accounts)
    key = await accounts.add_key("script", "service")
    kept = all_bytes(tmp_path)
    for secret in (PASSWORD, found.refresh_token, found.access_token, key, ADMIN_KEY):
        assert secret.encode() not in kept


async def test_hashing_a_password_takes_its_time_and_does_not_hold_up_the_loop(storage: Storage) -> None:
    accounts = await Accounts.open(storage, None)
    await accounts.add(NAME, PASSWORD, "member")
    row = await storage.row(sa.select(tables.accounts.c.password_hash))
    assert row is not None
    assert str(row[0]).startswith("$argon2id$v=19$m=65536,t=3,")
    late: list[float] = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            late.append(time.monotonic() - began)

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(accounts.login(NAME, PASSWORD) for _ in range(3)))
    ticking.cancel()
    accounts.close()
    assert len(late) >= 10
    assert sorted(late)[len(late) // 2] < 0.05


@pytest.mark.parametrize("password", ["wrong password", "x", "", "x" * 1025, "x" * 4096])
async def test_the_work_done_does_not_tell_whether_a_name_exists(accounts: Accounts, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    await accounts.login("nobody", "the first time prepares a hash to compare with")
    verified: list[str] = []
    real = PasswordHasher.verify

    def counted(self: PasswordHasher, hashed: Any, given: Any) -> bool:
        verified.append(str(given))
        return real(self, hashed, given)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    await accounts.login(NAME, password)
    known, verified = len(verified), []
    await accounts.login("Không Có Ai", password)
    assert len(verified) == known


@pytest.mark.parametrize("password", ["", "short", "1234567", "x" * 1025, "\ud800" * 12])
async def test_a_password_that_cannot_be_is_refused(accounts: Accounts, password: str) -> None:
    with pytest.raises(AccountError) as refused:
        await accounts.add("Trần Văn An", password, "member")
    assert refused.value.code == "bad_password"
    assert await accounts.login("Trần Văn An", password) is None


@pytest.mark.parametrize("password", ["12345678", "x" * 1024, "🌾" * 8, "with\x00a nul", "  spaces at both ends  ", "'; DROP TABLE accounts; --"])
async def test_a_password_is_taken_as_it_is(accounts: Accounts, password: str) -> None:
    await accounts.add("Trần Văn An", password, "member")
    assert await accounts.login("Trần Văn An", password) is not None
    assert await accounts.login("Trần Văn An", password[:-1] + "?") is None


async def test_a_password_typed_on_another_system_is_the_same_password(accounts: Accounts) -> None:
    """macOS composes Vietnamese letters in another way than Windows; on the screen they are the same."""
    taken_apart = unicodedata.normalize("NFD", PASSWORD)
    assert taken_apart != PASSWORD
    assert await accounts.login(NAME, taken_apart) is not None
    await accounts.add("Trần Văn An", taken_apart, "member")
    assert await accounts.login("Trần Văn An", PASSWORD) is not None


# ---- names -----------------------------------------------------------------------------------------------------------

SAME_NAME = [
    NAME.upper(), NAME.lower(), unicodedata.normalize("NFD", NAME), unicodedata.normalize("NFD", NAME.upper()), f"  {NAME}\t",
    NAME.replace(" ", "   "), f"\u200b{NAME}\ufeff",
]  # fmt: skip


@pytest.mark.parametrize("name", SAME_NAME)
async def test_one_name_is_one_account_however_it_is_typed(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountError) as refused:
        await accounts.add(name, "another password", "admin")
    assert refused.value.code == "name_taken"
    found = await accounts.login(name, PASSWORD)
    assert found is not None
    assert found.account.name == NAME
    await accounts.disable(name)
    assert await accounts.login(NAME, PASSWORD) is None


@pytest.mark.parametrize("name", ["", "   ", "\u202e\u200b", "x" * 65, "\u0301", "\ud800", "x" * 5000])
async def test_a_name_that_cannot_be_shown_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountError) as refused:
        await accounts.add(name, PASSWORD, "member")
    assert refused.value.code == "bad_name"
    assert await accounts.login(name, PASSWORD) is None
    with pytest.raises(AccountError) as unknown:
        await accounts.disable(name)
    assert unknown.value.code == "no_such_account"


async def test_hostile_names_are_only_names(accounts: Accounts, storage: Storage) -> None:
    for name in ("'; DROP TABLE accounts; --", "<script>alert(1)</script>", "%s %n {0}", "../../etc/passwd", "ß" * 64, "ΐ" * 64):
        added = await accounts.add(name, PASSWORD, "member")
        found = await accounts.login(name, PASSWORD)
        assert found is not None
        assert found.account == added
    assert len(await accounts.all()) == 7
    with pytest.raises(AccountError):
        await accounts.add("ﬃ" * 64, PASSWORD, "member")  # three letters each, once case is gone
    longest = await storage.row(sa.select(sa.func.max(sa.func.length(tables.accounts.c.name_key))))
    assert longest is not None
    assert longest[0] <= 128, "PostgreSQL would refuse it"


async def test_a_role_is_one_of_four(accounts: Accounts) -> None:
    for role in ("chair", "", "ADMIN", "root"):
        with pytest.raises(AccountError) as refused:
            await accounts.add("Trần Văn An", PASSWORD, role)
        assert refused.value.code == "bad_role"
    for role in ("member", "organiser", "admin", "auditor"):
        assert (await accounts.add(f"Người {role}", PASSWORD, role)).role == role


async def test_two_that_add_one_name_at_once_make_one_account(accounts: Accounts) -> None:
    outcomes = await asyncio.gather(
        *(accounts.add(name, PASSWORD, "member") for name in ("An", "AN", "an")), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Account", "AccountError", "AccountError"]


# ---- refresh tokens --------------------------------------------------------------------------------------------------


async def test_each_refresh_token_is_good_once_and_gives_the_next(accounts: Accounts) -> None:
    tokens = [(await signed_in(accounts)).refresh_token]
    for _ in range(5):
        found = await accounts.refresh(tokens[-1])
        assert found is not None
        assert await accounts.bearer(found.access_token) is not None
        tokens.append(found.refresh_token)
    assert len(set(tokens)) == 6


async def test_a_used_token_that_comes_again_kills_its_family_and_no_other(accounts: Accounts) -> None:
    stolen, other = await signed_in(accounts), await signed_in(accounts)
    second = await accounts.refresh(stolen.refresh_token)
    assert second is not None
    third = await accounts.refresh(second.refresh_token)
    assert third is not None
    assert await accounts.refresh(stolen.refresh_token) is None
    assert await accounts.refresh(third.refresh_token) is None
    assert await accounts.refresh(other.refresh_token) is not None


async def test_a_token_used_twice_at_the_same_moment_kills_its_family(accounts: Accounts, tmp_path: Path) -> None:
    """Who copied it may be as quick as its owner, at another process: neither is left with a sign-in that lasts."""
    elsewhere = await Storage.open(tmp_path)
    others = await Accounts.open(elsewhere, None)
    try:
        for turn in range(20):
            token = (await signed_in(accounts)).refresh_token
            outcomes = await asyncio.gather(*((accounts, others)[n % 2].refresh(token) for n in range(turn, turn + 4)))
            won = [found for found in outcomes if found is not None]
            assert len(won) <= 1
            for found in won:
                assert await accounts.refresh(found.refresh_token) is None
    finally:
        others.close()
        await elsewhere.close()


async def test_a_token_that_is_too_old_is_dead_and_kills_nothing(accounts: Accounts, storage: Storage) -> None:
    first = await signed_in(accounts)
    second = await accounts.refresh(first.refresh_token)
    assert second is not None
    r = tables.refresh_tokens.c
    await storage.execute(sa.update(tables.refresh_tokens).where(r.used_at.is_(None)).values(expires_at=time.time() - 1))
    assert await accounts.refresh(second.refresh_token) is None
    assert await accounts.login(NAME, PASSWORD) is not None


async def test_signing_out_ends_the_family(accounts: Accounts) -> None:
    first, other = await signed_in(accounts), await signed_in(accounts)
    second = await accounts.refresh(first.refresh_token)
    assert second is not None
    await accounts.logout(second.refresh_token)
    assert await accounts.refresh(second.refresh_token) is None
    assert await accounts.refresh(other.refresh_token) is not None
    for token in ("", "vcr_nothing", "\ud800", "x" * 5000):
        await accounts.logout(token)
        assert await accounts.refresh(token) is None


async def test_a_disabled_account_is_out_at_once(accounts: Accounts) -> None:
    found = await signed_in(accounts)
    await accounts.disable(NAME)
    assert await accounts.login(NAME, PASSWORD) is None
    assert await accounts.refresh(found.refresh_token) is None
    assert await accounts.bearer(found.access_token) is None
    assert [one.disabled for one in await accounts.all()] == [True]


async def test_tokens_are_good_for_the_next_process(accounts: Accounts, storage: Storage) -> None:
    found = await signed_in(accounts)
    again = await Accounts.open(storage, "another key of this run")
    assert await again.bearer(found.access_token) is not None
    assert await again.refresh(found.refresh_token) is not None
    assert await again.bearer(ADMIN_KEY) is None, "the machine's own key is of one run"
    again.close()


# ---- bearers ---------------------------------------------------------------------------------------------------------


async def test_keys_say_what_they_open(accounts: Accounts, storage: Storage) -> None:
    await storage.execute(sa.insert(tables.meetings).values(
        id="m1", code="c", title="t", duration_s=60, lobby=True, capacity=1, created_at=1.0, state="live", epoch=1, head_seq=0, head_hash=""
    ))  # fmt: skip
    service, chair = await accounts.add_key("script", "service"), await accounts.add_key("chair", "chair", "m1")
    found = [await accounts.bearer(token) for token in (service, chair, ADMIN_KEY)]
    assert [(one.kind, one.name, one.meeting, one.is_admin) for one in found if one is not None] == [
        ("service", "script", None, False), ("chair", "chair", "m1", False), ("admin", "admin", None, True)
    ]  # fmt: skip
    await storage.execute(sa.update(tables.keys).values(revoked_at=1.0))
    assert await accounts.bearer(service) is None
    assert await accounts.bearer(chair) is None


async def test_forged_access_tokens_open_nothing(accounts: Accounts, storage: Storage) -> None:
    found = await signed_in(accounts)
    own = OctKey.import_key(await storage.secret("access_secret"))
    now = int(time.time())
    good = {"sub": found.account.id, "iat": now, "exp": now + ACCESS_S, "aud": "vidconf"}
    assert await accounts.bearer(jwt.encode({"alg": "HS256"}, good, own)) is not None

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    head, body, signature = found.access_token.split(".")
    bad = {
        "another key": jwt.encode({"alg": "HS256"}, good, OctKey.import_key("x" * 43)),
        "no algorithm": f"{part({'alg': 'none'})}.{part(good)}.",
        "unsigned": f"{head}.{body}.",
        "signed for another": f"{head}.{part({**good, 'sub': 'a0'})}.{signature}",
        "too old": jwt.encode({"alg": "HS256"}, {**good, "exp": now - 1}, own),
        "for ever": jwt.encode({"alg": "HS256"}, {name: good[name] for name in ("sub", "iat", "aud")}, own),
        "for somebody else": jwt.encode({"alg": "HS256"}, {**good, "aud": "livekit"}, own),
        "of nobody": jwt.encode({"alg": "HS256"}, {**good, "sub": "a0"}, own),
        "of no text": jwt.encode({"alg": "HS256"}, {**good, "sub": ["a"]}, own),
        "exp of no number": jwt.encode({"alg": "HS256"}, {**good, "exp": "soon"}, own),
        "refresh": found.refresh_token,
        "long": found.access_token + "x" * 2000,
    }
    assert [name for name, token in bad.items() if await accounts.bearer(token) is not None] == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=80), st.text(max_size=30).map("vck_".__add__), st.binary(max_size=30).map(lambda b: b.hex() + ".a.b")))
async def test_no_text_is_a_bearer_by_accident(accounts: Accounts, token: str) -> None:
    assert await accounts.bearer(token) is None
    assert await accounts.refresh(token) is None

"""Being signed in, against a server whose refresh tokens are good once: never used twice, never lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from fakes.toy_server import ToyServer, until

from vidconf.client import sign_in as sign_in_module
from vidconf.client.credentials import Credentials, Kept
from vidconf.client.rest import Rest, RestError
from vidconf.client.sign_in import EARLY_S, SignIn


@pytest.fixture
async def rest(toy: ToyServer) -> AsyncIterator[Rest]:
    made = Rest(toy.origin)
    yield made
    await made.close()


async def signed_in(rest: Rest, credentials: Credentials | None = None) -> SignIn:
    made = SignIn(rest, credentials or Credentials(None))
    await made.sign_in("binh", "đúng")
    return made


def expire(sign_in: SignIn) -> None:
    """The access token has less than a minute to live."""
    assert sign_in._signed_in is not None
    object.__setattr__(sign_in._signed_in, "expires_at", time.monotonic() + EARLY_S - 1)


async def test_nobody(rest: Rest) -> None:
    sign_in = SignIn(rest, Credentials(None))
    assert not await sign_in.recall()
    assert await sign_in.bearer() == ""
    assert (sign_in.name, sign_in.role) == ("", "")
    await sign_in.sign_out()


async def test_a_wrong_password_changes_nothing(rest: Rest) -> None:
    sign_in = await signed_in(rest)
    with pytest.raises(RestError):
        await sign_in.sign_in("binh", "sai")
    assert sign_in.name == "Trần Thị Bình"
    assert await sign_in.bearer() == "access-1"


async def test_the_access_token_is_used_until_it_is_nearly_over(rest: Rest, toy: ToyServer) -> None:
    sign_in = await signed_in(rest)
    assert (sign_in.name, sign_in.role, sign_in.token_kept) == ("Trần Thị Bình", "organiser", False)
    assert [await sign_in.bearer() for _ in range(3)] == ["access-1"] * 3
    expire(sign_in)
    assert await sign_in.bearer() == "access-2"
    assert toy.good_refresh == {"refresh-2"}


async def test_all_who_need_a_token_wait_for_the_one_renewal(rest: Rest, toy: ToyServer) -> None:
    sign_in = await signed_in(rest)
    expire(sign_in)
    assert set(await asyncio.gather(*(sign_in.bearer() for _ in range(20)))) == {"access-2"}
    assert toy.login_tokens == 2


async def test_who_gives_up_waiting_does_not_lose_the_new_token(rest: Rest, toy: ToyServer) -> None:
    sign_in = await signed_in(rest)
    for _ in range(5):
        expire(sign_in)
        asking = asyncio.create_task(sign_in.bearer())
        await asyncio.sleep(0)
        asking.cancel()
    await sign_in.close()
    expire(sign_in)
    assert (await sign_in.bearer()).startswith("access-")
    assert sign_in.name == "Trần Thị Bình"


async def test_taken_up_in_the_next_run(rest: Rest, toy: ToyServer) -> None:
    credentials = Credentials(None)
    await signed_in(rest, credentials)
    again = SignIn(rest, credentials)
    assert await again.recall()
    assert (again.name, again.role) == ("Trần Thị Bình", "organiser")
    assert toy.login_tokens == 1, "the server is asked nothing before there is need"
    assert await again.bearer() == "access-2"


async def test_another_program_of_the_same_user_renewed_it(rest: Rest, toy: ToyServer) -> None:
    credentials = Credentials(None)
    one = await signed_in(rest, credentials)
    other = SignIn(rest, credentials)
    await other.recall()
    assert await other.bearer() == "access-2"
    expire(one)
    assert await one.bearer() == "access-3", "its own token is used up, the one kept is not"
    assert one.name == "Trần Thị Bình"


async def test_a_server_that_no_longer_knows_the_account(rest: Rest, toy: ToyServer) -> None:
    credentials = Credentials(None)
    sign_in = await signed_in(rest, credentials)
    expire(sign_in)
    toy.good_refresh.clear()
    with pytest.raises(RestError) as error:
        await sign_in.bearer()
    assert error.value.code == "signed_out"
    assert (sign_in.name, await sign_in.bearer()) == ("", "")
    assert await credentials.get(rest.origin) is None
    await sign_in.sign_in("binh", "đúng")
    assert await sign_in.bearer() == "access-2"


async def test_a_server_that_is_away_costs_nothing(rest: Rest, toy: ToyServer) -> None:
    sign_in = await signed_in(rest)
    expire(sign_in)
    toy.answer_rest = lambda request: web.json_response({"error": "draining"}, status=503)
    for _ in range(2):
        with pytest.raises(RestError) as error:
            await sign_in.bearer()
        assert error.value.code == "server_restarting"
    assert sign_in.name == "Trần Thị Bình"
    toy.answer_rest = None
    assert await sign_in.bearer() == "access-2"


async def test_signed_out_whatever_the_server_says(rest: Rest, toy: ToyServer) -> None:
    credentials = Credentials(None)
    sign_in = await signed_in(rest, credentials)
    await sign_in.sign_out()
    assert toy.good_refresh == set()
    await sign_in.sign_in("binh", "đúng")
    toy.answer_rest = lambda request: web.Response(status=500)
    await sign_in.sign_out()
    assert (sign_in.name, sign_in.role) == ("", "")
    assert await credentials.get(rest.origin) is None
    assert await sign_in.bearer() == ""


async def test_kept_only_for_this_run_where_policy_says_so(rest: Rest) -> None:
    credentials = Credentials(None)
    sign_in = SignIn(rest, credentials, keep=False)
    await sign_in.sign_in("binh", "đúng")
    assert not sign_in.token_kept
    assert await credentials.get(rest.origin) == (Kept("Trần Thị Bình", "refresh-1", "organiser"), False)


async def test_no_longer_to_be_kept_it_is_gone_at_once_and_kept_again_it_is_there(rest: Rest) -> None:
    entries: dict[tuple[str, str], str] = {}

    class Dict:
        """The part of a keyring that is used."""

        def get_password(self, service: str, username: str) -> str | None:
            return entries.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            entries[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del entries[service, username]

    sign_in = await signed_in(rest, Credentials(Dict))
    assert (sign_in.token_kept, len(entries)) == (True, 1)
    await sign_in.keep(False)
    assert (sign_in.token_kept, entries) == (False, {})
    expire(sign_in)
    assert await sign_in.bearer() == "access-2"
    assert entries == {}
    await sign_in.keep(True)
    assert (sign_in.token_kept, len(entries)) == (True, 1)
    await sign_in.sign_out()
    await sign_in.keep(True)
    assert entries == {}, "there is nothing to keep"


async def test_a_renewal_under_way_is_waited_for_at_the_end(rest: Rest, toy: ToyServer) -> None:
    sign_in = await signed_in(rest)
    expire(sign_in)
    asking = asyncio.create_task(sign_in.bearer())
    await asyncio.sleep(0)
    await sign_in.close()
    assert asking.done() or await asking
    assert toy.good_refresh == {"refresh-2"}
    assert sign_in._refresh_token == "refresh-2"
    await until(lambda: not sign_in._asked)


def test_renewed_early_enough_for_a_slow_join() -> None:
    assert sign_in_module.EARLY_S >= 30

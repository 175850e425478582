"""Signing in, and who may ask what by REST: accounts, meetings and what each may see."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.control_client import Reply
from unit.server.conftest import House, Serving, codes

# ---- signing in ------------------------------------------------------------------------------------------------------


async def test_signing_in_and_out(house: House) -> None:
    await house.account("Nguyễn Văn An", "auditor")
    reply = await house.anybody.post("/api/v1/auth/login", {"name": "nguyễn văn an", "password": "mật khẩu dài"})
    assert set(reply.body) == {"access_token", "expires_in", "refresh_token", "account"}
    assert {key: reply.body["account"][key] for key in ("name", "role")} == {"name": "Nguyễn Văn An", "role": "auditor"}
    me = await house.anybody.with_bearer(reply.body["access_token"]).get("/api/v1/me")
    assert me.body == reply.body["account"]
    second = await house.anybody.post("/api/v1/auth/refresh", {"refresh_token": reply.body["refresh_token"]})
    assert second.status == 200
    assert codes(await house.anybody.post("/api/v1/auth/refresh", {"refresh_token": reply.body["refresh_token"]})) == (401, "bad_refresh_token")
    assert codes(await house.anybody.post("/api/v1/auth/refresh", {"refresh_token": second.body["refresh_token"]})) == (401, "bad_refresh_token")
    assert (await house.anybody.post("/api/v1/auth/logout", {"refresh_token": second.body["refresh_token"]})).status == 200


async def test_wrong_passwords_are_slowed_down_and_right_ones_are_not(serving: Serving) -> None:
    async with serving(limits={"failures_per_minute": 3}) as house:
        await house.account("An")
        await house.account("Bình")

        async def login(name: str, password: str = "mật khẩu dài") -> Reply:
            return await house.anybody.post("/api/v1/auth/login", {"name": name, "password": password})

        assert [(await login("An")).status for _ in range(10)] == [200] * 10
        for _ in range(3):
            assert codes(await login("An", "wrong one")) == (401, "wrong_password")
        slowed = await login("AN")
        assert codes(slowed) == (429, "too_many_failures")
        assert 0 < int(slowed.headers["Retry-After"]) <= 61
        assert slowed.body["detail"]["wait_s"] == int(slowed.headers["Retry-After"])
        assert (await login("Bình")).status == 200, "the others behind the same address still sign in"


async def test_guessing_codes_secrets_tickets_and_tokens_is_slowed_down_and_joining_is_not(serving: Serving) -> None:
    async with serving(limits={"failures_per_minute": 2}) as house:
        made = await house.meeting(lobby=False)
        for n in range(30):
            await house.anybody.join(made["code"], f"Người {n}")
        path = f"/api/v1/meetings/by-code/{made['code']}/chair"
        for guess in ((path, {"secret": "x" * 32}), ("/api/v1/join", {"code": made["code"], "name": "An", "ticket": "vct_x"})):
            answers = [(await house.anybody.post(*guess)).status for _ in range(2)]
            assert set(answers) <= {403, 429}
        assert (await house.anybody.post(path, {"secret": "x" * 32})).status == 429
        secret = made["chair_link"].partition("#k=")[2]
        assert (await house.anybody.post(path, {"secret": secret})).status == 429, "not even the right one, or guessing would go on"
        guessed = [(await house.anybody.get("/api/v1/meetings/by-code/zzzz-zzzz-zzzz")).status for _ in range(8)]
        assert guessed[:6] == [404] * 6
        assert guessed[-1] == 429
        tokens = [(await house.admin.with_bearer(f"x{n}").get("/api/v1/me")).status for n in range(102)]
        assert (tokens[0], tokens[-1]) == (401, 429)
        refreshed = [(await house.anybody.post("/api/v1/auth/refresh", {"refresh_token": "x"})).status for _ in range(42)]
        assert (refreshed[0], refreshed[-1]) == (401, 429)


async def test_behind_a_front_the_visitor_is_who_the_front_saw_last(serving: Serving) -> None:
    async with serving(behind_proxy=True, limits={"failures_per_minute": 1}) as house:
        made = await house.meeting()
        path = f"/api/v1/meetings/by-code/{made['code']}/chair"

        async def guess(*forwarded: str) -> int:
            headers = [("X-Forwarded-For", one) for one in forwarded]
            async with house.admin.session.post(house.admin.url + path, json={"secret": "x"}, headers=headers) as reply:
                return reply.status

        assert await guess("203.0.113.1") == 403
        assert await guess("203.0.113.1") == 429
        assert await guess("203.0.113.2") == 403, "another visitor through the same front"
        assert await guess("198.51.100.9, 203.0.113.1") == 429, "what the visitor says itself is not believed"
        assert await guess("198.51.100.9", "203.0.113.1") == 429, "nor in a header of its own, before the front's"


@pytest.mark.parametrize(
    ("proxies", "second"),
    [(("10.1.2.3", "192.0.2.0/24", "2001:db8::/64"), 429), (("10.1.2.3", "127.0.0.0/8"), 403)],
    ids=["not by the front", "by the front"],
)
async def test_only_the_front_is_believed_where_it_is_named(serving: Serving, proxies: tuple[str, ...], second: int) -> None:
    async with serving(behind_proxy=True, proxies=proxies, limits={"failures_per_minute": 1}) as house:
        made = await house.meeting()
        path = f"/api/v1/meetings/by-code/{made['code']}/chair"
        statuses = [(await house.anybody.post(path, {"secret": "x"}, headers={"X-Forwarded-For": f"203.0.113.{n}"})).status for n in range(2)]
        assert statuses == [403, second]


async def test_without_a_front_nobody_chooses_its_own_address(serving: Serving) -> None:
    async with serving(limits={"failures_per_minute": 1}) as house:
        made = await house.meeting()
        path = f"/api/v1/meetings/by-code/{made['code']}/chair"
        statuses = [(await house.anybody.post(path, {"secret": "x"}, headers={"X-Forwarded-For": f"203.0.113.{n}"})).status for n in range(3)]
        assert statuses == [403, 429, 429]


# ---- who may what ----------------------------------------------------------------------------------------------------

ADMIN_ONLY = [
    ("GET", "/api/v1/accounts", None), ("POST", "/api/v1/accounts", {"name": "Ai Đó", "password": "mật khẩu dài", "role": "admin"}),
    ("POST", "/api/v1/accounts/An/disable", {}), ("POST", "/api/v1/keys", {"name": "script"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_ONLY)
async def test_only_an_admin_rules_over_accounts(house: House, method: str, path: str, body: Any) -> None:
    made = await house.meeting()
    await house.account("An")
    admin = await house.account("Quản Trị", "admin")
    key = (await house.admin.post("/api/v1/keys", {"name": "script"})).body["key"]
    assert codes(await house.anybody.ask(method, path, body)) == (401, "bearer_wanted")
    assert codes(await house.admin.with_bearer("x").ask(method, path, body)) == (401, "bad_bearer")
    others = [house.chair(made), house.admin.with_bearer(key)]
    others += [await house.account(role, role) for role in ("member", "organiser", "auditor")]
    for other in others:
        assert codes(await other.ask(method, path, body)) == (403, "not_allowed")
    assert (await admin.ask(method, path, body)).status in (200, 201)


async def test_accounts_are_listed_without_what_opens_them(house: House) -> None:
    await house.account("An")
    [found] = (await house.admin.get("/api/v1/accounts")).body["accounts"]
    assert set(found) == {"id", "name", "role", "disabled"}
    add = "/api/v1/accounts"
    assert codes(await house.admin.post(add, {"name": "AN", "password": "mật khẩu dài"})) == (409, "name_taken")
    assert codes(await house.admin.post(add, {"name": "\u202e", "password": "mật khẩu dài"})) == (400, "bad_name")
    assert codes(await house.admin.post(add, {"name": "B", "password": "short"})) == (400, "bad_password")
    assert codes(await house.admin.post(add, {"name": "B", "password": "mật khẩu dài", "role": "chair"})) == (400, "bad_role")
    assert codes(await house.admin.post(add, {"name": "B"})) == (400, "malformed")
    assert codes(await house.admin.post("/api/v1/accounts/Nobody/disable")) == (404, "no_such_account")
    assert (await house.admin.post("/api/v1/accounts/an/disable")).status == 200


async def test_a_disabled_account_is_out_of_everything_at_once(house: House) -> None:
    organiser = await house.account("An", "organiser")
    made = (await organiser.post("/api/v1/meetings", {"title": "Của tôi"})).body
    assert (await organiser.get(f"/api/v1/meetings/{made['id']}")).status == 200
    await house.admin.post("/api/v1/accounts/An/disable")
    for method, path in (("GET", "/api/v1/me"), ("GET", "/api/v1/meetings"), ("GET", f"/api/v1/meetings/{made['id']}")):
        assert codes(await organiser.ask(method, path)) == (401, "bad_bearer")
    assert codes(await organiser.post("/api/v1/join", {"code": made["code"], "name": "An"})) == (401, "bad_bearer")


async def test_a_disabled_organiser_takes_no_chair_with_what_was_made_for_its_meetings(house: House) -> None:
    organiser, other = await house.account("An", "organiser"), await house.account("Bình", "organiser")
    made, kept = [(await one.post("/api/v1/meetings", {"title": "Giao ban"})).body for one in (organiser, other)]
    path = f"/api/v1/meetings/by-code/{made['code']}/chair"
    secret = {"secret": made["chair_link"].partition("#k=")[2]}
    ticket = (await house.anybody.post(path, secret)).body["ticket"]
    assert (await house.chair(made).get(f"/api/v1/meetings/{made['id']}")).status == 200
    await house.admin.post("/api/v1/accounts/An/disable")
    assert codes(await house.anybody.post(path, secret)) == (403, "bad_chair_link")
    guest = await house.anybody.post("/api/v1/join", {"code": made["code"], "name": "Khách", "ticket": ticket})
    assert guest.status == 403
    assert codes(await house.chair(made).get(f"/api/v1/meetings/{made['id']}")) == (401, "bad_bearer")
    anew = (await house.admin.post(f"/api/v1/meetings/{made['id']}/chair-link")).body["chair_link"].partition("#k=")[2]
    assert (await house.anybody.post(path, {"secret": anew})).status == 200
    assert (await house.chair(kept).get(f"/api/v1/meetings/{kept['id']}")).status == 200, "nobody else's are touched"


async def test_organisers_and_admins_make_meetings(house: House) -> None:
    key = (await house.admin.post("/api/v1/keys", {"name": "script"})).body["key"]
    makers = [house.admin, house.admin.with_bearer(key), await house.account("o", "organiser"), await house.account("ad", "admin")]
    for maker in makers:
        reply = await maker.post("/api/v1/meetings", {"title": "Giao ban", "start": "2027-03-02T08:30+07:00"})
        assert set(reply.body) >= {"id", "code", "title", "start", "duration_s", "lobby", "link", "chair_link", "chair_token"}
        assert reply.body["link"] == f"{house.server.public_url}/m/{reply.body['code']}"
        assert reply.body["chair_link"].startswith(reply.body["link"] + "#k=")
        assert reply.body["lobby"] is True
    made = reply.body
    for other in (house.chair(made), await house.account("m"), await house.account("au", "auditor")):
        assert codes(await other.post("/api/v1/meetings", {"title": "Giao ban"})) == (403, "not_allowed")
    for body in ({}, {"title": ""}, {"title": "x", "lobby": 1}, {"title": "x", "start": "soon"}, {"title": "x", "start": 10**400},
                 {"title": "x", "duration_s": 1}, {"title": "x", "loby": False}):  # fmt: skip
        reply = await house.admin.post("/api/v1/meetings", body)
        assert codes(reply) == (400, "malformed")
        assert reply.body["detail"]["field"] in ("title", "lobby", "start", "duration_s", "loby")


async def test_each_account_lists_its_own_meetings(house: House) -> None:
    an, binh = await house.account("An", "organiser"), await house.account("Bình", "organiser")
    mine = (await an.post("/api/v1/meetings", {"title": "Của An"})).body
    assert [m["title"] for m in (await binh.get("/api/v1/meetings")).body["meetings"]] == []
    await binh.join(mine["code"], "Bình")
    [listed] = (await binh.get("/api/v1/meetings")).body["meetings"]
    assert set(listed) == {"id", "code", "title", "start", "duration_s", "state", "lobby", "chair", "link"}
    assert (listed["title"], listed["chair"]) == ("Của An", False)
    assert (await an.get("/api/v1/meetings")).body["meetings"][0]["chair"] is True
    assert codes(await house.anybody.get("/api/v1/meetings")) == (401, "bearer_wanted")


async def test_the_state_is_what_its_bearer_may_see(house: House) -> None:
    made = await house.meeting()
    chair, member, late = house.chair(made), await house.account("Đại Biểu"), await house.account("Đến Muộn")
    admin, other = await house.account("Quản Trị", "admin"), house.chair(await house.meeting())
    path = f"/api/v1/meetings/{made['id']}"
    seat = await member.join(made["code"], "Đại biểu")
    await late.join(made["code"], "Đến muộn")
    await chair.command(made["id"], "admit", participant=seat.participant)
    whole = await chair.state(made["id"])
    assert [p["name"] for p in whole["participants"]] == ["Đại biểu"]
    assert [p["name"] for p in whole["lobby"]] == ["Đến muộn"]
    assert set(whole["participants"][0]) >= {"id", "name", "role", "kind", "unit", "position", "hand", "sources"}
    assert whole["participants"][0]["sources"] == {"microphone": "off", "camera": "off", "screen_share": "off"}
    assert (whole["locked"], whole["floor"], whole["seq"] > 0) == (False, None, True)
    assert whole["permissions"] == {"microphone": "all", "camera": "all", "screen_share": "all", "chat": "all"}
    in_room = await member.state(made["id"])
    assert ([p["name"] for p in in_room["participants"]], in_room["lobby"]) == (["Đại biểu"], [])
    outside = await late.state(made["id"])
    assert ([p["name"] for p in outside["participants"]], [p["name"] for p in outside["lobby"]]) == ([], ["Đến muộn"])
    assert (await chair.get(f"/api/v1/meetings/{made['code']}")).status == 200, "by its code, too"
    assert codes(await house.anybody.get(path)) == (401, "bearer_wanted")
    assert codes(await admin.get(path)) == (403, "not_your_meeting"), "an admin of accounts has no right to read a meeting"
    assert codes(await other.get(path)) == (403, "not_your_meeting")
    assert codes(await (await house.account("Ai Đó")).get(path)) == (403, "not_your_meeting")
    for unknown in ("m0", "zzzz-zzzz-zzzz", "%00", "%ED%A0%80", "x" * 400):
        assert codes(await chair.get(f"/api/v1/meetings/{unknown}")) == (404, "no_such_meeting")

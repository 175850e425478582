"""REST as it is promised in `server/__init__.py`: who may ask what, by which status and code, and what hostile input gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from e2e.control_client import Api
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.server.conftest import House, Serving, codes

# ---- joining ---------------------------------------------------------------------------------------------------------


async def test_a_guest_knocks_and_gets_a_badge(house: House) -> None:
    made = await house.meeting()
    reply = await house.anybody.post("/api/v1/join", {"code": made["code"], "name": " Trần  Thị Bình ", "unit": "Sở NN&MT", "position": "Giám đốc"})
    assert reply.status == 200
    body = reply.body
    assert (body["state"], body["meeting"], body["code"], body["title"]) == ("lobby", made["id"], made["code"], "Giao ban")
    assert body["control_url"] == house.server.public_url.replace("http", "ws") + "/api/v1/control"
    assert len(body["session_token"]) > 40
    assert len(body["badge"]) > 16
    assert reply.headers["Cache-Control"] == "no-store"
    [waiting] = (await house.chair(made).state(made["id"]))["lobby"]
    assert (waiting["name"], waiting["unit"], waiting["position"], waiting["guest"]) == ("Trần Thị Bình", "Sở NN&MT", "Giám đốc", True)
    assert "badge" not in waiting


async def test_without_a_lobby_one_is_in_at_once(house: House) -> None:
    made = await house.meeting(lobby=False)
    seat = await house.anybody.join(made["code"].upper().replace("-", " "), "An")
    assert seat.state == "admitted"


async def test_a_badge_brings_back_to_ones_own_seat_and_no_other(house: House) -> None:
    made = await house.meeting()
    first = await house.anybody.join(made["code"], "An")
    again = await house.anybody.join(made["code"], "An", badge=first.badge)
    assert (again.participant, again.badge) == (first.participant, first.badge)
    assert again.session_token != first.session_token
    other = await house.anybody.join(made["code"], "An", badge="x" * 32)
    assert other.participant != first.participant
    # One that is there by a connection is another device of the same person, not the same seat.
    socket = await again.connect()
    second = await house.anybody.join(made["code"], "An", badge=first.badge)
    assert second.participant != first.participant
    await socket.close()


async def test_who_was_put_out_of_one_seat_does_not_return_to_another(house: House) -> None:
    made = await house.meeting(lobby=False)
    member = await house.account("an")
    chair = await (await house.chair(made).join(made["code"], "Chủ trì")).connect()
    phone = await member.join(made["code"], "An")
    first = await phone.connect()
    desk = await member.join(made["code"], "An")
    second = await desk.connect()
    assert desk.participant != phone.participant
    await first.done("leave")
    await chair.done("remove", participant=desk.participant)
    for _ in range(2):  # while its connection still hears why, and after
        assert (await member.join(made["code"], "An")).state == "lobby"
        await second.close()
    for socket in (first, chair):
        await socket.close()


async def test_an_account_joins_as_itself_and_the_organiser_as_chair(house: House) -> None:
    organiser, member = await house.account("Chủ Trì", "organiser"), await house.account("Đại Biểu")
    reply = await organiser.post("/api/v1/meetings", {"title": "Của tôi"})
    made = reply.body
    chair, delegate = await organiser.join(made["code"], "Chủ trì"), await member.join(made["code"], "Đại biểu")
    assert (chair.state, chair.badge) == ("admitted", "")
    assert (delegate.state, delegate.badge) == ("lobby", "")
    state = await house.chair(made).state(made["id"])
    assert [(p["role"], p["guest"]) for p in (*state["participants"], *state["lobby"])] == [("chair", False), ("delegate", False)]
    assert "account" not in state["participants"][0]


async def test_a_chair_link_makes_a_chair_once(house: House) -> None:
    made = await house.meeting()
    secret = made["chair_link"].partition("#k=")[2]
    path = f"/api/v1/meetings/by-code/{made['code']}/chair"
    reply = await house.anybody.post(path, {"secret": secret})
    assert (reply.status, reply.body["expires_in"]) == (200, 60)
    wanted = {"code": made["code"], "name": "Chủ trì", "ticket": reply.body["ticket"]}
    joined = await house.anybody.post("/api/v1/join", wanted)
    assert (joined.status, joined.body["state"]) == (200, "admitted")
    assert codes(await house.anybody.post("/api/v1/join", wanted)) == (403, "bad_ticket")
    assert codes(await house.anybody.post(path, {"secret": secret + "x"})) == (403, "bad_chair_link")
    assert (await house.chair(made).post(f"/api/v1/meetings/{made['id']}/chair-link")).status == 200
    assert codes(await house.anybody.post(path, {"secret": secret})) == (403, "bad_chair_link")


async def test_a_chair_token_joins_its_own_meeting_as_chair(house: House) -> None:
    made, other = await house.meeting(), await house.meeting()
    assert (await house.chair(made).join(made["code"], "Chủ trì")).state == "admitted"
    assert codes(await house.chair(made).post("/api/v1/join", {"code": other["code"], "name": "An"})) == (403, "not_your_meeting")
    key = (await house.admin.post("/api/v1/keys", {"name": "script"})).body["key"]
    for bearer in (house.admin, house.admin.with_bearer(key)):
        assert codes(await bearer.post("/api/v1/join", {"code": made["code"], "name": "An"})) == (403, "not_allowed")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"code": ""}, {"name": "An"}, {"code": None, "name": "An"}, {"code": "CODE", "name": 5}, {"code": "CODE", "name": ""},
        {"code": "CODE", "name": "x" * 2000}, {"code": "x" * 100, "name": "An"}, {"code": "CODE", "name": "An", "kind": "external"},
        {"code": "CODE", "name": "An", "kind": "robot"}, {"code": "CODE", "name": "An", "kind": 1}, {"code": "CODE", "name": "An", "unit": 1},
        {"code": "CODE", "name": "An", "position": "x" * 2000}, {"code": "CODE", "name": "An", "badge": "short"},
        {"code": "CODE", "name": "An", "badge": "x" * 20 + "'"}, {"code": "CODE", "name": "An", "badge": "x" * 65},
        {"code": "CODE", "name": "An", "ticket": ["x"]}, {"code": "CODE", "name": "\ud800"}, {"code": "CODE", "name": "a\x00b"},
    ],
)  # fmt: skip
async def test_a_join_that_makes_no_sense_says_what_is_wrong(house: House, body: dict[str, Any]) -> None:
    made = await house.meeting()
    if body.get("code") == "CODE":
        body = {**body, "code": made["code"]}
    reply = await house.anybody.post("/api/v1/join", body)
    assert codes(reply) == (400, "malformed"), reply
    assert reply.body["detail"]["reason"]
    assert (await house.chair(made).state(made["id"]))["seq"] == 0


async def test_a_join_that_a_rule_refuses_says_which(serving: Serving) -> None:
    async with serving(limits={"capacity": 1}) as house:
        made = await house.meeting(lobby=False)
        chair = house.chair(made)

        async def refused(name: str = "An", **more: Any) -> tuple[int, str]:
            return codes(await house.anybody.post("/api/v1/join", {"code": made["code"], "name": name, **more}))

        assert await refused("\u202e\u200b") == (400, "bad_name")
        guest = await house.anybody.join(made["code"], "An")
        assert await refused("Bình") == (403, "full")
        assert (await chair.command(made["id"], "ban", participant=guest.participant)).status == 200
        assert await refused("An", badge=guest.badge) == (403, "banned")
        assert (await chair.command(made["id"], "lock")).status == 200
        assert await refused("Bình") == (403, "locked")
        assert (await chair.command(made["id"], "end")).status == 200
        assert await refused("Bình") == (403, "meeting_ended")
        assert codes(await house.anybody.post("/api/v1/join", {"code": "zzzz-zzzz-zzzz", "name": "An"})) == (404, "no_such_meeting")
        assert codes(await house.admin.with_bearer("x").post("/api/v1/join", {"code": made["code"], "name": "An"})) == (401, "bad_bearer")


async def test_a_link_shows_what_it_leads_to(house: House) -> None:
    made = await house.meeting("Họp tỉnh", start=1_900_000_000, duration_s=7200)
    path = f"/api/v1/meetings/by-code/{made['code'].upper()}"
    reply = await house.anybody.get(path)
    assert reply.body == {
        "code": made["code"], "title": "Họp tỉnh", "start": 1_900_000_000.0, "duration_s": 7200, "state": "scheduled", "lobby": True,
        "locked": False,
    }  # fmt: skip
    await house.chair(made).command(made["id"], "lock")
    assert (await house.anybody.get(path)).body["locked"] is True
    for code in ("zzzz-zzzz-zzzz", "x", "%00", "..%2f..", "%ED%A0%80", "%27%20OR%201=1", "x" * 300):
        assert codes(await house.anybody.get(f"/api/v1/meetings/by-code/{code}")) == (404, "no_such_meeting"), code


# ---- commands --------------------------------------------------------------------------------------------------------


async def test_commands_are_answered_by_status(house: House) -> None:
    made = await house.meeting()
    chair, member = house.chair(made), await house.account("Đại Biểu")
    seat = await member.join(made["code"], "Đại biểu")
    who = seat.participant
    assert (await chair.command(made["id"], "admit", participants=[who])).status == 200
    assert codes(await chair.command(made["id"], "admit", participants=["nobody"])) == (409, "unknown_participant")
    assert codes(await chair.command(made["id"], "end_floor")) == (409, "no_floor")
    assert codes(await chair.command(made["id"], "raise_hand")) == (409, "not_in_meeting")
    assert codes(await member.command(made["id"], "lock")) == (409, "not_allowed")
    assert (await member.command(made["id"], "raise_hand")).status == 200
    assert (await chair.state(made["id"]))["participants"][0]["hand"] == 1
    for body in ({}, {"do": 5}, {"do": "fly"}, {"do": "mute"}, {"do": "mute", "participant": 5}, {"do": "lock", "x": 1}, {"do": "knock"},
                 {"do": "mute_all", "exept": [who]}, {"do": "media"}, {"do": "give_floor", "participant": who, "seconds": 1e300},
                 {"do": "mute", "participant": who, "participants": [who]}, {"do": "rename", "name": "x" * 30_000}):  # fmt: skip
        reply = await chair.post(f"/api/v1/meetings/{made['id']}/commands", body)
        assert reply.status == 400, body
        assert reply.body["error"] in ("malformed", "unknown_command")
    path = f"/api/v1/meetings/{made['id']}/commands"
    assert codes(await house.anybody.post(path, {"do": "lock"})) == (401, "bearer_wanted")
    assert codes(await (await house.account("Ai Đó")).post(path, {"do": "lock"})) == (403, "not_your_meeting")
    assert codes(await (await house.account("qt", "admin")).post(path, {"do": "lock"})) == (403, "not_your_meeting")
    assert codes(await chair.command("m0", "lock")) == (404, "no_such_meeting")
    assert (await chair.state(made["id"]))["locked"] is False


async def test_a_service_key_moderates_and_is_named_in_what_it_did(house: House) -> None:
    made = await house.meeting()
    key = (await house.admin.post("/api/v1/keys", {"name": "phòng họp số 1"})).body["key"]
    service = house.admin.with_bearer(key)
    seat = await house.chair(made).join(made["code"], "Chủ trì")
    socket = await seat.connect()
    assert (await service.command(made["id"], "lock")).status == 200
    assert (await socket.event("locked"))["actor"] == "account:phòng họp số 1"
    await socket.close()


async def test_commands_at_once_are_all_decided(house: House) -> None:
    made = await house.meeting(lobby=False)
    seats = [await house.anybody.join(made["code"], f"Người {n}") for n in range(12)]
    chair = house.chair(made)
    replies = await asyncio.gather(*(chair.command(made["id"], "raise_hand", participant=seat.participant) for seat in seats))
    assert [reply.status for reply in replies] == [200] * 12
    numbers = [reply.body["ok"]["seq"] for reply in replies]
    assert len(set(numbers)) == 12
    assert len((await chair.state(made["id"]))["hands"]) == 12


# ---- chair links -----------------------------------------------------------------------------------------------------


async def test_a_chair_link_is_replaced_and_killed(house: House) -> None:
    made = await house.meeting()
    chair, path = house.chair(made), f"/api/v1/meetings/{made['id']}/chair-link"
    by_code = f"/api/v1/meetings/by-code/{made['code']}/chair"
    new = (await chair.post(path)).body["chair_link"]
    assert new.startswith(made["link"] + "#k=")
    assert (await house.anybody.post(by_code, {"secret": new.partition("#k=")[2]})).status == 200
    assert (await chair.ask("DELETE", path)).status == 200
    assert codes(await house.anybody.post(by_code, {"secret": new.partition("#k=")[2]})) == (403, "bad_chair_link")
    assert codes(await house.anybody.post(path)) == (401, "bearer_wanted")
    assert codes(await (await house.account("Ai Đó")).post(path)) == (403, "not_your_meeting")


@pytest.mark.parametrize("role", ["secretary", "technician", "delegate", "guest"])
async def test_who_is_no_chair_makes_none(house: House, role: str) -> None:
    """Only a chair gives the chair: not by a link of the meeting, nor by a seat for another client."""
    made = await house.meeting(lobby=False)
    chair, helper = house.chair(made), await house.account("Thư Ký")
    seat = await helper.join(made["code"], "Thư ký")
    assert (await chair.command(made["id"], "set_role", participant=seat.participant, role=role)).status == 200
    for method in ("POST", "DELETE"):
        assert (await helper.ask(method, f"/api/v1/meetings/{made['id']}/chair-link")).status == 403
    reply = await helper.post(f"/api/v1/meetings/{made['id']}/external", {"identity": "gateway", "role": "chair"})
    assert reply.status == 403
    assert [p["role"] for p in (await chair.state(made["id"]))["participants"]] == [role]


async def test_without_media_there_is_no_token_for_another_client(house: House) -> None:
    made = await house.meeting()
    chair, path = house.chair(made), f"/api/v1/meetings/{made['id']}/external"
    for body in ({}, {"identity": ""}, {"identity": "a b"}, {"identity": "a.1"}, {"identity": "account:x"}, {"identity": "server"},
                 {"identity": "x" * 65}, {"identity": "g", "role": "king"}, {"identity": "g", "ttl": 0}, {"identity": "g", "ttl": True},
                 {"identity": "g", "ttl": 10**400}, {"identity": "g", "name": 5}):  # fmt: skip
        assert codes(await chair.post(path, body)) == (400, "malformed"), body
    reply = await chair.post(path, {"identity": "gateway"})
    assert codes(reply) == (503, "media_unavailable")
    seat = await house.anybody.join(made["code"], "An")
    assert codes(await chair.post(path, {"identity": seat.participant})) == (409, "identity_taken")


# ---- what anybody may send -------------------------------------------------------------------------------------------

HOSTILE = [
    b"", b"[]", b"null", b"5", b'"x"', b"{", b"\xff\xfe", b'{"code": NaN}', b'{"code": 1e999}', b'{"code": Infinity}', b"[" * 60_000,
    b'{"a":' * 20_000 + b"1" + b"}" * 20_000, b'{"a":[[[[[[[[[[[[1]]]]]]]]]]]]}', b'{"code": "\\ud800"}', b'{"code": "\\u0000"}',
    b'{"code": ' + b"1" * 5000 + b"}", b'{"code": {"$ne": null}, "name": {"$ne": null}}',
]  # fmt: skip


@pytest.mark.parametrize("path", ["/api/v1/join", "/api/v1/auth/login", "/api/v1/meetings", "/api/v1/keys"])
async def test_a_hostile_body_is_malformed_and_nothing_more(house: House, caplog: pytest.LogCaptureFixture, path: str) -> None:
    for raw in HOSTILE:
        reply = await house.admin.ask("POST", path, raw=raw)
        assert codes(reply) == (400, "malformed"), (raw, reply)
        assert set(reply.body) == {"error", "detail"}
    assert "Traceback" not in caplog.text


async def test_a_body_that_is_too_large_is_not_read(house: House) -> None:
    reply = await house.admin.ask("POST", "/api/v1/join", raw=b'{"code": "' + b"x" * 200_000 + b'"}')
    assert codes(reply) == (413, "too_large")


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
fields = st.sampled_from(
    ("code", "name", "kind", "unit", "badge", "ticket", "password", "role", "title", "start", "duration_s", "lobby", "do", "participant",
     "identity", "ttl", "secret", "refresh_token")
)  # fmt: skip
routes = st.sampled_from(
    ("join", "auth/login", "auth/refresh", "auth/logout", "accounts", "keys", "meetings", "meetings/{id}/commands", "meetings/{id}/external",
     "meetings/by-code/{code}/chair")
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(routes, st.dictionaries(fields, json_values, max_size=5), st.booleans())
async def test_no_body_makes_the_server_fail(house: House, route: str, body: dict[str, Any], as_admin: bool) -> None:
    house.server.visitors._failures._failures.clear()
    made = getattr(house, "made", None) or await house.meeting()
    house.made = made  # type: ignore[attr-defined]
    path = "/api/v1/" + route.format(id=made["id"], code=made["code"])
    reply = await (house.admin if as_admin else house.anybody).ask("POST", path, raw=json.dumps(body).encode("utf-8", "surrogatepass"))
    assert reply.status < 500 or reply.code == "media_unavailable", reply


async def test_what_is_not_there_is_said_so_by_code(house: House) -> None:
    assert codes(await house.anybody.get("/api/v1/nothing")) == (404, "not_found")
    reply = await house.anybody.ask("DELETE", "/api/v1/join")
    assert codes(reply) == (405, "method_not_allowed")
    assert "POST" in reply.headers["Allow"]
    for path in ("/api/v1/../../etc/passwd", "/web/..%2f..%2fpyproject.toml", "/web/link.html", "/m/a/b"):
        assert (await house.anybody.get(path)).status == 404


async def test_answers_are_not_kept_nor_guessed_at(house: House) -> None:
    for path in ("/api/v1/me", "/api/v1/openapi.json", "/healthz", "/m/abcd-efgh-jkmn"):
        headers = (await house.anybody.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in headers


async def test_an_unforeseen_failure_has_a_reference_that_finds_it_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(house.server.accounts, "all", broken)
    reply = await house.admin.get("/api/v1/accounts")
    assert codes(reply) == (500, "internal")
    assert reply.body["ref"] in caplog.text
    assert "the disk is gone" in caplog.text
    assert "disk" not in json.dumps(reply.body)


# ---- for those who run it --------------------------------------------------------------------------------------------


async def test_health_and_readiness(house: House) -> None:
    assert (await house.anybody.get("/healthz")).status == 200
    assert (await house.anybody.get("/readyz")).body == {"ready": True, "missing": []}
    house.server.control.draining = True
    reply = await house.anybody.get("/readyz")
    assert (reply.status, reply.body) == (503, {"ready": False, "missing": ["draining"]})
    assert codes(await house.anybody.post("/api/v1/join", {"code": "x", "name": "An"})) == (503, "draining")
    house.server.control.draining = False


async def test_metrics_are_for_this_machine_or_a_key(house: House) -> None:
    made = await house.meeting("Cuộc họp kín", lobby=False)
    await house.anybody.join(made["code"], "Người Được Kể Tên")
    reply = await house.anybody.get("/metrics")
    assert reply.status == 200
    assert 'vidconf_participants{place="admitted"} 1.0' in reply.body
    assert "vidconf_backup_newest_seconds 0.0" in reply.body
    for private in (made["id"], made["code"], "Người", "kín"):
        assert private not in reply.body
    outside = {"X-Forwarded-For": "203.0.113.1"}
    fronts = (outside, {"Forwarded": "for=203.0.113.1"}, {"X-Real-IP": "203.0.113.1"}, {"Via": "1.1 front"}, {"X-Forwarded-Proto": "https"})
    for headers in (*fronts, {"Host": "hop.example.gov.vn"}, {"Host": "evil.example:8080"}, {"Host": "["}):
        assert codes(await house.anybody.get("/metrics", headers=headers)) == (401, "bearer_wanted"), headers
    assert codes(await (await house.account("An")).get("/metrics", headers=outside)) == (403, "not_allowed")
    key = (await house.admin.post("/api/v1/keys", {"name": "prometheus"})).body["key"]
    assert (await house.admin.with_bearer(key).get("/metrics", headers=outside)).status == 200


async def test_auditors_and_admins_check_the_chains(house: House) -> None:
    made = await house.meeting()
    await house.anybody.join(made["code"], "An")
    auditor: Api = await house.account("Kiểm Toán", "auditor")
    for bearer in (house.admin, auditor, await house.account("qt", "admin")):
        reply = await bearer.get("/api/v1/audit")
        assert reply.body == {"ok": True, "meetings": 1, "events": 1, "erased": 0, "broken": []}
    for other in (house.chair(made), await house.account("o", "organiser")):
        assert codes(await other.get("/api/v1/audit")) == (403, "not_allowed")

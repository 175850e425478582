"""The description and the interface are one: every route is described, everything described is there and answers as described."""

from __future__ import annotations

import json
import re
from typing import Any

from unit.server.conftest import House

from vidconf.protocol.control import COMMANDS
from vidconf.server.app import Server
from vidconf.server.openapi import describe

UNDESCRIBED = {"/", "/m/{code}", "/web/{name}", "/robots.txt", "/rtc", "/rtc/{rest}"}
"""The link's page and the SFU's own wire."""


def served(server: Server) -> set[tuple[str, str]]:
    found = set()
    for route in server.app.router.routes():
        assert route.resource is not None
        if route.method not in ("HEAD", "OPTIONS"):
            found.add((route.method.lower(), route.resource.canonical))
    return found


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method, path) for path, methods in document["paths"].items() for method in methods}


async def test_each_route_is_described_and_each_description_has_a_route(house: House) -> None:
    document = (await house.anybody.get("/api/v1/openapi.json")).body
    routes = {(method, path) for method, path in served(house.server) if path not in UNDESCRIBED}
    assert described(document) == routes


async def test_what_needs_a_bearer_says_so_and_does_so(house: House) -> None:
    document = (await house.anybody.get("/api/v1/openapi.json")).body
    for method, path in sorted(described(document)):
        operation = document["paths"][path][method]
        reply = await house.anybody.ask(method.upper(), re.sub(r"\{\w+\}", "x", path), {} if method == "post" else None)
        if operation["security"] and {} not in operation["security"]:
            assert (reply.status, reply.code) == (401, "bearer_wanted"), (method, path)
            assert "401" in operation["responses"]
        else:
            assert reply.status != 401 or "401" in operation["responses"], (method, path)
            assert reply.status == 426 or str(reply.status) in operation["responses"], (method, path, reply.status)


def test_references_lead_somewhere_and_paths_name_their_parameters() -> None:
    document = describe("https://meet.example")
    text = json.dumps(document)
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": "https://meet.example"}]
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert [p["name"] for p in operation.get("parameters", [])] == re.findall(r"\{(\w+)\}", path), (method, path)
            assert operation["responses"]


def test_every_command_a_script_may_send_is_named() -> None:
    post = describe("x")["paths"]["/api/v1/meetings/{id}/commands"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]["do"]["enum"]) == set(COMMANDS) - {"media"}
    assert set(post["responses"]) >= {"200", "400", "401", "403", "404", "409"}


async def test_the_state_and_a_new_meeting_have_the_described_fields(house: House) -> None:
    document = (await house.anybody.get("/api/v1/openapi.json")).body
    made = await house.meeting()
    await house.chair(made).join(made["code"], "Chủ trì")
    await house.anybody.join(made["code"], "An")
    state = await house.chair(made).state(made["id"])
    schemas = document["components"]["schemas"]
    assert set(state) == set(schemas["MeetingState"]["properties"])
    for person in (*state["participants"], *state["lobby"]):
        assert set(person) == set(schemas["Participant"]["properties"])
    created = document["paths"]["/api/v1/meetings"]["post"]["responses"]["201"]["content"]["application/json"]["schema"]
    assert set(made) == set(created["properties"])

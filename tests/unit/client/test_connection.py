"""The control connection over lost lines: nothing missed, every request answered once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from fakes.strangers import Proxy, tcp
from fakes.toy_server import ToyServer, until

from vidconf.client.connection import AskError, ControlConnection, ReconnectPolicy, Refused
from vidconf.client.rest import Rest
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.visibility import follow, view

QUICK = ReconnectPolicy((0.0, 0.02, 0.05))


class Heard:
    """Follows its own view, as the store does."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.view: Meeting | None = None
        self.me = ""
        self.seqs: list[int] = []
        self.snapshots = 0
        self.signals: list[tuple[str, dict[str, Any]]] = []
        self.refused: tuple[str, dict[str, Any]] | None = None

    def control_changed(self, state: str) -> None:
        self.states.append(state)

    def control_snapshot(self, meeting: Meeting, participant: str) -> None:
        self.view, self.me = meeting, participant
        self.snapshots += 1

    def control_events(self, events: tuple[m.Recorded, ...]) -> None:
        for recorded in events:
            assert self.view is not None
            self.seqs.append(recorded.seq)
            self.view = follow(self.view, recorded, self.me)

    def control_signal(self, name: str, body: dict[str, Any]) -> None:
        self.signals.append((name, body))

    def control_refused(self, code: str, detail: dict[str, Any]) -> None:
        self.refused = (code, detail)


@pytest.fixture
async def chair(toy: ToyServer) -> AsyncIterator[tuple[ControlConnection, Heard]]:
    _, token = toy.seat("Chủ trì", "chair", straight_in=True)
    rest, heard = Rest(toy.origin), Heard()
    connection = ControlConnection(rest, token, heard, policy=QUICK)
    connection.start()
    await until(lambda: connection.connected)
    yield connection, heard
    await connection.close()
    await rest.close()


async def test_hello_gives_the_view_and_events_follow(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    assert toy.hellos[0].resume_from is None
    toy.seat("Đại biểu")
    await until(lambda: heard.view is not None and any(p.name == "Đại biểu" for p in heard.view.knocking()))
    assert await connection.ask(m.AdmitAll()) == {"seq": toy.state.seq}
    await until(lambda: heard.view == view(toy.state, heard.me))
    assert heard.seqs == sorted(set(heard.seqs))
    assert heard.states == ["connecting", "connected"]


async def test_refusals_and_errors_reach_who_asked(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, _ = chair
    with pytest.raises(Refused) as refused:
        await connection.ask(m.EndFloor())
    assert refused.value.refusal.code == "no_floor"
    answers = await asyncio.gather(*(connection.ask(m.Chat(f"{n}", key=f"k{n}")) for n in range(40)))
    assert len({answer["seq"] for answer in answers}) == 40


async def test_resumes_where_it_was(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    for n in range(5):
        await toy.cut(heard.me)
        toy.do("server", m.Knock(f"late{n}", f"Người {n}"))
        await until(lambda n=n: connection.connected and heard.view is not None and f"late{n}" in heard.view.participants)
    await until(lambda: heard.view == view(toy.state, heard.me))
    assert heard.snapshots == 1
    assert heard.seqs == sorted(set(heard.seqs))
    assert all(hello.resume_from is not None for hello in toy.hellos[1:])


async def test_an_answer_lost_is_told_after_the_missed_events(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    toy.lose_answer_of.append("lock")
    with pytest.raises(AskError) as error:
        await connection.ask(m.Lock())
    assert error.value.code == "answer_lost"
    assert heard.view is not None
    assert heard.view.locked, "who asked must see what became of it"


async def test_a_command_that_never_arrived_is_told_too(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    toy.drop_before.append("lock")
    with pytest.raises(AskError) as error:
        await connection.ask(m.Lock())
    assert error.value.code == "answer_lost"
    assert heard.view is not None
    assert not heard.view.locked


async def test_while_away_nothing_can_be_asked(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    toy.hello_error = "draining"
    await toy.cut(heard.me)
    await until(lambda: not connection.connected)
    with pytest.raises(AskError) as error:
        await connection.ask(m.Lock())
    assert error.value.code == "not_connected"
    await until(lambda: len(toy.hellos) > 4)
    assert heard.refused is None, "a server that restarts is waited for"
    toy.hello_error = ""
    await until(lambda: connection.connected)


@pytest.mark.parametrize("nonsense", ['{"events":[{"seq":"x"}]}', '{"snapshot":{"id":7}}', "[]", '{"re":-1}', '{"events":{}}', "{" * 5000])
async def test_nonsense_means_a_fresh_snapshot(toy: ToyServer, chair: tuple[ControlConnection, Heard], nonsense: str) -> None:
    connection, heard = chair
    await toy.sockets[heard.me].send_str(nonsense)
    await until(lambda: heard.snapshots == 2 and connection.connected)
    assert heard.view == view(toy.state, heard.me)


async def test_unknown_frames_and_signals(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    socket = toy.sockets[heard.me]
    await socket.send_str('{"weather":"fine"}')
    await socket.send_str('{"events":[{"seq":99,"at":1.0,"actor":"server","ev":"not_yet_invented","participant":"p1"}]}')
    await socket.send_bytes(b"\x00")
    await connection.ask(m.React("👍"))
    await until(lambda: heard.signals == [("reaction", {"participant": heard.me, "emoji": "👍"})])
    assert connection.seq == 99, "an event we do not know is seen all the same"
    assert connection.counts["unknown_frames"] == 1


async def test_refused_for_good(toy: ToyServer) -> None:
    rest, heard = Rest(toy.origin), Heard()
    connection = ControlConnection(rest, "nobody's", heard, policy=QUICK)
    connection.start()
    await until(lambda: heard.refused is not None)
    assert heard.refused == ("bad_token", {"ref": "ref1"})
    await asyncio.sleep(0.1)
    assert len(toy.hellos) == 1
    await connection.close()
    await rest.close()


async def test_another_window_takes_over(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    _, heard = chair
    await toy.sockets[heard.me].close(code=4001)
    await until(lambda: heard.refused == ("replaced", {}))


async def test_a_server_that_hangs_up_at_once_is_not_hammered() -> None:
    calls = 0

    async def rude(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str('{"re":0,"ok":{"seq":0,"participant":"p","snapshot":{"id":"M","code":"c","title":"t"}}}')
        await socket.close(code=1012)
        return socket

    app = web.Application()
    app.router.add_get("/api/v1/control", rude)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rest, heard = Rest(f"http://127.0.0.1:{runner.addresses[0][1]}"), Heard()
    connection = ControlConnection(rest, "t", heard, policy=ReconnectPolicy((0.0, 0.2)))
    connection.start()
    await asyncio.sleep(0.9)
    await connection.close()
    await rest.close()
    await runner.cleanup()
    assert 2 <= calls <= 7


async def test_closing_answers_who_waits(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, heard = chair
    toy.media_answer = None
    asking = asyncio.create_task(connection.ask(m.Lock()))
    await asyncio.sleep(0)
    await connection.close()
    with pytest.raises(AskError) as error:
        await asking
    assert error.value.code in ("closed", "answer_lost")
    assert heard.states[-1] == "idle"
    with pytest.raises(AskError):
        await connection.ask(m.Lock())


async def test_renewing_comes_back_at_once(toy: ToyServer, chair: tuple[ControlConnection, Heard]) -> None:
    connection, _ = chair
    await connection.renew()
    await until(lambda: len(toy.hellos) == 2 and connection.connected)


async def test_nobody_there() -> None:
    rest, heard = Rest("http://127.0.0.1:9"), Heard()
    connection = ControlConnection(rest, "t", heard, policy=QUICK)
    connection.start()
    await until(lambda: connection.last_error is not None)
    assert connection.last_error is not None
    assert connection.last_error.code == "unreachable"
    assert heard.states == ["connecting"]
    await connection.close()
    await rest.close()


def test_the_policy_tries_at_once_then_waits_longer_up_to_a_limit() -> None:
    policy = ReconnectPolicy()
    assert policy.delay_s(0) == 0.0
    delays = [policy.delay_s(tries) for tries in range(1, 50)]
    assert all(0.2 <= delay <= 6.3 for delay in delays)
    assert max(delays) > 3.5


async def test_the_agency_s_proxy_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every other request to the server; for an address that is called wss:// no system sets a proxy."""
    proxy = Proxy(9, "403 Forbidden")
    async with tcp(proxy.talk) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        rest = Rest("https://meet.example.invalid")
        connection = ControlConnection(rest, "a token", Heard(), policy=QUICK)
        connection.start()
        await until(lambda: bool(proxy.asked))
        await connection.close()
        await rest.close()
    assert set(proxy.asked) == {"CONNECT meet.example.invalid:443 HTTP/1.1"}

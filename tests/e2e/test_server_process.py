"""The server as a process: killed in the middle, told to stop, started again, with TLS, and over a database somebody changed."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e.control_client import Api, Seat, Socket, open_socket, until
from e2e.serverproc import ServeProcess, vidconf

from vidconf.meeting.visibility import view

NO_MEDIA = "[media]\nrelay = false\n[limits]\nchat_per_second = 1000.0\ncommands_per_second = 1000.0\n"


async def made(admin: Api, **fields: Any) -> dict[str, Any]:
    reply = await admin.post("/api/v1/meetings", {"title": "Giao ban", **fields})
    assert reply.status == 201, reply
    found: dict[str, Any] = reply.body
    return found


async def talks(seat: Seat, socket: Socket, acknowledged: list[str], first: int = 0) -> None:
    """Speaks without a pause; what was acknowledged is noted. Ends when the line breaks."""
    for n in itertools.count(first):
        word = f"{seat.participant} {n}"
        try:
            await socket.done("chat", text=word)
        except (AssertionError, aiohttp.ClientError, ConnectionError):
            return
        acknowledged.append(word)


async def test_kill_9_in_the_middle_loses_nothing_acknowledged_and_everybody_resumes(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, NO_MEDIA) as server:
        async with server.admin() as admin:
            meeting = await made(admin, lobby=False)
            anybody, script = admin.with_bearer(""), admin.with_bearer(meeting["chair_token"])
            seats = [await anybody.join(meeting["code"], f"Người {n}") for n in range(4)]
            sockets = [await seat.connect() for seat in seats]
            listener = await anybody.join(meeting["code"], "Người nghe")
            heard = await listener.connect()
            acknowledged: list[str] = []
            for first in (0, 10_000, 20_000):
                talking = [asyncio.create_task(talks(seat, socket, acknowledged, first)) for seat, socket in zip(seats, sockets, strict=True)]
                before = len(acknowledged)
                await until(lambda before=before: len(acknowledged) > before + 40)
                server.kill()
                await asyncio.gather(*talking)
                await heard.ended()
                server.start()
                sockets = []
                for seat in seats:
                    sockets.append(await seat.connect())
                again = await open_socket(anybody)
                again.view, again.seen, again.me = heard.view, heard.seen, heard.me
                answer = await again.hello(listener.session_token, resume_from=heard.seen)
                assert answer["ok"]["snapshot"] is None, "it missed little"
                heard = again
                kept = [message["text"] for message in (await script.state(meeting["id"]))["chat"]]
                assert set(acknowledged) <= set(kept)
                assert len(kept) == len(set(kept))
                for seat in seats:
                    own = [word for word in kept if word.startswith(seat.participant)]
                    assert own == sorted(own, key=lambda word: int(word.split()[1])), "in the order they were said"
                await heard.until(lambda kept=kept, now=again: now.view is not None and [m.text for m in now.view.chat] == kept)
            assert len(acknowledged) > 120
            for socket in (*sockets, heard):
                await socket.close()
        verified = vidconf("audit", "verify", "--data", str(server.data), "--json")
        assert json.loads(verified.stdout)["ok"] is True


async def test_who_joined_just_before_a_kill_has_a_seat_after_it(tmp_path: Path) -> None:
    """The session token and the knock are one decision: either both are there or neither."""
    with ServeProcess(tmp_path, NO_MEDIA) as server:
        async with server.admin() as admin:
            meeting, anybody = await made(admin), admin.with_bearer("")
            joined: list[Seat] = []

            async def join_on() -> None:
                for n in itertools.count():
                    try:
                        joined.append(await anybody.join(meeting["code"], f"Người {n}"))
                    except (aiohttp.ClientError, ConnectionError):
                        return

            joining = [asyncio.create_task(join_on()) for _ in range(4)]
            await until(lambda: len(joined) > 30)
            server.kill()
            await asyncio.gather(*joining)
            server.start()
            for seat in joined:
                socket = await seat.connect()
                assert socket.view is not None
                assert list(socket.view.participants) == [seat.participant]
                await socket.close()
            lobby = (await admin.with_bearer(meeting["chair_token"]).state(meeting["id"]))["lobby"]
            assert {seat.participant for seat in joined} <= {p["id"] for p in lobby}


async def test_sigterm_drains_and_stops(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, NO_MEDIA) as server:
        async with server.admin() as admin:
            meeting, anybody = await made(admin, lobby=False), admin.with_bearer("")
            seats = [await anybody.join(meeting["code"], f"Người {n}") for n in range(3)]
            sockets = [await seat.connect() for seat in seats]
            acknowledged: list[str] = []
            talking = asyncio.create_task(talks(seats[0], sockets[0], acknowledged))
            await until(lambda: len(acknowledged) > 20)
            server.terminate()
            for socket in sockets:
                assert await socket.ended(5) == 1012, "come back: the next process is there soon"
                assert [signal["signal"] for signal in socket.signals] == ["draining"]
            await talking
            assert server.stop() == 0
            assert not (server.data / "server.json").exists()
            server.start()
            back = await seats[1].connect(resume_from=sockets[1].seen)
            state = await admin.with_bearer(meeting["chair_token"]).state(meeting["id"])
            assert {message["text"] for message in state["chat"]} >= set(acknowledged)
            assert len(state["participants"]) == 3, "stopping is no leaving"
            await back.close()
    assert "Traceback" not in server.said()


async def test_who_does_not_come_back_after_a_restart_leaves_when_the_lease_is_over(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, f"presence_s = 1.5\n{NO_MEDIA}") as server:
        async with server.admin() as admin:
            meeting, anybody = await made(admin, lobby=False), admin.with_bearer("")
            stays, goes = await anybody.join(meeting["code"], "Ở lại"), await anybody.join(meeting["code"], "Ra đi")
            for seat in (stays, goes):
                await seat.connect()
            server.kill()
            server.start()
            socket = await stays.connect()
            assert (await socket.event("left", participant=goes.participant))["reason"] == "lost"
            assert socket.view is not None
            assert [p.name for p in socket.view.admitted()] == ["Ở lại"]
            await socket.close()


async def test_what_it_leaves_for_the_command_line_is_for_its_owner_only_and_names_no_secret_elsewhere(tmp_path: Path) -> None:
    with ServeProcess(tmp_path) as server:
        facts = server.facts()
        assert set(facts) == {"public_url", "local_url", "admin_key", "pid"}
        assert (facts["public_url"], facts["local_url"], facts["pid"]) == (server.url, server.url, server.pid)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in server.data.iterdir()]
        assert set(modes) == {0o600}
        with sqlite3.connect(server.data / "vidconf.db") as raw:
            secrets = [value for name, value in raw.execute("SELECT name, value FROM settings") if name.endswith("secret")]
        raw.close()
        assert len(secrets) == 2
        for pid in (server.pid, server.relay_pid()):
            arguments = " ".join(psutil.Process(pid).cmdline())
            assert not [secret for secret in (*secrets, facts["admin_key"]) if secret in arguments], "everybody may list processes"
        assert facts["admin_key"] not in server.said()
        first = facts["admin_key"]
        relay = psutil.Process(server.relay_pid())
        server.kill()
        assert psutil.wait_procs([relay], 5)[1] == [], "no relay is left behind"
        assert (server.data / "server.json").exists()
        server.start()
        assert server.facts()["admin_key"] != first
        async with Api(server.url, first) as api:
            assert (await api.get("/api/v1/accounts")).status == 401


async def test_a_database_somebody_changed_is_found(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, NO_MEDIA) as server:
        async with server.admin() as admin:
            meeting, other = await made(admin, lobby=False), await made(admin, lobby=False)
            for one in (meeting, other):
                socket = await (await admin.with_bearer("").join(one["code"], "An")).connect()
                await socket.done("chat", text="Tôi không đồng ý")
                await socket.close()
            assert (await admin.get("/api/v1/audit")).body["ok"] is True
            raw = sqlite3.connect(server.data / "vidconf.db")
            raw.execute("UPDATE events SET payload = replace(payload, 'không đồng ý', 'đồng ý') WHERE meeting = ?", (meeting["id"],))
            raw.commit()
            raw.close()
            report = (await admin.get("/api/v1/audit")).body
            assert report["ok"] is False
            [broken] = report["broken"]
            assert broken["meeting"] == meeting["id"]
        for _ in range(2):  # beside the running server, and after it
            done = await asyncio.to_thread(vidconf, "audit", "verify", "--data", str(server.data))
            assert done.returncode == 1
            assert meeting["id"] in done.stdout
            assert f"event {broken['seq']}" in done.stdout
            assert other["id"] not in done.stdout
            server.stop()


def certificate(folder: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


async def test_with_tls_everything_is_https_and_the_command_line_still_finds_it(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with ServeProcess(tmp_path, f"[tls]\ncert = '{cert}'\nkey = '{key}'\n") as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        facts = server.facts()
        assert facts["public_url"] == server.url
        assert facts["local_url"].startswith("http://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(cert))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            created = json.loads((await asyncio.to_thread(vidconf, "meeting", "create", "--title", "Họp", "--data", str(server.data), "--json")).stdout)
            assert created["link"].startswith(server.url + "/m/")
            outside = Api(server.url, created["chair_token"], session)
            joined = await outside.post("/api/v1/join", {"code": created["code"], "name": "Chủ trì"})
            assert joined.body["control_url"].startswith("wss://")
            socket = await open_socket(outside)
            await socket.hello(joined.body["session_token"])
            granted = await socket.done("media")
            assert granted["url"] == server.url.replace("https", "wss")
            signalling = await session.ws_connect(f"{granted['url']}/rtc?protocol=17&access_token={granted['token']}")
            assert (await signalling.receive(5)).type is aiohttp.WSMsgType.BINARY
            await signalling.close()
            await socket.close()
        async with aiohttp.ClientSession() as stranger:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await stranger.get(server.url)
            with pytest.raises(aiohttp.ClientError):
                await stranger.get(server.url.replace("https", "http"))
        assert server.stop() == 0


async def test_state_is_the_same_seen_from_all_sides_after_a_restart(tmp_path: Path) -> None:
    """A meeting with everything in it, stopped and started: each resumes or gets a snapshot, and holds the same as before."""
    with ServeProcess(tmp_path, NO_MEDIA) as server:
        async with server.admin() as admin:
            meeting, anybody = await made(admin), admin.with_bearer("")
            script = admin.with_bearer(meeting["chair_token"])
            seats = [await script.join(meeting["code"], "Chủ trì"), *[await anybody.join(meeting["code"], f"Người {n}") for n in range(4)]]
            chair, *people = [await seat.connect() for seat in seats]
            await chair.done("admit", participants=[one.me for one in people[:3]])
            await people[0].done("raise_hand")
            await people[1].done("raise_hand")
            await people[1].done("set_source", source="microphone", state="on")
            await people[2].done("chat", text="riêng", to=chair.me)
            await chair.done("give_floor", participant=people[1].me, seconds=3600)
            await chair.done("spotlight", participant=people[2].me)
            await chair.done("set_permission", source="screen_share", allowed="moderators")
            await chair.done("set_role", participant=people[2].me, role="secretary")
            before = await script.state(meeting["id"])
            sockets = [chair, *people]
            for socket in sockets:
                await socket.until(lambda socket=socket: (socket.view is not None and socket.view.state == "live") or socket is people[3])
            server.terminate()
            for socket in sockets:
                await socket.ended()
            assert server.stop() == 0
            server.start()
            after = await script.state(meeting["id"])
            assert after == before
            for seat, old in zip(seats, sockets, strict=True):
                again = await open_socket(anybody)
                again.view, again.seen, again.me = old.view, old.seen, old.me
                await again.hello(seat.session_token, resume_from=old.seen)
                await again.event("connected", participant=old.me)
                assert again.view is not None
                assert again.view == view(again.view, old.me)
                assert len(again.view.chat) == (old.me in (chair.me, people[2].me))
                await again.close()

"""An office from which nothing leaves but by a proxy that wants a name: the whole program, through it, by `vidconf bot` and the link.

`vidconf serve` with a certificate of its agency's and its relay stand in another network, with coturn beside them. From the client's
network no packet reaches either; the proxy lets streams to two ports through. Control, signalling and media (TURN over TLS) all go by it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e.botproc import BotProcess
from e2e.netns import ROUTER, SERVER, Net
from e2e.serverproc import ServeProcess, vidconf
from e2e.turnproc import SECRET, Turn
from fakes.connect_proxy import ConnectProxy

NAMED = "an.nguyen:word"


@pytest.mark.timeout(90)
async def test_a_meeting_through_a_proxy_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Net() as net, net.inside("server"), Turn(tmp_path, SERVER, net.prefix("server"), by_secret=True) as turn:
        pem = tmp_path / "server.pem"
        monkeypatch.setenv("SSL_CERT_FILE", str(turn.authority.certificate))
        with ServeProcess(
            tmp_path,
            f'host = "{SERVER}"\n[tls]\ncert = "{pem}"\nkey = "{pem}"\n'
            f'[media]\nice_servers = [{{urls = ["turns:{SERVER}:{turn.tls}"], secret = "{SECRET}"}}]\n',
        ) as server:
            made = vidconf("meeting", "create", "--title", "Office", "--no-lobby", "--data", str(server.data), "--json")
            assert made.returncode == 0, made.stderr
            link = json.loads(made.stdout)["link"]
            inside = BotProcess(link, "--name", "Inside", "--seconds", "30")
            net.shut()
            with net.inside("router"):
                async with ConnectProxy(NAMED, host=ROUTER, ports=(server.port, turn.tls)) as proxy:
                    with net.inside("client"):
                        monkeypatch.setenv("https_proxy", proxy.url)
                        office = BotProcess(link, "--name", "Office", "--seconds", "6")
                    report = await office.report()
            await inside.stop()
    assert report["ended"] == "done"
    assert report["way"] == "turn_tls"
    assert report["first_video_s"] < 15
    pictures = [track for track in report["tracks"] if track["kind"] == "video"]
    assert pictures
    assert pictures[0]["frames"] > 20
    assert any(track["kind"] == "audio" and track["packets"] > 50 for track in report["tracks"])
    asked = {target for target, status in proxy.asked if status == 200}
    assert asked == {f"{SERVER}:{server.port}", f"{SERVER}:{turn.tls}"}

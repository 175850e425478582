"""That a network is left or entered is noticed within two seconds: by the kernel's word where a namespace can be made, by looking."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from vidconf.webrtc import addresses
from vidconf.webrtc.addresses import AddressWatch, is_loopback

IN_A_NETWORK_OF_ITS_OWN = """
import asyncio, subprocess, time
from vidconf.webrtc.addresses import AddressWatch
ip = lambda *words: subprocess.run(["ip", *words], check=True)
async def main():
    said = asyncio.Queue()
    watch = AddressWatch(said.put_nowait)
    watch.start()
    watch.start()
    ip("link", "set", "lo", "up")
    ip("link", "add", "one", "type", "veth", "peer", "name", "two")
    ip("addr", "add", "192.0.2.7/24", "dev", "one")
    ip("link", "set", "one", "up")
    async with asyncio.timeout(2):
        while "192.0.2.7" not in (now := await said.get()):
            pass
    began = time.monotonic()
    ip("link", "del", "one")
    async with asyncio.timeout(2):
        while "192.0.2.7" in (now := await said.get()):
            pass
    assert watch._socket is not None
    watch.stop()
    ip("addr", "add", "192.0.2.8/32", "dev", "lo")
    await asyncio.sleep(0.2)
    assert said.empty()
    print("noticed", round(time.monotonic() - began, 3))
asyncio.run(main())
"""


def test_the_kernel_tells() -> None:
    command = ["unshare", "--net", sys.executable, "-c", IN_A_NETWORK_OF_ITS_OWN]
    if sys.platform != "linux" or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        command.insert(1, "--map-root-user")
        if sys.platform != "linux" or subprocess.run(["unshare", "--map-root-user", "--net", "true"], capture_output=True).returncode:
            pytest.skip("no network namespace can be made here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "noticed" in done.stdout


async def test_where_nobody_tells_it_is_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "LOOK_S", 0.02)
    monkeypatch.setattr(AddressWatch, "_listen", lambda self: None)
    have = ["10.0.0.1", "127.0.0.1"]

    def listed(host: str) -> list[str]:
        if not have:
            raise OSError("cannot be read just now")
        return list(have)

    monkeypatch.setattr(addresses, "local_addresses", listed)
    said: list[frozenset[str]] = []
    watch = AddressWatch(said.append)
    watch.start()
    await asyncio.sleep(0.1)
    assert said == []
    have[0] = "10.0.0.2"
    await asyncio.sleep(0.1)
    have.clear()
    await asyncio.sleep(0.1)
    assert said == [frozenset({"10.0.0.2", "127.0.0.1"})]
    watch.stop()
    have.append("10.0.0.3")
    await asyncio.sleep(0.1)
    assert len(said) == 1


def test_loopback() -> None:
    assert is_loopback("127.0.0.9")
    assert is_loopback("::1")
    assert not is_loopback("192.0.2.1")
    assert not is_loopback("fe80::1%eth0")
    assert not is_loopback("no address")

"""A client's network, a router between, and a server's: three network namespaces, so that ways can be cut, closed and changed for real.

Only where the machine lets us make them (root on Linux); otherwise the test is skipped. What runs in this process can be put into
one of them with `inside`: a socket stays where it was opened, so participants of different networks live side by side.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import pytest

Place = Literal["client", "router", "server"]
CLIENT, CLIENT_ELSEWHERE, SERVER = "10.99.1.2", "10.99.1.77", "10.99.2.2"
ROUTER = "10.99.1.1"
CLIENT6, SERVER6 = "fd99:1::2", "fd99:2::2"
CLONE_NEWNET = 0x40000000


class Net:
    """`with Net() as net:`. `v4=False`: nothing but IPv6."""

    def __init__(self, *, v4: bool = True, v6: bool = False) -> None:
        self._v4, self._v6 = v4, v6
        self.addresses = (CLIENT, CLIENT_ELSEWHERE)
        """The client's now, and another that it could have."""
        self._names = {place: f"vidconf-{os.getpid()}-{place}" for place in ("client", "router", "server")}

    def __enter__(self) -> Net:
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("network namespaces need root on Linux")
        try:
            for name in self._names.values():
                self._ip("netns", "add", name)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespace can be made here: {error}")
        for place, name in (("client", "c"), ("server", "s")):
            self._ip("link", "add", name, "netns", self._names[place], "type", "veth", "peer", "name", f"r{name}", "netns", self._names["router"])
        for place in ("client", "router", "server"):
            self.ip(place, "link", "set", "lo", "up")
        for place, link in (("client", "c"), ("server", "s"), ("router", "rc"), ("router", "rs")):
            if self._v6:
                self.run(place, "sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0")
            self.ip(place, "link", "set", link, "up")
        self.run("router", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        if self._v4:
            self.ip("router", "addr", "add", "10.99.1.1/24", "dev", "rc")
            self.ip("router", "addr", "add", "10.99.2.1/24", "dev", "rs")
            self.give_address(CLIENT)
            self.ip("server", "addr", "add", f"{SERVER}/24", "dev", "s")
            self.ip("server", "route", "add", "default", "via", "10.99.2.1")
        if self._v6:
            self.ip("router", "addr", "add", "fd99:1::1/64", "dev", "rc", "nodad")
            self.ip("router", "addr", "add", "fd99:2::1/64", "dev", "rs", "nodad")
            self.ip("client", "addr", "add", f"{CLIENT6}/64", "dev", "c", "nodad")
            self.ip("server", "addr", "add", f"{SERVER6}/64", "dev", "s", "nodad")
            self.ip("client", "-6", "route", "add", "default", "via", "fd99:1::1")
            self.ip("server", "-6", "route", "add", "default", "via", "fd99:2::1")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names.values():
            with contextlib.suppress(subprocess.CalledProcessError):
                self._ip("netns", "del", name)

    # ---- running things there
    def prefix(self, place: Place) -> tuple[str, ...]:
        """Before a command, to run it there."""
        return ("ip", "netns", "exec", self._names[place])

    def run(self, place: Place, *words: str) -> None:
        subprocess.run([*self.prefix(place), *words], check=True, capture_output=True)

    def ip(self, place: Place, *words: str) -> None:
        self._ip("-n", self._names[place], *words)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    @contextlib.contextmanager
    def inside(self, place: Place) -> Iterator[None]:
        """This thread opens its sockets there meanwhile."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._names[place]}", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            libc.setns(home, CLONE_NEWNET)
            os.close(home)
            os.close(there)

    # ---- what happens to networks
    def cut(self, *, only: str = "", port: int = 0) -> None:
        """Everything (or one protocol, `udp`, and of that one port) vanishes at the router, unanswered."""
        which = (*(("ipproto", only) if only else ()), *(("dport", str(port)) if port else ()))
        self.ip("router", "rule", "add", "pref", "40", *which, "blackhole")

    def shut(self) -> None:
        """Nothing goes from the client's network to the server's, not even an answer that it cannot: only the router can be reached."""
        self.ip("router", "rule", "add", "pref", "40", "iif", "rc", "to", "10.99.2.0/24", "blackhole")

    def mend(self) -> None:
        self.ip("router", "rule", "del", "pref", "40")

    def give_address(self, address: str) -> None:
        self.ip("client", "addr", "add", f"{address}/24", "dev", "c")
        self.ip("client", "route", "replace", "default", "via", "10.99.1.1", "src", address)

    def take_address(self, address: str) -> None:
        self.ip("client", "addr", "del", f"{address}/24", "dev", "c")

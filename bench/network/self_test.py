"""What the laboratory's own way costs and adds: `python -m bench.network --row way`. Loopback, no SFU."""

from __future__ import annotations

import socket
import threading
import time

from bench.network.path import UdpPath

PACKETS_A_SECOND = 1000     # nine pictures at 360p30 and nine voices
SIZE = 900
SECONDS = 6.0
DELAY_MS = 25.0


def run(delay_ms: float = DELAY_MS, rate: int = PACKETS_A_SECOND, seconds: float = SECONDS) -> dict[str, float]:
    """Packets of `SIZE` at an even pace through one way: how much later than its delay they arrive, and its thread's CPU."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for each in (server, client):
            each.bind(("127.0.0.1", 0))
            each.settimeout(2)
        path = UdpPath(delay_ms=delay_ms)
        try:
            client.sendto(b"hello", path.address(*server.getsockname()))
            _, source = server.recvfrom(100)
            late: list[float] = []
            spent: list[float] = []

            def receive() -> None:
                while (data := client.recv(2048)) != b"end":
                    late.append((time.monotonic_ns() - int.from_bytes(data[12:20], "big")) / 1e6 - delay_ms)

            receiver = threading.Thread(target=receive)
            receiver.start()
            count, began, before = int(rate * seconds), time.monotonic(), path.cpu_s()
            for n in range(count):
                wait = began + n / rate - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                head = bytes((0x80, 96)) + (n & 0xFFFF).to_bytes(2, "big") + bytes(4) + bytes((0, 0, 0, 7))
                server.sendto(head + time.monotonic_ns().to_bytes(8, "big") + bytes(SIZE - 20), source)
            spent.append(100 * (path.cpu_s() - before) / (time.monotonic() - began))
            server.sendto(b"end", source)
            receiver.join(5)
            late.sort()
            return {
                "packets": float(len(late)), "lost": float(count - len(late)), "CPU %": spent[0], "added delay p50, ms": late[len(late) // 2],
                "added delay p99, ms": late[int(0.99 * len(late))], "added delay worst, ms": late[-1],
            }  # fmt: skip
        finally:
            path.close()


def table(found: dict[str, float]) -> str:
    lines = [f"| the way itself, {PACKETS_A_SECOND} packets of {SIZE} bytes a second | value |", "| --- | ---: |"]
    return "\n".join([*lines, *(f"| {name} | {value:.2f} |" for name, value in found.items())]) + "\n"

"""Bits of a codec's header, first bit first. Pure; one thread an object. Past the end is PacketError, never IndexError."""

from __future__ import annotations

from vidconf.rtp.packets import PacketError

MAX_EXP_GOLOMB_BITS = 32
"""H.264 §9.1: ue(v) stays below 2^32 − 1, so a code has at most so many leading zeros."""


class BitReader:
    """Reads from the first bytes of `data` only: `limit` of them, since headers are small and frames are not."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes, limit: int = 512) -> None:
        data = data[:limit]
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def bits(self, count: int) -> int:
        """The next `count` bits as an unsigned number. Raises PacketError."""
        self._left -= count
        if self._left < 0:
            raise PacketError("a header is cut short")
        return self._value >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        """The next bit. Raises PacketError."""
        return self.bits(1) == 1

    def unsigned(self) -> int:
        """ue(v), H.264 §9.1: as many zeros as bits follow the one behind them. Raises PacketError."""
        rest = self._value & (1 << self._left) - 1
        zeros = self._left - rest.bit_length()
        if zeros > MAX_EXP_GOLOMB_BITS:
            raise PacketError("an Exp-Golomb code is longer than any")
        self.bits(zeros)
        return self.bits(zeros + 1) - 1

    def signed(self) -> int:
        """se(v), H.264 §9.1.1: 0, 1, −1, 2, −2 … Raises PacketError."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)

"""One loudspeaker through ALSA: Linux's way. Opened, written and closed by the loudspeaker's thread; each may block for a while.

Not through PortAudio here: it opens every device of the machine to make a list of them, and JACK's library, which it asks too,
crashes the process when a thread of its own is slow to start. It can choose a sink of PulseAudio only through the environment,
which must not change while other threads open devices. ALSA opens what it is told by name, and shares nothing.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import time
from typing import Any

from vidconf.engine.alsa import in_turn, pcm_names, prepare_alsa, wheels_libraries
from vidconf.engine.codecs.opus import RATE_HZ

_PLAYBACK, _NONBLOCK, _S16_LE, _INTERLEAVED = 0, 1, 2, 3
_PREPARED = 2
_WAIT_MS = 100
LEAST_WAIT_S = 0.001
BLOCK = RATE_HZ // 100
"""Samples there must be room for before more is wanted."""
STUCK_AFTER_S = 6.0
"""A card that takes nothing for so long is given up."""


class AlsaOutput:
    """48 kHz mono, 16 bit, `latency_s` of it ahead of what is heard. Raises OSError."""

    def __init__(self, device: str, latency_s: float) -> None:
        prepare_alsa()
        self._alsa = _library()
        self._pcm = ctypes.c_void_p()
        self._ahead, self._buffer = round(latency_s * RATE_HZ), 0
        problem = 0
        for name in pcm_names(device):
            with in_turn():
                problem = self._open(name, latency_s)
            if problem == 0 or -problem in (errno.EBUSY, errno.EACCES, errno.EPERM):
                break
        if problem < 0:
            raise self._error(problem)

    def _open(self, name: str, latency_s: float) -> int:
        # Not blocking: a card that another program has is refused instead of waited for; `write` waits, for a limited time.
        problem = int(self._alsa.snd_pcm_open(ctypes.byref(self._pcm), name.encode(), _PLAYBACK, _NONBLOCK))
        if problem < 0:
            return problem
        problem = int(self._alsa.snd_pcm_set_params(self._pcm, _S16_LE, _INTERLEAVED, 1, RATE_HZ, 1, round(latency_s * 1e6)))
        buffer, period = ctypes.c_ulong(), ctypes.c_ulong()
        if problem >= 0:
            problem = int(self._alsa.snd_pcm_get_params(self._pcm, ctypes.byref(buffer), ctypes.byref(period)))
        self._buffer = buffer.value
        if problem < 0:
            self.close()
        return problem

    def wait(self) -> None:
        """Returns when less than `latency_s` less a block is still to be played: also of a card whose buffer cannot be made so small.
        Raises OSError when the card is gone or stuck."""
        begun = time.monotonic()
        while True:
            free = int(self._alsa.snd_pcm_avail_update(self._pcm))
            if free < 0 or free >= self._buffer:
                # nothing left: the first block, or the machine was busy for too long, or (ALSA's `null`) nothing is ever kept
                if free < 0:
                    self._recover(free)
                return
            room = self._ahead - (self._buffer - free)
            if room >= BLOCK or free >= self._buffer - BLOCK // 2:
                return
            if int(self._alsa.snd_pcm_state(self._pcm)) == _PREPARED:
                self._alsa.snd_pcm_start(self._pcm)     # it would wait for a full buffer
            if time.monotonic() - begun > STUCK_AFTER_S:
                raise OSError(errno.ETIMEDOUT, "it takes no sound")
            time.sleep(max(LEAST_WAIT_S, (BLOCK - room) / RATE_HZ))

    def _recover(self, problem: int) -> None:
        """It ran dry, or the machine slept: it starts anew."""
        problem = int(self._alsa.snd_pcm_recover(self._pcm, problem, 1))
        if problem < 0:
            raise self._error(problem)

    def write(self, pcm: bytes) -> None:
        """Returns when all of it is taken. Raises OSError when the card is gone or stuck."""
        frames, done, taken_at = len(pcm) // 2, 0, time.monotonic()
        while done < frames:
            result = int(self._alsa.snd_pcm_writei(self._pcm, pcm[2 * done :], frames - done))
            if result > 0:
                done, taken_at = done + result, time.monotonic()
                continue
            if result in (0, -errno.EAGAIN):
                result = int(self._alsa.snd_pcm_wait(self._pcm, _WAIT_MS))
            if result < 0:
                self._recover(result)
            if time.monotonic() - taken_at > STUCK_AFTER_S:
                raise OSError(errno.ETIMEDOUT, "it takes no sound")

    def close(self) -> None:
        """What was not heard yet is dropped."""
        if self._pcm:
            self._alsa.snd_pcm_close(self._pcm)
            self._pcm = ctypes.c_void_p()

    def _error(self, problem: int) -> OSError:
        return OSError(-problem, (self._alsa.snd_strerror(problem) or b"?").decode(errors="replace"))


@functools.cache
def _library() -> Any:
    """The system's, which its plugins belong to; else the wheel's. Raises OSError."""
    for name in ("libasound.so.2", *wheels_libraries()):
        try:
            alsa = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise OSError(errno.ENOENT, "no ALSA library on this system")
    pcm, number, unsigned = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
    alsa.snd_pcm_open.argtypes = [ctypes.POINTER(pcm), ctypes.c_char_p, number, number]
    alsa.snd_pcm_set_params.argtypes = [pcm, number, number, unsigned, unsigned, number, unsigned]
    alsa.snd_pcm_writei.argtypes, alsa.snd_pcm_writei.restype = [pcm, ctypes.c_char_p, ctypes.c_ulong], ctypes.c_long
    alsa.snd_pcm_wait.argtypes = [pcm, number]
    alsa.snd_pcm_get_params.argtypes = [pcm, ctypes.POINTER(ctypes.c_ulong), ctypes.POINTER(ctypes.c_ulong)]
    alsa.snd_pcm_avail_update.argtypes, alsa.snd_pcm_avail_update.restype = [pcm], ctypes.c_long
    alsa.snd_pcm_state.argtypes = alsa.snd_pcm_start.argtypes = [pcm]
    alsa.snd_pcm_recover.argtypes = [pcm, number, number]
    alsa.snd_pcm_close.argtypes = [pcm]
    alsa.snd_strerror.argtypes, alsa.snd_strerror.restype = [number], ctypes.c_char_p
    return alsa

"""Newest-wins pictures from the engine to the window, through one shared-memory segment a stream. Standard library only.

One writer (engine, one thread at a time), one reader (GUI thread). Three slots: the newest, the one the reader holds, and one
to write: nobody ever waits, and what the reader holds is never written to, so it may be shown without a copy until the next
`newest()`.

Segment: eight-byte words in 64-byte lines, then page-aligned payloads.
    line 0      magic, payload bytes of a slot, writer's pid                        written once
    line 1      newest = number << 2 | slot                                         by the writer
    line 2      held = slot + 1, or 0                                               by the reader
    line 3 + i  sequence (2n whole, 2n - 1 while n is written), width, height, stride, format,
                pts in µs, written at (monotonic ns)                                by the writer
Payload: BGRX of `stride` bytes × h, the fourth byte 255; or I420 "side by side", one 8-bit picture of `stride` × 3h/2: Y, and
below it U (left half) and V (right half) in the same rows, `stride` a multiple of sixteen.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker, shared_memory
from typing import Any

MAGIC = 0x31474E4952465656  # "VVFRING1"
SLOTS, PAGE = 3, 4096
NEWEST, HELD, FIRST_SLOT = 8, 16, 24
I420, BGRX = 1, 2
"""Low byte of a frame's format."""
BT709, FULL_RANGE = 0x100, 0x200
"""Added to I420 where the colours are not BT.601, limited range."""


def bgrx_bytes(width: int, height: int, stride: int) -> int:
    """From the first to the last byte of a picture whose rows are `stride` bytes apart."""
    return stride * (height - 1) + 4 * width


def i420_stride(width: int) -> int:
    return (width + 15) & ~15


def i420_bytes(height: int, stride: int) -> int:
    return stride * (height + (height + 1) // 2)


class RingError(ValueError):
    """Not a ring of ours, gone, or too small for the picture."""


@dataclass(slots=True)
class Frame:
    """A picture in shared memory, valid until the reader's next `newest()` or `close()`."""

    number: int
    width: int
    height: int
    stride: int
    format: int
    pts_us: int
    written_ns: int
    data: memoryview


class _Untracked:
    """Stands in for multiprocessing's resource tracker while a reader attaches (before Python 3.13)."""

    @staticmethod
    def register(name: str, kind: str) -> None:
        """Not tracked: only the creator unlinks."""

    unregister = register


_attach_lock = threading.Lock()


def _attach(name: str) -> shared_memory.SharedMemory:
    # Tracked, an attach would enter the name a second time: the tracker would unlink a living segment when this process ends.
    if sys.version_info >= (3, 13):
        return shared_memory.SharedMemory(name, track=False)
    with _attach_lock:
        module: Any = shared_memory
        tracker, module.resource_tracker = module.resource_tracker, _Untracked
        try:
            return shared_memory.SharedMemory(name)
        finally:
            module.resource_tracker = tracker


def remove_leftover(name: str) -> None:
    """Unlinks the segment of an engine that was killed; living mappings stay valid. Nothing on Windows."""
    if sys.platform == "win32":
        return
    try:
        segment = shared_memory.SharedMemory(name)
    except (FileNotFoundError, ValueError):
        return
    segment.close()
    segment.unlink()


class _Ring:
    def __init__(self, segment: shared_memory.SharedMemory) -> None:
        self._segment = segment
        assert segment.buf is not None
        self._buffer: memoryview = segment.buf
        self._words = self._buffer[:PAGE].cast("Q")
        self._lock = threading.Lock()
        self.name = segment.name

    def _fence(self) -> None:
        # CPython has no fence. A lock's acquire and release are atomic read-modify-writes: one pair fences on x86;
        # release-then-acquire, so two pairs, also on ARMv8. Uncontended: 0.1 µs.
        with self._lock:
            pass
        with self._lock:
            pass

    def _payload(self, slot: int) -> memoryview:
        size = self._words[1]
        start = PAGE + slot * ((size + PAGE - 1) // PAGE * PAGE)  # never from segment.size: it is rounded up
        return self._buffer[start : start + size]


class RingWriter(_Ring):
    """Makes the segment; `slot_bytes` is room for one picture."""

    def __init__(self, slot_bytes: int) -> None:
        room = (slot_bytes + PAGE - 1) // PAGE * PAGE
        super().__init__(shared_memory.SharedMemory(create=True, size=PAGE + SLOTS * room))
        self.slot_bytes = slot_bytes
        words = self._words
        words[1], words[2] = slot_bytes, os.getpid()
        self._views = [self._payload(i) for i in range(SLOTS)]
        self._number, self._newest_slot, self.dropped = 0, -1, 0
        self._fence()
        words[0] = MAGIC

    def _free_slot(self) -> int:
        words = self._words
        for slot in (0, 1, 2, 0, 1, 2):
            if slot == self._newest_slot or words[HELD] == slot + 1:
                continue
            at = FIRST_SLOT + 8 * slot
            before = words[at]
            words[at] = 2 * self._number - 1
            self._fence()  # "I write here" before "is it held?": see newest()
            if words[HELD] != slot + 1:
                return slot
            words[at] = before
        return -1

    def write_bgrx(self, picture: Any, width: int, height: int, stride: int, pts_us: int = 0) -> bool:
        """Copies `picture` (bytes-like, `bgrx_bytes` long) in and publishes it. False: no slot free, dropped. Raises RingError
        when `stride` × `height` is more than a slot."""
        size = bgrx_bytes(width, height, stride)
        if stride * height > self.slot_bytes or 4 * width > stride:
            raise RingError("picture is larger than the ring: make a new ring")
        slot = self._begin()
        if slot < 0:
            return False
        self._views[slot][:size] = memoryview(picture).cast("B")[:size]
        self._publish(slot, width, height, stride, BGRX, pts_us)
        return True

    def write_i420(self, planes: Sequence[tuple[memoryview, int]], width: int, height: int, pts_us: int = 0, colour: int = 0) -> bool:
        """Copies (bytes, stride) of Y, U and V in, side by side, and publishes them; `colour`: BT709 | FULL_RANGE. As
        `write_bgrx` otherwise."""
        stride = i420_stride(width)
        if i420_bytes(height, stride) > self.slot_bytes:
            raise RingError("picture is larger than the ring: make a new ring")
        slot = self._begin()
        if slot < 0:
            return False
        target, (luma, luma_stride) = self._views[slot], planes[0]
        if luma_stride == stride and len(luma) >= stride * height:
            target[: stride * height] = luma[: stride * height]
        else:
            for y in range(height):
                target[y * stride : y * stride + width] = luma[y * luma_stride : y * luma_stride + width]
        columns, at = (width + 1) // 2, stride * height
        for start, (chroma, chroma_stride) in ((at, planes[1]), (at + stride // 2, planes[2])):
            for y in range((height + 1) // 2):
                target[start + y * stride : start + y * stride + columns] = chroma[y * chroma_stride : y * chroma_stride + columns]
        self._publish(slot, width, height, stride, I420 | colour, pts_us)
        return True

    def _begin(self) -> int:
        self._number += 1
        slot = self._free_slot()
        if slot < 0:
            self._number -= 1
            self.dropped += 1
        return slot

    def _publish(self, slot: int, width: int, height: int, stride: int, fmt: int, pts_us: int) -> None:
        at, words = FIRST_SLOT + 8 * slot, self._words
        words[at + 1], words[at + 2], words[at + 3], words[at + 4] = width, height, stride, fmt
        words[at + 5], words[at + 6] = max(0, pts_us), time.monotonic_ns()
        words[at] = 2 * self._number
        self._fence()  # everything of the frame before the word that names it
        words[NEWEST] = self._number << 2 | slot
        self._newest_slot = slot

    def close(self) -> None:
        """Unlinks; a reader that has attached keeps its last picture."""
        for view in self._views:
            view.release()
        self._views.clear()
        self._words.release()
        self._segment.close()
        try:
            self._segment.unlink()
        except FileNotFoundError:
            # a window that started over removed it as a leftover
            resource_tracker.unregister(f"/{self.name.lstrip('/')}", "shared_memory")


class RingReader(_Ring):
    """Attaches to a writer's segment. Raises RingError when it is not there or not ours."""

    def __init__(self, name: str) -> None:
        try:
            segment = _attach(name)
        except (FileNotFoundError, ValueError, OSError) as error:
            raise RingError(f"no such ring: {error}") from error
        if segment.size < PAGE:
            segment.close()
            raise RingError("too small for a ring")
        super().__init__(segment)
        room = (self._words[1] + PAGE - 1) // PAGE * PAGE
        if self._words[0] != MAGIC or PAGE + SLOTS * room > segment.size:
            self._words.release()
            segment.close()
            raise RingError("not a frame ring, or of another version")
        self._payloads = [self._payload(i) for i in range(SLOTS)]
        self._seen, self.missed = 0, 0
        self.frame: Frame | None = None

    def fresh(self) -> bool:
        """Whether `newest` would bring something new. Cheap."""
        return self._words[NEWEST] != self._seen

    def newest(self) -> Frame | None:
        """The newest frame if there is one not yet taken, else None. Ends the validity of the last one."""
        words = self._words
        for _ in range(8):
            newest = words[NEWEST]
            if newest == self._seen:
                return None
            number, slot = newest >> 2, newest & 3
            if slot >= SLOTS:
                return None
            words[HELD] = slot + 1
            self._fence()  # "I hold it" before "is it still whole?": see _free_slot()
            at = FIRST_SLOT + 8 * slot
            if words[at] != 2 * number:
                continue  # overtaken meanwhile: there is a newer one
            _, width, height, stride, fmt, pts, written = words[at : at + 7]
            bgrx = fmt & 0xFF == BGRX
            if (stride * height if bgrx else i420_bytes(height, stride)) > words[1] or width * (4 if bgrx else 1) > stride:
                return None
            self.missed += number - (self._seen >> 2) - 1
            self._seen = newest
            self.frame = Frame(number, width, height, stride, fmt, pts, written, self._payloads[slot])
            return self.frame
        return None

    def whole(self) -> bool:
        """For tests: the held frame has not been written to since it was taken."""
        slot = self._seen & 3
        return bool(self._words[FIRST_SLOT + 8 * slot] == 2 * (self._seen >> 2))

    def close(self) -> None:
        """Release every view and QImage over the frames first: a QImage keeps no reference."""
        self._words[HELD] = 0
        self.frame = None
        for payload in self._payloads:
            payload.release()
        self._words.release()
        self._segment.close()

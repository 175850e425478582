"""Sharing through the real window: chosen in the sheet, framed on the screen, paused from the strip, stopped by a moderator."""

from __future__ import annotations

import json
from pathlib import Path

from gui.xvfb import needs_xvfb, on_a_screen


@needs_xvfb
def test_a_window_is_shared_framed_paused_and_stopped_by_a_moderator() -> None:
    seen = json.loads(on_a_screen(str(Path(__file__).with_name("share_scene.py"))))
    assert seen["listed"] == ["Màn hình 1 (1920×1200)", "Dự thảo"], "not one's own window"
    assert seen["bar"] == "Mọi người đang thấy cửa sổ Dự thảo"
    assert seen["around"] == [[0xB3, 0x26, 0x1E]] * 4, "a red frame on all four sides, over what covers the window too"
    assert seen["strip"]
    assert seen["stopped"] == 200
    assert "share_stopped_by" in seen["notices"]
    assert not seen["frame_left"]
    assert [0xB3, 0x26, 0x1E] not in seen["around_after"]

"""What is said of one's own share, in the bar over the stage and in the strip over other windows. The window's thread."""

from __future__ import annotations

from pathlib import PurePath

from PySide6.QtWidgets import QPushButton

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui.parts import set_button


def sharing_line(state: ClientState) -> str:
    """Who sees what now."""
    share, source = state.share, state.sources.get("screen_share", LocalSource())
    if source.state == "muted":
        return words.text("bar.sharing_paused")
    if share.area is not None and not share.area.shown:
        return words.text("bar.sharing_hidden", name=share.name)
    match share.kind:
        case "screen":
            line = words.text("bar.sharing_screen", name=share.name)
        case "window":
            line = words.text("bar.sharing_window", name=share.name)
        case "page":
            name = share.name or PurePath(source.device.replace("\\", "/")).name
            line = words.text("bar.sharing", page=name) if name else words.text("bar.sharing_page")
    return words.text("bar.sharing_sound", text=line) if share.sound else line


def show_pause(made: QPushButton, source: LocalSource, key: str = "") -> None:
    """A button that pauses what is seen, or resumes it; `key` does the same."""
    word, symbol = ("bar.resume", "play") if source.wanted == "muted" else ("bar.pause", "pause")
    set_button(made, words.text(word), symbol, "pending" if source.pending else "", words.text(f"{word}.tip") + (f" ({key})" if key else ""))

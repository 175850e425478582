"""What the stage says in words: names, marks, accessible names, tooltips. From a tile's `Content`; the window's thread.

Names come from outside and may hold anything: whatever is given to a tooltip is escaped here.
"""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics

from vidconf import words
from vidconf.gui.stage.tiles import Content


def name(content: Content) -> str:
    """As it stands on the plate."""
    return words.text("stage.me", name=content.name) if content.own else content.name


def badge(content: Content) -> str:
    """The role in a word, "" for delegates."""
    if not content.badge:
        return ""
    return words.text("stage.guest") if content.badge == "guest" else words.text(f"role.{content.badge}")


def marks(content: Content) -> list[tuple[str, str, str]]:
    """(symbol, words, the short of it) of each mark, the weightiest first."""
    found: list[tuple[str, str, str]] = []
    if content.held_back:
        found.append(("network_off!", words.text("stage.held_back"), ""))
    if content.paused:
        found.append(("pause", words.text("stage.paused"), ""))
    if content.hand:
        found.append(("hand!", words.text("stage.hand", number=content.hand), str(content.hand)))
    if content.network == "lost":
        found.append(("network_off!", words.text("stage.lost"), ""))
    elif content.network == "weak":
        found.append(("warning!", words.text("stage.weak"), ""))
    if content.spotlight:
        found.append(("star!", words.text("stage.spotlight"), ""))
    if content.pinned:
        found.append(("pin!", words.text("stage.pinned"), ""))
    if content.looks_like:
        found.append(("info!", words.text("stage.looks_like"), ""))
    return found


def sharing(content: Content) -> str:
    """Who shares, above the page."""
    page = words.text("stage.sharing_own") if content.own else words.text("stage.sharing", name=content.name)
    return _stands_still(content, page)


def _stands_still(content: Content, page: str) -> str:
    """A page in words, and why its picture stands still where it does."""
    if content.paused:
        return words.text("stage.page_paused", page=page)
    return words.text("stage.page_held_back", page=page) if content.held_back else page


def accessible(content: Content) -> str:
    """`Lê Thu Hà, Chủ trì, mic bật, đang phát biểu`."""
    if content.kind == "page":
        page = words.text("stage.page_own") if content.own else words.text("stage.page", name=content.name)
        return _stands_still(content, page)
    parts = [name(content), badge(content), words.text("stage.said.mic_on" if content.microphone == "on" else "stage.said.mic_off")]
    if content.speaking:
        parts.append(words.text("stage.said.speaking"))
    if not content.picture:
        parts.append(words.text("stage.said.camera_off"))
    if content.held_back:
        parts.append(words.text("stage.said.held_back"))
    if content.hand:
        parts.append(words.text("stage.said.hand", number=content.hand))
    if content.network:
        parts.append(words.text(f"stage.said.{content.network}"))
    for yes, key in ((content.spotlight, "spotlight"), (content.pinned, "pinned"), (content.looks_like, "looks_like")):
        if yes:
            parts.append(words.text(f"stage.said.{key}"))
    return ", ".join(part for part in parts if part)


def whole(content: Content) -> str:
    """Position and unit, in full."""
    return ", ".join(part for part in (content.position, content.unit) if part)


def tooltip(content: Content) -> str:
    """Everything in full, a line each. Rich text, so that nothing in a name is taken for markup."""
    if content.kind == "page":
        lines = [sharing(content)]
    else:
        lines = [name(content), content.position, content.unit, badge(content), *(text for _, text, _ in marks(content))]
    return "<p style='white-space: pre'>" + "<br>".join(escape(line) for line in lines if line) + "</p>"


def fit_plate_name(content: Content, metrics: QFontMetrics, width: int) -> str:
    """The plate's name with room for `width`. That it is oneself is left out before the name itself suffers."""
    if content.own:
        rest = metrics.horizontalAdvance(name(content)) - metrics.horizontalAdvance(content.name)
        kept = fit_name(content.name, metrics, width - rest) if rest < width else "…"
        shown = words.text("stage.me", name=kept)
        if not kept.endswith("…") and not kept.startswith("…") and metrics.horizontalAdvance(shown) <= width:
            return shown
    return fit_name(content.name, metrics, width)


def fit_name(full: str, metrics: QFontMetrics, width: int) -> str:
    """A name with room for `width`: people and sites are told apart by their last word, so words in the middle go first, and
    letters only where not even the last word has room."""
    if metrics.horizontalAdvance(full) <= width:
        return full
    parts = full.split()
    if len(parts) > 2:
        for left_out in range(1, len(parts) - 1):
            shown = f"{parts[0]} … {' '.join(parts[1 + left_out :])}"
            if metrics.horizontalAdvance(shown) <= width:
                return shown
    if len(parts) > 1:
        shown = f"… {parts[-1]}"
        if metrics.horizontalAdvance(shown) <= width:
            return shown
    shown = metrics.elidedText(full, Qt.TextElideMode.ElideRight, max(0, width))
    return shown if metrics.horizontalAdvance(shown) <= width else "…"

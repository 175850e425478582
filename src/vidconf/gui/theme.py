"""The window's look: tokens, palette, the one style sheet, fonts, contrast. Imports Qt only; the window's thread.

`apply(app, "light" | "dark")` at start and whenever the choice changes; who has drawn with `T` then draws again (pages are made
anew). Lengths are device-independent pixels. Icons are `gui.icons`, the small widgets `gui.parts`.
"""

from __future__ import annotations

import logging
from typing import Literal

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from vidconf.resources import resource

log = logging.getLogger("vidconf.theme")

ThemeName = Literal["light", "dark"]

# ---- tokens ---------------------------------------------------------------------------------------------------------
LIGHT = dict(
    canvas="#F2F5F4", surface="#FFFFFF", sunken="#E8EEEC", hover="#DFE8E5", line="#D2DBD8", edge="#6B7B76",
    text="#13211D", muted="#44544F", disabled="#8A9894",
    accent="#0B6A5C", accent_hover="#08574B", on_accent="#FFFFFF", accent_soft="#DCEFEA", accent_text="#085A4D",
    danger="#B3261E", danger_hover="#931D17", on_danger="#FFFFFF", danger_soft="#FCE9E7", danger_text="#9B1C15",
    warn_soft="#FFF0D0", warn_text="#734600", good_soft="#DFF2E4", good_text="#14602C",
    info_soft="#E2EDFA", info_text="#17508F", focus="#1D4ED8", focus_gap="#FFFFFF", veil="#99000000", tick="tick_light",
)  # fmt: skip
DARK = dict(
    canvas="#0F1615", surface="#182120", sunken="#222D2B", hover="#2C3937", line="#33413E", edge="#7D8F8A",
    text="#EAF1EF", muted="#B0BFBB", disabled="#6F7F7A",
    accent="#4FC7B2", accent_hover="#73D7C5", on_accent="#04211C", accent_soft="#173B35", accent_text="#7FDCCB",
    danger="#C83A30", danger_hover="#B83229", on_danger="#FFFFFF", danger_soft="#43201D", danger_text="#FFB4AC",
    warn_soft="#3D2F10", warn_text="#FFD27A", good_soft="#173822", good_text="#8FE0A6",
    info_soft="#1A3150", info_text="#A9CDFB", focus="#FFD54A", focus_gap="#0F1615", veil="#B3000000", tick="tick_dark",
)  # fmt: skip
STAGE = dict(
    stage="#0C1211", tile="#26312F", disc="#3C4B48", plate="#CC0A0F0E", plate_text="#FFFFFF", plate_muted="#D5DFDC",
    speaking="#3BDDB4", hand="#FFD54A", on_hand="#231A00", over="#FFB4AC",
)  # fmt: skip
"""The stage is dark in both themes."""
TONES = ("accent", "danger", "warn", "good", "info")
FAMILY, BOLD = "Noto Sans", 700
SIZES = dict(small=13, body=14, lead=16, title=20, display=28)
RADIUS, RADIUS_CARD, RADIUS_TILE, TARGET = 8, 12, 10, 36
T: dict[str, str] = {**LIGHT, **STAGE}
"""The colours in force, by token."""

_current: ThemeName = "light"
_fonts_loaded = False


def current() -> ThemeName:
    return _current


def system_theme() -> ThemeName:
    """What the desktop asks for; light where it does not say."""
    hints = QGuiApplication.styleHints()
    return "dark" if hints is not None and hints.colorScheme() == Qt.ColorScheme.Dark else "light"


def load_fonts() -> None:
    """Make the shipped faces known to Qt; once a process."""
    global _fonts_loaded
    if _fonts_loaded:
        return
    for face in ("Regular", "Bold"):
        if QFontDatabase.addApplicationFont(str(resource("fonts", f"NotoSans-{face}.ttf"))) < 0:
            log.error("the font Noto Sans %s cannot be loaded", face)
    _fonts_loaded = True


def font(px: float, weight: int = 400) -> QFont:
    made = QFont(FAMILY)
    made.setPixelSize(round(px))
    made.setWeight(QFont.Weight(weight))
    return made


def palette(t: dict[str, str]) -> QPalette:
    """For what the style sheet does not reach: menus, selections, placeholders, native-looking dialogs."""
    made, role = QPalette(), QPalette.ColorRole
    for name, colour in (
        (role.Window, "canvas"), (role.Base, "surface"), (role.AlternateBase, "sunken"), (role.Button, "surface"),
        (role.WindowText, "text"), (role.Text, "text"), (role.ButtonText, "text"), (role.PlaceholderText, "muted"),
        (role.Highlight, "accent"), (role.HighlightedText, "on_accent"), (role.ToolTipBase, "text"), (role.ToolTipText, "surface"),
        (role.Link, "accent_text"), (role.Accent, "accent"), (role.Mid, "line"),
    ):  # fmt: skip
        made.setColor(name, QColor(t[colour]))
    for name in (role.Text, role.ButtonText, role.WindowText):
        made.setColor(QPalette.ColorGroup.Disabled, name, QColor(t["disabled"]))
    return made


def apply(app: QApplication, name: ThemeName) -> None:
    """Once at start, and again when the system or the user changes between light and dark; pages are then made anew."""
    global _current
    _current = name
    T.clear()
    T.update(DARK if name == "dark" else LIGHT)
    T.update(STAGE)
    load_fonts()
    if app.style() is None or app.style().objectName().lower() != "fusion":
        app.setStyle("Fusion")
    app.setPalette(palette(T))
    app.setFont(font(SIZES["body"]))
    app.setStyleSheet(style_sheet(T))


def style_sheet(t: dict[str, str]) -> str:
    """The program's only style sheet. A selector is a class plus one property: cheap to match, easy to grep."""
    tones = "".join(
        f'QLabel[tone="{n}"] {{ background: {t[n + "_soft"]}; color: {t[n + "_text"]}; }}'
        f'QFrame[tone="{n}"] {{ background: {t[n + "_soft"]}; border: 1px solid {t[n + "_text"]}; }}'
        f'QLabel[ink="{n}"] {{ color: {t[n + "_text"]}; font-weight: {BOLD}; }}'
        for n in TONES
    )
    kinds = "".join(
        f'QPushButton[kind="{n}"] {{ background: {t[n]}; color: {t["on_" + n]}; border-color: {t[n]}; }}'
        f'QPushButton[kind="{n}"]:hover {{ background: {t[n + "_hover"]}; border-color: {t[n + "_hover"]}; }}'
        f'QPushButton[kind="{n}"]:disabled {{ color: {t["disabled"]}; border-color: {t["line"]}; background: {t["sunken"]}; }}'
        for n in ("accent", "danger")
    )
    tick = resource("icons", f"{t['tick']}.svg").as_posix()
    return f"""
    * {{ font-family: "{FAMILY}"; font-size: {SIZES['body']}px; color: {t['text']}; outline: none; }}
    QWidget[page="plain"] {{ background: {t['canvas']}; }} QWidget[page="stage"] {{ background: {t['stage']}; }}
    QWidget[page="veil"] {{ background: {t['veil']}; }}
    QFrame[card="true"] {{ background: {t['surface']}; border: 1px solid {t['line']}; border-radius: {RADIUS_CARD}px; }}
    QFrame[bar="true"] {{ background: {t['surface']}; border: none; }}
    QFrame[rule="true"] {{ background: {t['line']}; border: none; max-height: 1px; min-height: 1px; }}
    QFrame[tone] {{ border-radius: {RADIUS}px; }}
    QLabel[tone] {{ border-radius: 6px; padding: 2px 8px; font-size: {SIZES['small']}px; font-weight: {BOLD}; }} {tones}
    QLabel {{ background: transparent; }} QLabel[role="muted"] {{ color: {t['muted']}; }}
    QLabel[role="small"] {{ color: {t['muted']}; font-size: {SIZES['small']}px; }}
    QLabel[role="strong"] {{ font-weight: {BOLD}; }} QLabel[role="stage"] {{ color: {t['plate_muted']}; }}
    QLabel[role="stage_title"] {{ color: {t['plate_text']}; font-size: {SIZES['lead']}px; font-weight: {BOLD}; }}
    QLabel[role="stage_name"] {{ color: {t['plate_text']}; font-weight: {BOLD}; }}
    QLabel[over="true"] {{ color: {t['over']}; }}
    QLabel[role="lead"] {{ font-size: {SIZES['lead']}px; font-weight: {BOLD}; }}
    QLabel[role="title"] {{ font-size: {SIZES['title']}px; font-weight: {BOLD}; }}
    QLabel[role="display"] {{ font-size: {SIZES['display']}px; font-weight: {BOLD}; }}
    QLabel[role="code"] {{ background: {t['sunken']}; border-radius: 6px; padding: 3px 8px; font-weight: {BOLD};
        font-size: {SIZES['small']}px; }}
    QPushButton {{ background: {t['surface']}; border: 1px solid {t['edge']}; border-radius: {RADIUS}px;
        padding: 0 12px; min-height: {TARGET - 2}px; font-weight: {BOLD}; }}
    QPushButton:hover {{ background: {t['hover']}; }}
    QPushButton:disabled {{ color: {t['disabled']}; border-color: {t['line']}; background: {t['sunken']}; }} {kinds}
    QPushButton[kind="quiet"] {{ background: transparent; border-color: transparent; padding: 0 8px;
        color: {t['accent_text']}; }}
    QPushButton[kind="quiet"]:hover {{ background: {t['hover']}; }}
    QPushButton[kind="quiet"]:disabled {{ color: {t['disabled']}; background: transparent; border-color: transparent; }}
    QPushButton[kind="risky"] {{ color: {t['danger_text']}; border-color: {t['danger_text']}; }}
    QPushButton[state="pending"], QPushButton[state="pending"]:hover {{ border: 1px dashed {t['edge']}; color: {t['muted']};
        background: {t['sunken']}; }}
    QPushButton[big="true"] {{ min-height: 46px; font-size: {SIZES['lead']}px; padding: 0 20px; }}
    QPushButton[kind="nav"], QPushButton[kind="here"] {{ text-align: left; border: none; background: transparent;
        font-weight: 400; min-height: 40px; padding-left: 12px; border-left: 4px solid transparent; }}
    QPushButton[kind="nav"]:hover {{ background: {t['hover']}; }}
    QPushButton[kind="here"] {{ background: {t['accent_soft']}; color: {t['accent_text']}; font-weight: {BOLD};
        border-left: 4px solid {t['accent']}; }}
    QToolButton {{ border: 1px solid transparent; border-radius: {RADIUS}px; padding: 7px; background: transparent; }}
    QToolButton:hover {{ background: {t['hover']}; }}
    QToolButton:disabled {{ color: {t['disabled']}; }}
    QToolButton[stage="true"] {{ color: {t['plate_text']}; }} QToolButton[stage="true"]:hover {{ background: {t['disc']}; }}
    QToolButton::menu-indicator {{ image: none; }}
    QToolButton[bar="true"] {{ font-size: {SIZES['small']}px; padding: 5px 6px 3px 6px; min-width: 56px; }}
    QToolButton[state="off"] {{ border: 2px solid {t['text']}; background: {t['surface']}; font-weight: {BOLD}; }}
    QToolButton[state="live"] {{ background: {t['accent']}; color: {t['on_accent']}; font-weight: {BOLD}; }}
    QToolButton[state="live"]:hover {{ background: {t['accent_hover']}; }}
    QToolButton[state="off"]:hover {{ background: {t['hover']}; }}
    QToolButton[state="open"] {{ background: {t['accent_soft']}; color: {t['accent_text']}; font-weight: {BOLD};
        border-bottom: 3px solid {t['accent']}; }}
    QToolButton[state="hand"] {{ background: {t['hand']}; color: {t['on_hand']}; font-weight: {BOLD};
        border: 1px solid {t['on_hand']}; }}
    QToolButton[state="pending"] {{ border: 1px dashed {t['edge']}; color: {t['muted']}; }}
    QToolButton[bar="true"][state="barred"] {{ color: {t['disabled']}; border: 1px solid {t['line']}; }}
    QToolButton[state="leave"] {{ background: {t['danger']}; color: {t['on_danger']}; font-weight: {BOLD}; }}
    QToolButton[state="leave"]:hover {{ background: {t['danger_hover']}; }}
    QLineEdit, QComboBox, QDateTimeEdit, QPlainTextEdit {{ background: {t['surface']}; border: 1px solid {t['edge']};
        border-radius: {RADIUS}px; min-height: {TARGET - 2}px; padding: 0 10px;
        selection-background-color: {t['accent']}; selection-color: {t['on_accent']}; }}
    QPlainTextEdit {{ padding: 4px 6px; }}
    QListWidget {{ background: {t['surface']}; border: 1px solid {t['edge']}; border-radius: {RADIUS}px; padding: 4px; }}
    QListWidget::item {{ min-height: 28px; padding: 2px 6px; border-radius: 6px; color: {t['text']}; }}
    QListWidget::item:selected {{ background: {t['accent_soft']}; color: {t['text']}; }}
    QLineEdit[locked="true"], QComboBox:disabled, QLineEdit:disabled, QDateTimeEdit:disabled {{ background: {t['sunken']};
        border-color: {t['line']}; color: {t['muted']}; }}
    QLineEdit[wrong="true"] {{ border: 2px solid {t['danger_text']}; }}
    QComboBox::drop-down {{ border: none; width: 28px; }} QComboBox::down-arrow {{ image: none; }}
    QComboBox QAbstractItemView {{ background: {t['surface']}; border: 1px solid {t['edge']}; padding: 4px;
        selection-background-color: {t['accent_soft']}; selection-color: {t['text']}; }}
    QDateTimeEdit::up-button, QDateTimeEdit::down-button {{ width: 0; border: none; }}
    QLineEdit[sign="true"] {{ padding-left: 2px; }} QLineEdit, QPlainTextEdit {{ placeholder-text-color: {t['muted']}; }}
    QCheckBox, QRadioButton {{ spacing: 10px; min-height: {TARGET}px; }}
    QCheckBox:disabled {{ color: {t['muted']}; }}
    QCheckBox::indicator {{ width: 18px; height: 18px; border: 2px solid {t['edge']}; border-radius: 5px;
        background: {t['surface']}; }}
    QCheckBox::indicator:checked {{ background: {t['accent']}; border-color: {t['accent']}; image: url({tick}); }}
    QCheckBox::indicator:disabled {{ border-color: {t['edge']}; background: {t['sunken']}; }}
    QCheckBox::indicator:checked:disabled {{ background: {t['edge']}; }}
    QMenu {{ background: {t['surface']}; border: 1px solid {t['edge']}; border-radius: {RADIUS}px; padding: 6px; }}
    QMenu::item {{ padding: 8px 20px 8px 12px; border-radius: 6px; min-height: 20px; }}
    QMenu::item:selected {{ background: {t['accent_soft']}; color: {t['text']}; }}
    QMenu::item:disabled {{ color: {t['disabled']}; }}
    QMenu::icon {{ padding-left: 8px; }}
    QMenu::separator {{ height: 1px; background: {t['line']}; margin: 6px 4px; }}
    QProgressBar {{ background: {t['sunken']}; border: none; border-radius: 4px; max-height: 8px; min-height: 8px; }}
    QProgressBar::chunk {{ background: {t['accent']}; border-radius: 4px; }}
    QSlider::groove:horizontal {{ background: {t['hover']}; height: 6px; border-radius: 3px; }}
    QSlider::sub-page:horizontal {{ background: {t['accent']}; height: 6px; border-radius: 3px; }}
    QSlider::handle:horizontal {{ background: {t['surface']}; border: 2px solid {t['accent']}; width: 14px; margin: -6px 0;
        border-radius: 9px; }}
    QTextEdit[said="true"] {{ background: transparent; border: none; padding: 0; selection-background-color: {t['accent']};
        selection-color: {t['on_accent']}; }}
    QFrame[said="all"] {{ background: {t['surface']}; border: 1px solid {t['line']}; border-radius: {RADIUS_CARD}px; }}
    QFrame[said="mine"] {{ background: {t['accent_soft']}; border: 1px solid {t['line']}; border-radius: {RADIUS_CARD}px; }}
    QFrame[said="private"] {{ background: {t['info_soft']}; border: 1px solid {t['info_text']}; border-radius: {RADIUS_CARD}px; }}
    QFrame[said="pending"] {{ background: {t['surface']}; border: 1px dashed {t['edge']}; border-radius: {RADIUS_CARD}px; }}
    QScrollArea, QScrollArea > QWidget > QWidget {{ border: none; background: transparent; }}
    QScrollBar:vertical {{ background: transparent; width: 10px; }}
    QScrollBar::handle:vertical {{ background: {t['edge']}; border-radius: 4px; min-height: 36px; margin: 1px; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QToolTip {{ background: {t['text']}; color: {t['surface']}; border: none; padding: 6px 8px; }}
    """


# ---- contrast -------------------------------------------------------------------------------------------------------
TEXT_PAIRS = [
    *((f, b) for f in ("text", "muted") for b in ("surface", "canvas", "sunken")), ("text", "hover"),
    *((f"on_{k}", b) for k in ("accent", "danger") for b in (k, k + "_hover")),
    *((f"{n}_text", b) for n in TONES for b in (f"{n}_soft", "surface")), ("text", "accent_soft"), ("muted", "accent_soft"),
    *(("text", f"{n}_soft") for n in TONES), *(("muted", f"{n}_soft") for n in ("warn", "info", "good")), ("accent_text", "hover"),
]  # fmt: skip
SHAPE_PAIRS = [
    ("edge", "surface"), ("edge", "canvas"), ("focus", "surface"), ("focus", "canvas"), ("accent", "surface"), ("accent", "sunken"),
    ("focus_gap", "accent"), ("focus_gap", "danger"), ("danger_text", "surface"),
]  # fmt: skip
STAGE_PAIRS = [
    ("plate_text", "stage"), ("plate_muted", "stage"), ("on_hand", "hand"), ("speaking", "stage"), ("over", "stage"), ("plate_text", "disc"),
]  # fmt: skip
LEAST = ((TEXT_PAIRS, 4.5), (SHAPE_PAIRS, 3.0), (STAGE_PAIRS, 4.5))


def contrast(front: str, back: str) -> float:
    """WCAG contrast of two opaque `#RRGGBB` colours, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(front), luminance(back)), reverse=True)
    return (high + 0.05) / (low + 0.05)

"""The look: contrast of every pair of colours, fonts that can write every word, a style sheet Qt understands, icons that are there."""

from __future__ import annotations

import re
from itertools import product

import pytest
from PySide6.QtGui import QColor, QFont, QFontDatabase, QFontInfo, QRawFont
from PySide6.QtWidgets import QApplication, QLabel, QPushButton

from vidconf import words
from vidconf.gui import theme
from vidconf.gui.icons import icon, picture, program_icon
from vidconf.gui.theme import DARK, FAMILY, LEAST, LIGHT, STAGE, TONES, T, contrast
from vidconf.resources import resource

THEMES = {"light": LIGHT, "dark": DARK}


@pytest.mark.parametrize("name", THEMES)
def test_every_pair_can_be_told_apart(name: str) -> None:
    colours = {**THEMES[name], **STAGE}
    low = [f"{front} on {back}: {contrast(colours[front], colours[back]):.2f} < {least}" for pairs, least in LEAST for front, back in pairs
           if contrast(colours[front], colours[back]) < least]  # fmt: skip
    assert low == []


@pytest.mark.parametrize("name", THEMES)
def test_body_text_is_read_without_effort(name: str) -> None:
    colours = THEMES[name]
    assert all(contrast(colours["text"], colours[back]) >= 13 for back in ("surface", "canvas"))


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)
    assert contrast("#123456", "#123456") == pytest.approx(1)


def test_both_themes_have_the_same_tokens() -> None:
    assert set(LIGHT) == set(DARK)
    for colours in (LIGHT, DARK, STAGE):
        for token, colour in colours.items():
            assert token == "tick" or re.fullmatch(r"#([0-9A-F]{2})?[0-9A-F]{6}", colour), token
    for tone in TONES:
        assert {f"{tone}_soft", f"{tone}_text"} <= set(LIGHT)


@pytest.mark.parametrize("name", THEMES)
def test_the_program_takes_it(qapp: QApplication, name: theme.ThemeName) -> None:
    theme.apply(qapp, name)
    assert theme.current() == name
    assert T["surface"] == THEMES[name]["surface"]
    assert T["stage"] == STAGE["stage"], "dark in both"
    assert qapp.palette().window().color() == QColor(THEMES[name]["canvas"])
    assert "None" not in qapp.styleSheet()
    assert "{" in qapp.styleSheet()
    label, button = QLabel("x"), QPushButton("y")
    for one in (label, button):
        one.ensurePolished()
        assert QFontInfo(one.font()).family() == FAMILY
    assert button.font().weight() == QFont.Weight.Bold


def test_the_style_sheet_is_one_qt_understands(qapp: QApplication) -> None:
    """Qt warns of what it cannot parse, and a warning fails the test."""
    for name in THEMES:
        sheet = theme.style_sheet({**THEMES[name], **STAGE})
        assert sheet.count("{") == sheet.count("}")
        qapp.setStyleSheet(sheet)
    theme.apply(qapp, "light")
    for picture_of in ("tick_light", "tick_dark"):
        assert resource("icons", f"{picture_of}.svg").is_file()


def test_the_systems_choice_is_known() -> None:
    assert theme.system_theme() in THEMES


# ---- fonts ----


@pytest.mark.parametrize("face", ["Regular", "Bold"])
def test_the_shipped_font_writes_every_word_and_every_vietnamese_letter(face: str) -> None:
    font = QRawFont(str(resource("fonts", f"NotoSans-{face}.ttf")), 14.0)
    assert font.isValid()
    vietnamese = {base + marks for base, marks in product("aăâeêioôơuưy", ["", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323"])} | {"đ"}
    import unicodedata

    needed = {char for one in vietnamese for char in unicodedata.normalize("NFC", one) + unicodedata.normalize("NFC", one.upper())}
    for language in words.LANGUAGES:
        needed |= {char for said in words.table(language).values() for char in said}
    assert sorted(char for char in needed if not font.supportsCharacter(ord(char))) == []


def test_the_fonts_licence_is_beside_them() -> None:
    assert "SIL OPEN FONT LICENSE" in resource("fonts", "OFL.txt").read_text(encoding="utf-8").upper()
    theme.load_fonts()
    assert FAMILY in QFontDatabase.families()


# ---- icons ----


def test_an_icon_is_drawn_in_the_colour_asked_for() -> None:
    image = picture("mic!", "#FF0000", 20).toImage()
    assert (image.width(), image.height()) == (40, 40), "twice as fine"
    drawn = [image.pixelColor(x, y) for x in range(40) for y in range(40) if image.pixelColor(x, y).alpha() > 200]
    assert len(drawn) > 50
    assert all(one.red() > 200 and one.green() < 60 for one in drawn)


def test_a_disabled_icon_is_grey() -> None:
    made = icon("settings", "#FF0000")
    pixels = made.pixmap(20, made.Mode.Disabled).toImage()
    seen = {pixels.pixelColor(x, y).name() for x in range(pixels.width()) for y in range(pixels.height()) if pixels.pixelColor(x, y).alpha() == 255}
    assert seen == {QColor(T["disabled"]).name()}


def test_every_icon_can_be_drawn_and_has_its_licence() -> None:
    files = sorted(resource("icons").glob("*.svg"))
    assert len(files) > 60
    for file in files:
        drawn = picture(file.stem, "#000000", 20).toImage()
        assert any(drawn.pixelColor(x, y).alpha() for x in range(0, 40, 2) for y in range(0, 40, 2)), file.name
    assert resource("icons", "LICENSE").is_file()


def test_the_programs_sign_in_every_size() -> None:
    sizes = {size.width() for size in program_icon().availableSizes()}
    assert {16, 32, 48, 256} <= sizes
    corner = program_icon().pixmap(256).toImage()
    assert corner.pixelColor(128, 128).alpha() == 255

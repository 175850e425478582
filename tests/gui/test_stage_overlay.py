"""What lies over a picture: nothing overlaps, nothing leaves its tile, nothing is cut; and what it says, in both languages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PySide6.QtCore import QRect, QSize
from PySide6.QtGui import QColor, QFontMetrics, QImage, QTextDocument
from PySide6.QtWidgets import QApplication

from vidconf import words
from vidconf.gui import theme
from vidconf.gui.stage import said
from vidconf.gui.stage.overlay import Overlay, Piece, bars, corners
from vidconf.gui.stage.tiles import Content
from vidconf.gui.theme import BOLD, T, font

HA = Content(
    "p1", "person", "p1", "Lê Thu Hà", initials="TH", track="cam1", picture=True, position="Phó Giám đốc",
    unit="Sở Nông nghiệp và Môi trường tỉnh Thừa Thiên Huế", badge="chair", microphone="on",
)  # fmt: skip
SIZES = ((104, 58), (128, 72), (150, 84), (178, 100), (224, 126), (300, 169), (407, 229), (716, 402), (996, 664), (1900, 1069), (200, 420), (900, 60))
RATIOS = (1.0, 1.25, 2.0)


@pytest.fixture(autouse=True)
def look(qapp: QApplication) -> Iterator[None]:
    theme.apply(qapp, "dark")
    words.set_language("vi")
    yield
    words.set_language("vi")


def overlay(content: Content, size: tuple[int, int], ratio: float = 1.0, bare: bool = False) -> Overlay:
    return Overlay.of(content, QSize(round(size[0] * ratio), round(size[1] * ratio)), ratio, bare)


def check(content: Content, size: tuple[int, int], ratio: float = 1.0) -> Overlay:
    """Everything inside the tile, nothing over anything else; without a picture the initials count as well."""
    made, tile = overlay(content, size, ratio), QRect(0, 0, round(size[0] * ratio), round(size[1] * ratio))
    for pieces in ([*made.over], [*made.over, *([] if content.picture else made.instead)]):
        for piece in pieces:
            assert tile.contains(piece.area), (size, ratio, piece.area)
        for a, b in itertools.combinations(pieces, 2):
            assert not a.area.intersects(b.area), (size, ratio, a.area, b.area)
    if made.bars is not None:
        assert any(piece.area.contains(made.bars) for piece in made.over)
    return made


LOUD = replace(
    HA, hand=12, network="lost", pinned=True, spotlight=True, looks_like=True, speaking=True, pending=True,
    name="Công Tằng Tôn Nữ Hoàng Thị Phương Thảo",
)  # fmt: skip


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("size", SIZES)
def test_nothing_overlaps_or_sticks_out(size: tuple[int, int], ratio: float, language: str) -> None:
    words.set_language(language)
    for content in (HA, LOUD):
        for picture in (True, False):
            made = check(replace(content, picture=picture), size, ratio)
            assert made.over, "the plate is missing"


@given(
    st.integers(20, 1300), st.integers(20, 800), st.text(max_size=70), st.text(max_size=70), st.integers(0, 99), st.booleans(), st.booleans(),
    st.sampled_from(["", "chair", "co_chair", "secretary", "technician", "guest"]), st.sampled_from(["", "weak", "lost"]),
)  # fmt: skip
@example(51, 28, "00\x9c", "", 0, True, False, "", "")  # wider as a whole than its parts
def test_whatever_the_name_and_the_size(
    width: int, height: int, name: str, unit: str, hand: int, own: bool, picture: bool, badge: str, network: str
) -> None:
    content = replace(HA, name=name, unit=unit, hand=hand, own=own, picture=picture, badge=badge, network=network, looks_like=own)
    check(content, (width, height))


def dark_pixels(piece: Piece) -> QImage:
    return piece.pixels.toImage()


def test_the_plate_has_room_around_its_text() -> None:
    """A glyph that touches the plate's edge would be cut."""
    for size in SIZES:
        for content in (HA, LOUD):
            plate = max(overlay(content, size).over, key=lambda piece: piece.area.bottom())
            image = dark_pixels(plate)
            for y in range(image.height()):
                for x in (image.width() - 1, image.width() - 2):
                    assert image.pixelColor(x, y).lightness() < 100 or content.pending, (size, x, y)


def test_small_tiles_drop_the_second_line_then_the_badge() -> None:
    def height(size: tuple[int, int]) -> int:
        return overlay(HA, size).over[0].area.height()

    two_lines, one_line = height((300, 169)), height((178, 99))
    assert two_lines > one_line + 10

    def has_badge(size: tuple[int, int]) -> bool:
        image = overlay(HA, size).over[0].pixels.toImage()
        white = sum(1 for x in range(image.width()) for y in range(image.height()) if image.pixelColor(x, y) == QColor(T["plate_text"]))
        return white > 400

    assert has_badge((300, 169))
    assert not has_badge((128, 72))


def test_the_hand_is_yellow_and_its_number_stays_where_words_do_not() -> None:
    large, small = (overlay(replace(HA, hand=7), size).over for size in ((407, 229), (128, 72)))
    for pieces in (large, small):
        mark = min(pieces, key=lambda piece: piece.area.y())
        assert mark.pixels.toImage().pixelColor(mark.area.width() // 2, 1) == QColor(T["hand"])
    without_number = overlay(replace(HA, network="weak"), (128, 72)).over
    assert min(small, key=lambda p: p.area.y()).area.width() > min(without_number, key=lambda p: p.area.y()).area.width()


def test_a_page_shown_large_has_nothing_over_it() -> None:
    page = Content("page:s", "page", "p1", "Lê Thu Hà", track="s", picture=True, fill=False)
    bare = overlay(page, (900, 500), bare=True)
    assert (bare.over, bare.corners, bare.frame, bare.bars) == ([], (), False, None)
    assert len(overlay(page, (300, 169)).over) == 1


@pytest.mark.parametrize("ratio", RATIOS)
def test_corners_are_dark_outside_and_clear_inside(ratio: float) -> None:
    size = QSize(round(300 * ratio), round(169 * ratio))
    made = corners(size, ratio, False)
    assert len(made) == 4
    for piece, (x, y) in zip(made, ((0, 0), (-1, 0), (-1, -1), (0, -1)), strict=True):
        image = piece.pixels.toImage()
        side = image.width() - 1
        outer = image.pixelColor(side if x else 0, side if y else 0)
        inner = image.pixelColor(0 if x else side, 0 if y else side)
        assert outer == QColor(T["stage"])
        assert inner.alpha() == 0
        assert QRect(0, 0, size.width(), size.height()).contains(piece.area)


def test_bars_move_and_grow_with_loudness() -> None:
    def ink(phase: int, loud: int) -> int:
        image = bars(18, phase, loud, T["speaking"]).toImage()
        return sum(image.pixelColor(x, y).alpha() > 128 for x in range(18) for y in range(18))

    assert bars(18, 0, 2, T["speaking"]).toImage() != bars(18, 1, 2, T["speaking"]).toImage()
    assert ink(0, 3) > ink(0, 1) > 0
    assert ink(-1, 1) == ink(-1, 3)  # standing still


# ---- words -----------------------------------------------------------------------------------------------------------------


def test_the_accessible_name_says_it_all() -> None:
    speaking = replace(HA, speaking=True)
    assert said.accessible(speaking) == "Lê Thu Hà, Chủ trì, mic bật, đang phát biểu"
    everything = replace(LOUD, name="Lê Thu Hà", own=True, picture=False, network="weak")
    assert said.accessible(everything) == (
        "Lê Thu Hà (tôi), Chủ trì, mic bật, đang phát biểu, camera tắt, giơ tay, thứ 12 trong hàng, mạng yếu, tiêu điểm của cuộc họp, "
        "đã ghim, tên giống người khác trong phòng"
    )
    words.set_language("en")
    assert said.accessible(speaking) == "Lê Thu Hà, Chair, mic on, speaking"
    assert said.accessible(replace(HA, badge="guest", microphone="off", hand=2)) == "Lê Thu Hà, Guest, mic off, hand raised, number 2 in the queue"


def test_the_accessible_name_of_a_page() -> None:
    page = Content("page:s", "page", "p1", "Lê Thu Hà", track="s", picture=True)
    assert said.accessible(page) == "Nội dung Lê Thu Hà đang trình chiếu"
    assert said.accessible(replace(page, own=True)) == "Nội dung tôi đang trình chiếu"


def test_a_tooltip_shows_a_hostile_name_as_it_is_written() -> None:
    nasty = '<img src="file:///etc/passwd"><b>Chủ trì</b> & Co'
    document = QTextDocument()
    document.setHtml(said.tooltip(replace(HA, name=nasty, badge="", hand=3)))
    assert document.toPlainText().split("\n")[0] == nasty
    assert document.toPlainText().split("\n")[-1] == "Giơ tay 3"


@pytest.mark.parametrize(
    ("full", "width", "shown"),
    [
        ("Lê Thu Hà", 200, "Lê Thu Hà"), ("Phạm Thị Ngọc Dung", 145, "Phạm … Ngọc Dung"), ("Phạm Thị Ngọc Dung", 100, "Phạm … Dung"),
        ("Điểm cầu Quảng Ninh", 70, "… Ninh"), ("Nguyễn An", 45, "… An"),
    ],
)  # fmt: skip
def test_a_name_gives_up_its_middle_words_first(full: str, width: int, shown: str) -> None:
    assert said.fit_name(full, QFontMetrics(font(14, BOLD)), width) == shown


@given(st.text(max_size=60), st.integers(0, 400))
def test_a_fitted_name_fits(full: str, width: int) -> None:
    metrics = QFontMetrics(font(14, BOLD))
    shown = said.fit_name(full, metrics, width)
    assert metrics.horizontalAdvance(shown) <= max(width, metrics.horizontalAdvance("…"))


def test_oneself_is_left_out_before_the_name_suffers() -> None:
    metrics, own = QFontMetrics(font(14, BOLD)), replace(HA, own=True, name="Trần Thị Bình")
    whole = metrics.horizontalAdvance("Trần Thị Bình (tôi)")
    assert said.fit_plate_name(own, metrics, whole) == "Trần Thị Bình (tôi)"
    assert said.fit_plate_name(own, metrics, whole - 1) == "Trần … Bình (tôi)"
    assert said.fit_plate_name(own, metrics, metrics.horizontalAdvance("Trần … Bình") + 2) == "Trần … Bình"

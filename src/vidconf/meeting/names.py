"""Names people give themselves: made clean on the way in, compared for look-alikes.

Pure; any thread. Used by the rules (`knock`, `rename`) and by the window before it sends a name.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

NAME_LIMIT = 64
"""Characters (code points after NFC) a name may have."""

_MARKS_IN_A_ROW = 3
"""More combining marks on one letter than any living script uses are decoration that climbs over other rows."""

_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\u034f")
"""Letters and symbols that draw nothing: a name of these would look empty."""


class NameRefused(ValueError):
    """No usable name. `reason`: `empty` or `too_long`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def clean_line(text: str, limit: int) -> str:
    """One line of text as it may be shown and stored: NFC, no control, format, direction or unassigned characters,
    white space collapsed to single spaces, cut to `limit` characters. May come out empty. Idempotent."""
    return _clean(text)[:limit].rstrip()


def clean_name(text: str) -> str:
    """`text` as a name: cleaned as by `clean_line`, 1 to 64 characters, something of it visible.

    Raises `NameRefused`. Invisible characters are dropped rather than refused: names pasted from documents carry
    them, and their owners cannot see what would be wrong.
    """
    if len(text) > 16 * NAME_LIMIT:
        raise NameRefused("too_long")
    name = _clean(text)
    if not any(unicodedata.category(char)[0] in "LNPS" for char in name):
        raise NameRefused("empty")
    if len(name) > NAME_LIMIT:
        raise NameRefused("too_long")
    return name


def clean_text(text: str) -> str:
    """Several lines (chat, a reason) as they may be shown and stored: as `clean_line`, but line ends and tabs stay and
    inner spaces are kept; outer white space goes."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept = "".join(char for char in text if char in "\n\t\u200d\u200c" or not _invisible(char))
    return unicodedata.normalize("NFC", kept).strip().strip("\u200c\u200d").strip()


def _invisible(char: str) -> bool:
    # Cc control, Cf format and direction, Cs surrogate, Co private, Cn unassigned.
    return char in _BLANK_LETTERS or unicodedata.category(char)[0] == "C"


def _clean(text: str) -> str:
    kept: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", text):
        if char.isspace():
            char = " "
        elif _invisible(char):
            continue
        if unicodedata.category(char)[0] == "M":
            marks += 1
            if marks > _MARKS_IN_A_ROW or not kept or kept[-1] == " ":
                continue
        else:
            marks = 0
        kept.append(char)
    return unicodedata.normalize("NFC", " ".join("".join(kept).split()))


def _pairs(like: str, shapes: str) -> dict[str, str]:
    return dict(zip(like, shapes, strict=True))


# Base letters that look like another, after case folding and decomposition: what stands left is compared as its right.
_CONFUSABLE = str.maketrans(
    {
        **_pairs("авсԁеһніјӏкмпорԛгѕтуѵԝхү", "abcdehhljlkmnopqrstyvwxy"),  # Cyrillic
        **_pairs("αβϲεηικμνορτυχγζω", "abcenlkuvoptuxyzw"),  # Greek
        **_pairs("01i|ıǀ", "olllll"),
        **_pairs("ðɖɑɡʏᴠᴡᴏꜱɪʟʙʜᴀᴄᴅᴇᴋᴍɴᴘʀᴛᴜᴢ", "đđagyvwosllbhacdekmnprtuz"),
        "\u030c": "\u0306",  # caron for breve: ǎ passes for ă
        "\u0313": "\u0309",  # smooth breathing for the hook above
        "\u0342": "\u0303",  # Greek circumflex for the tilde
    }
)


@lru_cache(maxsize=8192)
def skeleton(name: str) -> str:
    """What a reader takes `name` for: equal skeletons look alike in a list of participants.

    Case, width, spaces and punctuation fall away, letters of other scripts and digits become the Latin letters they
    pass for (after Unicode TS 39, its part that matters here). Vietnamese marks stay: Hùng, Hưng and Hung are three
    people.
    """
    folded = unicodedata.normalize("NFKC", name).replace("I", "l").casefold()
    bases = unicodedata.normalize("NFD", folded).translate(_CONFUSABLE)
    shape = unicodedata.normalize("NFC", bases)
    letters = "".join(char for char in shape if unicodedata.category(char)[0] in "LMN")
    return letters or shape

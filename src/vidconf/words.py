"""The words a user reads, in Vietnamese and English, by key; and how times, dates and numbers are written in each.

Standard library only; any thread may ask, the window's thread sets the language. Below the window there are codes; here they
become sentences: `refusal.<code>` and `error.<code>` say what happened, `….help` what to do next. The files are flat JSON in
`resources/words`, sorted, the same keys in both.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from vidconf.resources import resource

log = logging.getLogger("vidconf.words")

Language = Literal["vi", "en"]
LANGUAGES: tuple[Language, ...] = ("vi", "en")
VALUE_LIMIT = 200
NO_TIME = "–"
_language: Language = "vi"


@lru_cache(maxsize=2)
def table(language: Language) -> Mapping[str, str]:
    """Every word of one language by key."""
    words: dict[str, str] = json.loads(resource("words", f"{language}.json").read_text(encoding="utf-8"))
    return words


def set_language(language: str) -> None:
    """`vi` or `en`; anything else is Vietnamese. Who shows words already on the screen must ask for them again."""
    global _language
    _language = "en" if language == "en" else "vi"


def language() -> Language:
    return _language


class _Gaps(dict[str, Any]):
    """A value nobody gave leaves a visible gap instead of an exception."""

    def __missing__(self, key: str) -> str:
        return "…"


def has(key: str) -> bool:
    return key in table(_language)


def text(key: str, /, **values: Any) -> str:
    """The words of `key`, with `{name}` filled from `values`. An unknown key is shown as it is, and logged."""
    words = table(_language).get(key)
    if words is None:
        log.error("no words for %s", key)
        return key
    if "{" not in words:
        return words
    return words.format_map(_Gaps({name: number(value) if isinstance(value, float) else value for name, value in values.items()}))


def filling(detail: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a server gave to fill the gaps: never more of it than a sentence bears."""
    given = {str(name): value if isinstance(value, int | float) else str(value) for name, value in (detail or {}).items()}
    return {name: value[:VALUE_LIMIT] + "…" if isinstance(value, str) and len(value) > VALUE_LIMIT else value for name, value in given.items()}


def _code(family: str, code: str, detail: Mapping[str, Any] | None) -> str:
    key = f"{family}.{code}"
    return text(key, **filling(detail)) if has(key) else text(f"{family}.unknown", code=code[:60])


def refusal(code: str, detail: Mapping[str, Any] | None = None) -> str:
    """Why a rule said no. A code of a newer server is told as such, with the code."""
    return _code("refusal", code, detail)


def error(code: str, detail: Mapping[str, Any] | None = None) -> str:
    """What broke. Codes that are refusals too (a join that was refused) are found there."""
    if not has(f"error.{code}") and has(f"refusal.{code}"):
        return refusal(code, detail)
    return _code("error", code, detail)


def help_for(code: str, detail: Mapping[str, Any] | None = None) -> str:
    """What to do next about an error or refusal, "" where the sentence itself says it."""
    for family in ("error", "refusal"):
        if has(f"{family}.{code}.help"):
            return text(f"{family}.{code}.help", **filling(detail))
    return "" if has(f"error.{code}") or has(f"refusal.{code}") else text("error.unknown.help")


# ---- times, dates, numbers ------------------------------------------------------------------------------------------


def number(value: float, digits: int = 1) -> str:
    """`8,7` in Vietnamese, `8.7` in English; no trailing zero."""
    shown = f"{value:.{digits}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return shown.replace(".", ",") if _language == "vi" else shown


def _local(at: float) -> time.struct_time | None:
    """None for what no calendar has: times come from servers."""
    try:
        when = time.localtime(at)
    except (OverflowError, ValueError, OSError):
        return None
    return when if 1 <= when.tm_year <= 9999 else None


def _written(at: float, form: str) -> str:
    when = _local(at)
    return time.strftime(form, when) if when is not None else NO_TIME


def clock(at: float) -> str:
    """`08:21`, local time of a Unix time."""
    return _written(at, "%H:%M")


def date(at: float) -> str:
    """`24/11/2026`."""
    return _written(at, "%d/%m/%Y")


def day(at: float) -> str:
    """`24/11`."""
    return _written(at, "%d/%m")


def long_date(at: float) -> str:
    """`Thứ Ba, 24 tháng 11` or `Tuesday, 24 November`."""
    when = _local(at)
    if when is None:
        return NO_TIME
    weekday, month = text(f"date.weekday.{when.tm_wday}"), text(f"date.month.{when.tm_mon}")
    return text("date.long", weekday=weekday, day=when.tm_mday, month=month)


def _lasting(seconds: float) -> float:
    """Within what can be written: not before it began, not for ever."""
    return 0 if not seconds > 0 else min(seconds, 10**10)


def duration(seconds: float) -> str:
    """`45 phút`, `3 giờ`, `1 giờ 30 phút`; below a minute in seconds."""
    whole = round(_lasting(seconds))
    if whole < 60:
        return text("duration.seconds", seconds=whole)
    hours, minutes = divmod(round(whole / 60), 60)
    if not hours:
        return text("duration.minutes", minutes=minutes)
    return text("duration.hours", hours=hours) if not minutes else text("duration.hours_minutes", hours=hours, minutes=minutes)


def waited(seconds: float) -> str:
    """As `duration`, to the second below an hour: `1 phút 24 giây`."""
    minutes, rest = divmod(int(_lasting(seconds)), 60)
    if not minutes:
        return text("duration.seconds", seconds=rest)
    if minutes >= 60:
        return duration(_lasting(seconds))
    return text("duration.minutes_seconds", minutes=minutes, seconds=rest)


def elapsed(seconds: float) -> str:
    """`00:42:18`."""
    minutes, rest = divmod(int(_lasting(seconds)), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"

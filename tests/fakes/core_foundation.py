"""The functions of macOS's CoreFoundation that the program calls through ctypes, over values in memory; it counts what is not given back."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import c_double, c_int64
from types import SimpleNamespace
from typing import Any

_TYPES: dict[type, int] = {bool: 21, int: 22, float: 22, str: 7, list: 19}


def core_foundation(
    values: Mapping[str, Any], forced: frozenset[str] = frozenset(), *, domain: str = "vn.vidconf.client"
) -> SimpleNamespace:
    """A library with one domain's values; `forced`: the names that a profile holds. `.held()`: references nobody gave back."""
    references: dict[int, Any] = {}
    counts: dict[int, int] = {}

    def made(value: Any, count: int = 1) -> int:
        reference = 0x1000 + 16 * len(references)
        references[reference], counts[reference] = value, count
        return reference

    def release(reference: int) -> None:
        assert counts[reference] > 0, "given back twice"
        counts[reference] -= 1

    def copy_value(key: int, of: int) -> int | None:
        assert references[of] == domain
        value = values.get(references[key])
        return None if value is None else made(value)

    def number_value(reference: int, kind: int, out: Any) -> int:
        value = references[reference]
        into = out._obj
        assert isinstance(into, {4: c_int64, 6: c_double}[kind])
        into.value = value
        return 1

    def c_string(reference: int, room: Any, size: int, encoding: int) -> int:
        written = references[reference].encode("utf-8", "surrogatepass")
        if any(0xD800 <= ord(sign) < 0xE000 for sign in references[reference]) or len(written) >= size:
            return 0
        room.value = written
        return 1

    functions = {
        "CFStringCreateWithCString": lambda allocator, text, encoding: made(text.decode()),
        "CFPreferencesCopyAppValue": copy_value,
        "CFPreferencesAppValueIsForced": lambda key, of: int(references[key] in forced and references[of] == domain),
        "CFPreferencesAppSynchronize": lambda of: int(references[of] == domain),
        "CFRelease": release,
        "CFGetTypeID": lambda reference: _TYPES.get(type(references[reference]), 99),
        "CFBooleanGetTypeID": lambda: 21,
        "CFNumberGetTypeID": lambda: 22,
        "CFStringGetTypeID": lambda: 7,
        "CFArrayGetTypeID": lambda: 19,
        "CFBooleanGetValue": lambda reference: int(references[reference]),
        "CFNumberIsFloatType": lambda reference: int(isinstance(references[reference], float)),
        "CFNumberGetValue": number_value,
        "CFStringGetLength": lambda reference: len(references[reference].encode("utf-16-le", "surrogatepass")) // 2,
        "CFStringGetMaximumSizeForEncoding": lambda length, encoding: 3 * length,
        "CFStringGetCString": c_string,
        "CFArrayGetCount": lambda reference: len(references[reference]),
        "CFArrayGetValueAtIndex": lambda reference, place: made(references[reference][place], 0),
    }
    # ctypes' functions bear a result and arguments; a function written here may bear any attribute.
    return SimpleNamespace(
        **functions, held=lambda: [references[one] for one, count in counts.items() if count and references[one] != domain]
    )

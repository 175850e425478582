"""Policies of a Mac: the preferences of the domain `vn.vidconf.client`, as a configuration profile or `defaults` writes them. Any thread.

What a profile forces holds; any other value of the domain stands until the user chooses. The system is asked for each policy by its
name and lists none, so a name that is no policy is not noticed here.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

from vidconf.client.policies.reading import Policies
from vidconf.client.settings_table import BY_POLICY

DOMAIN = "vn.vidconf.client"
LIBRARY = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"
_UTF8 = 0x08000100
_SINT64, _FLOAT64 = 4, 6  # CFNumberType


class Preferences(Protocol):
    """One domain's values."""

    def refresh(self) -> None:
        """Ask for what has changed since."""

    def value(self, name: str) -> Any:
        """None where nothing is set; an object that no setting takes for a type that policies have not."""

    def forced(self, name: str) -> bool:
        """Whether a profile holds it."""


class PreferencePolicies:
    """A Mac's policies."""

    def __init__(self, preferences: Preferences | None = None) -> None:
        self._preferences = preferences if preferences is not None else CoreFoundation(DOMAIN)

    @property
    def places(self) -> tuple[str, ...]:
        return (f"{DOMAIN} (forced)", DOMAIN)

    def read(self) -> Policies:
        policies = Policies()
        self._preferences.refresh()
        for name, setting in BY_POLICY.items():
            value = self._preferences.value(name)
            if value is None:
                continue
            forced = self._preferences.forced(name)
            origin = self.places[0 if forced else 1]
            if origin not in policies.found:
                policies.found.append(origin)
            held = policies.value(setting, value, origin)
            if held is not None:
                (policies.managed if forced else policies.recommended)[setting.key] = held
        return policies


class CoreFoundation:
    """CFPreferences through ctypes. What the system hands out by "create" or "copy" is given back."""

    def __init__(self, domain: str, library: Any = None) -> None:
        """`library`: CoreFoundation, loaded. Raises `OSError` where there is none."""
        cf: Any = library if library is not None else ctypes.CDLL(LIBRARY)
        ref, index, yes = ctypes.c_void_p, ctypes.c_long, ctypes.c_ubyte
        for name, result, *arguments in (
            ("CFStringCreateWithCString", ref, ref, ctypes.c_char_p, ctypes.c_uint32),
            ("CFPreferencesCopyAppValue", ref, ref, ref),
            ("CFPreferencesAppValueIsForced", yes, ref, ref),
            ("CFPreferencesAppSynchronize", yes, ref),
            ("CFRelease", None, ref),
            ("CFGetTypeID", ctypes.c_ulong, ref),
            ("CFBooleanGetTypeID", ctypes.c_ulong),
            ("CFNumberGetTypeID", ctypes.c_ulong),
            ("CFStringGetTypeID", ctypes.c_ulong),
            ("CFArrayGetTypeID", ctypes.c_ulong),
            ("CFBooleanGetValue", yes, ref),
            ("CFNumberIsFloatType", yes, ref),
            ("CFNumberGetValue", yes, ref, index, ref),
            ("CFStringGetLength", index, ref),
            ("CFStringGetMaximumSizeForEncoding", index, index, ctypes.c_uint32),
            ("CFStringGetCString", yes, ref, ctypes.c_char_p, index, ctypes.c_uint32),
            ("CFArrayGetCount", index, ref),
            ("CFArrayGetValueAtIndex", ref, ref, index),
        ):
            function = getattr(cf, name)
            function.restype, function.argtypes = result, arguments
        self._cf = cf
        self._domain = self._string(domain)
        self._readers = {
            cf.CFBooleanGetTypeID(): lambda value: bool(cf.CFBooleanGetValue(value)),
            cf.CFNumberGetTypeID(): self._number,
            cf.CFStringGetTypeID(): self._text,
            cf.CFArrayGetTypeID(): self._list,
        }

    def refresh(self) -> None:
        self._cf.CFPreferencesAppSynchronize(self._domain)

    def forced(self, name: str) -> bool:
        key = self._string(name)
        try:
            return bool(self._cf.CFPreferencesAppValueIsForced(key, self._domain))
        finally:
            self._cf.CFRelease(key)

    def value(self, name: str) -> Any:
        key = self._string(name)
        try:
            found = self._cf.CFPreferencesCopyAppValue(key, self._domain)
        finally:
            self._cf.CFRelease(key)
        if not found:
            return None
        try:
            return self._python(found)
        finally:
            self._cf.CFRelease(found)

    def _string(self, text: str) -> Any:
        made = self._cf.CFStringCreateWithCString(None, text.encode(), _UTF8)
        if not made:
            raise MemoryError("CoreFoundation has no string left")
        return made

    def _python(self, value: Any) -> Any:
        read = self._readers.get(self._cf.CFGetTypeID(value))
        return read(value) if read is not None else object()

    def _number(self, value: Any) -> int | float:
        whole, real = ctypes.c_int64(), ctypes.c_double()
        if self._cf.CFNumberIsFloatType(value):
            self._cf.CFNumberGetValue(value, _FLOAT64, ctypes.byref(real))
            return real.value
        self._cf.CFNumberGetValue(value, _SINT64, ctypes.byref(whole))
        return whole.value

    def _text(self, value: Any) -> Any:
        size = self._cf.CFStringGetMaximumSizeForEncoding(self._cf.CFStringGetLength(value), _UTF8) + 1
        room = ctypes.create_string_buffer(size)
        if not self._cf.CFStringGetCString(value, room, size, _UTF8):
            return object()
        return room.value.decode()

    def _list(self, value: Any) -> list[Any]:
        return [self._python(self._cf.CFArrayGetValueAtIndex(value, place)) for place in range(self._cf.CFArrayGetCount(value))]

"""Where the libraries are that PyAV's wheel brings along: beside the package, in it, or in a folder of its own, as each system has it.

For whoever speaks to one of them through ctypes. Any thread.
"""

from __future__ import annotations

from pathlib import Path

import av


def libraries(name: str) -> list[Path]:
    """Files of the library that is called so (`opus`; a pattern where others begin alike), the likeliest place first; none where a distribution built PyAV."""
    package = Path(av.__file__).parent
    places = [package.parent / "av.libs", package / ".dylibs", package]
    patterns = (f"lib{name}*.so*", f"lib{name}*.dylib", f"lib{name}*.dll", f"{name}*.dll")
    return [path for place in places for pattern in patterns for path in sorted(place.glob(pattern))]

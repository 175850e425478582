"""What macOS is told of the application: Info.plist, its words in Vietnamese and English, entitlements. Standard library only.

    python3 facts.py --out DIR --version V        writes Info.plist, entitlements.plist, en.lproj and vi.lproj

`vidconf.spec` takes the first for the bundle; it has run on no Mac (README.md).
"""

from __future__ import annotations

import argparse
import plistlib
import re
import sys
from pathlib import Path
from typing import Any

IDENTIFIER = "vn.vidconf.client"
"""The bundle, the domain of managed preferences and the installer's package: fixed for ever."""
OLDEST = "13.0"
"""What Qt 6.11 asks for."""

USES: dict[str, dict[str, str]] = {
    "en": {
        "NSCameraUsageDescription": "vidconf shows your camera's picture to a meeting when you turn it on.",
        "NSMicrophoneUsageDescription": "vidconf sends your voice to a meeting while you are not muted.",
        "NSScreenCaptureUsageDescription": "vidconf shows your screen to a meeting when you share it.",
        "NSLocalNetworkUsageDescription": "vidconf exchanges sound and pictures with your agency's meeting server on the local network.",
    },
    "vi": {
        "NSCameraUsageDescription": "vidconf gửi hình từ máy quay của bạn vào cuộc họp khi bạn bật máy quay.",
        "NSMicrophoneUsageDescription": "vidconf gửi tiếng nói của bạn vào cuộc họp khi bạn không tắt tiếng.",
        "NSScreenCaptureUsageDescription": "vidconf trình chiếu màn hình của bạn vào cuộc họp khi bạn chọn trình chiếu.",
        "NSLocalNetworkUsageDescription": "vidconf trao đổi tiếng và hình với máy chủ họp của đơn vị trong mạng nội bộ.",
    },
}
"""Why each is asked for: the system shows it in its question. Without a text the first use ends the program. Systems that know no text for
the screen, or for the local network, ignore it and ask in words of their own."""

ENTITLEMENTS: dict[str, bool] = {
    # The hardened runtime, which notarisation asks for, forbids these unless they are named.
    "com.apple.security.device.camera": True,
    "com.apple.security.device.audio-input": True,
    # ctypes and cffi make small pieces of code at run time for what C calls back.
    "com.apple.security.cs.allow-jit": True,
    "com.apple.security.cs.allow-unsigned-executable-memory": True,
}


def short_version(version: str) -> str:
    """The three numbers that CFBundleShortVersionString may have. Raises ValueError."""
    found = re.match(r"\d+\.\d+\.\d+", version)
    if found is None:
        raise ValueError(f"{version!r} does not begin with three numbers")
    return found[0]


def information(version: str) -> dict[str, Any]:
    """Info.plist of the bundle. Raises ValueError for a version that macOS does not take."""
    return {
        "CFBundleIdentifier": IDENTIFIER,
        "CFBundleName": "vidconf",
        "CFBundleDisplayName": "vidconf",
        "CFBundleShortVersionString": short_version(version),
        "CFBundleVersion": short_version(version),
        "CFBundleDevelopmentRegion": "vi",
        "CFBundleLocalizations": ["vi", "en"],
        "CFBundleURLTypes": [{"CFBundleURLName": IDENTIFIER, "CFBundleURLSchemes": ["vidconf"], "CFBundleTypeRole": "Viewer"}],
        "LSApplicationCategoryType": "public.app-category.business",
        "LSMinimumSystemVersion": OLDEST,
        "NSHighResolutionCapable": True,
        "NSSupportsAutomaticGraphicsSwitching": True,
        "NSHumanReadableCopyright": "GPL-3.0-or-later",
        **USES["en"],
    }


def strings(language: str) -> str:
    """InfoPlist.strings of one language."""
    return "".join(
        f'"{key}" = "{text.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}";\n'
        for key, text in sorted(USES[language].items())
    )


def write(out: Path, version: str) -> None:
    """Raises OSError, ValueError."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "Info.plist").write_bytes(plistlib.dumps(information(version)))
    (out / "entitlements.plist").write_bytes(plistlib.dumps(ENTITLEMENTS))
    for language in USES:
        folder = out / f"{language}.lproj"
        folder.mkdir(exist_ok=True)
        (folder / "InfoPlist.strings").write_text(strings(language), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="What macOS is told of the application.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--version", required=True)
    told = parser.parse_args()
    try:
        write(told.out, told.version)
    except (OSError, ValueError) as error:
        print(f"facts: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

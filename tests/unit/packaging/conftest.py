"""For the tests of packaging: what builds and checks the Windows client is a package of its own, beside what it builds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "packaging" / "windows"))

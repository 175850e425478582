"""For all tests: Qt runs offscreen unless told otherwise, Hypothesis keeps to a budget."""

from __future__ import annotations

import os
from datetime import timedelta

from hypothesis import HealthCheck, settings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

settings.register_profile("suite", deadline=timedelta(seconds=2), max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("VIDCONF_HYPOTHESIS", "suite"))

"""For all tests: Qt runs offscreen unless told otherwise, Hypothesis keeps to a budget, two workers share the whole suite."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

settings.register_profile("suite", deadline=timedelta(seconds=2), max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("VIDCONF_HYPOTHESIS", "suite"))

TESTS = Path(__file__).parent
PROGRAMS = "programs"
"""The group of all tests of real programs: they wait more than they compute, and disturb each other's figures."""
BESIDE = 10
"""Niceness of what computes beside them."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where workers share the tests (`--dist loadgroup`), those of real programs follow each other in one, files elsewhere stay whole."""
    for item in items:
        folder, *_ = item.path.relative_to(TESTS).parts
        item.add_marker(pytest.mark.xdist_group(PROGRAMS if folder == "e2e" else item.path.stem))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In a worker, what only computes gives way to what is measured in real time; back again only where the system lets us."""
    if "PYTEST_XDIST_WORKER" not in os.environ or not hasattr(os, "setpriority"):
        return
    group = item.get_closest_marker("xdist_group")
    wanted = 0 if group is not None and group.args == (PROGRAMS,) else BESIDE
    if os.getpriority(os.PRIO_PROCESS, 0) != wanted:
        with contextlib.suppress(PermissionError):  # raising it again is root's
            os.setpriority(os.PRIO_PROCESS, 0, wanted)

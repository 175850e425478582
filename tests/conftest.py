"""For all tests: Qt runs offscreen unless told otherwise, Hypothesis keeps to a budget, two workers share the whole suite."""

from __future__ import annotations

import contextlib
import gc
import os
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

settings.register_profile("suite", deadline=timedelta(seconds=2), max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("VIDCONF_HYPOTHESIS", "suite"))

PROGRAMS = "programs"
"""What all tests of real programs are together: they wait more than they compute, and disturb each other's figures."""
BESIDE = 10
"""Niceness of what computes beside them."""


class _ProgramsTogether(LoadFileScheduling):  # type: ignore[misc]
    """Files stay whole; those that start real programs follow each other in one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return PROGRAMS if _is_program(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ProgramsTogether | None:
    """In place of `--dist loadgroup`, which does not see its groups with this pytest."""
    return _ProgramsTogether(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In a worker, what only computes gives way to what is measured in real time; back again only where the system lets us."""
    _collect_where(item.nodeid)
    if "PYTEST_XDIST_WORKER" not in os.environ or not hasattr(os, "setpriority"):
        return
    wanted = 0 if _is_program(item.nodeid) else BESIDE
    if os.getpriority(os.PRIO_PROCESS, 0) != wanted:
        with contextlib.suppress(PermissionError):  # raising it again is root's
            os.setpriority(os.PRIO_PROCESS, 0, wanted)


def _collect_where(nodeid: str) -> None:
    """What tests of the window leave in cycles ends on this thread, between two of them: Qt does not bear another's."""
    if nodeid.startswith("tests/gui/"):
        gc.disable()
    elif not gc.isenabled():
        gc.collect()
        gc.enable()


def _is_program(nodeid: str) -> bool:
    return nodeid.startswith("tests/e2e/")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no proxy and no authorities of its own."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
    ):
        monkeypatch.delenv(name, raising=False)

"""Tests that need a real screen run a script of theirs in a process of its own under Xvfb, painted by Mesa in software."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs_xvfb = pytest.mark.skipif(shutil.which("xvfb-run") is None, reason="Xvfb is missing: script/install-test-peers installs it")


def on_a_screen(*arguments: str, scale: float = 1, timeout: float = 110) -> str:
    """What Python, given these arguments, said on stdout; `scale`: device pixels to one of ours. Raises when it failed."""
    environment = {
        **os.environ, "QT_QPA_PLATFORM": "xcb", "LIBGL_ALWAYS_SOFTWARE": "1", "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests"))),
        "QT_SCALE_FACTOR_ROUNDING_POLICY": "PassThrough", "QT_SCALE_FACTOR": str(scale),
    }  # fmt: skip
    command = ["xvfb-run", "-a", "-s", "-screen 0 1920x1200x24", sys.executable, "-X", "faulthandler", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT, start_new_session=True
    )  # fmt: skip
    try:
        out, complaints = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the X server too
        raise
    assert process.returncode == 0, out[-2000:] + complaints[-6000:]
    return out

"""A proxy script is found where the system keeps it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vidconf.cli.proxy_script import of_scutil, proxy_script

SCUTIL = """<dictionary> {
  HTTPEnable : 0
  ProxyAutoConfigEnable : 1
  ProxyAutoConfigURLString : http://wpad.example.gov.vn/proxy.pac
  ProxyAutoDiscoveryEnable : 0
}
"""


def test_what_macos_says() -> None:
    assert of_scutil(SCUTIL) == "http://wpad.example.gov.vn/proxy.pac"
    assert of_scutil("<dictionary> {\n  HTTPEnable : 1\n}\n") == ""
    assert of_scutil("  ProxyAutoDiscoveryEnable : 1\n") == "auto"
    assert of_scutil("") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="GNOME's settings")
def test_what_gnome_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("auto_proxy", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "gsettings"
    program.write_text("#!/bin/sh\ncase $3 in mode) echo \"'auto'\";; *) echo \"'http://pac.example/p.pac'\";; esac\n")
    program.chmod(0o755)
    assert proxy_script() == "http://pac.example/p.pac"
    program.write_text("#!/bin/sh\ncase $3 in mode) echo \"'auto'\";; *) echo \"''\";; esac\n")
    assert proxy_script() == "auto"
    program.write_text("#!/bin/sh\necho \"'manual'\"\n")
    assert proxy_script() == ""
    monkeypatch.setenv("auto_proxy", "http://wpad/x.pac")
    assert proxy_script() == "http://wpad/x.pac"

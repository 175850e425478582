"""docs/deploy.md says what is so: settings, ports, properties, policies, the doctor's words and files are the program's own."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from urllib.parse import unquote

import pytest
from packaging_scripts import ROOT

from vidconf.client.settings_table import BY_POLICY
from vidconf.server import backup, config

GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", GUIDE)


def section(title: str) -> str:
    """The text under a heading, up to the next of its level or above."""
    level, rest = re.split(rf"(?m)^(?=#+ {re.escape(title)}$)", GUIDE)[1].split(" ", 1)
    return re.split(rf"(?m)^#{{1,{len(level)}}} ", rest)[0]


def test_every_setting_of_the_server_is_named() -> None:
    named = set(re.findall(r"`(?:\[?)([a-z_]+)\]?`", section("Every setting")))
    for kind in (config.Config, config.Tls, config.MediaConfig, config.Limits):
        left = {field.name for field in fields(kind)} - named - {"data", "relay"}
        assert not left, f"{kind.__name__}: {left}"
    assert named <= {field.name for kind in (config.Config, config.Tls, config.MediaConfig, config.Limits) for field in fields(kind)}


def test_policies_it_names_exist() -> None:
    told = {word.split(" ")[0] for word in CODE if re.fullmatch(r"[A-Z][a-z]+[A-Z][A-Za-z]*( = \w+)?", word)}
    foreign = {"AutoLaunchProtocolsFromOrigins"}
    assert {"ServerURL", "AllowedServers", "IceTransport"} <= told
    assert told - foreign <= set(BY_POLICY) | {"PolicyDefinitions", "Property", "Version"}


def test_ports_are_the_ones_that_the_files_open() -> None:
    settings = config.load(ROOT / "packaging/debian/server/files/server.toml")
    table = section("Ports and firewall")
    assert f"{settings.media.udp_port}/udp" in table
    assert f"{settings.media.tcp_port}/tcp" in table
    assert f"{settings.port}/tcp, loopback" in table
    livekit = (ROOT / "packaging/deploy/livekit.yaml").read_text()
    assert f"udp_port: {settings.media.udp_port}" in livekit
    assert f"tcp_port: {settings.media.tcp_port}" in livekit


def test_what_the_installer_takes_is_what_it_says() -> None:
    product = (ROOT / "packaging/windows/winbuild/product.py").read_text()
    properties = re.findall(r'Property\("([A-Z]+)",', product)
    assert properties
    windows = section("Windows PCs")
    for name in properties:
        assert f"{name}=" in windows, name
    (upgrade,) = re.findall(r'UPGRADE_CODE = "([0-9A-F-]+)"', product)
    assert f"{{{upgrade}}}" in windows
    assert r"Software\Vidconf\Vidconf" in windows


def test_the_doctors_lines_are_what_the_doctor_says() -> None:
    words = json.loads((ROOT / "resources/words/en.json").read_text(encoding="utf-8"))
    said = " ".join(re.sub(r"\{\w+\}", "…", text) for name, text in words.items() if name.startswith(("doctor.", "device.")))
    quoted = re.findall(r"(?m)^\|[^|]*\| [A-Z][^|:]*: (\*[^|]+) \|", section("Troubleshooting"))
    assert len(quoted) > 12
    for cell in quoted:
        for line in re.findall(r"\*([^*]+)\*", cell):
            for part in filter(None, (piece.strip(" …%:") for piece in line.split("…"))):
                assert part in said, f"{line!r}: the doctor does not say {part!r}"


def test_backups_kept_are_as_many_as_it_says() -> None:
    table = section("Backups")
    unit = (ROOT / "packaging/debian/server/files/vidconf-backup.service").read_text()
    (nightly,) = re.findall(r"--label nightly --keep (\d+)", unit)
    assert re.search(rf"\| every night[^|]*\| {nightly} \|", table)
    assert re.search(rf"\| before each upgrade \| {backup.KEPT[backup.UPGRADE]} \|", table)
    assert re.search(rf"\| before one is put back \| {backup.KEPT[backup.BEFORE_RESTORE]} \|", table)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)\s]+)\)", GUIDE))))
def test_links_lead_somewhere(target: str) -> None:
    path, _, anchor = target.partition("#")
    if path:
        assert (ROOT / "docs" / unquote(path)).exists()
    if anchor and not path:
        headings = {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"(?m)^#+ (.+)$", GUIDE)}
        assert anchor in headings

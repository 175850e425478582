"""The Windows installer's identities and words: what must never change, and what Windows Installer can count."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from winbuild import agency, product

from vidconf.client.settings_table import BY_POLICY, checked

ROOT = Path(__file__).resolve().parents[3]
WINDOWS = ROOT / "packaging" / "windows"


@pytest.mark.parametrize("version", ["0.1.0", "1.0.0", "255.255.65535", "0.0.1"])
def test_versions_that_windows_can_compare(version: str) -> None:
    assert ".".join(map(str, product.version_parts(version))) == version


@pytest.mark.parametrize(
    "version", ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3rc1", "1.2.-3", "256.0.0", "1.256.0", "1.0.65536", "1.2.3\n", "١.٢.٣", "1..3"]
)
def test_others_are_refused(version: str) -> None:
    with pytest.raises(product.VersionError):
        product.version_parts(version)


@given(st.text(max_size=20))
def test_any_text_is_a_version_or_refused(text: str) -> None:
    try:
        parts = product.version_parts(text)
    except product.VersionError:
        return
    assert ".".join(map(str, parts)) == text
    assert all(part <= limit for part, limit in zip(parts, product.VERSION_LIMITS, strict=True))


def test_identities_never_change() -> None:
    """Windows finds an installed version, and counts its files, by these: another one and two versions lie side by side."""
    assert product.UPGRADE_CODE == "7A9B5C8E-4F0A-4E11-9D6C-3D9E51C0A001"
    assert product.component_code("cMain") == "002FAFBB-3EE8-5B74-96B8-E4423907EC9C"
    assert product.component_code("app/vidconf/cli/main.py") == "53B26387-C780-5096-B8CA-3FF64C97989C"


def test_one_build_has_one_product_code_and_another_has_another() -> None:
    codes = [product.product_code(version, content) for version in ("1.0.0", "1.0.1") for content in ("a", "b")]
    assert len(set(codes)) == 4
    assert codes == [product.product_code(version, content) for version in ("1.0.0", "1.0.1") for content in ("a", "b")]
    assert product.package_code("1.0.0", "a") not in codes
    assert all(re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", code) for code in codes)


def test_what_the_installer_is_told_the_program_understands() -> None:
    """Texts under the names of policies, as the registry's reader takes them from an installer."""
    own = {"DesktopShortcut", "Firewall"}
    told = {each.remembered for each in product.PROPERTIES} - own
    assert told <= set(BY_POLICY)
    assert [checked(BY_POLICY["AutoStart"], int(value)) for value in ("0", "1")] == [False, True]
    for each in product.PROPERTIES:
        setting = BY_POLICY.get(each.remembered)
        if setting is not None and setting.kind == "choice":
            named = set(re.findall(r'"([^"]*)"', each.accepted))
            assert named <= set(setting.choices)
            assert named, each


def test_the_icon_has_the_sizes_windows_asks_for() -> None:
    content = (WINDOWS / "vidconf.ico").read_bytes()
    reserved, kind, count = struct.unpack_from("<HHH", content)
    entries = [struct.unpack_from("<BBBBHHII", content, 6 + 16 * at) for at in range(count)]
    assert (reserved, kind) == (0, 1)
    assert {entry[0] or 256 for entry in entries} >= {16, 24, 32, 48, 256}
    assert all(entry[7] + entry[6] <= len(content) for entry in entries)
    assert entries[-1][7] + entries[-1][6] == len(content)


@pytest.mark.parametrize(
    "words",
    [
        ["--server-url", "http://hop.example.gov.vn"], ["--server-url", "https://"], ["--server-url", "https://a@hop.example.gov.vn"],
        ["--server-url", "https://hop.example.gov.vn/?x"], ["--server-url", "https://h:x"], ["--server-url", "https://[::1"],
        ["--server-url", "https://hop.example.gov.vn/'"], ["--allowed-server", "[ProductCode]"], ["--allowed-server", "a\nb"],
        ["--allowed-server", "a`b"], ["--allowed-server", "x" * 3000], ["--allowed-server", "họp.example"], [],
    ],
)  # fmt: skip
def test_an_agencys_settings_cannot_be_more_than_texts(words: list[str]) -> None:
    told = agency.options().parse_args(["a.msi", "--out", "b.msi", *words])
    with pytest.raises(agency.AgencyError):
        agency.values(told)


def test_an_agencys_settings_by_property() -> None:
    words = [
        "--server-url",
        "https://hop.example.gov.vn:8443",
        "--allowed-server",
        "a.vn",
        "--allowed-server",
        "*.b.vn",
        "--autostart",
        "0",
    ]
    told = agency.options().parse_args(["a.msi", "--out", "b.msi", *words])
    assert agency.values(told) == {"SERVERURL": "https://hop.example.gov.vn:8443", "ALLOWEDSERVERS": "a.vn;*.b.vn", "AUTOSTART": "0"}


@given(st.text(max_size=60))
def test_any_address_is_taken_whole_or_refused(text: str) -> None:
    told = agency.options().parse_args(["a.msi", "--out", "b.msi", f"--server-url={text}"])
    try:
        found = agency.values(told)
    except agency.AgencyError:
        return
    assert found == {"SERVERURL": text}
    assert text.isascii()
    assert not set(text) & set("'\"`[]{}\n\r")

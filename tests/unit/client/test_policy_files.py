"""Policy files: which counts, what of them is not believed, and what a person may have done on the way to them."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.policies.files import FILE_LIMIT, FilePolicies
from vidconf.client.policies.reading import Policies
from vidconf.client.settings_json import json_object

ME = os.getuid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine's folder of policies, safely owned, with one file that counts."""
    made = tmp_path / "etc" / "policies"
    for level in ("managed", "recommended"):
        (made / level).mkdir(parents=True)
    for above in (made.parent, made, *made.iterdir()):
        above.chmod(0o755)
    put(made / "managed" / "90-good.json", {"Theme": "dark"})
    return made


def put(file: Path, content: Any, mode: int = 0o644) -> Path:
    file.write_bytes(content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode())
    file.chmod(mode)
    return file


def read(folder: Path, trusted: int = ME) -> Policies:
    return FilePolicies(folder, trusted=(trusted,)).read()


def codes(policies: Policies) -> list[tuple[str, str]]:
    return [(problem.origin, problem.code) for problem in policies.problems]


def only_the_good(policies: Policies) -> bool:
    return {key: held.value for key, held in policies.managed.items()} == {"theme": "dark"}


# ---- who could have written it ----


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o777, 0o660])
def test_a_file_that_others_or_a_group_can_write_is_no_policy(folder: Path, mode: int) -> None:
    file = put(folder / "managed" / "10.json", {"ServerURL": "https://evil.example"}, mode)
    policies = read(folder)
    assert only_the_good(policies)
    assert codes(policies) == [(str(file), "unsafe_owner")]


@pytest.mark.skipif(ME != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["10.json", "."])
def test_a_file_or_folder_of_another_owner_is_none(folder: Path, what: str) -> None:
    put(folder / "managed" / "10.json", {"ServerURL": "https://evil.example"})
    given = folder / "managed" / what
    os.chown(given, 65534, 65534)
    policies = read(folder)
    assert "server" not in policies.managed
    assert codes(policies) == [(str(given), "unsafe_owner" if what == "10.json" else "unsafe_folder")]


@pytest.mark.skipif(ME == 0, reason="root is always trusted")
def test_only_root_is_trusted_on_a_real_machine(folder: Path) -> None:
    assert FilePolicies(folder).read().managed == {}


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
@pytest.mark.parametrize("above", [".", "managed", ".."])
def test_a_folder_on_the_way_that_others_can_write_takes_all_below_it(folder: Path, above: str, mode: int) -> None:
    opened = (folder / above).resolve()
    opened.chmod(mode)
    policies = read(folder)
    assert policies.managed == {}
    assert set(codes(policies)) == {(str(opened), "unsafe_folder")}


def test_a_sticky_folder_far_above_is_as_good_but_not_the_level_itself(folder: Path) -> None:
    folder.parent.chmod(0o1777)  # as /tmp: nobody replaces what is another's
    assert only_the_good(read(folder))
    (folder / "managed").chmod(0o1777)  # but anybody may put a link to a file of root's there
    assert codes(read(folder)) == [(str(folder / "managed"), "unsafe_folder")]


def test_a_link_through_a_folder_that_others_can_write_is_none(folder: Path, tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    put(loose / "real.json", {"ServerURL": "https://evil.example"})
    loose.chmod(0o777)
    linked = folder / "managed" / "10.json"
    linked.symlink_to(loose / "real.json")
    assert codes(read(folder)) == [(str(linked), "unsafe_owner")]
    loose.chmod(0o755)
    assert read(folder).managed["server"].origin == str(linked), "the same link, with nobody in between"
    hop = tmp_path / "hop.json"
    hop.symlink_to("loose/real.json")
    linked.unlink()
    linked.symlink_to("../../../hop.json")
    assert "server" in read(folder).managed, "a link to a link, each in its place"
    loose.chmod(0o775)
    assert "server" not in read(folder).managed


@pytest.mark.skipif(ME != 0, reason="only root gives links away")
def test_a_link_of_a_stranger_is_none_wherever_it_leads(folder: Path) -> None:
    linked = folder / "managed" / "10.json"
    linked.symlink_to("90-good.json")
    os.lchown(linked, 65534, 65534)
    assert codes(read(folder)) == [(str(linked), "unsafe_owner")]


def test_the_folder_itself_may_be_a_link_as_long_as_all_on_the_way_is_safe(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(folder)
    assert only_the_good(read(link))
    folder.chmod(0o777)
    assert read(link).managed == {}


def test_links_in_a_circle_end(folder: Path) -> None:
    one, other = folder / "managed" / "1.json", folder / "managed" / "2.json"
    one.symlink_to(other)
    other.symlink_to(one)
    policies = read(folder)
    assert only_the_good(policies)
    assert codes(policies) == [(str(one), "unreadable"), (str(other), "unreadable")]


def test_a_right_to_write_given_by_an_access_list_shows(folder: Path) -> None:
    file = put(folder / "managed" / "10.json", {"ServerURL": "https://evil.example"})
    undefined = 0xFFFFFFFF
    entries = ((0x01, 6, undefined), (0x02, 6, 65534), (0x04, 4, undefined), (0x10, 6, undefined), (0x20, 4, undefined))  # user:nobody:rw-
    try:
        os.setxattr(file, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))
    except OSError:
        pytest.skip("this file system keeps no access lists")
    assert codes(read(folder)) == [(str(file), "unsafe_owner")]


# ---- what it is ----


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "malformed"), ("{", "malformed"), ("[]", "malformed"), ('"ServerURL"', "malformed"), ("nulL", "malformed"), ("{'Theme': 'light'}", "malformed"),
        ("[" * 100_000, "malformed"), ('{"x": ' * 50_000, "malformed"), ('{"Theme": ' + "9" * 5000 + "}", "malformed"), (b"\xff\xfe{\x00}\x00", "malformed"),
        ('{"x": "' + "x" * FILE_LIMIT + '"}', "too_large"),
    ],
    ids=["empty", "open", "list", "text", "typo", "quotes", "deep", "deeper", "number", "utf-16", "large"],
)  # fmt: skip
def test_a_malformed_file_changes_nothing_and_is_listed(folder: Path, content: str | bytes, code: str) -> None:
    file = put(folder / "managed" / "10.json", content)
    policies = read(folder)
    assert only_the_good(policies)
    assert codes(policies) == [(str(file), code)]


def test_a_name_twice_in_one_file_counts_as_it_stands_last_and_is_told(folder: Path) -> None:
    file = put(
        folder / "managed" / "10.json",
        '{"Language": "vi", "LogLevel": "debug", "Language": "en", "Language": "vi", "Odd": {"a": 1, "a": 2}}',
    )
    policies = read(folder)
    assert policies.managed["language"].value == "vi"
    assert [(p.origin, p.code, p.name) for p in policies.problems] == [
        (str(file), "repeated", "Language"),
        (str(file), "unknown_name", "Odd"),
    ]


def test_later_files_win_over_earlier_ones_and_that_is_told(folder: Path) -> None:
    later = put(folder / "managed" / "95.json", {"Theme": "light"})
    policies = read(folder)
    assert policies.managed["theme"] == ("light", str(later))
    assert [(p.origin, p.code, p.name) for p in policies.problems] == [(str(later), "twice", "Theme")]
    put(folder / "recommended" / "10.json", {"Theme": "system"})
    assert read(folder).recommended["theme"].value == "system", "another level is no repetition"
    assert read(folder).found == [str(folder / "managed" / "90-good.json"), str(later), str(folder / "recommended" / "10.json")]


def test_many_names_that_stand_there_twice_take_no_long_time(folder: Path) -> None:
    names = [f"n{number}" for number in range(20_000)]
    put(folder / "managed" / "10.json", "{" + ", ".join(f'"{name}": 1' for name in (*names, *names)) + "}")
    began = time.process_time()
    assert len(read(folder).problems) == 2 * len(names)
    assert time.process_time() - began < 2


def test_what_is_no_file(folder: Path, tmp_path: Path) -> None:
    managed = folder / "managed"
    (managed / "1.json").mkdir()
    os.mkfifo(managed / "2.json", 0o644)
    (managed / "3.json").symlink_to(tmp_path / "nowhere")
    (managed / "4.json").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(managed / "5.json"))
        (managed / "5.json").chmod(0o644)
        (managed / "notes.txt").write_text("{")
        policies = read(folder)
    assert only_the_good(policies)
    assert codes(policies) == [(str(managed / f"{n}.json"), "unreadable") for n in (1, 2, 3, 4, 5)]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    assert codes(read(folder)) == []
    folder.mkdir(mode=0o755)
    (folder / "managed").write_text("a file")
    assert codes(read(folder)) == [(str(folder / "managed"), "unreadable")]
    (folder / "managed").unlink()
    (folder / "managed").symlink_to(tmp_path / "nowhere")
    assert codes(read(folder)) == [(str(folder / "managed"), "unreadable")]
    assert codes(read(tmp_path / ("x" * 300))) == [
        (str(tmp_path / ("x" * 300) / level), "unreadable") for level in ("managed", "recommended")
    ]


# ---- the text ----

_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
        _JSON.map(lambda value: json.dumps(value).encode()),
    )
)
def test_any_bytes_are_an_object_or_none(content: bytes) -> None:
    try:
        values, repeated = json_object(content)
    except ValueError:
        return
    assert type(values) is dict
    assert set(repeated) <= set(values)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=6))
def test_of_a_name_that_stands_there_twice_the_last_counts(pairs: list[tuple[str, int]]) -> None:
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"
    values, repeated = json_object(text.encode())
    assert values == dict(pairs)
    names = [name for name, _ in pairs]
    assert sorted(repeated) == sorted(name for name in set(names) if names.count(name) > 1)

"""The chain: whatever is changed, taken away, put in or moved is found; what was erased leaves it whole."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from vidconf.server.audit import GENESIS, Broken, Row, Verifier, commitment, row_hash, seal

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
times = st.floats(1.7e9, 1.8e9)
contents = st.dictionaries(st.sampled_from(("participant", "text", "to")), texts, max_size=3).map(lambda d: json.dumps(d, ensure_ascii=False))


@st.composite
def chains(draw: st.DrawFn, least: int = 1) -> list[Row]:
    rows: list[Row] = []
    prev = GENESIS
    for seq, (at, actor, type_, content) in enumerate(draw(st.lists(st.tuples(times, texts, texts, contents), min_size=least, max_size=7)), 1):
        rows.append(seal("m1", seq, at, actor, type_, content, prev))
        prev = rows[-1].hash
    return rows


def verified(rows: list[Row], head: Row, page: int = 100) -> tuple[Verifier, Broken | None]:
    verifier = Verifier("m1")
    for start in range(0, len(rows), page):
        verifier.feed(rows[start : start + page])
    return verifier, verifier.close(head.seq, head.hash)


@given(chains(), st.integers(1, 4))
def test_a_chain_as_it_was_written_is_whole(rows: list[Row], page: int) -> None:
    verifier, broken = verified(rows, rows[-1], page)
    assert broken is None
    assert (verifier.seq, verifier.prev, verifier.erased) == (len(rows), rows[-1].hash, 0)


def changed(row: Row, field: str, data: st.DataObject) -> Row:
    """`row` with another value in `field`."""
    old = getattr(row, field)
    new: st.SearchStrategy[Any]
    match field:
        case "seq":
            new = st.integers(-2, 20)
        case "at":
            new = times
        case "payload":
            new = contents
        case "salt":
            new = st.one_of(st.binary(min_size=16, max_size=16).map(bytes.hex), st.none(), st.just("no hex"), st.just(""))
        case "payload_commitment" | "prev" | "hash":
            new = st.binary(min_size=32, max_size=32).map(bytes.hex)
        case _:
            new = texts
    value = data.draw(new.filter(lambda one: one != old))
    return replace(row, **{field: value})


@given(chains(), st.data())
def test_any_single_change_is_found_where_it_is(rows: list[Row], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows) - 1))
    field = data.draw(st.sampled_from(Row.__slots__))
    tampered = [*rows[:place], changed(rows[place], field, data), *rows[place + 1 :]]
    _, broken = verified(tampered, rows[-1], data.draw(st.integers(1, 4)))
    assert broken is not None
    assert (broken.meeting, broken.seq) == ("m1", place + 1)
    assert broken.why


@given(chains(), st.data())
def test_a_row_written_anew_with_a_hash_that_fits_it_is_found(rows: list[Row], data: st.DataObject) -> None:
    """Who can compute hashes can rewrite one row; those behind it, or the meeting's own row, still know the old one."""
    place = data.draw(st.integers(0, len(rows) - 1))
    old = rows[place]
    forged = seal("m1", old.seq, old.at, old.actor, old.type, data.draw(contents), old.prev)
    _, broken = verified([*rows[:place], forged, *rows[place + 1 :]], rows[-1])
    assert broken is not None
    assert broken.seq in (place + 1, place + 2)


@given(chains(), st.data())
def test_any_deletion_is_found(rows: list[Row], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1))
    _, broken = verified([row for n, row in enumerate(rows) if n not in gone], rows[-1], data.draw(st.integers(1, 4)))
    assert broken is not None
    assert broken.seq == min(gone) + 1
    assert "missing" in broken.why


@given(chains(2), st.data())
def test_any_other_order_is_found(rows: list[Row], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    assume(shuffled != rows)
    _, broken = verified(shuffled, rows[-1])
    assert broken is not None
    # Numbered again to hide it: they still do not follow one another.
    _, broken = verified([replace(row, seq=n) for n, row in enumerate(shuffled, 1)], rows[-1])
    assert broken is not None


@given(chains(), st.data())
def test_anything_put_in_is_found(rows: list[Row], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(rows)))
    prev = rows[place - 1].hash if place else GENESIS
    forged = seal("m1", place + 1, 1.75e9, "p9", "chat_sent", "{}", prev)
    later = [replace(row, seq=row.seq + 1) for row in rows[place:]]
    for tampered in ([*rows[:place], forged, *rows[place:]], [*rows[:place], forged, *later], [*rows[:place], *rows[place - 1 :]] if place else []):
        _, broken = verified(tampered, rows[-1])
        assert broken is not None


@given(chains(), st.data())
def test_erased_contents_leave_the_chain_whole_and_are_counted(rows: list[Row], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1)))
    erased = [replace(row, payload=None, salt=None) if n in gone else row for n, row in enumerate(rows)]
    verifier, broken = verified(erased, rows[-1])
    assert broken is None
    assert verifier.erased == len(gone)


@given(chains(2), st.data())
def test_what_stays_is_still_proven_where_something_was_erased(rows: list[Row], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(rows) - 1))
    place = data.draw(st.integers(0, len(rows) - 1))
    erased = [replace(row, payload=None, salt=None) if n == gone else row for n, row in enumerate(rows)]
    field = data.draw(st.sampled_from(("at", "actor", "type", "payload_commitment", "prev", "hash")))
    erased[place] = changed(erased[place], field, data)
    _, broken = verified(erased, rows[-1])
    assert broken is not None
    assert broken.seq == place + 1


def test_the_same_words_twice_cannot_be_told_from_their_commitments() -> None:
    one, other = (seal("m1", 1, 1.0, "p1", "chat_sent", '{"text":"đồng ý"}', GENESIS) for _ in range(2))
    assert one.payload_commitment != other.payload_commitment
    assert one.salt is not None
    assert len(bytes.fromhex(one.salt)) >= 16
    assert commitment(one.salt, '{"text":"đồng ý"}') == one.payload_commitment


fields = st.tuples(texts, st.integers(0, 1 << 60), times, texts, texts, texts, texts)


@given(fields, fields)
def test_no_two_rows_read_the_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (row_hash(*one) == row_hash(*other)) == (one == other)


def test_fields_do_not_run_into_one_another() -> None:
    assert row_hash("m", 1, 1.0, 'a","b', "c", "d", "e") != row_hash("m", 1, 1.0, "a", 'b","c', "d", "e")
    assert row_hash("m1", 1, 1.0, "a", "b", "c", "d") != row_hash("m", 11, 1.0, "a", "b", "c", "d")

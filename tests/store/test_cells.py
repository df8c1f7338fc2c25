"""How texts and instants are kept in PostgreSQL, and how an address is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("psycopg")

from fleetd.store.postgres.address import Address
from fleetd.store.postgres.cells import decoded, encoded, read, stored
from fleetd.store.rows import HISTORY, Cell, cell_to_text, text_to_cell
from tests.store.test_journal import ENTRY

TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\x1a\ud800\udfff0a"))


@given(TEXTS, TEXTS)
def test_any_text_is_stored_as_one_of_its_own_that_postgres_takes(first: str, second: str) -> None:
    cells = [stored(text_to_cell(text)) for text in (first, second)]
    assert [cell_to_text(read(cell)) for cell in cells] == [first, second]
    assert (cells[0] == cells[1]) == (first == second)
    for cell in cells:
        assert isinstance(cell, str)
        assert "\0" not in cell
        cell.encode()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("idle since noon", "idle since noon"),
        ("a\0b", "a\x1a0000b"),
        ("half of one: \ud83d", "half of one: \x1ad83d"),
        ("\x1a0000", "\x1a001a0000"),
        ("\ue000 is a character", "\ue000 is a character"),
        ("", ""),
    ],
)
def test_a_text_is_kept_as_every_version_reads_it(text: str, kept: str) -> None:
    assert stored(text_to_cell(text)) == kept
    assert cell_to_text(read(kept)) == text


@pytest.mark.parametrize("cell", [None, 0, -7, 1.5])
def test_what_is_no_text_is_kept_as_it_is(cell: Cell) -> None:
    assert stored(cell) == cell
    assert read(cell) == cell


@given(TEXTS)
def test_a_row_comes_back_as_it_went_whatever_it_says(text: str) -> None:
    entry = replace(ENTRY, error=text, name=text)
    assert decoded(HISTORY, encoded(HISTORY, entry)) == entry


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db/fleetd", "postgresql://db/fleetd"),
        ("postgresql://fleetd@db.example:5433/fleetd", "postgresql://db.example:5433/fleetd"),
        ("postgresql://a@b@db/fleetd", "postgresql://db/fleetd"),
        ("postgres://fleetd@db/fleetd?options=-csearch_path%3Dapp", "postgres://db/fleetd"),
        ("postgresql:///fleetd?host=/run/postgresql", "postgresql:///fleetd"),
    ],
)
def test_an_address_shows_where_and_never_who_or_how(url: str, shown: str) -> None:
    address = Address(url, "hunter2")
    assert str(address) == shown
    assert "hunter2" not in repr(address)

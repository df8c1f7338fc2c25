from __future__ import annotations

import dataclasses
import sqlite3
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.model.bounds import FIRST, LAST
from fleetd.model.journal import Intent
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.store import schema
from fleetd.store.rows import (
    BACKOFFS,
    FACTS,
    HISTORY,
    HOLDS,
    INTENTS,
    Table,
    cell_to_text,
    instant_to_cell,
    text_to_cell,
)
from tests.support.build import NOW

TABLES = [INTENTS, HISTORY, FACTS, BACKOFFS, HOLDS]

# Half surrogate pairs, NUL and terminal escapes included: names come from outside.
TEXT = st.text(st.characters(), max_size=40)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5.5)), timezone(timedelta(hours=-12))])
INSTANTS = st.builds(
    lambda microseconds, zone: (NOW + timedelta(microseconds=microseconds)).astimezone(zone),
    st.integers((FIRST - NOW) // timedelta(microseconds=1), (LAST - NOW) // timedelta(microseconds=1)),
    ZONES,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
STRATEGIES: Mapping[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: INTEGERS,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    datetime: INSTANTS,
    Verb: st.sampled_from(Verb),
    Reason: st.sampled_from(Reason),
    Outcome: st.sampled_from(Outcome),
    frozenset[Verb]: st.frozensets(st.sampled_from(Verb)),
    Mapping[str, object]: st.dictionaries(TEXT, JSON, max_size=4).map(MappingProxyType),
}


def strategy_for(hint: Any) -> st.SearchStrategy[Any]:
    if isinstance(hint, types.UnionType):
        return st.one_of(st.none(), *(STRATEGIES[arm] for arm in typing.get_args(hint) if arm is not type(None)))
    return STRATEGIES[hint]


def values_of(table: Table[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(table.cls)
    return st.builds(
        table.cls, **{field.name: strategy_for(hints[field.name]) for field in dataclasses.fields(table.cls)}
    )


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        schema.prepare(db, "memory")
        yield db


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@given(data=st.data())
def test_values_come_back_as_they_went(table, data):
    value = data.draw(values_of(table))
    with database() as db:
        number = db.execute(table.insert, table.encode(value)).lastrowid
        if table in {INTENTS, HOLDS}:
            value = dataclasses.replace(value, id=number)
        assert table.values(db.execute(table.select)) == [value]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_field_has_its_column(table):
    with database() as db:
        columns = {row[1] for row in db.execute(f"PRAGMA table_info({table.name})")}
    assert columns - {"id"} == set(table.columns) - {"id"}


@given(INSTANTS, INSTANTS)
def test_cells_sort_as_instants_do(first, second):
    assert (instant_to_cell(first) < instant_to_cell(second)) == (first < second)


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        instant_to_cell(NOW.replace(tzinfo=None))


@given(TEXT)
def test_text_is_stored_as_text_where_it_is_text(text):
    cell = text_to_cell(text)
    assert cell_to_text(cell) == text
    assert isinstance(cell, bytes) == any("\ud800" <= character <= "\udfff" for character in text)


def test_json_is_written_in_one_way_only():
    intent = Intent(
        id=0,
        fleet="f",
        verb=Verb.CREATE,
        reason=Reason.SHORT_OF_TARGET,
        name="f-1",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        deadline_at=datetime(2026, 3, 1, tzinfo=UTC),
        parameters={"size": 50, "region": "NY2"},
    )
    assert INTENTS.encode_cell("parameters", intent.parameters) == '{"region":"NY2","size":50}'
    with pytest.raises(ValueError, match="JSON"):
        INTENTS.encode(dataclasses.replace(intent, parameters={"size": float("nan")}))

from __future__ import annotations

import dataclasses
import sqlite3
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fleetd.model.bounds import FIRST, LAST
from fleetd.model.journal import Intent
from fleetd.model.reasons import Outcome, Reason, Verb, VetoKind
from fleetd.store import schema
from fleetd.store.rows import (
    BACKOFFS,
    BILLS,
    FACTS,
    HISTORY,
    HOLDS,
    INTENTS,
    LEASES,
    Table,
    as_text,
    cell_to_text,
    instant_to_cell,
    made_by,
    text_to_cell,
)
from tests.support.build import NOW

TABLES = [INTENTS, HISTORY, FACTS, BACKOFFS, BILLS, HOLDS, LEASES]

# Half surrogate pairs, NUL and terminal escapes included: names come from outside.
TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
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
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: INSTANTS,
    Verb: st.sampled_from(Verb),
    Reason: st.sampled_from(Reason),
    Outcome: st.sampled_from(Outcome) | TEXT.map(Outcome),
    VetoKind: st.sampled_from(VetoKind) | TEXT.map(VetoKind),
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
    assert HOLDS.encode_cell("verbs", frozenset({Verb.STOP, Verb.DESTROY})) == '["destroy","stop"]'
    with pytest.raises(ValueError, match="JSON"):
        INTENTS.encode(dataclasses.replace(intent, parameters={"size": float("nan")}))


EVERY_VERB = frozenset(Verb)


def _called(value: object) -> str:
    if isinstance(value, frozenset):  # whose order differs from process to process
        return "+".join(sorted(map(str, value)))
    return value.name if isinstance(value, Table) else repr(value)[:30]


@pytest.mark.parametrize(
    ("table", "column", "cell", "stands_for"),
    [
        # A veto forbids everything, and goes on.
        (HOLDS, "verbs", '["stop","terminate"]', EVERY_VERB | {Verb("terminate")}),
        (HOLDS, "verbs", '["stop"', EVERY_VERB),
        (HOLDS, "verbs", "[7]", EVERY_VERB),
        (HOLDS, "verbs", '{"stop": 1}', EVERY_VERB),
        (HOLDS, "verbs", b"\xff", EVERY_VERB),
        (HOLDS, "expires_at", "soon", LAST),
        (HOLDS, "expires_at", 2**62, LAST),
        # So does a lease.
        (LEASES, "until", "soon", LAST),
        (LEASES, "until", 2**62, LAST),
        (LEASES, "began", "soon", FIRST),
        (LEASES, "machine", b"\xff", repr(b"\xff")),
        # An instant is one of the years that there are, and a word is what it says.
        (HOLDS, "created_at", "soon", FIRST),
        (HOLDS, "created_at", -1, FIRST),
        (HOLDS, "kind", 7, VetoKind("7")),
        (HISTORY, "name", b"\xff", repr(b"\xff")),
        (INTENTS, "verb", "terminate", Verb("terminate")),
        (INTENTS, "verb", 7, Verb("7")),
        # What may be missing is missing.
        (HOLDS, "subject", 7, None),
        (INTENTS, "outcome", 7, None),
        (INTENTS, "closed_at", "soon", None),
        (BILLS, "hourly_rate", "much", None),
        (BILLS, "hourly_rate", 0.5, None),
        (BILLS, "seconds_used", "long", None),
        # What must be there is nothing.
        (BILLS, "storage_seconds_used", "long", 0.0),
        (BACKOFFS, "attempt", "often", 0),
        (FACTS, "destroyed", "perhaps", False),
        (INTENTS, "parameters", "[]", {}),
        (INTENTS, "parameters", '{"a": ' * 20_000, {}),
    ],
    ids=_called,
)
def test_a_cell_that_no_value_can_be_stands_for_what_does_the_least_harm(
    table: Table[Any], column: str, cell: Any, stands_for: object
) -> None:
    table = Table(table.cls, table.name)
    found = table._read(column, cell)
    assert found == stands_for
    assert type(found) is type(stands_for) or isinstance(found, Mapping)


def test_what_cannot_be_read_is_said_once_for_each_column():
    table = Table(HOLDS.cls, "hold")
    with capture_logs() as logs:
        for column in ("verbs", "verbs", "kind", "verbs"):
            table._read(column, 7)
        table._read("subject", "well readable")
    assert logs == [
        {
            "event": "journal.cell_was_unreadable",
            "log_level": "warning",
            "table": "hold",
            "column": column,
            "error": "7 is not of type str",
        }
        for column in ("verbs", "kind")
    ]


@pytest.mark.parametrize(
    ("table", "column", "cell", "words"),
    [
        (BILLS, "hourly_rate", "much", "'much' is no amount"),
        (BILLS, "hourly_rate", 0.5, "0.5 is not of type str"),
        (INTENTS, "closed_at", "soon", "'soon' is not of type int"),
        (INTENTS, "parameters", "[]", "[] is not of type dict"),
        (HOLDS, "verbs", "[7]", "7 is not of type str"),
        (HOLDS, "kind", "k" * 500, None),
        (HOLDS, "verbs", '["terminate"]', None),
        (HOLDS, "expires_at", 2**62, None),
    ],
)
def test_what_is_wrong_with_a_cell_is_said(table: Table[Any], column: str, cell: Any, words: str | None) -> None:
    table = Table(table.cls, table.name)
    with capture_logs() as logs:
        table._read(column, cell)
    assert [(log["table"], log["column"], log["error"]) for log in logs] == [
        (table.name, column, said) for said in [words] if said is not None
    ]


@pytest.mark.parametrize("length", [len(HOLDS.columns) - 1, len(HOLDS.columns) + 1])
def test_a_row_of_other_columns_is_not_read(length):
    with pytest.raises(ValueError, match="zip"):
        HOLDS.decode([0] * length)


@pytest.mark.parametrize(
    ("cell", "text"), [("a", "a"), (text_to_cell("\ud800"), "\ud800"), (b"\xff", repr(b"\xff")), (7, "7")]
)
def test_a_note_is_text_whatever_the_cell_holds(cell, text):
    assert as_text(cell) == text


@pytest.mark.parametrize(
    ("create", "found"),
    [
        pytest.param(("a", "ps1", None), {"ps1"}, id="whose id one has"),
        pytest.param(("a", "ps1", Outcome.REACHED.value), {"ps1"}, id="also when it is done"),
        pytest.param(("b", None, None), {"ps2"}, id="whose name one has that was never answered"),
        pytest.param(("b", "ps9", Outcome.LOST.value), {"ps2"}, id="or answered with an id that never was"),
        pytest.param(("b", "ps1", Outcome.LOST.value), {"ps2"}, id="even if it is another's"),
        pytest.param(("b", "ps9", Outcome.REACHED.value), set(), id="not whose name alone one has"),
        pytest.param((None, None, None), set(), id="nor those of one without anything"),
    ],
)
def test_which_machines_a_create_may_have_made(create, found):
    assert made_by({"ps1": "renamed", "ps2": "b", "ps3": "c"}, [create]) == found

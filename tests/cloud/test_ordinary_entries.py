"""A listing's ordinary entries are read a shorter way, which says the same as the careful one, whatever is odd."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.cloud.core import wire as core_wire
from fleetd.cloud.paperspace import wire as v1_wire
from tests.cloud.test_odd_entries import FIELDS, ODD, SHAPE

WIRE = {"core": core_wire, "v1": v1_wire}
VALUES = [
    *ODD.values(), 24, 24.0, "24", 10**9, 10**9 + 1, 10**30, -(10**31), 1, 1.0, False, "x" * 2000, "x" * 2001, "ny2",
    "2026-01-01T00:00:00", "2026-01-01T02:00:00+02:00", "2026-01-01T24:00:00Z", "2026-01-01", "daily", "hour", "none",
]  # fmt: skip


def refuse(_entry):
    raise msgspec.ValidationError("nothing is ordinary")


def both(dialect, entry, monkeypatch):
    wire = WIRE[dialect]
    read = wire.read_machines([entry])
    with monkeypatch.context() as changed:
        changed.setattr(wire, "_read_ordinary", refuse)
        return read, wire.read_machines([entry])


@pytest.mark.parametrize(("dialect", "field"), FIELDS)
def test_both_ways_read_the_same_of_every_value_in_every_field(dialect, field, monkeypatch):
    for value in VALUES:
        short, careful = both(dialect, {**SHAPE[dialect], field: value}, monkeypatch)
        assert repr(short) == repr(careful), (field, value)


@pytest.mark.parametrize("dialect", WIRE)
@given(st.data())
def test_both_ways_read_the_same_of_several_odd_values_at_once(dialect, data):
    fields = data.draw(st.lists(st.sampled_from(sorted(SHAPE[dialect])), max_size=4))
    entry = {**SHAPE[dialect], **{field: data.draw(st.sampled_from(VALUES)) for field in fields}}
    for field in data.draw(st.lists(st.sampled_from(sorted(SHAPE[dialect])), max_size=3)):
        entry.pop(field, None)
    with pytest.MonkeyPatch.context() as monkeypatch:
        short, careful = both(dialect, entry, monkeypatch)
    assert repr(short) == repr(careful)


@pytest.mark.parametrize("dialect", WIRE)
@pytest.mark.parametrize("entry", [None, "ps1", [], {}, 7])
def test_what_is_no_machine_is_left_out_either_way(dialect, entry, monkeypatch):
    assert both(dialect, entry, monkeypatch) == ((), ())


@pytest.mark.parametrize("dialect", WIRE)
def test_the_vendors_own_example_is_ordinary(dialect):
    machine = WIRE[dialect]._read_ordinary(SHAPE[dialect])
    assert (machine.id, machine.unreadable) == (SHAPE[dialect]["id"], None)
    assert isinstance(machine.created_at, datetime)

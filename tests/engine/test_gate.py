"""The gate by itself: which writes are on their way, what ends them, and what is asked right before one leaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from fleetd.engine.basis import Basis
from fleetd.engine.gate import FRESH, Gate, Objection, Ticket
from fleetd.model.errors import Withheld
from fleetd.model.journal import Hold
from fleetd.model.plan import Observation
from fleetd.model.reasons import Reason, Verb
from tests.support.build import NOW, fleet, later, token_name
from tests.support.virtual_time import virtual

TRAINING = fleet()
HOLD = Hold(1, "ps1", "hold", "moving data", "ada", NOW, later(hours=1))
FREEZE = replace(HOLD, subject=None, kind="freeze", reason="incident")


def gate_of(*vetoes: Hold, in_force: Any = TRAINING, leased: str | None = None) -> Gate:
    def against(verb: Verb, **who: Any) -> Hold | None:
        return next((h for h in vetoes if h.forbids(verb, now=NOW, **who)), None)

    known: Any = SimpleNamespace(against=against)
    clock: Any = SimpleNamespace(now=lambda: NOW)
    holders = {"ps1": leased}
    return Gate(known, clock, in_force=lambda name: in_force if name == "training" else None, leased=holders.get)


def ticket_of(gate: Gate, verb: Verb = Verb.STOP, n: int | None = 1, **fields: Any) -> Any:
    machine = None if n is None else f"ps{n}"
    return gate.ticket(verb, fields.pop("fleet", TRAINING), machine, token_name(n or 99), **fields)


async def test_a_write_is_on_its_way_as_long_as_its_block_lasts_however_that_ends() -> None:
    gate = gate_of()
    began = gate.moved
    with ticket_of(gate) as first:
        with ticket_of(gate, n=2) as second:
            assert gate.tickets == [first, second]
            assert not began.is_set()
        assert gate.tickets == [first]
        assert began.is_set(), "who waits for writes hears of each that is over"
        assert not gate.moved.is_set(), "and of the next one anew"
    assert gate.tickets == []
    began = gate.moved
    with pytest.raises(ZeroDivisionError), ticket_of(gate):
        raise ZeroDivisionError
    assert gate.tickets == []
    assert began.is_set()


@pytest.mark.parametrize("late", [False, True])
async def test_shutdown_ends_what_has_no_intent_yet(late: bool) -> None:
    gate = gate_of()
    if late:
        gate.close()
    with ticket_of(gate) as one:
        with one.scope:
            if not late:
                gate.close()
            await anyio.lowlevel.checkpoint()
            raise AssertionError("it went on")
        assert one.objection == Objection(Reason.SHUTTING_DOWN, "no new actions")
        assert one.commit() is False
        assert gate.objection(one) == Objection(Reason.SHUTTING_DOWN, "no new actions")


async def test_what_has_its_intent_goes_on_and_the_first_word_against_it_counts() -> None:
    gate = gate_of()
    with ticket_of(gate) as one:
        assert one.commit() is True
        gate.close()
        assert (one.objection, one.scope.cancel_called) == (None, False)
    held = Objection(Reason.HELD, "ada: moving data")
    with ticket_of(gate_of()) as other:
        other.end(held)
        other.end(Objection(Reason.SHUTTING_DOWN))
        assert other.objection is held


P = pytest.param


HELD = Objection(Reason.HELD, "ada: moving data", HOLD.expires_at)
FROZEN = Objection(Reason.FROZEN, "ada: incident", HOLD.expires_at)
BUSY = Objection(Reason.BUSY, "leased: job 7")
OLD = Objection(Reason.CONFIG_CHANGED, "the plan was made by the old config")
LEASED = {"leased": "job 7"}


@pytest.mark.parametrize(
    ("gate", "ticket", "objection"),
    [
        P({}, {}, None, id="nothing"),
        P({"vetoes": [HOLD]}, {}, HELD, id="a hold on it"),
        P({"vetoes": [HOLD]}, {"n": 2}, None, id="a hold on another"),
        P({"vetoes": [FREEZE]}, {"verb": Verb.CREATE, "n": None}, FROZEN, id="a freeze"),
        P(LEASED, {}, BUSY, id="a lease"),
        P(LEASED, {"verb": Verb.DESTROY}, BUSY, id="a lease, of a destroy"),
        P(LEASED, {"verb": Verb.RESTART}, BUSY, id="a lease, of a restart"),
        P(LEASED, {"verb": Verb.START}, None, id="a start takes it from nobody"),
        P(LEASED, {"n": 2}, None, id="a lease of another"),
        P(LEASED, {"anyhow": True}, None, id="an operator wants it anyhow"),
        P({"vetoes": [HOLD], **LEASED}, {"anyhow": True}, HELD, id="but not against a hold"),
        P({"in_force": fleet(target=1)}, {}, OLD, id="another config"),
        P({"in_force": None}, {}, OLD, id="its fleet left the config"),
    ],
)
async def test_what_forbids_a_write(
    gate: dict[str, Any], ticket: dict[str, Any], objection: Objection | None
) -> None:
    others = {key: value for key, value in gate.items() if key != "vetoes"}
    there = gate_of(*gate.get("vetoes", ()), **others)
    with ticket_of(there, **ticket) as one:
        assert there.objection(one) == objection
        if objection is None:
            there.leave(one)
        else:
            with pytest.raises(Withheld, match=f"^{objection.reason}: {objection.detail}$"):
                there.leave(one)
        assert (one.objection, one.left) == (objection, objection is None)


@pytest.mark.parametrize(("age", "forbidden"), [(60, False), (61, True)])
@virtual
async def test_a_create_rests_on_an_observation_that_is_not_too_old(age: int, forbidden: bool) -> None:
    seen = Observation(NOW - timedelta(seconds=age), ())
    basis = Basis(seen, anyio.current_time(), timedelta(seconds=60))
    gate = gate_of()
    with ticket_of(gate, Verb.CREATE, None, basis=basis) as one:
        found = gate.objection(one)
        assert (found is not None) is forbidden
        if found is not None:
            doubt = basis.doubt(NOW)
            assert doubt is not None
            assert (found.reason, found.detail, found.until) == (doubt.reason, doubt.detail, None)


@pytest.mark.parametrize(("age", "stale"), [(None, False), (FRESH - 0.25, False), (FRESH, True), (FRESH + 9, True)])
@virtual
async def test_a_look_is_good_for_two_seconds(age: float | None, stale: bool) -> None:
    gate = gate_of(HOLD)
    await anyio.sleep(1000)
    with ticket_of(gate, n=2) as one:
        one.seen_at = None if age is None else anyio.current_time()
        await anyio.sleep(age or 0)
        assert one.is_stale() is stale
        if not stale:
            gate.leave(one)
            return
        with pytest.raises(Withheld, match="more than 2 s old"):
            gate.leave(one)
        assert one.objection is not None
        assert (one.objection.reason, one.left) == (Reason.FRESH_LOOK_DIFFERS, False)


@pytest.mark.parametrize(
    ("verb", "left", "machine", "takes"),
    [
        P(Verb.STOP, True, "ps1", Verb.STOP, id="a stop"),
        P(Verb.DESTROY, True, "ps1", Verb.DESTROY, id="a destroy"),
        P(Verb.RESTART, True, "ps1", Verb.RESTART, id="a restart"),
        P(Verb.STOP, False, "ps1", None, id="it has not left yet"),
        P(Verb.START, True, "ps1", None, id="a start takes nothing"),
        P(Verb.STOP, True, "ps2", None, id="another machine's"),
    ],
)
async def test_what_has_left_and_may_take_a_machine_from_who_uses_it(
    verb: Verb, left: bool, machine: str, takes: Verb | None
) -> None:
    gate = gate_of()
    with ticket_of(gate, verb) as one:
        if left:
            gate.leave(one)
        assert gate.departed(machine) == takes
    assert gate.departed("ps1") is None, "its answer is there"


async def test_a_ticket_begins_with_nothing_done() -> None:
    one = Ticket(Verb.STOP, TRAINING, "ps1", "a")
    said = (one.anyhow, one.looking, one.committed, one.asked, one.left, one.is_stale())
    assert said == (False,) * 6

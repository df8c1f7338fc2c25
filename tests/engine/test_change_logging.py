"""The lines about looks and passes: each thing is said when it changes, with all that it says."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.change_logging import NAMED, ChangeLogger
from fleetd.model.journal import Memory
from fleetd.model.machine import Machine
from fleetd.model.plan import Action, Observation, OverCap, Plan, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import NOW, fleet, later, machine, seen, token_name

P = pytest.param
NOTHING = plan((), Observation(NOW, ()), Memory(), NOW)
TWO = (machine(1), machine(2))
REJECTED, PARTIAL = seen(*TWO, rejected="it shrank"), seen(*TWO, complete=False, problem="page 2: 503")
WHOLE = seen(*TWO)


def lines(*steps: Any) -> list[list[dict[str, Any]]]:
    """What each step says; a step is a method of the logger with its arguments."""
    logger, said = ChangeLogger(), []
    for name, *args in steps:
        with capture_logs() as logs:
            getattr(logger, name)(*args)
        said.append([dict(line) for line in logs])
    return said


def one(event: str, level: str = "warning", **keys: Any) -> dict[str, Any]:
    return {"event": event, "log_level": level} | keys


IS_REJECTED = one("observation.rejected", reason="it shrank", machines=2)
IS_PARTIAL = one("observation.was_partial", reason="page 2: 503", machines=2)


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        P([WHOLE, WHOLE], [[], []], id="good"),
        P([REJECTED, REJECTED], [[IS_REJECTED], []], id="rejected, said once"),
        P([REJECTED, WHOLE, REJECTED], [[IS_REJECTED], [], [IS_REJECTED]], id="and again"),
        P(
            [REJECTED, seen(*TWO, rejected="it is empty")],
            [[IS_REJECTED], [IS_REJECTED | {"reason": "it is empty"}]],
            id="another reason",
        ),
        P([PARTIAL, PARTIAL], [[IS_PARTIAL], []], id="not whole, said once"),
        P([PARTIAL, WHOLE, PARTIAL], [[IS_PARTIAL], [], [IS_PARTIAL]], id="not whole again"),
        P([PARTIAL, REJECTED, PARTIAL], [[IS_PARTIAL], [IS_REJECTED], [IS_PARTIAL]], id="one after the other"),
        P([seen(complete=False)], [[IS_PARTIAL | {"reason": None, "machines": 0}]], id="nobody knows why"),
        P([seen(*TWO, complete=False, rejected="it shrank")], [[IS_REJECTED]], id="both: that it is rejected"),
    ],
)
def test_a_look_that_cannot_be_used_is_said_once_for_each_reason(looks: list[Any], said: list[Any]) -> None:
    assert lines(*[("observed", look) for look in looks]) == said


def odd(*numbers: int) -> list[Machine]:
    return [machine(n, unreadable=f"no state {n}") for n in numbers]


def is_odd(n: int) -> dict[str, Any]:
    return one("machine.was_unreadable", machine=f"ps{n}", name=token_name(n), reason=f"no state {n}")


def listing(without_id: int, unreadable: int) -> dict[str, Any]:
    return one("listing.was_odd", without_id=without_id, unreadable=unreadable)


PART = {"complete": False, "problem": "page 2: 503"}
MANY = range(1, NAMED + 1)


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        P([seen(*TWO, *odd(3, 4))] * 2, [[is_odd(3), is_odd(4)], []], id="once"),
        P([seen(*odd(3)), seen(*odd(3, 4))], [[is_odd(3)], [is_odd(4)]], id="what comes to it"),
        P([seen(*odd(3)), seen(*TWO), seen(*odd(3))], [[is_odd(3)], [], [is_odd(3)]], id="again when it was read"),
        P(
            [seen(*odd(3)), seen(*TWO, **PART), seen(*odd(3))],
            [[is_odd(3)], [IS_PARTIAL], []],
            id="a part of a listing forgets nothing",
        ),
        P([seen(*odd(3), **PART)] * 2, [[is_odd(3), IS_PARTIAL | {"machines": 1}], [is_odd(3)]], id="nor remembers"),
        P([seen(*odd(*MANY))], [[is_odd(n) for n in MANY]], id="as many as are named"),
        P(
            [seen(*odd(*MANY, NAMED + 1))] * 2,
            [[*[is_odd(n) for n in MANY], listing(0, NAMED + 1)], []],
            id="one more: their number",
        ),
        P([seen(unidentified=2)] * 2, [[listing(2, 0)], []], id="without an id"),
        P(
            [seen(unidentified=n) for n in (1, 3, 2, 3)],
            [[listing(1, 0)], [listing(3, 0)], [], [listing(3, 0)]],
            id="more of them",
        ),
        P(
            [seen(replace(odd(3)[0], name=""), unidentified=1)],
            [[is_odd(3) | {"name": None}, listing(1, 1)]],
            id="one without a name",
        ),
    ],
)
def test_what_cannot_be_read_of_a_listing(looks: list[Any], said: list[Any]) -> None:
    assert lines(*[("observed", look) for look in looks]) == said


def twin(n: int) -> dict[str, Any]:
    return one("machine.was_lookalike", fleet="training", machine=f"ps{n}", name=token_name(n), state="ready")


def left(*names: str, fleet: str = "old", up: int | None = None, count: int | None = None) -> dict[str, Any]:
    keys = {"count": len(names) if count is None else count, "up": len(names) if up is None else up}
    return one("fleet.was_orphaned", fleet=fleet, names=", ".join(sorted(names)), **keys)


OLD = [machine(n, fleet="old") for n in range(1, NAMED + 2)]
OFF = machine(5, "off", fleet="old")
STRANGER = machine(9, name="somebody's")


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        P([(TWO, {"ps1", "ps2"}), ([STRANGER], ())], [[], []], id="ours, and a stranger"),
        P([(TWO, {"ps1"}), (TWO, {"ps1"})], [[twin(2)], []], id="a look-alike, once"),
        P([(TWO, {"ps1"}), (TWO, ())], [[twin(2)], [twin(1)]], id="another"),
        P([(TWO[::-1], ()), ((), ()), (TWO, ())], [[twin(1), twin(2)], [], [twin(1), twin(2)]], id="again"),
        P([(OLD[:2], ()), (OLD[:3], ())], [[left(OLD[1].name, OLD[0].name)], []], id="a fleet that left, once"),
        P([(OLD[:1], ()), ((), ()), (OLD[:1], ())], [[left(OLD[0].name)], [], [left(OLD[0].name)]], id="back"),
        P([([OFF, OLD[0]], ())], [[left(OFF.name, OLD[0].name, up=1)]], id="one of them is off"),
        P([(OLD[:2], {"ps1"})], [[left(OLD[1].name)]], id="one of them is owned"),
        P([(OLD, ())], [[left(*sorted(m.name for m in OLD)[:NAMED], up=NAMED + 1, count=NAMED + 1)]], id="many"),
        P(
            [([machine(7, fleet="older"), OLD[0], TWO[1]], ())],
            [[twin(2), left(OLD[0].name), left(token_name(7, "older"), fleet="older")]],
            id="all of it, in order",
        ),
    ],
)
def test_machines_that_no_fleet_owns(looks: list[Any], said: list[Any]) -> None:
    assert lines(*[("owned", machines, owned, ["training"]) for machines, owned in looks]) == said


def of(up: int, **fields: Any) -> Plan:
    """The plan of a fleet of 2 of which so many are up."""
    machines = tuple(Machine(f"ps{n}", token_name(n), "ready") for n in range(1, up + 1))
    return replace(plan((fleet(target=2),), Observation(NOW, machines), Memory(), NOW), actions=(), **fields)


AT_TARGET = one("fleet.converged", "info", fleet="training", target=2, up=2, window=None, hourly=None)
LEFT = one("fleet.left_target", "info", fleet="training", target=2, up=1, window=None)


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        P([(of(2), ()), (of(2), ())], [[AT_TARGET], []], id="once"),
        P([(of(1), ()), (of(2), ())], [[], [AT_TARGET]], id="when it comes to it"),
        P([(of(2), ()), (of(1), ()), (of(1), ()), (of(2), ())], [[AT_TARGET], [LEFT], [], [AT_TARGET]], id="left"),
        P([(of(2), {"training"}), (of(2), ())], [[], [AT_TARGET]], id="something is under way"),
        P([(of(2), ()), (of(2), {"training"}), (of(2), ())], [[AT_TARGET], [], [AT_TARGET]], id="an update of it"),
        P([(of(2), {"other"})], [[AT_TARGET]], id="of another fleet"),
        P([(of(2, complete=False), ()), (of(2), ())], [[], [AT_TARGET]], id="a look that is not whole says nothing"),
        P([(of(2), ()), (of(1, complete=False), ()), (of(1), ())], [[AT_TARGET], [], [LEFT]], id="nor takes back"),
    ],
)
def test_a_fleet_that_is_at_its_target(passes: list[Any], said: list[Any]) -> None:
    told = lines(*[("passed", 1, 0.1, of_pass, (), busy) for of_pass, busy in passes])
    assert [[line for line in each if line["event"] != "pass.finished"] for each in told] == said


def test_what_a_fleet_at_its_target_costs_and_by_which_window() -> None:
    view = replace(of(2).fleets["training"], window="nights", hourly=Decimal("1.02"))
    off = replace(view, up=1)
    ((_, line), (_, gone)) = lines(
        *[("passed", 1, 0.1, replace(NOTHING, fleets={"training": v}), (), ()) for v in (view, off)]
    )
    assert line == AT_TARGET | {"window": "nights", "hourly": "1.02"}
    assert gone == LEFT | {"window": "nights"}


SKIP = Skip("training", Verb.START, Reason.CAPACITY_BACKOFF, "ps1", token_name(1))
BLOCKED = one(
    "fleet.was_blocked", fleet="training", machine="ps1", name=token_name(1), names=None, action="start",
    reason="capacity_backoff", until=None, count=1, detail=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("skips", "said"),
    [
        P([], [], id="nothing"),
        P([SKIP], [BLOCKED], id="a start"),
        P(
            [replace(SKIP, verb=None, until=later(hours=1), detail="sold out", count=3)],
            [BLOCKED | {"action": None, "until": later(hours=1).isoformat(), "detail": "sold out", "count": 3}],
            id="all of its keys",
        ),
        P(
            [replace(SKIP, name=""), replace(SKIP, machine=None, name="")],
            [BLOCKED | {"machine": None, "name": None, "names": "?, ps1", "count": 2}],
            id="without names",
        ),
        P(
            [replace(SKIP, machine="ps2", name="b"), SKIP],
            [BLOCKED | {"machine": None, "name": None, "names": f"b, {token_name(1)}", "count": 2}],
            id="two by their names",
        ),
        P([replace(SKIP, reason=Reason.HELD)], [BLOCKED | {"reason": "held", "log_level": "info"}], id="held"),
        P([replace(SKIP, reason=Reason.IN_TRANSITION)], [], id="passing"),
    ],
)
def test_what_is_blocked(skips: list[Skip], said: list[Any]) -> None:
    ((line, *rest),) = lines(("passed", 1, 0.1, NOTHING, iter(skips), ()))
    assert line["skips"] == len(skips)
    assert rest == said


def test_what_is_blocked_is_said_once_and_again_when_it_was_not() -> None:
    other = replace(SKIP, machine="ps2", name=token_name(2))
    passes = [[SKIP], [SKIP], [SKIP, other], [other], [], [SKIP, other]]
    told = lines(*[("passed", 1, 0.1, NOTHING, skips, ()) for skips in passes])
    assert [[line["count"] for line in rest] for _, *rest in told] == [[1], [], [1], [], [], [2]]


@pytest.mark.parametrize("acts", [False, True])
def test_a_pass_is_told_with_what_it_did(acts: bool) -> None:
    did = replace(NOTHING, actions=(Action(Verb.STOP, "training", Reason.OVER_TARGET, "ps1"),) * 2 * acts)
    over = OverCap("training", Decimal(3), Decimal(2))
    ((line, blocked, cap),) = lines(("passed", 7, 0.12345, replace(did, over_caps=(over,)), [SKIP], ()))
    keys = {"pass_id": 7, "duration_s": 0.123, "actions": 2 * acts, "skips": 1}
    assert line == one("pass.finished", "info" if acts else "debug", **keys)
    assert (blocked["event"], cap["event"]) == ("fleet.was_blocked", "cost.exceeded_cap")

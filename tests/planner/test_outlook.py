"""Where a plan ends: what its guards leave to the passes after it, and what is paid by the hour then."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from fleetd.model.fleet import Costs, Guards, Limit, ScaleIn
from fleetd.model.machine import Machine
from fleetd.model.plan import Later, Plan
from fleetd.model.reasons import Verb
from fleetd.planner.plan import plan
from tests.support.build import NOW, fleet, intent, machine, machines, memory, remembered, seen

P = pytest.param
RATE = Decimal("0.51")
STOP, DESTROY, CREATE = Verb.STOP, Verb.DESTROY, Verb.CREATE
ONE_STOP, TWO_CREATES = Guards(max_stops_per_pass=Limit(count=1)), Guards(max_creates_per_pass=2)


def decide(want: Any, listed: tuple[Machine, ...], *, prices: Any = None, cap: str = "0", **recalled: Any) -> Plan:
    observation = seen(*listed, complete=recalled.pop("complete", True))
    costs = Costs({"P4000": RATE} if prices is None else prices, max_hourly_cost=Decimal(cap))
    return plan([want], observation, remembered(observation, memory(**recalled)), NOW, costs=costs)


@pytest.mark.parametrize(
    ("want", "listed", "fields", "later"),
    [
        P({"target": 0}, "ready ready ready ready", {}, Later({STOP: 3}, Decimal(0)), id="stops"),
        P({"target": 1}, "ready ready ready off", {}, Later({STOP: 1}, RATE), id="stops, to a target"),
        P({"target": 3}, "ready ready ready off", {}, None, id="nothing is left"),
        P({"target": 2}, "ready ready ready", {}, None, id="one pass does it all"),
        P(
            {"target": 0}, "ready ready stopping", {"intents": (intent(STOP, 3),)}, Later({STOP: 2}, Decimal(0)),
            id="those under way use up the guard, and are not paid for in the end",
        ),
        P(
            {"target": 5, "guards": TWO_CREATES}, "", {}, Later({CREATE: 3}, 5 * RATE), id="creates"
        ),
        P(
            {"target": 5, "guards": TWO_CREATES}, "", {"cap": "1.60"}, Later({CREATE: 1}, 3 * RATE),
            id="as far as the cap lets them",
        ),
        P(
            {"target": 5, "guards": TWO_CREATES}, "", {"cap": "1.02"}, None,
            id="none that it does not",
        ),
        P(
            {"target": 0, "scale_in": ScaleIn.DESTROY, "allow_destroy": True}, "off off off", {},
            Later({DESTROY: 2}, Decimal(0)), id="destroys",
        ),
        P({"target": 0}, "ready ready ready", {"prices": {}}, Later({STOP: 2}, None), id="without a price"),
        P({"target": 0}, "ready ready ready", {"complete": False}, None, id="in doubt nothing follows"),
    ],
)  # fmt: skip
def test_what_the_guards_put_off_is_counted(want, listed, fields, later) -> None:
    assert decide(fleet(**{"guards": ONE_STOP, **want}), machines(listed), **fields).later == later


def carried_out(decided: Plan, there: tuple[Machine, ...]) -> tuple[Machine, ...]:
    """The account after a pass all of whose calls have had their effect."""
    gone = {a.machine for a in decided.actions if a.verb is DESTROY}
    states = {a.machine: "off" if a.verb is STOP else "ready" for a in decided.actions}
    left = tuple(replace(m, state=states.get(m.id, m.state)) for m in there if m.id not in gone)
    first = 1 + max((int(m.id[2:]) for m in there), default=0)
    return left + tuple(machine(first + n, "ready") for n in range(sum(a.verb is CREATE for a in decided.actions)))


@pytest.mark.parametrize("seed", range(200))
def test_the_passes_after_do_just_that(seed: int) -> None:
    rng = random.Random(seed)
    guards = Guards(
        max_creates_per_pass=rng.randint(1, 3),
        max_stops_per_pass=Limit(count=rng.randint(1, 3)),
        max_destroys_per_pass=rng.randint(1, 2),
    )
    destroys: dict[str, Any] = {"scale_in": ScaleIn.DESTROY, "allow_destroy": True, "standby": rng.randint(0, 2)}
    target = rng.randint(0, 9)
    there = machines(" ".join(rng.choice(("ready", "off")) for _ in range(rng.randint(0, 9))))
    # A fleet that is short of its target decides on those beyond its standby when it is no more.
    short = sum(m.state == "ready" for m in there) < target
    want = fleet(target=target, guards=guards, **(destroys if rng.random() < 0.5 and not short else {}))
    cap = rng.choice(("0", "2.50"))
    first = decide(want, there, cap=cap)
    there = carried_out(first, there)
    done: dict[Verb, int] = {}
    while (decided := decide(want, there, cap=cap)).actions:
        there = carried_out(decided, there)
        for action in decided.actions:
            done[action.verb] = done.get(action.verb, 0) + 1
    hourly = RATE * sum(m.state == "ready" for m in there)
    assert first.later == (Later(done, hourly) if done else None)

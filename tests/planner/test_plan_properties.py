"""What holds of every plan, whatever the fleet, its machines and what is remembered of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetd.model.fleet import Costs, Fleet, Guards, IdleRule, Limit, ScaleIn, ShutdownTimeout, Window
from fleetd.model.journal import Intent, Memory, Request
from fleetd.model.machine import Machine, MachineEvent, Phase
from fleetd.model.plan import Check, Plan
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import NOW, ago, facts, fleet, hold, idle, intent, later, machine, memory, seen

PRICE = Decimal("0.50")
DEAR = Decimal("1.25")
STATES = ("ready", "serviceready", "provisioning", "starting", "upgrading", "stopping", "stopping", "off", "off", "?")
LIFECYCLE = frozenset(Verb) - {Verb.UPDATE}
"""An update is over with its answer, and changes no state: it may go beside another call."""
RAISED = frozenset({Verb.CREATE, Verb.START, Verb.RESTART})
SPANS = ({}, {"accepted_at": ago(seconds=5)}, {"ambiguous_since": ago(seconds=5)})


@dataclass(frozen=True)
class Box:
    """One machine of the fleet, and what is known of it."""

    state: str
    rate: Decimal | None
    failure: Outcome | None
    moving: Verb | None
    span: int
    orders: tuple[Verb, ...]
    verdict: str
    held: bool
    stopped_by: str | None
    old: bool


orders = st.sampled_from([()] * 6 + [(Verb.START,), (Verb.START,) * 2, (Verb.STOP,), (Verb.STOP, Verb.RESTART)])
anything = st.builds(
    Box,
    state=st.sampled_from(STATES),
    rate=st.sampled_from([None, None, DEAR]),
    failure=st.sampled_from([None, Outcome.TIMED_OUT, Outcome.FAILED_TO_START]),
    moving=st.sampled_from([None] * 6 + [Verb.START, Verb.STOP, Verb.RESTART, Verb.DESTROY]),
    span=st.sampled_from(range(len(SPANS))),
    orders=orders,
    verdict=st.sampled_from(["idle", "idle", "active", "unknown"]),
    held=st.sampled_from([False] * 5 + [True]),
    stopped_by=st.sampled_from([None] * 4 + ["operator"]),
    old=st.booleans(),
)
PLAIN = Box("ready", None, None, None, 1, (), "active", held=False, stopped_by=None, old=False)
LATE = replace(PLAIN, failure=Outcome.TIMED_OUT)
telling = st.sampled_from(
    [
        PLAIN,
        replace(PLAIN, state="off"),
        replace(PLAIN, state="off", orders=(Verb.START,)),
        replace(PLAIN, state="off", moving=Verb.START),
        replace(LATE, state="starting"),
        replace(LATE, state="stopping"),
    ]
)
"""Where machines differ in one thing each, rules meet: anything at all is too rarely about the same machine."""
boxes = st.lists(telling, max_size=6) | st.lists(anything, max_size=6)
rules = st.builds(
    fleet,
    target=st.integers(0, 4),
    scale_in=st.sampled_from([ScaleIn.STOP, ScaleIn.DESTROY, ScaleIn.DESTROY]),
    allow_destroy=st.sampled_from([False, True, True]),
    standby=st.sampled_from([0, 0, 1, 2]),
    idle=st.sampled_from([None, IdleRule(("gpu",))]),
    shutdown_timeout=st.sampled_from([None, ShutdownTimeout(24, enforce=True)]),
    windows=st.sampled_from([()] * 4 + [(Window("night", 0, 1440, "UTC", park_idle=True),)]),
    guards=st.builds(
        Guards,
        max_surge=st.sampled_from([0, 1, 1, 2]),
        max_hourly_cost=st.sampled_from([Decimal(0), Decimal(0), Decimal("1.10"), Decimal("2.40")]),
        max_stops_per_pass=st.just(Limit(percent=100)),
        max_destroys_per_pass=st.just(9),
    ),
)


def looks(found: list[Box]) -> list[Machine]:
    events = (MachineEvent("start", "done", finished_at=ago(hours=30)),)
    return [
        machine(n, box.state, hourly_rate=box.rate, events=events if box.old else None)
        for n, box in enumerate(found, 1)
    ]


def recalls(found: list[Box], creates: int) -> Memory:
    numbered = list(enumerate(found, 1))
    return memory(
        intents=(
            *(intent(b.moving, n, id=n, **SPANS[b.span]) for n, b in numbered if b.moving is not None),
            *(intent(Verb.CREATE, id=90 + n) for n in range(creates)),
        ),
        facts=[
            facts(n, failure=b.failure, up_since=ago(days=1), stopped_by=b.stopped_by, stopped_at=ago(minutes=5))
            for n, b in numbered
        ],
        requests=tuple(Request(verb, f"ps{n}", "ada", "x") for n, b in numbered for verb in b.orders),
        idle={f"ps{n}": idle(b.verdict) for n, b in numbered},
        holds=tuple(hold(f"ps{n}", expires_at=later(hours=n)) for n, b in numbered if b.held),
    )


@settings(max_examples=1000, deadline=timedelta(seconds=20))
@given(rules, boxes, st.sampled_from([0, 0, 0, 1, 2]), st.sampled_from([Decimal(0), Decimal("1.60")]))
def test_no_plan_acts_twice_on_a_machine_or_goes_beyond_the_target_or_a_cap(want, found, creates, overall) -> None:
    """The oracle counts for itself, from the listing and the open intents."""
    listed, recalled = looks(found), recalls(found, creates)
    due = {m.id: frozenset(Check) for m in listed}
    costs = Costs({"P4000": PRICE}, max_hourly_cost=overall)
    decided = plan([want], seen(*listed), recalled, NOW, costs=costs, due=due)
    touched = [a.machine for a in decided.actions if a.machine is not None and a.verb in LIFECYCLE]
    assert len(touched) == len(set(touched))
    moving = {i.machine_id: i for i in recalled.intents if i.machine_id is not None}
    assert_within_target(decided, want, listed, recalled, moving, creates)
    assert_within_caps(decided, [want.guards.max_hourly_cost, overall], listed, moving, creates)


def assert_within_target(
    decided: Plan, want: Fleet, listed: list[Machine], recalled: Memory, moving: dict[str, Intent], creates: int
) -> None:
    more = [a for a in decided.actions if a.verb in {Verb.START, Verb.CREATE}]
    if not more:
        return
    overdue = [m for m in listed if recalled.facts[m.id].failure is Outcome.TIMED_OUT and m.id not in moving]
    stuck = sum(m.phase is Phase.FALLING for m in overdue)
    late = stuck + sum(m.phase is Phase.RISING for m in overdue)
    have = sum(counts(m, moving.get(m.id)) for m in listed) + creates + len(more)
    if all(a.reason is Reason.OPERATOR_REQUEST for a in more):
        assert have <= want.target
    else:
        assert have + stuck <= want.target + min(want.guards.max_surge, late)


def assert_within_caps(
    decided: Plan, caps: list[Decimal], listed: list[Machine], moving: dict[str, Intent], creates: int
) -> None:
    more = [a for a in decided.actions if a.verb in {Verb.START, Verb.CREATE}]
    cap = min((c for c in caps if c), default=None)
    if not more or cap is None:
        return
    on = [m for m in listed if m.phase is not Phase.DOWN or (m.id in moving and moving[m.id].verb in RAISED)]
    rates = {m.id: m.hourly_rate or PRICE for m in listed}
    bill = sum(rates[m.id] for m in on) + creates * PRICE + sum(rates.get(a.machine or "", PRICE) for a in more)
    assert bill <= cap


def counts(box: Machine, step: Intent | None) -> bool:
    """Whether it is up, comes up, or may be up for all that anybody knows."""
    if step is not None and step.verb is Verb.DESTROY and step.accepted_at is not None:
        return False  # it is leaving, whatever state the provider shows meanwhile (design 7)
    if box.phase is Phase.UNKNOWN:
        return True
    if step is not None:
        return step.verb in RAISED
    return box.phase in {Phase.UP, Phase.RISING}

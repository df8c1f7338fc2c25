"""For whom a check is due, who is looked at in which turn, what stays due, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.checks import _PASSES_SOON, LOOKING, LOOKS_AT_ONCE, Checks, policy_words
from fleetd.model.errors import Unavailable
from fleetd.model.fleet import AutoSnapshot, Fleet, IdleRule, ShutdownTimeout
from fleetd.model.journal import IdleReport
from fleetd.model.machine import Machine, SnapshotPolicy
from fleetd.model.plan import Action, Check, Skip
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.ownership import Owner
from tests.support.build import NOW, ago, event, fleet, intent, machine, memory, token_name
from tests.support.virtual_time import virtual

P = pytest.param
TIME, SHOT = Check.SHUTDOWN_TIMEOUT, Check.SNAPSHOT
BOTH = frozenset(Check)
OURS = Owner("training", adopted=False)
OWNED = dict.fromkeys(("ps1", "ps2", "ps3"), OURS)
BOXES = tuple(machine(n) for n in (1, 2, 3))
ENFORCED = fleet(shutdown_timeout=ShutdownTimeout(24, enforce=True), auto_snapshot=AutoSnapshot("day", 7))
ALL_DUE = dict.fromkeys(OWNED, BOTH)
MINUTE = timedelta(minutes=1)


class Cloud:
    """Shows machines, each in so many seconds; an error in place of any."""

    def __init__(self, *, takes: float = 0.0, **fails: Exception) -> None:
        self.takes, self.fails, self.asked = takes, fails, list[str]()
        self.started = ago(hours=1)
        self.steps = 0

    async def show(self, machine_id: str) -> Machine:
        self.asked.append(machine_id)
        await anyio.sleep(self.takes)
        if machine_id in self.fails:
            raise self.fails[machine_id]
        events = () if self.started is None else (replace(event("start"), finished_at=self.started),)
        return machine(int(machine_id.removeprefix("ps")), events=events)

    def step(self) -> None:
        self.steps += 1

    def checks(self) -> Checks:
        me: Any = self
        return Checks(me, progress=self.step)


def none_left(checks: Checks, due: Any, *, machines: Any = BOXES, **done: Any) -> None:
    checks.made(due, machines, done.get("intents", ()), done.get("actions", ()), done.get("skips", ()))


def test_the_words_of_a_policy() -> None:
    assert policy_words(ENFORCED, TIME) == "hours = 24, force = false, enforce = true"
    assert policy_words(ENFORCED, SHOT) == "frequency = day, keep = 7"
    assert policy_words(fleet(), TIME) == policy_words(fleet(), SHOT) == "none"


def test_when_a_check_is_due() -> None:
    checks = Cloud().checks()
    all_due = dict.fromkeys(OWNED, BOTH)
    due = checks.due(OWNED, [ENFORCED])
    assert due == all_due, "after a start"
    assert checks.standing() == {}
    none_left(checks, {})
    assert checks.due(OWNED, [ENFORCED]) == all_due, "nothing was done"
    none_left(checks, due)
    assert checks.due(OWNED, [ENFORCED]) == {}
    words = {check: policy_words(ENFORCED, check) for check in Check}
    assert checks.standing() == dict.fromkeys(OWNED, words)
    checks.rung(SHOT)
    assert checks.due(OWNED, [ENFORCED]) == dict.fromkeys(OWNED, frozenset({SHOT}))
    assert checks.standing() == {m: {TIME: words[TIME]} for m in OWNED}
    none_left(checks, checks.due(OWNED, [ENFORCED]))
    other = replace(ENFORCED, shutdown_timeout=ShutdownTimeout(48))
    assert checks.due(OWNED, [other]) == dict.fromkeys(OWNED, frozenset({TIME})), "another policy"
    assert checks.due(OWNED | {"ps4": OURS}, [ENFORCED]) == {"ps4": BOTH}, "a new machine"
    again = Cloud().checks()
    again.rung(TIME)
    again.assume({"ps1": words, "ps2": {SHOT: words[SHOT]}})
    assert again.due(OWNED, [ENFORCED]) == {"ps2": frozenset({TIME}), "ps3": BOTH}, "another process knows"


def test_a_machine_that_was_gone_is_due_anew() -> None:
    checks = Cloud().checks()
    none_left(checks, checks.due(OWNED, [ENFORCED]))
    checks.rung(SHOT)
    none_left(checks, checks.due(OWNED, [ENFORCED]), machines=BOXES[1:])
    assert checks.due(OWNED, [ENFORCED]) == {"ps1": BOTH}
    assert set(checks.standing()) == {"ps2", "ps3"}


def update(machine_id: str) -> Action:
    return Action(Verb.UPDATE, "training", Reason.OPERATOR_REQUEST, machine_id)


def skipped(verb: Verb, reason: Reason = Reason.BUSY) -> Skip:
    return Skip("training", verb, reason, "ps1")


@pytest.mark.parametrize(
    ("boxes", "done", "left"),
    [
        P(BOXES, {}, {}, id="all are done"),
        P(BOXES, {"intents": [intent(Verb.STOP, 1)]}, {"ps1": BOTH}, id="one is in transition"),
        P((machine(1, "starting"), *BOXES[1:]), {}, {"ps1": BOTH}, id="by itself"),
        P((machine(1, "off"), *BOXES[1:]), {}, {}, id="one is off"),
        P(BOXES[1:], {}, {"ps1": BOTH}, id="one is not listed"),
        P((*BOXES, machine(9, name="a stranger's")), {}, {}, id="a stranger's is listed"),
        P(BOXES, {"actions": [update("ps1")]}, {"ps1": BOTH}, id="one is being mended"),
        P(BOXES, {"actions": [replace(update("ps1"), verb=Verb.STOP)]}, {}, id="one is stopped"),
        P(BOXES, {"skips": [skipped(Verb.UPDATE)]}, {"ps1": BOTH}, id="one cannot be mended"),
        P(BOXES, {"skips": [skipped(Verb.STOP)]}, {}, id="one is in use"),
        P(BOXES, {"skips": [skipped(Verb.STOP, Reason.GUARD_STOPS)]}, {"ps1": frozenset({TIME})}, id="put off"),
        P(BOXES, {"skips": [skipped(Verb.START, Reason.GUARD_STOPS)]}, {}, id="another call is"),
    ],
)
@virtual
async def test_what_stays_due(boxes: Any, done: Any, left: Any) -> None:
    checks = Cloud().checks()
    due = checks.due(OWNED, [ENFORCED])
    await checks.look(due, [ENFORCED], boxes, OWNED, interval=MINUTE)
    none_left(checks, due, machines=boxes, **done)
    assert checks.due(OWNED, [ENFORCED]) == left


@pytest.mark.parametrize("reason", list(Reason))
@virtual
async def test_for_which_reasons_a_stop_stays_due(reason: Reason) -> None:
    checks = Cloud().checks()
    due = checks.due(OWNED, [ENFORCED])
    await checks.look(due, [ENFORCED], BOXES, OWNED, interval=MINUTE)
    none_left(checks, due, skips=[skipped(Verb.STOP, reason)])
    assert bool(checks.due(OWNED, [ENFORCED])) is (reason in _PASSES_SOON)


@virtual
async def test_what_is_put_off_is_of_no_matter_where_nothing_is_enforced() -> None:
    told = replace(ENFORCED, shutdown_timeout=ShutdownTimeout(24), idle=IdleRule(("gpu",)))
    checks = Cloud().checks()
    due = checks.due(OWNED, [told])
    assert set(await checks.look(due, [told], BOXES, OWNED, interval=MINUTE)) == set(OWNED)
    none_left(checks, due, skips=[skipped(Verb.STOP, Reason.GUARD_STOPS)])
    assert checks.due(OWNED, [told]) == {}


@pytest.mark.parametrize(
    ("of", "boxes", "due", "asked"),
    [
        P(ENFORCED, BOXES, ALL_DUE, ["ps1", "ps2", "ps3"], id="enforced"),
        P(
            replace(ENFORCED, shutdown_timeout=ShutdownTimeout(24)), BOXES, ALL_DUE, [],
            id="the vendor's alone, and nobody knows who uses them",
        ),
        P(fleet(idle=IdleRule(("gpu",))), BOXES, ALL_DUE, [], id="no timeout"),
        P(ENFORCED, (machine(1, "off"), machine(2, "starting"), BOXES[2]), ALL_DUE, ["ps3"], id="up"),
        P(ENFORCED, BOXES, {"ps1": frozenset({SHOT}), "ps2": frozenset({TIME})}, ["ps2"], id="due"),
        P(ENFORCED, BOXES, {}, [], id="nothing is due"),
    ],
)  # fmt: skip
@virtual
async def test_who_is_looked_at(of: Fleet, boxes: Any, due: Any, asked: list[str]) -> None:
    cloud = Cloud()
    shown = await cloud.checks().look(due, [of], boxes, OWNED, interval=MINUTE)
    assert (sorted(cloud.asked), sorted(shown), cloud.steps) == (asked, asked, len(asked))


@virtual
async def test_a_look_takes_half_an_interval_and_the_rest_is_first_in_the_next() -> None:
    many = [machine(n) for n in range(1, 2 * LOOKS_AT_ONCE + 2)]
    owned = {m.id: OURS for m in many}
    cloud = Cloud(takes=60 * LOOKING, ps1=Unavailable("503"))
    checks = cloud.checks()
    due = checks.due(owned, [ENFORCED])
    with capture_logs() as logs:
        shown = await checks.look(due, [ENFORCED], many, owned, interval=MINUTE)
    first = [m.id for m in many[:LOOKS_AT_ONCE]]
    assert (cloud.asked, set(shown), cloud.steps) == (first, set(first[1:]), LOOKS_AT_ONCE)
    assert logs == [{"event": "check.look_failed", "log_level": "debug", "machine": "ps1", "error": "503"}]
    none_left(checks, due, machines=many)
    left = checks.due(owned, [ENFORCED])
    assert left == {m: frozenset({TIME}) for m in owned if m not in first[1:]}, "those that were not seen"
    cloud.asked.clear()
    await checks.look(left, [ENFORCED], many, owned, interval=MINUTE)
    assert cloud.asked == [m.id for m in many[LOOKS_AT_ONCE : 2 * LOOKS_AT_ONCE]], (
        "the one that fails has no turn yet"
    )
    cloud.asked.clear()
    cloud.takes = 1.0
    await checks.look(due, [ENFORCED], many, owned, interval=MINUTE)
    assert cloud.asked[0] == many[-1].id
    assert len(cloud.asked) == len(many)


@virtual
async def test_some_are_looked_at_however_short_the_interval() -> None:
    cloud = Cloud()
    many = [machine(n) for n in range(1, LOOKS_AT_ONCE + 2)]
    owned = {m.id: OURS for m in many}
    checks = cloud.checks()
    await checks.look(checks.due(owned, [ENFORCED]), [ENFORCED], many, owned, interval=timedelta(0))
    assert cloud.asked == [m.id for m in many[:LOOKS_AT_ONCE]]


@virtual
async def test_one_that_was_gone_has_its_turn_as_a_new_one() -> None:
    cloud = Cloud()
    checks = cloud.checks()
    due = checks.due(OWNED, [ENFORCED])
    await checks.look(due, [ENFORCED], BOXES, OWNED, interval=MINUTE)
    none_left(checks, due, machines=BOXES[:2])
    cloud.asked.clear()
    await checks.look(due, [ENFORCED], BOXES, OWNED, interval=MINUTE)
    assert cloud.asked == ["ps3", "ps1", "ps2"]


@virtual
async def test_whose_start_nobody_knows() -> None:
    cloud = Cloud()
    checks = cloud.checks()
    due = dict.fromkeys(OWNED, BOTH)
    cloud.started = None
    await checks.look({"ps1": BOTH, "ps2": BOTH}, [ENFORCED], BOXES, OWNED, interval=MINUTE)
    assert checks.unjudged == {"ps1", "ps2"}
    cloud.fails["ps1"] = Unavailable("503")
    cloud.started = ago(hours=1)
    await checks.look(due, [ENFORCED], (*BOXES, machine(9, name="a stranger's")), OWNED, interval=MINUTE)
    assert checks.unjudged == {"ps1"}, "it could not be looked at again"
    await checks.look({}, [ENFORCED], BOXES[1:], OWNED, interval=MINUTE)
    assert checks.unjudged == set(), "it has gone"
    cloud.started = None
    cloud.fails.clear()
    told = replace(ENFORCED, shutdown_timeout=ShutdownTimeout(24), idle=IdleRule(("gpu",)))
    await checks.look(due, [told], BOXES, OWNED, interval=MINUTE)
    assert checks.unjudged == set(), "nothing is enforced"
    await checks.look(due, [ENFORCED], BOXES, OWNED, interval=MINUTE)
    assert checks.unjudged == set(OWNED)
    await checks.look({}, [told], BOXES, OWNED, interval=MINUTE)
    assert checks.unjudged == set(), "nor any more"


SAYS = SnapshotPolicy(True, "day", 7)
GOOD: dict[str, Any] = {"shutdown_timeout_hours": 24, "shutdown_timeout_forces": False, "snapshots": SAYS}
NO_HOURS = GOOD | {"shutdown_timeout_hours": None}
NO_SHOTS = GOOD | {"snapshots": replace(SAYS, enabled=None)}
NOTHING = NO_HOURS | NO_SHOTS | {"shutdown_timeout_hours": None}


def unverified(*names: str) -> dict[str, Any]:
    return {
        "event": "policy.was_unverified", "log_level": "info", "fleet": "training", "machine": "ps1",
        "name": token_name(1), "fields": ", ".join(names),
    }  # fmt: skip


HOURS, SHOTS = "shutdownTimeoutInHours", "performAutoSnapshot"


@pytest.mark.parametrize(
    ("boxes", "due", "said"),
    [
        P([machine(1, **GOOD)], BOTH, [[]], id="all is told"),
        P([machine(1, **NO_HOURS)] * 2, BOTH, [[unverified(HOURS)], []], id="once"),
        P([machine(1, **NO_SHOTS)], BOTH, [[unverified(SHOTS)]], id="snapshots"),
        P([machine(1, **NOTHING)], BOTH, [[unverified(HOURS, SHOTS)]], id="both"),
        P(
            [machine(1, **NO_HOURS), machine(1, **NOTHING)],
            BOTH,
            [[unverified(HOURS)], [unverified(SHOTS)]],
            id="new",
        ),
        P([machine(1, **NOTHING)], {TIME}, [[unverified(HOURS)]], id="one check"),
        P([machine(1, **NOTHING)], {SHOT}, [[unverified(SHOTS)]], id="the other"),
        P([machine(1, **NOTHING)], set(), [[]], id="none"),
        P([machine(1, "starting", **NOTHING)], BOTH, [[]], id="it comes up"),
    ],
)
def test_what_cannot_be_verified_is_said_once(boxes: Any, due: Any, said: Any) -> None:
    checks, told = Cloud().checks(), []
    for box in boxes:
        with capture_logs() as logs:
            checks.report({"ps1": due}, [fleet("other"), ENFORCED], [BOXES[1], box], OWNED, memory(), NOW)
        told.append([dict(line) for line in logs])
    assert told == said


def shown_since(hours: float) -> Machine:
    return machine(1, **GOOD, events=(replace(event("start"), finished_at=ago(hours=hours)),))


ACTIVE, IDLE = IdleReport("active", evidence="gpu 90 %"), IdleReport("idle", ago(hours=1), "gpu 0 %")


@pytest.mark.parametrize(
    ("shown", "idle", "due", "fields", "left"),
    [
        P(shown_since(23), ACTIVE, {TIME}, {}, 3600, id="an hour is left"),
        P(shown_since(20), ACTIVE, {TIME}, {}, None, id="four hours are left"),
        P(shown_since(23), IDLE, {TIME}, {}, None, id="nobody uses it"),
        P(shown_since(23), None, {TIME}, {}, None, id="nobody knows"),
        P(None, ACTIVE, {TIME}, {}, None, id="not shown"),
        P(shown_since(23), ACTIVE, {SHOT}, {}, None, id="another check"),
        P(shown_since(20), ACTIVE, {TIME}, {"clock_ahead": timedelta(hours=-3)}, 3600, id="by the provider's clock"),
    ],
)
def test_whose_work_the_vendors_timer_is_about_to_end(
    shown: Any, idle: Any, due: Any, fields: Any, left: Any
) -> None:
    known = memory(
        idle={} if idle is None else {"ps1": idle}, shown={} if shown is None else {"ps1": shown}, **fields
    )
    with capture_logs() as logs:
        Cloud().checks().report({"ps1": due}, [ENFORCED], [machine(1, **GOOD)], OWNED, known, NOW)
    line = {
        "event": "machine.timeout_neared", "log_level": "warning", "fleet": "training", "machine": "ps1",
        "name": token_name(1), "left_s": left, "evidence": "gpu 90 %",
    }  # fmt: skip
    assert logs == ([] if left is None else [line])

"""What is said of a fleet's oddities, and which settings are mended now."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.model.fleet import Guards, Limit, ShutdownTimeout
from fleetd.model.machine import MachineEvent
from fleetd.model.plan import Check, Skip
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.plan import plan
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, memory, seen, token_name

P = pytest.param
LOOSE = Guards(max_stops_per_pass=Limit(percent=100))
DAY = ShutdownTimeout(hours=24)
ENFORCED = ShutdownTimeout(hours=24, enforce=True)
DUE = frozenset({Check.SHUTDOWN_TIMEOUT})


def told(reason: Reason, listed: list[Any], recalled: dict[str, Any], **fields: Any) -> list[Skip]:
    decided = plan([fleet(target=1)], seen(*listed, **fields), memory(**recalled), NOW)
    return [s for s in decided.skips if s.reason is reason]


def test_one_that_somebody_else_destroys_is_told_with_its_state() -> None:
    gone = frozenset({"ps1"})
    (skip,) = told(Reason.LEAVING, [machine(1, "destroying")], {}, leaving=gone)
    assert (skip.verb, skip.machine, skip.detail) == (None, "ps1", "destroying")
    ours = {"intents": (intent(Verb.DESTROY, 1, accepted_at=NOW),)}
    assert told(Reason.LEAVING, [machine(1, "destroying")], ours) == []


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_one_that_ran_late_is_told_with_its_state(state: str) -> None:
    known = {"facts": (facts(1, failure=Outcome.TIMED_OUT),)}
    (skip,) = told(Reason.TIMED_OUT, [machine(1, state)], known)
    assert (skip.verb, skip.machine, skip.detail) == (None, "ps1", state)


@pytest.mark.parametrize(
    ("fields", "until"),
    [
        P({"ambiguous_since": ago(seconds=30)}, later(seconds=60), id="lost: until it has settled"),
        P({}, None, id="being called"),
        P({"accepted_at": ago(seconds=5)}, None, id="accepted"),
    ],
)
def test_a_create_whose_answer_was_lost_is_told_by_its_name(fields: dict[str, Any], until) -> None:
    found = told(Reason.CREATE_UNSETTLED, [], {"intents": (intent(Verb.CREATE, **fields),)})
    name = token_name(99)
    assert found == (
        [] if until is None else [Skip("training", Verb.CREATE, Reason.CREATE_UNSETTLED, name=name, until=until)]
    )


@pytest.mark.parametrize(
    ("state", "step", "due", "mended"),
    [
        P("ready", None, DUE, True, id="at rest"),
        P("off", None, DUE, True, id="off"),
        P("ready", None, frozenset(), False, id="not due"),
        P("ready", None, frozenset({Check.SNAPSHOT}), False, id="another check is due"),
        P("starting", None, DUE, False, id="on its way"),
        P("ready", intent(Verb.STOP, 1), DUE, False, id="about to be stopped"),
        P("ready", intent(Verb.UPDATE, 1), DUE, False, id="being mended already"),
        P("ready", intent(Verb.UPDATE, 2), DUE, True, id="another one is"),
    ],
)
def test_a_setting_is_mended_once_and_of_a_machine_at_rest(state: str, step: Any, due: Any, mended: bool) -> None:
    want = fleet(target=1, shutdown_timeout=DAY)
    known = memory(intents=() if step is None else (step,))
    decided = plan([want], seen(machine(1, state, shutdown_timeout_hours=168)), known, NOW, due={"ps1": due})
    assert [a.verb for a in decided.actions if a.verb is Verb.UPDATE] == ([Verb.UPDATE] if mended else [])


@pytest.mark.parametrize(("state", "said"), [("ready", True), ("off", False)])
def test_one_that_is_up_since_nobody_knows_when_is_not_stopped_and_that_is_said(state: str, said: bool) -> None:
    want = fleet(target=1, shutdown_timeout=ENFORCED)
    decided = plan([want], seen(machine(1, state)), memory(unjudged=frozenset({"ps1"})), NOW, due={"ps1": DUE})
    found = [(s.verb, s.machine) for s in decided.skips if s.reason is Reason.START_UNKNOWN]
    assert found == ([(Verb.STOP, "ps1")] if said else [])
    assert [a for a in decided.actions if a.verb is Verb.STOP] == []


def test_what_outlived_its_timeout_is_stopped_with_the_hours_that_it_was_up() -> None:
    begun = MachineEvent("start", "done", handle="h", created_at=ago(hours=30), finished_at=ago(hours=30))
    want = fleet(target=1, shutdown_timeout=ENFORCED, guards=LOOSE)
    known = memory(shown={"ps1": machine(1, events=(begun,))})
    (action,) = plan([want], seen(machine(1)), known, NOW, due={"ps1": DUE}).actions
    assert (action.reason, action.machine, action.evidence) == (
        Reason.OUTLIVED_TIMEOUT, "ps1", "up for 30.0 h of 24 h",
    )  # fmt: skip

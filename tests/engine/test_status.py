"""The report and the plan's document: each field is what the pass saw, and what is not believed is not shown."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import asdict

from fleetd.engine.status import money_document, plan_document, status_report, step_report
from fleetd.model.journal import IdleReport
from fleetd.model.plan import (
    Action,
    BudgetView,
    FleetView,
    NextChange,
    OrphanView,
    OverCap,
    Plan,
    Skip,
    Unconfirmed,
    Unlike,
)
from fleetd.model.reasons import Reason, Verb
from fleetd.model.report import (
    BlockedReport,
    FleetReport,
    MachineReport,
    Report,
    SightReport,
    StepReport,
    UseReport,
    veto_report,
)
from fleetd.planner.ownership import Owner
from tests.support.build import NOW, ago, facts, hold, intent, later, machine, memory, seen, token_name
from tests.support.fake_handle import a_report

P = pytest.param
A, B, C = token_name(1), token_name(2), token_name(3)
DAEMON = a_report().daemon
CHANGE = NextChange(later(hours=8), 5, "nights", parked=True)
OURS = Owner("training", adopted=False)
VIEW = FleetView(
    target=2, configured_target=3, window="days", up=2, rising=0, falling=0, down=1, unknown=0, intents=0,
    hourly=Decimal("1.02"), parked=True, next_change=CHANGE, leaving=1, no_effect={"update": 2},
    unlike=(Unlike("region", "A", "B", 1),),
)  # fmt: skip
BLOCKED = Skip("training", Verb.START, Reason.HELD, "ps1", A, until=later(hours=1), detail="why", since=ago(hours=1))
PASSING = Skip("training", Verb.START, Reason.IN_TRANSITION, "ps2", B)
ORPHANS = (OrphanView("old", ("old-1",), 1, Decimal(1)),)
OVER = (OverCap("training", Decimal(3), Decimal(2)),)
BUDGETS = (BudgetView("training", "2026-03", Decimal(100), Decimal(10), Decimal(20), None, None),)
PLAN = Plan(
    NOW, True, {"training": VIEW}, (Action(Verb.STOP, "training", Reason.OVER_TARGET, "ps1", A),), (BLOCKED, PASSING),
    Decimal(3), Decimal(4), ORPHANS, OVER, BUDGETS, (Unconfirmed("ps3", C, "training", Reason.RECOVERED),),
    "ours is 400 s ahead",
)  # fmt: skip


def passed(*machines: Any, **fields: Any) -> Any:
    look = {name: fields.pop(name) for name in ("complete", "rejected", "problem", "at") if name in fields}
    plan = fields.pop("plan", PLAN)
    return SimpleNamespace(**{
        "observation": seen(*machines, **look), "plan": plan, "skips": plan.skips, "intents": (),
        "started_at": ago(seconds=5), "memory": memory(), "owned": {m.id: OURS for m in machines},
    } | fields)  # fmt: skip


def plain(document: Any) -> Any:
    return json.loads(json.dumps(document))


def test_the_documents_of_a_plan() -> None:
    held = hold()
    numbers = {
        "target": 2, "configured_target": 3, "window": "days", "up": 2, "rising": 0, "falling": 0, "down": 1,
        "unknown": 0, "intents": 0, "leaving": 1, "no_effect": {"update": 2},
        "unlike": [{"what": "region", "found": "A", "wanted": "B", "count": 1}],
    }  # fmt: skip
    blocked = [
        {
            "fleet": "training", "machine": "ps1", "name": A, "verb": "start", "reason": "held", "detail": "why",
            "until": "2026-03-02T13:00:00Z", "count": 1, "since": "2026-03-02T11:00:00Z",
        },
        {
            "fleet": "training", "machine": "ps2", "name": B, "verb": "start", "reason": "in_transition",
            "detail": None, "until": None, "count": 1, "since": None,
        },
    ]  # fmt: skip
    money = {
        "orphans": [{"fleet": "old", "machines": ["old-1"], "billed": 1, "hourly": "1"}],
        "over_caps": [{"fleet": "training", "hourly": "3", "cap": "2"}],
        "budgets": [
            {
                "fleet": "training", "month": "2026-03", "budget": "100", "spent": "10", "committed": "20",
                "wanted": None, "used_up_at": None, "at_most": False, "unbilled": [],
            }
        ],
    }  # fmt: skip
    assert plain(money_document(PLAN)) == money
    assert plain(plan_document(PLAN, iter([held]))) == money | {
        "format": 1,
        "at": "2026-03-02T12:00:00Z",
        "complete": True,
        "fleets": {"training": numbers},
        "next": {"training": {"at": "2026-03-02T20:00:00Z", "target": 5, "window": "nights", "parked": True}},
        "vetoes": [
            {
                "id": 1, "kind": "hold", "subject": "ps1", "machine": None, "verbs": sorted(veto_report(held).verbs),
                "reason": "in use", "actor": "ada", "created_at": "2026-03-02T11:00:00Z",
                "expires_at": "2026-03-02T13:00:00Z",
            }
        ],
        "actions": [
            {
                "verb": "stop", "fleet": "training", "machine": "ps1", "name": A, "reason": "over_target",
                "hourly_delta": "0",
            }
        ],
        "skips": blocked,
        "hourly_before": "3",
        "hourly_after": "4",
        "later": None,
        "unconfirmed": [{"machine": "ps3", "name": C, "fleet": "training", "reason": "recovered"}],
        "clocks_apart": "ours is 400 s ahead",
    }  # fmt: skip
    create = Action(Verb.CREATE, "training", Reason.SHORT_OF_TARGET)
    document = plain(plan_document(replace(PLAN, actions=(create,))))
    assert document["vetoes"] == []
    assert document["actions"] == [
        {
            "verb": "create", "fleet": "training", "machine": None, "name": None, "reason": "short_of_target",
            "hourly_delta": "0",
        }
    ]  # fmt: skip


FLEET = FleetReport(
    target=2, configured_target=3, window="days", up=2, rising=0, falling=0, down=1, unknown=0, intents=0, leaving=1,
    no_effect={"update": 2}, unlike=VIEW.unlike, converged=True, was_converged=True, hourly=Decimal("1.02"),
    parked=True, next=CHANGE,
)  # fmt: skip
BLOCK = BlockedReport(
    fleet="training", machine="ps1", name=A, verb=Verb.START, reason=Reason.HELD, until=later(hours=1), detail="why",
    since=ago(hours=1),
)  # fmt: skip
GOOD = SightReport(at=NOW, complete=True, believed_at=NOW)


def test_the_whole_report_of_a_pass() -> None:
    held = hold("nobody")
    told = status_report(passed(memory=memory(holds=(held,))), daemon=DAEMON)
    whole = Report(
        daemon=DAEMON, fleets={"training": FLEET}, machines=(), blocked=(BLOCK,), vetoes=(veto_report(held),),
        hourly=Decimal(3), orphans=ORPHANS, over_caps=OVER, budgets=BUDGETS, clocks_apart="ours is 400 s ahead",
        observation=GOOD,
    )  # fmt: skip
    assert asdict(told) == asdict(whole)


LAST, BEFORE = hold("last"), hold("before")
OLD = passed(machine(1), at=ago(minutes=5), memory=memory(holds=(BEFORE,)))
BAD = {"rejected": "it shrank", "memory": memory(holds=(LAST,))}
OFTEN = ago(minutes=9)


@pytest.mark.parametrize(
    ("report", "fields", "sight", "shown", "held"),
    [
        P(None, {}, None, False, [], id="no pass"),
        P(None, {"vetoes": [LAST]}, None, False, ["last"], id="no pass, and a veto"),
        P(None, {"doubt": "x"}, None, False, [], id="no doubt before the first"),
        P(
            None, {"doubted_since": OFTEN, "doubt": "no route"}, SightReport(doubted_since=OFTEN, doubt="no route"),
            False, [], id="no pass has ended well",
        ),
        P(passed(), {}, GOOD, True, [], id="good"),
        P(passed(memory=memory(holds=(LAST,))), {"vetoes": []}, GOOD, True, [], id="vetoes of now"),
        P(
            passed(), {"believed": OLD}, SightReport(at=NOW, complete=True, believed_at=ago(minutes=5)), True,
            ["before"], id="good, and another is believed still",
        ),
        P(passed(), {"doubt": "no route"}, GOOD, True, [], id="a doubt that is over"),
        P(
            passed(), {"doubted_since": OFTEN, "doubt": "no route"},
            SightReport(at=NOW, complete=True, believed_at=NOW, doubted_since=OFTEN, doubt="no route"),
            True, [], id="the pass after it failed",
        ),
        P(
            passed(**BAD), {},
            SightReport(
                at=NOW, complete=True, rejected="it shrank", doubted_since=ago(seconds=5), doubt="it shrank",
            ),
            False, ["last"], id="not believed, and none before",
        ),
        P(
            passed(**BAD), {"believed": OLD},
            SightReport(
                at=NOW, complete=True, rejected="it shrank", believed_at=ago(minutes=5), doubted_since=ago(seconds=5),
                doubt="it shrank",
            ),
            True, ["before"], id="not believed: as it was believed last",
        ),
        P(
            passed(complete=False, problem="page 2"), {"believed": OLD, "doubted_since": OFTEN},
            SightReport(
                at=NOW, complete=False, believed_at=ago(minutes=5), doubted_since=OFTEN,
                doubt="the listing is not whole",
            ),
            True, ["before"], id="not whole, since longer",
        ),
    ],
)  # fmt: skip
def test_how_far_it_can_be_relied_on(report: Any, fields: Any, sight: Any, shown: bool, held: list[str]) -> None:
    told = status_report(report, daemon=DAEMON, **fields)
    assert told.observation == sight
    assert [v.subject for v in told.vetoes] == held
    assert bool(told.fleets) is shown
    assert (told.hourly, told.orphans, told.budgets) == ((Decimal(3), ORPHANS, BUDGETS) if shown else (None, (), ()))
    if report is not None:
        assert (told.blocked, told.clocks_apart) == ((BLOCK,), "ours is 400 s ahead")
    if shown:
        believed = sight.doubted_since is None
        assert (told.fleets["training"].converged, told.fleets["training"].was_converged) == (believed, True)


def test_a_fleet_off_its_target_is_not_converged() -> None:
    plan = replace(PLAN, fleets={"training": replace(VIEW, up=3)})
    told = status_report(passed(plan=plan), daemon=DAEMON).fleets["training"]
    assert (told.converged, told.was_converged) == (False, False)


def mine(**fields: Any) -> dict[str, Any]:
    """A machine of ours of which little is known."""
    return {
        "id": "ps1", "name": A, "fleet": "training", "state": "ready", "phase": "up", "owned": True, "type": "P4000",
        "standing": "wanted",
    } | fields  # fmt: skip


STEP, UPDATE = intent(Verb.STOP, 1, id=4), intent(Verb.UPDATE, 1, id=5, created_at=ago(seconds=9))
MOVES = {"transition": step_report(STEP), "standing": "under_way"}
IPS: dict[str, Any] = {"private_ip": "10.0.0.1", "public_ip": "1.2.3.4"}
STRANGER = {"fleet": None, "owned": False}
KNOWN = {"up_since": ago(hours=3), "stopped_by": "parked_idle", "stopped_at": ago(hours=4), "failure_reason": "x"}
TOLD = {"up_since": ago(hours=3), "stopped_by": "parked_idle", "stopped_at": ago(hours=4), "failure": "x"}


@pytest.mark.parametrize(
    ("box", "fields", "told"),
    [
        P(machine(1), {}, mine(), id="ours"),
        P(machine(1, **IPS), {}, mine(**IPS), id="its addresses"),
        P(
            machine(1), {"plan": replace(PLAN, fleets={"training": replace(VIEW, up=3)})}, mine(standing="surplus"),
            id="more of its fleet are up than should be",
        ),
        P(machine(1, name="x"), {"owned": {}}, mine(**STRANGER, name="x", standing="foreign"), id="a stranger's"),
        P(machine(1), {"owned": {}}, mine(**STRANGER, look_alike=True, standing="look_alike"), id="a look-alike"),
        P(
            machine(1), {"owned": {"ps1": Owner("training", adopted=False, unconfirmed=Reason.RECOVERED)}},
            mine(unconfirmed="recovered"), id="unconfirmed",
        ),
        P(machine(1), {"intents": (STEP,)}, mine(**MOVES), id="under way"),
        P(machine(1), {"intents": (STEP, UPDATE)}, mine(**MOVES), id="what moves it goes before an update"),
        P(machine(1), {"intents": (UPDATE, STEP)}, mine(**MOVES), id="in any order"),
        P(machine(1), {"intents": (intent(Verb.STOP, 2),)}, mine(), id="another is"),
        P(machine(1), {"intents": (intent(Verb.CREATE, 1),)},
          mine(transition=step_report(intent(Verb.CREATE, 1)), standing="under_way"), id="made, and seen"),
        P(
            machine(1), {"plan": replace(PLAN, skips=(Skip("training", None, Reason.LEAVING, "ps1"),))},
            mine(leaving=True, standing="leaving"), id="somebody destroys it",
        ),
        P(machine(1), {"memory": memory(holds=(hold("ps1"),))}, mine(hold=veto_report(hold("ps1"))), id="held"),
        P(machine(1), {"memory": memory(holds=(hold(A),))}, mine(hold=veto_report(hold(A))), id="held by its name"),
        P(machine(1), {"memory": memory(holds=(hold("ps2"),))}, mine(), id="another is held"),
        P(
            machine(1), {"memory": memory(facts=[facts(1, **KNOWN)])}, mine(**TOLD, state_since=ago(hours=3)),
            id="what is remembered",
        ),
        P(
            machine(1), {"memory": memory(facts=[facts(1, name="before")])},
            mine(former_name="before", state_since=ago(days=30)), id="renamed",
        ),
        P(
            machine(1, "off"), {"memory": memory(facts=[facts(1, **KNOWN)])},
            mine(**TOLD, state="off", phase="down", state_since=ago(hours=4), standing="start_failed"),
            id="off since",
        ),
        P(
            machine(1, "off"), {"memory": memory(facts=[facts(1, last_up_at=ago(hours=2), stopped_at=ago(hours=4))])},
            mine(state="off", phase="down", state_since=ago(hours=2), stopped_at=ago(hours=4),
                 standing="off_all_along"),
            id="it was seen up later",
        ),
        P(
            machine(1), {"memory": memory(facts=[facts(1, **KNOWN)]), "intents": (STEP,)},
            mine(**TOLD, **MOVES, state_since=STEP.created_at), id="in its transition since",
        ),
        P(
            machine(1),
            {"memory": memory(idle={"ps1": IdleReport("idle", ago(hours=1), "gpu 0 %", NOW, unknown_s=12.6)})},
            mine(idle=UseReport(verdict="idle", since=ago(hours=1), evidence="gpu 0 %", unknown_s=13)), id="idle",
        ),
    ],
)  # fmt: skip
def test_what_is_told_of_a_machine(box: Any, fields: Any, told: dict[str, Any]) -> None:
    (found,) = status_report(passed(box, **fields), daemon=DAEMON).machines
    expected = asdict(MachineReport(**told))
    assert asdict(found) == expected


MAKING = {
    "fleet": "training", "state": "creating", "phase": "rising", "owned": True, "standing": "under_way",
    "state_since": ago(seconds=60),
}  # fmt: skip


@pytest.mark.parametrize(
    ("one", "told"),
    [
        P(intent(Verb.CREATE, None, name="new"), {"id": None, "name": "new"}, id="waits for its answer"),
        P(intent(Verb.CREATE, 2, name=B), {"id": "ps2", "name": B}, id="not listed yet"),
        P(intent(Verb.CREATE, 1, name=A), None, id="listed"),
        P(intent(Verb.STOP, 2), None, id="no create"),
    ],
)
def test_a_machine_that_is_being_made(one: Any, told: dict[str, Any] | None) -> None:
    first, *rest = status_report(passed(machine(1), intents=(one,)), daemon=DAEMON).machines
    assert first.id == "ps1"
    expected = [] if told is None else [MachineReport(**MAKING, **told, transition=step_report(one))]
    assert [asdict(m) for m in rest] == [asdict(m) for m in expected]


def test_machines_are_told_by_name_and_who_was_turned() -> None:
    boxes = [machine(1, name="b"), machine(2, name="a"), machine(4, name="b"), machine(3, name="b")]
    turned = {"ps1": 3, "ps4": 5, "ps9": 1}
    seen_pass = passed(*boxes, owned=dict.fromkeys(("ps1", "ps2"), OURS))
    told = status_report(seen_pass, daemon=DAEMON, turned=turned).machines
    assert [(m.id, m.turned_outside) for m in told] == [("ps2", 0), ("ps1", 3), ("ps3", 0), ("ps4", 0)]


@pytest.mark.parametrize(
    ("lost", "answered", "ambiguous"),
    [(None, None, False), (NOW, None, True), (NOW, NOW, False), (None, NOW, False)],
)
def test_a_step(lost: Any, answered: Any, ambiguous: bool) -> None:
    one = replace(STEP, ambiguous_since=lost, accepted_at=answered)
    assert step_report(one) == StepReport(
        verb="stop", reason="short_of_target", intent=4, since=ago(seconds=60), deadline=later(minutes=10),
        ambiguous=ambiguous,
    )  # fmt: skip

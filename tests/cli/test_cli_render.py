"""What people see, from hand-made values to the letter."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console, RenderableType

from fleetd.cli.render_apply import bars, summary
from fleetd.cli.render_demo import Scene, demo_view, ending, fitting_demo
from fleetd.cli.render_history import history_document, history_line, history_view
from fleetd.cli.render_machines import machine_view, machines_view, object_view
from fleetd.cli.render_plan import plan_view
from fleetd.cli.render_status import status_view
from fleetd.model.journal import HistoryEntry, Hold
from fleetd.model.naming import machine_name, make_token
from fleetd.model.plan import Action, FleetView, Later, NextChange, Plan, Skip, Unconfirmed
from fleetd.model.reasons import Reason, Verb, VetoKind
from fleetd.model.report import FleetReport, Report, VetoReport
from fleetd.model.vetoes import only, veto_evidence
from tests.support.build import NOW, ago, later
from tests.support.fake_handle import made

HOSTILE = "\x1b[31m\u202e[bold]"
"""A name that would colour, reverse and be taken for markup."""
SHOWN = "\\x1b[31m\\u202e[bold]"


def drawn(view: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(view)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def golden(name: str) -> str:
    return (Path(__file__).parent / "golden" / f"{name}.txt").read_text().rstrip("\n")


def fleet_view(**fields: Any) -> FleetView:
    counts = {"up": 0, "rising": 0, "falling": 0, "down": 0, "unknown": 0, "intents": 0}
    target = fields.pop("target", 3)
    return FleetView(**({"target": target, "configured_target": target, "window": None} | counts | fields))


def plan_of(*actions: Action, skips: tuple[Skip, ...] = (), **fields: Any) -> Plan:
    defaults: dict[str, Any] = {
        "at": NOW,
        "complete": True,
        "fleets": {"training": fleet_view(up=2)},
        "hourly_before": Decimal("1.02"),
        "hourly_after": Decimal("1.02"),
    }
    return Plan(actions=actions, skips=skips, **(defaults | fields))


def act(verb: Verb, reason: Reason, machine: str | None = None, delta: str | None = "0", **fields: Any) -> Action:
    name = f"training-{machine}" if machine else ""
    cost = None if delta is None else Decimal(delta)
    return Action(verb, "training", reason, machine=machine, name=name, hourly_delta=cost, **fields)


def test_a_plan_with_everything() -> None:
    plan = plan_of(
        act(Verb.START, Reason.SHORT_OF_TARGET, "aaaaaa", "0.51"),
        act(Verb.CREATE, Reason.SHORT_OF_TARGET, None, "0.51"),
        act(Verb.CREATE, Reason.SHORT_OF_TARGET, None, "0.51"),
        act(Verb.STOP, Reason.PARKED_IDLE, "bbbbbb", "-0.51", evidence="gpu below 0.02 for 61 min"),
        act(Verb.RESTART, Reason.OPERATOR_REQUEST, "cccccc"),
        act(Verb.UPDATE, Reason.TIMEOUT_DRIFT, "dddddd", changes={"shutdown_timeout_hours": 24}),
        act(Verb.DESTROY, Reason.BEYOND_STANDBY, "eeeeee"),
        skips=(
            Skip("training", Verb.STOP, Reason.BUSY, "ps9", "training-ffffff", detail="gpu 0.81"),
            Skip("training", Verb.CREATE, Reason.CAPACITY_BACKOFF, until=later(minutes=5), count=2),
        ),
        fleets={"training": fleet_view(target=5, up=2, down=2, window="night", configured_target=8)},
        hourly_after=Decimal("2.04"),
    )
    assert drawn(plan_view(plan), width=150) == golden("plan")


def test_a_plan_with_nothing_to_do() -> None:
    plan = plan_of(fleets={"training": fleet_view(up=3)}, hourly_before=Decimal("1.53"))
    assert drawn(plan_view(plan)) == "training: 3 of 3 up. It is at its target.\n\nNothing to do.  $1.53/h"


@pytest.mark.parametrize(
    ("actions", "later", "last"),
    [
        pytest.param(
            (act(Verb.STOP, Reason.OVER_TARGET, "aaaaaa", "-0.51"),),
            Later({Verb.STOP: 2}, Decimal(0)),
            "Plan: 1 to stop.  $1.02/h -> $1.02/h (+$0.00/h), and 2 to stop in the passes after: $0.00/h",
            id="after it",
        ),
        pytest.param(
            (),
            Later({Verb.CREATE: 3, Verb.STOP: 1}, Decimal("2.04")),
            "Nothing to do in the next pass.  $1.02/h, and 3 to create, 1 to stop in the passes after: $2.04/h",
            id="what is under way uses up the guards",
        ),
        pytest.param(
            (),
            Later({Verb.STOP: 1}, None),
            "Nothing to do in the next pass.  $1.02/h, and 1 to stop in the passes after: $?/h",
            id="without a price",
        ),
    ],
)
def test_a_plan_says_where_it_ends(actions: tuple[Action, ...], later: Later, last: str) -> None:
    assert drawn(plan_view(plan_of(*actions, later=later))).splitlines()[-1] == last


def test_a_plan_without_a_price() -> None:
    plan = plan_of(act(Verb.CREATE, Reason.SHORT_OF_TARGET, delta=None), hourly_after=None)
    assert drawn(plan_view(plan)).splitlines()[-1] == (
        "Plan: 1 to create.  $1.02/h -> $?/h (a price is not known: see [prices] in the config)"
    )


APART = "ours is 90000 s ahead of the provider's"


def test_clocks_that_are_apart_are_said_first() -> None:
    words = f"This host's clock and the provider's do not agree ({APART}): nothing is destroyed"
    assert drawn(plan_view(plan_of(clocks_apart=APART)), width=300).startswith(words)
    assert f"clock: {words}" in drawn(status_view(report(clocks_apart=APART), NOW), width=300)
    assert "clock" not in drawn(status_view(report(clocks_apart=None), NOW), width=300)


def test_a_plan_on_half_a_listing_says_so_first() -> None:
    assert drawn(plan_view(plan_of(complete=False))).startswith("The machines could not be seen whole")


def test_skips_of_a_kind_are_counted_after_a_few() -> None:
    skips = tuple(Skip("training", Verb.STOP, Reason.BUSY, f"ps{n}", f"training-{n:06}") for n in range(40))
    shown = drawn(plan_view(plan_of(skips=skips)))
    assert shown.count("is not stopped") == 5
    assert "... and 35 more like this" in shown


def test_a_hostile_name_in_a_plan_is_text() -> None:
    action = replace(act(Verb.STOP, Reason.OVER_TARGET, "x"), name=HOSTILE)
    skip = Skip("training", Verb.STOP, Reason.BUSY, "ps9", HOSTILE, detail=HOSTILE)
    shown = drawn(plan_view(plan_of(action, skips=(skip,))))
    assert shown.count(SHOWN) == 3
    assert "\x1b" not in shown


TRANSITION = {
    "verb": "create", "reason": "short_of_target", "intent": 7, "since": "2026-03-02T11:59:00Z",
    "deadline": "2026-03-02T12:19:00Z", "ambiguous": False,
}  # fmt: skip
HOLD = {
    "id": 1, "kind": "hold", "subject": "ps1", "verbs": ["create", "destroy", "restart", "start", "stop", "update"],
    "reason": "profiling", "actor": "ada", "created_at": "2026-03-02T11:00:00Z", "expires_at": "2026-03-02T14:00:00Z",
}  # fmt: skip
FREEZE = HOLD | {"kind": "freeze", "subject": None, "verbs": ["stop"], "reason": "a demo"}


def machine(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"ps-{name[-2:]}", "name": name, "fleet": "training", "state": "ready", "phase": "up", "owned": True,
        "transition": None, "hold": None, "type": "P4000", "up_since": "2026-03-02T09:00:00Z", "failure": None,
    } | fields  # fmt: skip


def report(**fields: Any) -> Report:
    fleet = {
        "target": 3, "configured_target": 3, "window": None, "up": 1, "rising": 1, "falling": 0, "down": 0,
        "unknown": 0, "intents": 1, "converged": False, "hourly": "1.02",
        "next": {"at": "2026-03-02T20:00:00Z", "target": 1, "window": "night", "parked": True},
    }  # fmt: skip
    daemon = {
        "running": True, "pid": 4711, "since": "2026-03-02T10:00:00Z", "config": "/etc/fleetd/fleetd.toml",
        "config_since": "2026-03-02T11:30:00Z", "config_fault": None, "provider": "ok", "error": None,
        "last_pass": {"id": 9, "at": "2026-03-02T11:59:50Z", "duration_s": 0.2, "actions": 1},
    }  # fmt: skip
    whole = {
        "daemon": daemon,
        "fleets": {"training": fleet},
        "machines": [
            machine("training-aaaa167z", hold=HOLD),
            machine("training-aaaa2kcz", state="provisioning", phase="rising", up_since=None, transition=TRANSITION),
            machine(
                "training-aaaa3j8j", state="off", phase="down", standing="parked", state_since="2026-03-02T11:00:00Z"
            ),
            machine("training-aaaa4ppr", state="off", phase="down", hold=HOLD | {"verbs": ["start"]}),
            machine("grace-desktop", fleet=None, owned=False),
        ],
        "blocked": [],
        "vetoes": [FREEZE],
        "hourly": "1.02",
    }
    return made(whole | fields, Report)


def training(**fields: Any) -> dict[str, FleetReport]:
    return {"training": structs.replace(report().fleets["training"], **fields)}


def test_status() -> None:
    blocked = {
        "fleet": "training", "machine": None, "name": None, "verb": "create", "reason": "guard_creates",
        "until": None, "detail": "limit 1", "count": 1,
    }  # fmt: skip
    assert drawn(status_view(report(blocked=[blocked]), NOW), width=200) == golden("status")
    kept_off = drawn(status_view(report(vetoes=[HOLD | {"verbs": ["start"]}]), NOW))
    assert "  ps1 is kept from being started by ada: profiling, until 14:00:00 UTC (in 2 h)" in kept_off


def test_a_quiet_status_fits_a_small_terminal_without_a_broken_word() -> None:
    quiet = {"rising": 0, "up": 3, "next": None}
    fleets = dict.fromkeys(("training", "inference"), training(**quiet)["training"])
    machines = [machine("training-aaaa167z"), machine("training-aaaa2kcz")]
    shown = report(fleets=fleets, machines=machines, vetoes=[])
    text = drawn(status_view(shown, NOW), width=80)
    assert re.search(r"^training +3 +3 +0 +\$1\.02  (at target|not at target)$", text, re.MULTILINE), text
    assert re.search(r"^training-aaaa167z  ps-7z  training  ● ready  3 h$", text, re.MULTILINE), text


@pytest.mark.parametrize(
    ("state", "phase", "words"),
    [
        ("off", "down", "kept off by ada"),
        ("stopping", "falling", "kept off by ada"),
        ("ready", "up", "held (start only) by ada"),
        ("starting", "rising", "held (start only) by ada"),
    ],
)
def test_only_what_is_off_is_kept_off(state: str, phase: str, words: str) -> None:
    """A hold against a start may be on a machine that is up: it stays up."""
    box = machine("training-aaaa167z", state=state, phase=phase, hold=HOLD | {"verbs": ["start"]})
    shown = drawn(status_view(report(machines=[box]), NOW), width=200)
    assert f"  {words}: profiling, until" in shown


def test_status_of_a_daemon_that_stops_says_so() -> None:
    stops = structs.replace(report().daemon, stopping_since=ago(seconds=7))
    _, second, *_ = drawn(status_view(report(daemon=stops), NOW)).splitlines()
    assert second == "stopping since 11:59:53 UTC (7 s ago): nothing new is begun, calls are waited for"


def test_status_without_a_daemon_and_with_troubles() -> None:
    daemon = {"running": False, "config": "f.toml", "provider": "unavailable", "last_pass": None}
    shown = drawn(status_view(report(daemon=daemon, fleets={}, machines=[], vetoes=[]), NOW))
    assert shown == (
        "No daemon runs on f.toml; this is from the journal and the API\nprovider: unavailable\n"
        "not seen at the moment; nothing was believed yet"
    )
    troubled = structs.replace(
        report().daemon, error="list: no connection", config_fault="f.toml: 1 fault", config_fault_since=NOW
    )
    shown = drawn(status_view(report(daemon=troubled), NOW))
    assert "last error: list: no connection" in shown
    assert "reload rejected at 12:00:00 UTC (0 s ago), the config from before is in force: f.toml: 1 fault" in shown


def test_status_has_each_fault_of_a_rejected_reload_on_a_line_of_its_own() -> None:
    fault = f"a.toml: 2 faults\n  daemon.intervall: unknown key\n  fleets.{HOSTILE}: unknown key"
    shown = drawn(status_view(report(daemon=structs.replace(report().daemon, config_fault=fault)), NOW))
    said = (
        "\nreload rejected, the config from before is in force: a.toml: 2 faults\n"
        f"  daemon.intervall: unknown key\n  fleets.{SHOWN}: unknown key\n"
    )
    assert said in shown


def test_status_names_the_machines_that_a_fleetd_made_and_nobody_owns() -> None:
    left = machine("web", owned=False, fleet=None) | {"name": machine_name("web", make_token("web", [1, 2, 3, 4, 5]))}
    shown = drawn(status_view(report(machines=[left, machine("desk", owned=False, fleet=None)]), NOW), width=200)
    assert "Not owned, though a fleetd made them: adopt them, or stop them by hand:\n" in shown
    assert re.search(rf"\n  {left['name']} \({left['id']}\) is ready(, a \S+)?: made for fleet web(\n|$)", shown)
    assert "\n1 machine of other people, never touched" in shown


def test_a_hostile_name_in_status_is_text() -> None:
    machines = [machine(HOSTILE, state=HOSTILE, phase="unknown", failure=HOSTILE)]
    shown = drawn(status_view(report(machines=machines), NOW), width=200)
    assert shown.count(SHOWN) == 3
    assert "\x1b" not in shown


def test_apply_shows_how_far_each_fleet_is() -> None:
    (bar,) = bars(report())
    assert (bar.fleet, bar.done, bar.total, bar.text) == ("training", 1, 3, "1/3, 1 creating")


@pytest.mark.parametrize(
    ("up", "target", "done", "total"),
    [(0, 0, 1, 1), (0, 4, 0, 4), (3, 4, 3, 4), (4, 4, 4, 4), (5, 3, 3, 5), (5, 0, 0, 5)],
)
def test_too_many_up_is_as_far_from_the_target_as_too_few(up: int, target: int, done: int, total: int) -> None:
    (bar,) = bars(report(fleets=training(up=up, target=target)))
    assert (bar.done, bar.total) == (done, total)


def test_a_plan_for_another_time_says_so_and_which_vetoes_are_over_by_then() -> None:
    night = NextChange(later(hours=19), 8, None, parked=False)
    then, tomorrow = later(hours=8), FREEZE | {"expires_at": "2026-03-03T14:00:00Z"}
    plan = plan_of(at=then, fleets={"training": fleet_view(target=2, up=2, window="night", next_change=night)})
    shown = drawn(plan_view(plan, made([HOLD, tomorrow], list[VetoReport]), then=then, now=NOW), width=150)
    assert shown.splitlines()[0] == "At 2026-03-02 20:00:00 UTC, in 8 h, with the machines as they are now:"
    assert "  At 2026-03-03 07:00:00 UTC, in 11 h, no window is in force any more: target 8." in shown
    assert f"(over by then) ada holds {HOLD['subject']} until 2026-03-02 14:00:00 UTC: profiling." in shown
    assert "ada has frozen everything (stop only) until 2026-03-03 14:00:00 UTC, for another 18 h: a demo." in shown


def test_apply_says_what_stands_in_the_way() -> None:
    blocked = {"fleet": "training", "reason": "capacity_backoff"}
    (bar,) = bars(report(blocked=[blocked], machines=[]))
    assert (
        bar.text
        == "1/3, waits: the last of its type did not come up, mostly for want of capacity; it is tried again later"
    )


def test_apply_ends_with_a_summary() -> None:
    fleets = training(up=3, rising=0, intents=0, converged=True)
    assert summary(report(fleets=fleets), 61.4).plain == "At target after 61 s: training 3/3 up.  $1.02/h"


ENTRY = HistoryEntry(
    ts=NOW, fleet="training", machine="ps1", name="training-7k3mqggq", verb="stop", reason="parked_idle",
    outcome="reached", intent=7, duration_s=12.34, error=None, evidence="gpu idle for 61 min",
)  # fmt: skip


def test_history_as_json_has_exactly_its_keys() -> None:
    assert history_document(ENTRY) == {
        "ts": "2026-03-02T12:00:00Z", "fleet": "training", "machine": "ps1", "name": "training-7k3mqggq",
        "verb": "stop", "reason": "parked_idle", "outcome": "reached", "intent": 7, "duration_s": 12.34,
        "error": None, "actor": "fleetd", "evidence": "gpu idle for 61 min",
    }  # fmt: skip


def test_history_as_a_table() -> None:
    by_hand = replace(ENTRY, verb="outside", outcome="observed", duration_s=None, actor="uid 1000", name=HOSTILE)
    assert drawn(history_view([ENTRY, by_hand]), width=160) == golden("history")


def test_machines_as_a_table() -> None:
    found = [
        {"id": "ps1", "name": HOSTILE, "state": "off", "machineType": "P4000", "region": None},
        {"id": "ps2", "name": "b", "state": "dreaming", "machineType": 7},
    ]
    assert drawn(machines_view(found)) == golden("machines")
    assert drawn(machines_view([])) == "no machines"


def test_a_listing_on_a_narrow_terminal_breaks_no_word() -> None:
    about = {"machineType": "P4000", "region": "East Coast (NY2)", "privateIpAddress": "10.64.21.47"}
    more = {"publicIpAddress": "74.82.30.113", "dtCreated": "2026-03-02T09:41:17.204Z"}
    found = [{"id": "ps1bv2gcu", "name": "training-7k3mqggq", "state": "ready"} | about | more]
    for width in (160, 120, 100, 80):
        lines = drawn(machines_view(found), width).splitlines()
        assert len(lines) == 3, (width, lines)
        assert "ps1bv2gcu  training-7k3mqggq  ● ready  P4000" in lines[1]
        assert ("without created" in lines[2]) is (width <= 120)


def test_a_machine_with_its_events() -> None:
    found = {
        "id": "ps1", "state": "off", "updatesPending": False, "ram": None, "extra": {"a": [1]},
        "events": [{"name": "start", "state": "error", "errorMsg": "insufficient capacity", "dtCreated": "x"}, "odd"],
    }  # fmt: skip
    assert drawn(machine_view(found)) == golden("machine")


def test_an_object_is_spread_out() -> None:
    found = {"machineId": "ps1", "utilization": {"secondsUsed": 8728.27, "hourlyRate": "0.51"}, "storage": {}}
    assert drawn(object_view(found)) == golden("object")


def test_the_demo_explains_itself_from_the_first_moment() -> None:
    shown = drawn(demo_view(Scene(speed=60)))
    assert "fleetd keeps fleets of GPU machines at their target size." in shown
    assert "60 times faster than life" in shown
    assert "The first look" in shown
    assert "Ctrl-C ends the demo" in shown


def test_the_demo_shows_fleets_machines_cost_and_events() -> None:
    shown = drawn(demo_view(Scene(60, report(), ("training-aaaa2kcz is being created",))))
    assert "● aaaa167z ready" in shown
    assert "◐ aaaa2kcz provisioning" in shown
    assert "$1.02/h" in shown
    assert "grace-desktop (ready)" in shown
    assert "training-aaaa2kcz is being created" in shown
    assert "Every fleet is at" not in shown


def test_the_demo_says_when_it_has_converged_and_when_no_more() -> None:
    scene = Scene(60, report(fleets=training(converged=True)), converged_after=3.2, next_steps=("go on so",))
    shown = drawn(demo_view(scene))
    assert "Every fleet is at its target. The first time took 3 s." in shown
    assert "go on so" in shown
    assert "Something has changed" in drawn(demo_view(replace(scene, report=report())))


@pytest.mark.parametrize("height", [60, 40, 30, 24, 20])
def test_a_small_terminal_cuts_events_off_not_how_things_stand_nor_what_comes_next(height: int) -> None:
    console = Console(file=io.StringIO(), width=80, height=height, markup=False, highlight=False, emoji=False)
    events = tuple(f"event {n}" for n in range(20))
    steps = tuple(f"step {n}" for n in range(5))
    scene = Scene(60, report(fleets=training(converged=True)), events, converged_after=3.0, next_steps=steps)
    lines = ["".join(s.text for s in line) for line in console.render_lines(fitting_demo(scene, console), pad=False)]
    shown = "\n".join(lines)
    assert len(lines) < height, "the cursor has a line, too: more would be drawn twice"
    for part in ("fleetd demo", "training", "Every fleet is at", "grace-desktop", *steps):
        assert part in shown
    assert "aaaa167z" in shown or height < 40
    assert "event 19" in shown or height < 24
    assert lines[-1].startswith("╰")


def test_a_terminal_that_is_too_small_for_the_demo_is_not_drawn_on_twice() -> None:
    console = Console(file=io.StringIO(), width=80, height=6, markup=False, highlight=False, emoji=False)
    assert len(console.render_lines(fitting_demo(Scene(60, report()), console), pad=False)) == 5


def test_the_demo_ends_in_words() -> None:
    assert ending(report(), 3.0) == [
        "At target after 3 s: training 1/3 up, 1 rising, 1 being created.  $1.02/h",
        "Machines of other people, never touched: grace-desktop.",
    ]


def test_a_plan_names_what_a_pattern_took_and_what_is_recovered() -> None:
    found = (
        Unconfirmed("ps1", "old-gpu-1", "training", Reason.ADOPTED_BY_GLOB),
        Unconfirmed("ps2", HOSTILE, "training", Reason.RECOVERED),
    )
    shown = drawn(plan_view(plan_of(unconfirmed=found)))
    assert "Never destroyed before fleetd adopt confirms them:" in shown
    assert "  old-gpu-1 (ps1): of fleet training by a pattern of adopt\n" in shown
    assert f"  {SHOWN} (ps2): of fleet training by its name alone\n" in shown


def test_machines_of_one_name_are_told_apart_in_a_plan() -> None:
    """Which of them is started is what the plan is read for."""
    start = act(Verb.START, Reason.SHORT_OF_TARGET, "aaaaaa", "0.51")
    skip = Skip("training", Verb.STOP, Reason.BUSY, "ps9", start.name, detail="gpu 0.81")
    shown = drawn(plan_view(plan_of(start, skips=(skip,)), alike={start.name}))
    assert f"{start.name} (aaaaaa)" in shown
    assert f"{start.name} (ps9) is not stopped" in shown
    alone = drawn(plan_view(plan_of(start, skips=(skip,)), alike={"other"}))
    assert "(aaaaaa)" not in alone
    assert "(ps9)" not in alone


LONG = "\x1b" * 500
"""A reason as long as one may be, each letter of which is shown as four."""


@pytest.mark.parametrize("verbs", [frozenset({Verb.STOP}), frozenset(Verb) - {Verb.START}])
def test_what_we_say_behind_a_long_reason_is_shown_in_history(verbs: frozenset[Verb]) -> None:
    hold = Hold(1, "ps1", VetoKind.HOLD, LONG, "ada", NOW, later(hours=1), verbs)
    told = replace(ENTRY, verb="hold", outcome="observed", actor="ada", evidence=veto_evidence(hold))
    for shown in (drawn(history_view([told]), width=400), history_line(told).plain):
        assert f"{only(verbs).strip(' ()')}; until 2026-03-02 13:00:00 UTC; by ada" in shown
        assert len(shown) < 600


def test_when_it_ends_is_shown_behind_a_long_reason() -> None:
    skip = Skip("training", Verb.STOP, Reason.HELD, "ps9", "a", detail=f"ada: {LONG}", until=later(minutes=5))
    shown = " ".join(drawn(plan_view(plan_of(skips=(skip,))), width=1500).split())
    assert "That ends at 2026-03-02 12:05:00 UTC, in 5 min, or by fleetd release." in shown

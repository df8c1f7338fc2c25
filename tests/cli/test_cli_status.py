"""``fleetd status``: of one fleet, of what is wrong, and on a screen that has room for some of it."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleetd.cli import status as status_command
from fleetd.cli.render_status import fitting, status_view
from fleetd.cli.report_filter import eventful_first, is_odd, of_fleet, problems
from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.plan import BudgetView, OverCap
from fleetd.model.reasons import ORDINARY, Reason, Standing
from fleetd.model.report import DaemonReport, MachineReport, Report
from tests.support.config_text import config_text
from tests.support.fake_handle import AT, a_fleet, a_machine, a_report, a_veto


def blocked(fleet: str, reason: str, machine: str | None = None) -> dict[str, Any]:
    return {
        "fleet": fleet,
        "verb": "start",
        "reason": reason,
        "machine": machine and f"ps-{machine}",
        "name": machine,
    }


def a_budget(share: str) -> dict[str, Any]:
    return {
        "fleet": None, "month": "2026-03", "budget": "100", "spent": "1", "committed": str(100 * Decimal(share)),
        "wanted": None, "used_up_at": None,
    }  # fmt: skip


def two_fleets(**fields: Any) -> Report:
    return a_report(
        fleets={"training": a_fleet(converged=False, up=1), "inference": a_fleet()},
        machines=[
            a_machine("inference-1", fleet="inference"),
            a_machine("training-1", failure="no capacity", state="off", phase="down"),
            a_machine("training-2"),
            a_machine("somebodys", owned=False, fleet=None),
        ],
        blocked=[
            blocked("training", "capacity_backoff", "training-1"),
            blocked("training", "held", "training-2"),
            blocked("inference", "guard_cost"),
        ],
        vetoes=[
            a_veto("freeze", None), a_veto("freeze", "inference"), a_veto("hold", "training-2"),
            a_veto("hold", "inference-1", machine="ps-inference-1"),
        ],
        **fields,
    )  # fmt: skip


def drawn(report: Report, width: int = 100, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(status_view(report, AT, **options))
    return captured.get()


def test_one_fleet_is_all_that_is_about_it_and_nothing_else() -> None:
    shown = of_fleet(two_fleets(in_mind=InMind(checks={"ps-training-1": {}})), "training")
    assert list(shown.fleets) == ["training"]
    assert [m.name for m in shown.machines] == ["training-1", "training-2"]
    assert [b.reason for b in shown.blocked] == ["capacity_backoff", "held"]
    assert [(v.kind, v.subject) for v in shown.vetoes] == [("freeze", None), ("hold", "training-2")]
    assert shown.in_mind == NOTHING, "it is of the whole account"
    assert "inference" not in drawn(shown)


def test_caps_and_budgets_of_all_fleets_together_hold_for_each_of_them() -> None:
    caps = [OverCap(fleet, Decimal(2), Decimal(1)) for fleet in (None, "training", "inference")]
    budgets = [
        BudgetView(fleet, "2026-03", Decimal(9), None, None, wanted=None, used_up_at=None)
        for fleet in (None, "training", "inference")
    ]
    shown = of_fleet(two_fleets(over_caps=caps, budgets=budgets), "training")
    assert [c.fleet for c in shown.over_caps] == [b.fleet for b in shown.budgets] == [None, "training"]


def test_problems_are_what_is_not_as_it_should_be() -> None:
    shown = problems(two_fleets())
    assert list(shown.fleets) == ["training"]
    assert [m.name for m in shown.machines] == ["training-1"]
    assert [b.reason for b in shown.blocked] == ["capacity_backoff", "guard_cost"]
    assert shown.vetoes == ()
    assert shown.daemon == two_fleets().daemon, "whether it runs is always said"


FINE = "Every fleet is at its target, and nothing else was found that may need a person."


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, True),
        ({"fleets": {}}, True),
        ({"budgets": [a_budget("0.3")]}, True),
        ({"vetoes": [a_veto("freeze", None)]}, True),
        ({"budgets": [a_budget("0.9")]}, False),
        ({"blocked": [blocked("training", "guard_cost")]}, False),
        ({"fleets": {"training": a_fleet(converged=False)}}, False),
        ({"machines": [a_machine("training-1", failure="no capacity")]}, False),
        ({"observation": {"at": AT, "doubted_since": AT}, "fleets": {}}, False),
        ({"observation": {"at": AT, "complete": True, "rejected": "half of it"}}, False),
    ],
    ids=str,
)
def test_problems_without_any_says_that_there_are_none(fields: dict[str, Any], said: bool) -> None:
    assert (FINE in " ".join(drawn(problems(a_report(**fields)), only_problems=True).split())) is said
    assert FINE not in drawn(a_report(**fields)), "who did not ask for problems sees the fleets themselves"


def test_a_fleet_whose_machines_are_not_as_the_config_says_is_a_problem() -> None:
    unlike = {"what": "machineType", "found": "P5000", "wanted": "P4000", "count": 1}
    shown = problems(a_report(fleets={"training": a_fleet(unlike=[unlike]), "inference": a_fleet()}))
    assert list(shown.fleets) == ["training"]
    assert "1 machine is P5000" in drawn(shown)


def test_machines_that_have_no_id_yet_have_remarks_of_their_own() -> None:
    rows = [a_machine("training-1", id=None, failure="first"), a_machine("training-2", id=None, failure="second")]
    shown = drawn(a_report(machines=rows))
    assert re.search(r"training-1 .* first", shown)
    assert re.search(r"training-2 .* second", shown)


def test_a_verb_that_another_version_forbids_is_shown_as_it_is() -> None:
    bad = a_veto("hold", "training-1", verbs=["\x1b[31mswim"])
    frozen = a_veto("freeze", None, verbs=["\u202eswim"])
    shown = drawn(a_report(machines=[a_machine("training-1", hold=bad)], vetoes=[bad, frozen]), width=300)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "swim" in shown


ODD = {Standing.OVERDUE, Standing.ORPHAN, Standing.LOOK_ALIKE, Standing.ANSWER_LOST, Standing.UNVERIFIED}


@pytest.mark.parametrize("standing", list(Standing))
def test_which_standing_is_odd(standing: Standing) -> None:
    assert is_odd(a_machine("x", standing=standing)) is (standing in ODD)


@pytest.mark.parametrize(
    ("fields", "odd"),
    [
        ({}, False),
        ({"failure": "no capacity"}, True),
        ({"phase": "unknown"}, True),
        ({"turned_outside": 3}, True),
        ({"unconfirmed": "recovered"}, True),
        ({"hold": a_veto("hold", "x")}, False),
    ],
    ids=str,
)
def test_which_machine_is_odd(fields: dict[str, Any], odd: bool) -> None:
    assert is_odd(a_machine("x", **fields)) is odd


def test_the_eventful_come_first() -> None:
    machines = [
        a_machine("a"),
        a_machine("b", phase="down"),
        a_machine("c", phase="rising"),
        a_machine("d", hold=a_veto("hold", "d")),
        a_machine("e", failure="it failed"),
        a_machine("f", phase="falling"),
        a_machine("g", phase="a phase to come"),
    ]
    assert [m.name for m in sorted(machines, key=eventful_first)] == ["e", "g", "c", "f", "d", "a", "b"]


def test_what_may_need_a_person_comes_before_what_does_not_and_before_the_machines() -> None:
    shown = drawn(two_fleets())
    order = ["May need a person:", "Not being done for now:", "Holds and freezes:", "\nmachine "]
    assert [shown.index(part) for part in order] == sorted(shown.index(part) for part in order)


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_stands_under_one_heading(reason: Reason) -> None:
    shown = drawn(a_report(blocked=[blocked("training", str(reason), "training-1")]))
    assert ("Not being done for now:" in shown) is (reason in ORDINARY)
    assert ("May need a person:" in shown) is (reason not in ORDINARY)


def test_machines_with_one_reason_are_one_line_with_their_names() -> None:
    many = [blocked("training", "capacity_backoff", f"training-{n}") for n in range(12)]
    shown = drawn(a_report(blocked=many), width=300)
    assert shown.count("not started") == 1
    assert "12 machines of training are not started" in shown
    assert "\n    training-0, training-1, " in shown
    assert "and 4 more\n" in shown


def test_a_long_line_goes_on_below_its_beginning() -> None:
    shown = drawn(a_report(blocked=[blocked("training", "capacity_backoff", "training-1")]), width=60)
    section = shown.partition("May need a person:\n")[2].partition("\n\n")[0].rstrip().splitlines()
    assert len(section) > 1
    assert all(line.startswith("  ") for line in section)


def account(machines: int) -> Report:
    rows: list[MachineReport] = [a_machine(f"training-{n:04}") for n in range(machines - 1)]
    rows.append(a_machine("training-zzzz", phase="unknown", state="hibernating"))
    return a_report(machines=rows, vetoes=[a_veto("freeze", None)], blocked=[blocked("training", "guard_cost")])


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 50)])
def test_a_screen_has_everything_but_machines_and_as_many_of_those_as_fit(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, highlight=False, emoji=False)
    lines = console.render_lines(fitting(account(2000), AT, console, height), pad=False)
    shown = "\n".join("".join(segment.text for segment in line) for line in lines)
    for part in ("fleetd runs", "training", "May need a person:", "Holds and freezes:"):
        assert part in shown
    assert re.search(r"and ([\d,]+) more", shown) is not None
    assert height - 1 <= len(lines) <= height, "no room is wasted, and no more is taken than there is"
    assert "training-zzzz" in shown, "the eventful one first"


@pytest.mark.parametrize(("width", "height"), [(80, 10), (40, 12), (40, 4), (80, 1)])
def test_a_screen_that_is_too_small_says_how_much_is_missing(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, highlight=False, emoji=False)
    whole = len(console.render_lines(status_view(account(2000), AT, most=0), pad=False))
    lines = console.render_lines(fitting(account(2000), AT, console, height), pad=False)
    assert len(lines) == height
    foot = "".join(segment.text for segment in lines[-1])
    assert foot.strip() == f"+{whole - height + 1} lines that this screen has no room for"[:width].strip()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 50), (30, 5)])
@pytest.mark.parametrize("fault", [None, "connection refused"])
def test_what_stands_below_a_watched_status_is_always_on_the_screen(
    width: int, height: int, fault: str | None
) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, highlight=False, emoji=False)
    lines = console.render_lines(status_command.screen(account(2000), AT, AT, console, fault=fault), pad=False)
    shown = " ".join("".join(segment.text for segment in line).strip() for line in lines)
    assert len(lines) <= height
    assert "Ctrl-C ends" in shown
    assert ("this is old: connection refused" in shown) is (fault is not None)


def test_where_all_fit_all_are_shown() -> None:
    console = Console(file=io.StringIO(), width=100, height=60)
    lines = console.render_lines(fitting(account(20), AT, console, 60), pad=False)
    shown = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert not re.search(r"and [\d,]+ more", shown)
    assert len(set(re.findall(r"training-00\d\d", shown))) == 19


def test_before_anything_is_known_nothing_is_said_to_be_well() -> None:
    nothing = Report(daemon=DaemonReport(running=True, provider="ok"))
    assert FINE not in drawn(problems(nothing), only_problems=True)


def test_a_fleet_that_nobody_has_seen_yet_has_nothing_that_is_about_it() -> None:
    shown = of_fleet(Report(daemon=DaemonReport(running=True), vetoes=two_fleets().vetoes), "training")
    assert (shown.fleets, shown.hourly, [v.subject for v in shown.vetoes]) == ({}, None, [None])


@pytest.fixture
def current(monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(_settings: object) -> Report:
        return two_fleets()

    monkeypatch.setattr(status_command.wiring, "current_status", status)


def test_a_fleet_is_asked_for_before_any_was_seen(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unseen(_settings: object) -> Report:
        return Report(daemon=DaemonReport(running=True, provider="unavailable", error="no answer"))

    monkeypatch.setattr(status_command.wiring, "current_status", unseen)
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text(provider='[provider]\nkind = "simulator"'))
    early = cli("status", "-c", str(config), "--fleet", "training")
    assert (early.code, early.err) == (0, ""), "nobody can tell yet whether it is called so"
    assert "no answer" in early.out


@pytest.mark.usefixtures("current")
def test_the_options_and_their_json(cli, tmp_path: Path) -> None:
    config = tmp_path / "fleetd.toml"
    config.write_text(config_text(provider='[provider]\nkind = "simulator"'))
    whole = json.loads(cli("status", "-c", str(config), "--json", "--fleet", "training", "--problems").out)
    assert (list(whole["fleets"]), [m["name"] for m in whole["machines"]]) == (["training"], ["training-1"])
    unknown = cli("status", "-c", str(config), "--fleet", "trainig")
    assert unknown.code == 64
    assert "no fleet is called trainig; there is training, inference" in unknown.err

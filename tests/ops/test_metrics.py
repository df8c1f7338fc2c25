from __future__ import annotations

import math
import re
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fleetd.engine.ports import Meter
from fleetd.model.machine import Phase
from fleetd.model.naming import machine_name, make_token
from fleetd.model.plan import BudgetView, OrphanView
from fleetd.model.reasons import Activity, Outcome, Verb
from fleetd.model.report import DaemonReport, LeaseReport, Report, StandbyReport
from fleetd.ops.lease_metrics import StandbyMetrics
from fleetd.ops.metrics import (
    BUDGET_PARTS,
    LAG_SAMPLES,
    OBSERVATIONS,
    PROVIDER_STATES,
    RESULTS,
    Metrics,
)
from fleetd.planner.standing import orphans
from fleetd.wiring.loops import watch_lag
from tests.support.fake_handle import AT, a_fleet, a_machine, a_report, a_veto
from tests.support.virtual_time import run_virtual

NAMES = {
    "fleetd_build_info": "gauge version",
    "fleetd_start_timestamp_seconds": "gauge",
    "fleetd_fleet_target": "gauge fleet",
    "fleetd_fleet_machines": "gauge fleet state",
    "fleetd_fleet_converged": "gauge fleet",
    "fleetd_open_transitions": "gauge fleet verb",
    "fleetd_blocked_actions": "gauge fleet reason verb",
    "fleetd_actions_without_effect": "gauge fleet verb",
    "fleetd_machines_fought_over": "gauge fleet",
    "fleetd_vetoes": "gauge kind",
    "fleetd_idle_verdicts": "gauge fleet verdict",
    "fleetd_idle_unknown_seconds": "gauge fleet",
    "fleetd_orphans": "gauge state",
    "fleetd_hourly_cost_dollars": "gauge fleet",
    "fleetd_hourly_cost_limit_dollars": "gauge",
    "fleetd_actions": "counter fleet result verb",
    "fleetd_transition_duration_seconds": "histogram le verb",
    "fleetd_provider_requests": "counter code operation",
    "fleetd_provider_request_duration_seconds": "histogram le operation",
    "fleetd_provider_state": "gauge state",
    "fleetd_observations": "counter result",
    "fleetd_orphans_hourly_cost_dollars": "gauge",
    "fleetd_monthly_budget_dollars": "gauge fleet part",
    "fleetd_observation_age_seconds": "gauge",
    "fleetd_passes": "counter result",
    "fleetd_pass_duration_seconds": "histogram le",
    "fleetd_pass_last_success_timestamp_seconds": "gauge",
    "fleetd_config_last_reload_successful": "gauge",
    "fleetd_event_loop_lag_seconds": "gauge",
    "fleetd_faults": "counter where",
    "fleetd_clock_ahead_seconds": "gauge",
    "fleetd_lease_held": "gauge",
    "fleetd_lease_takeovers": "counter reason",
    "fleetd_lease_word_age_seconds": "gauge",
    "fleetd_lease_standbys": "gauge config",
}
"""The interface: dashboards and alerts are built on it. A change needs a line in the changelog."""


DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def busy_report() -> Report:
    moving = {"verb": "create", "reason": "short_of_target", "intent": 1, "since": AT, "deadline": AT}
    idle = {"verdict": "idle", "since": None, "evidence": "", "unknown_s": 0}
    unknown = {"verdict": "unknown", "since": None, "evidence": "", "unknown_s": 1900}
    return a_report(
        fleets={"training": a_fleet(rising=1, converged=False), "inference": a_fleet(target=0, hourly=None)},
        machines=[
            a_machine("training-1", transition=moving),
            a_machine("training-2", idle=idle),
            a_machine("training-3", idle=unknown),
            a_machine("somebody-elses", owned=False, fleet=None),
        ],
        blocked=[
            {"fleet": "training", "verb": "create", "reason": "guard_cost", "count": 3},
            {"fleet": "training", "verb": "create", "reason": "guard_cost", "count": 1},
            {"fleet": "inference", "verb": None, "reason": "observation_rejected", "count": 1},
        ],
        vetoes=[a_veto("freeze", None), a_veto("hold", "a"), a_veto("hold", "b")],
        max_hourly_cost="12.50",
        orphans=[{"fleet": "old", "machines": ["old-1"], "billed": 1, "hourly": "0.51"}],
        budgets=[BudgetView(None, "2026-03", Decimal(900), Decimal(12), Decimal(400), wanted=None, used_up_at=None)],
    )


@pytest.mark.parametrize(
    ("rates", "shown"), [([], 0.0), (["0.51", "1.00"], 1.51), (["0.51", None], float("nan"))], ids=str
)
def test_what_orphans_cost_is_a_sum_or_not_known(metrics: Metrics, rates: list[str | None], shown: float) -> None:
    left = [OrphanView("old", (), 1, None if rate is None else Decimal(rate)) for rate in rates]
    metrics.show(a_report(orphans=left), AT)
    assert value(metrics, "fleetd_orphans_hourly_cost_dollars") == pytest.approx(shown, nan_ok=True)


def test_a_budget_shows_the_parts_that_are_known(metrics: Metrics) -> None:
    metrics.show(busy_report(), AT)
    parts = {part: value(metrics, "fleetd_monthly_budget_dollars", fleet="", part=part) for part in BUDGET_PARTS}
    assert parts == {"budget": 900.0, "spent": 12.0, "committed": 400.0, "wanted": None}


def leased(**fields: Any) -> Report:
    lease = LeaseReport(holder="a, pid 1", epoch=3, takeovers={"first": 1, "expired": 2}, **fields)
    return a_report(daemon=DaemonReport(running=True, lease=lease))


def test_the_names_and_labels_are_an_interface(metrics: Metrics) -> None:
    metrics.show(leased(standbys=(StandbyReport(about="b, pid 2"),)), AT)
    metrics.show(leased(shown_by="b, pid 2", word_at=AT), AT)
    metrics.show(busy_report(), AT)
    metrics.pass_done(busy_report())
    metrics.action(fleet="training", verb=Verb.STOP, result=Outcome.REACHED)
    metrics.transition(verb=Verb.STOP, seconds=20)
    metrics.request("list", "200", 0.2)
    found = {
        family.name: " ".join([family.type, *sorted({label for s in family.samples for label in s.labels})])
        for family in text_string_to_metric_families(metrics.render().decode())
    }
    assert found == NAMES
    assert all(name.startswith("fleetd_") for name in found)


def test_every_metric_is_documented_and_every_documented_one_exists() -> None:
    rows = re.findall(r"^\| `(fleetd_\w+)` \| (\w+) \|([^|]*)\| [^|]+\. \|$", DOCUMENT.read_text(), re.MULTILINE)
    documented = {
        name.removesuffix("_total"): " ".join(
            [kind, *sorted([*re.findall(r"\w+", labels), *(["le"] if kind == "histogram" else [])])]
        )
        for name, kind, labels in rows
    }
    assert documented == NAMES
    assert all(name.endswith("_total") == (kind == "counter") for name, kind, _ in rows)


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("verb", {*map(str, Verb), "any"}),
        ("state", {*map(str, Phase), *PROVIDER_STATES}),
        ("result", {*map(str, set(Outcome) - {Outcome.OBSERVED}), *OBSERVATIONS, "done", "failed"}),
        ("verdict", set(Activity)),
    ],
)
def test_what_a_label_can_say_is_documented(label: str, values: set[str]) -> None:
    row = re.search(rf"^\| `{label}` \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) - {"fleetd_blocked_actions"} == values


def test_no_series_names_a_machine_and_none_is_doubled(metrics: Metrics) -> None:
    metrics.show(busy_report(), AT)
    text = metrics.render().decode()
    assert "training-1" not in text
    assert "ps-" not in text
    assert "_created" not in text


def test_what_a_report_says(metrics: Metrics) -> None:
    metrics.show(busy_report(), AT)
    expected: list[tuple[str, dict[str, str], float]] = [
        ("fleetd_start_timestamp_seconds", {}, AT.timestamp() - 3600),
        ("fleetd_fleet_target", {"fleet": "training"}, 2),
        ("fleetd_fleet_target", {"fleet": "inference"}, 0),
        ("fleetd_fleet_machines", {"fleet": "training", "state": "up"}, 2),
        ("fleetd_fleet_machines", {"fleet": "training", "state": "rising"}, 1),
        ("fleetd_fleet_machines", {"fleet": "training", "state": "falling"}, 0),
        ("fleetd_fleet_machines", {"fleet": "training", "state": "down"}, 1),
        ("fleetd_fleet_machines", {"fleet": "training", "state": "unknown"}, 0),
        ("fleetd_fleet_converged", {"fleet": "training"}, 0),
        ("fleetd_fleet_converged", {"fleet": "inference"}, 1),
        ("fleetd_open_transitions", {"fleet": "training", "verb": "create"}, 1),
        ("fleetd_blocked_actions", {"fleet": "training", "verb": "create", "reason": "guard_cost"}, 4),
        ("fleetd_blocked_actions", {"fleet": "inference", "verb": "any", "reason": "observation_rejected"}, 1),
        ("fleetd_vetoes", {"kind": "hold"}, 2),
        ("fleetd_vetoes", {"kind": "freeze"}, 1),
        ("fleetd_idle_verdicts", {"fleet": "training", "verdict": "idle"}, 1),
        ("fleetd_idle_verdicts", {"fleet": "training", "verdict": "unknown"}, 1),
        ("fleetd_idle_verdicts", {"fleet": "training", "verdict": "active"}, 0),
        ("fleetd_idle_unknown_seconds", {"fleet": "training"}, 1900),
        ("fleetd_orphans", {"state": "up"}, 0),
        ("fleetd_hourly_cost_dollars", {"fleet": "training"}, 1.02),
        ("fleetd_hourly_cost_limit_dollars", {}, 12.5),
        ("fleetd_provider_state", {"state": "ok"}, 1),
        ("fleetd_provider_state", {"state": "key_refused"}, 0),
        ("fleetd_observation_age_seconds", {}, 10),
    ]
    assert [(n, ls, value(metrics, n, **ls)) for n, ls, _ in expected] == expected
    assert value(metrics, "fleetd_hourly_cost_dollars", fleet="inference") is None, (
        "no price is not a price of nothing"
    )
    assert value(metrics, "fleetd_idle_verdicts", fleet="inference", verdict="idle") is None, "no rule, no verdict"


def test_what_ends_is_no_longer_shown(metrics: Metrics) -> None:
    metrics.show(busy_report(), AT)
    metrics.show(a_report(), AT + timedelta(seconds=20))
    assert value(metrics, "fleetd_fleet_target", fleet="inference") is None
    assert value(metrics, "fleetd_blocked_actions", fleet="training", verb="create", reason="guard_cost") is None
    assert value(metrics, "fleetd_vetoes", kind="hold") == 0
    assert value(metrics, "fleetd_open_transitions", fleet="training", verb="create") == 0
    assert value(metrics, "fleetd_observation_age_seconds") == 30
    assert math.isnan(value(metrics, "fleetd_hourly_cost_limit_dollars") or 0)


def test_before_the_first_pass_nothing_is_claimed(metrics: Metrics) -> None:
    metrics.show(Report(daemon=DaemonReport(running=True)), AT)
    assert math.isnan(value(metrics, "fleetd_observation_age_seconds") or 0)
    assert value(metrics, "fleetd_pass_last_success_timestamp_seconds") == 0
    assert value(metrics, "fleetd_config_last_reload_successful") == 1


def test_the_first_of_a_kind_is_an_increase(metrics: Metrics) -> None:
    """A counter that appears with 1 has not increased, as far as Prometheus can tell."""
    metrics.show(busy_report(), AT)  # a create is under way: however it ends, it was 0 before
    for result in RESULTS:
        assert value(metrics, "fleetd_actions_total", fleet="training", verb="create", result=result) == 0
    assert value(metrics, "fleetd_actions_total", fleet="training", verb="restart", result="timed_out") is None
    assert value(metrics, "fleetd_observations_total", result="rejected") == 0
    assert value(metrics, "fleetd_passes_total", result="failed") == 0


@pytest.mark.parametrize(
    ("seen", "result"),
    [
        ({"complete": True, "rejected": None}, "whole"),
        ({"complete": False, "rejected": None}, "partial"),
        ({"complete": True, "rejected": "it lacks ps1"}, "rejected"),
    ],
)
def test_passes_are_counted_by_what_they_saw(metrics: Metrics, seen: dict[str, Any], result: str) -> None:
    metrics.pass_done(a_report(observation={"at": "2026-03-02T11:59:50Z", **seen}))
    metrics.pass_failed()
    assert value(metrics, "fleetd_observations_total", result=result) == 1
    assert value(metrics, "fleetd_passes_total", result="done") == 1
    assert value(metrics, "fleetd_passes_total", result="failed") == 1
    assert value(metrics, "fleetd_pass_duration_seconds_sum") == 0.25
    assert value(metrics, "fleetd_pass_last_success_timestamp_seconds") == AT.timestamp() - 10


def test_the_meters_own_words(metrics: Metrics) -> None:
    meter: Meter = metrics
    meter.action(fleet="training", verb=Verb.CREATE, result=Outcome.FAILED_TO_START)
    meter.transition(verb=Verb.CREATE, seconds=90.5)
    meter.reload(ok=False)
    metrics.request("create", "timeout", 30.0)
    assert value(metrics, "fleetd_actions_total", fleet="training", verb="create", result="failed_to_start") == 1
    assert value(metrics, "fleetd_transition_duration_seconds_sum", verb="create") == 90.5
    assert value(metrics, "fleetd_config_last_reload_successful") == 0
    assert value(metrics, "fleetd_provider_requests_total", operation="create", code="timeout") == 1
    meter.reload(ok=True)
    assert value(metrics, "fleetd_config_last_reload_successful") == 1


def test_two_daemons_in_one_process_do_not_share_numbers() -> None:
    one, other = Metrics(version="1"), Metrics(version="2")
    one.pass_failed()
    assert value(one, "fleetd_passes_total", result="failed") == 1
    assert value(other, "fleetd_passes_total", result="failed") == 0


def made_by(fleet: str) -> str:
    return machine_name(fleet, make_token(fleet, [1, 2, 3, 4, 5]))


@pytest.mark.parametrize(
    ("name", "owned", "orphan"),
    [
        pytest.param(made_by("old-fleet"), False, True, id="of a fleet that left the config"),
        pytest.param(made_by("training"), True, False, id="ours"),
        pytest.param("training-backup", False, False, id="a person's"),
        pytest.param("-" + make_token("", [1, 2, 3, 4, 5]), False, False, id="a token without a fleet"),
        pytest.param("", False, False, id="no name"),
    ],
)
def test_an_orphan_is_a_machine_that_a_fleetd_made_and_nobody_looks_after(
    metrics: Metrics, name: str, owned: bool, orphan: bool
) -> None:
    row = a_machine(name, owned=owned, phase="up")
    assert list(orphans([row])) == ([row] if orphan else [])
    metrics.show(a_report(machines=[row]), AT)
    assert value(metrics, "fleetd_orphans", state="up") == int(orphan)


def test_the_lag_shown_is_the_worst_of_the_last_minute(metrics: Metrics) -> None:
    for lag in (0.001, 0.9, 0.002):
        metrics.lag(lag)
    assert value(metrics, "fleetd_event_loop_lag_seconds") == 0.9
    for _ in range(LAG_SAMPLES):
        metrics.lag(0.003)
    assert value(metrics, "fleetd_event_loop_lag_seconds") == 0.003


def test_on_time_is_no_lag() -> None:
    told: list[float] = []

    async def story() -> None:
        with anyio.move_on_after(10.5):
            await watch_lag(told.append)

    run_virtual(story)
    assert told == [pytest.approx(0.0, abs=1e-6)] * 10


async def test_a_loop_that_is_held_up_is_told() -> None:
    told: list[float] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await watch_lag(told.append, every=0.01)

        group.start_soon(watch)
        await anyio.sleep(0.03)
        time.sleep(0.2)  # noqa: ASYNC251 - that is the fault
        await anyio.sleep(0.03)
        group.cancel_scope.cancel()
    assert max(told) >= 0.15


def test_a_fleet_has_few_series_and_those_of_the_verbs_that_it_uses() -> None:
    metrics = Metrics(version="1")
    fleets = {f"fleet-{n}": a_fleet() for n in range(200)}
    metrics.show(a_report(fleets={}), AT)
    without = metrics.render().count(b"\n")
    metrics.show(a_report(fleets=fleets), AT)
    assert (metrics.render().count(b"\n") - without) / 200 <= 10
    metrics.action(fleet="fleet-1", verb=Verb.STOP, result=Outcome.REACHED)
    metrics.show(a_report(fleets=fleets), AT)
    assert metrics.render().count(b"\n") - without <= 200 * 10 + len(RESULTS) + 2


def test_what_is_written_is_what_the_registry_has() -> None:
    """The fast way and prometheus-client's own tell the same, whatever a fleet is called."""
    metrics = Metrics(version="1")
    odd = {'a"b': a_fleet(), "c\\d": a_fleet(hourly="0.123456789"), "e\nf": a_fleet(hourly=None)}
    metrics.show(a_report(fleets=odd), AT)
    metrics.action(fleet='a"b', verb=Verb.STOP, result=Outcome.REACHED)

    def told(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], str]:
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): str(s.value) for f in families for s in f.samples}

    assert told(metrics.render().decode()) == told(generate_latest(metrics.registry).decode())
    assert value(metrics, "fleetd_hourly_cost_dollars", fleet="c\\d") == 0.123456789


def shown(text: bytes) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_one_holds_the_lease_and_a_standby_tells_nothing_of_fleets(metrics: Metrics) -> None:
    standbys = (StandbyReport(about="b, pid 2"), StandbyReport(about="c, pid 3", config_differs=True))
    metrics.show(leased(standbys=standbys), AT)
    holder = shown(metrics.render())
    assert holder["fleetd_lease_held"] == 1
    assert holder["fleetd_lease_takeovers_total expired"] == 2
    assert holder["fleetd_lease_takeovers_total stepped_down"] == 0
    assert (holder["fleetd_lease_standbys same"], holder["fleetd_lease_standbys other"]) == (1, 1)
    assert "fleetd_lease_word_age_seconds" not in holder
    standby = StandbyMetrics(version="1", began=AT - timedelta(hours=1))
    standby.show(leased(shown_by="b, pid 2", word_at=AT - timedelta(seconds=7)), AT)
    found = shown(standby.render())
    assert (found["fleetd_lease_held"], found["fleetd_lease_word_age_seconds"]) == (0, 7)
    assert found["fleetd_start_timestamp_seconds"] == AT.timestamp() - 3600  # one that keeps being restarted is told
    assert {name.split()[0] for name in found} - {
        "fleetd_build_info",
        "fleetd_config_last_reload_successful",
        "fleetd_start_timestamp_seconds",
    } <= set(_lease_names())
    alone = shown(Metrics(version="1").render())
    assert not [name for name in alone if name.startswith("fleetd_lease")]


def _lease_names() -> list[str]:
    return [n + ("_total" if kind.startswith("counter") else "") for n, kind in NAMES.items() if "_lease_" in n]

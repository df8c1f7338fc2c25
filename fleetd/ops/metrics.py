"""Numbers for Prometheus. Names and labels are an interface; no label ever holds a machine."""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fleetd.model.machine import Phase
from fleetd.model.reasons import Activity, Outcome
from fleetd.model.report import FleetReport, Report
from fleetd.ops.lease_metrics import LeaseRows
from fleetd.ops.metric_rows import Rows
from fleetd.planner.standing import orphans

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PROVIDER_STATES = ("ok", "unavailable", "key_refused")
OBSERVATIONS = ("whole", "partial", "rejected")
BUDGET_PARTS = ("budget", "spent", "committed", "wanted")
FAULTS = ("pass", "fleet", "machine", "follower", "poller", "status", "alarms", "reload")
RESULTS = tuple(str(outcome) for outcome in Outcome if outcome is not Outcome.OBSERVED)
PHASE_NAMES = tuple(str(phase) for phase in Phase)
LAG_SAMPLES = 60
"""Measurements of the event loop's lag out of which the worst is shown."""

_TRANSITION_BUCKETS = (5, 15, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1200, 1800)
_PASS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
_REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """All of a daemon's metrics, in a registry of its own. Implements ``engine.ports.Meter``."""

    def __init__(self, *, version: str) -> None:
        self.registry = CollectorRegistry()
        self._lags: deque[float] = deque(maxlen=LAG_SAMPLES)
        self._by_fleet: list[Rows] = []
        r = self._others = CollectorRegistry()
        self.registry.register(_Exposed(r))
        gauge, counter = partial(Gauge, registry=r), partial(Counter, registry=r)
        histogram = partial(Histogram, registry=r)
        gauge("fleetd_build_info", "Always 1; the version is in the label.", ["version"]).labels(version).set(1)
        self._started = gauge("fleetd_start_timestamp_seconds", "When the daemon started, Unix time.")
        self._target = self._rows("fleetd_fleet_target", "Machines that should be up now.", ("fleet",))
        self._machines = self._rows(
            "fleetd_fleet_machines", "The fleet's machines by what their state means.", ("fleet", "state")
        )
        self._converged = self._rows(
            "fleetd_fleet_converged", "1 while it is at its target, with nothing under way.", ("fleet",)
        )
        self._transitions_open = self._rows(
            "fleetd_open_transitions", "Transitions under way, lost creates included.", ("fleet", "verb")
        )
        self._blocked = self._rows(
            "fleetd_blocked_actions",
            "Machines for which something is not being done, and why.",
            ("fleet", "verb", "reason"),
        )
        self._futile = self._rows(
            "fleetd_actions_without_effect",
            "Machines for which the provider accepts something again and again, and nothing comes of it.",
            ("fleet", "verb"),
        )
        self._fought = self._rows(
            "fleetd_machines_fought_over",
            "Machines that somebody else has turned three times or more within an hour.",
            ("fleet",),
        )
        self._vetoes = gauge("fleetd_vetoes", "Holds and freezes in force.", ["kind"])
        self._idle = self._rows(
            "fleetd_idle_verdicts", "Up machines by what their idle sources say.", ("fleet", "verdict")
        )
        self._unknown = self._rows(
            "fleetd_idle_unknown_seconds",
            "How long it has not been known of some up machine whether it is in use.",
            ("fleet",),
        )
        self._orphans = gauge(
            "fleetd_orphans",
            "Machines that some fleetd made, by their name, and that no configured fleet owns.",
            ["state"],
        )
        self._cost = self._rows("fleetd_hourly_cost_dollars", "What the fleet's machines cost.", ("fleet",))
        self._cap = gauge("fleetd_hourly_cost_limit_dollars", "guards.max_hourly_cost; NaN without a cap.")
        self._orphan_cost = gauge(
            "fleetd_orphans_hourly_cost_dollars",
            "What machines cost whose fleet is not in the config; NaN when a price is not known.",
        )
        self._budget = self._rows(
            "fleetd_monthly_budget_dollars",
            'Budgets of this month; fleet="" is everything together.',
            ("fleet", "part"),
        )
        self._actions = self._rows(
            "fleetd_actions", "Actions by how they ended.", ("fleet", "verb", "result"), counts=True
        )
        self._transitions = histogram(
            "fleetd_transition_duration_seconds",
            "From the intent to the goal, for transitions that reached it.",
            ["verb"],
            buckets=_TRANSITION_BUCKETS,
        )
        self._requests = counter("fleetd_provider_requests", "HTTP requests to the provider.", ["operation", "code"])
        self._request_seconds = histogram(
            "fleetd_provider_request_duration_seconds",
            "How long the provider took to answer.",
            ["operation"],
            buckets=_REQUEST_BUCKETS,
        )
        self._provider = gauge("fleetd_provider_state", "1 for the state that the provider is in.", ["state"])
        self._observations = counter(
            "fleetd_observations", "Looks at the account, by how far they can be trusted.", ["result"]
        )
        self._age = gauge("fleetd_observation_age_seconds", "Age of the last look that was believed.")
        self._passes = counter("fleetd_passes", "Passes by how they ended.", ["result"])
        self._pass_seconds = histogram("fleetd_pass_duration_seconds", "How long a pass took.", buckets=_PASS_BUCKETS)
        self._last_success = gauge(
            "fleetd_pass_last_success_timestamp_seconds",
            "When the last pass that ended well began, Unix time; 0 before the first.",
        )
        self._reloaded = gauge(
            "fleetd_config_last_reload_successful", "1 when the config in force is the one in the file."
        )
        self._faults = counter("fleetd_faults", "Faults in fleetd's own code that ended what it was at.", ["where"])
        self._lag = gauge("fleetd_event_loop_lag_seconds", "The most that a timer was late in the last minute.")
        self._ahead = gauge(
            "fleetd_clock_ahead_seconds",
            "How far our wall clock is ahead of the provider's, negative for behind; NaN before it told.",
        )
        self._lease = LeaseRows()
        for rows in self._lease.rows:
            self._by_fleet.append(rows)
            self.registry.register(rows)
        self._begin()

    def action(self, *, fleet: str, verb: str, result: str) -> None:
        """See ``Meter``."""
        self._expect(fleet, str(verb))
        self._actions.add((fleet, str(verb), str(result)))

    def transition(self, *, verb: str, seconds: float) -> None:
        """See ``Meter``."""
        self._transitions.labels(str(verb)).observe(seconds)

    def reload(self, *, ok: bool) -> None:
        """See ``Meter``."""
        self._reloaded.set(ok)

    def fault(self, *, where: str) -> None:
        """See ``Meter``."""
        self._faults.labels(where).inc()

    def request(self, operation: str, code: str, seconds: float) -> None:
        """One HTTP request to the provider; what ``cloud.calls.OnRequest`` wants."""
        self._requests.labels(operation, code).inc()
        self._request_seconds.labels(operation).observe(seconds)

    def lag(self, seconds: float) -> None:
        """How late a timer was."""
        self._lags.append(seconds)
        self._lag.set(max(self._lags))

    def pass_failed(self) -> None:
        """A pass could not be made."""
        self._passes.labels("failed").inc()

    def pass_done(self, report: Report) -> None:
        """A pass ended well; ``report`` is how everything stands after it."""
        self._passes.labels("done").inc()
        last, seen = report.daemon.last_pass, report.observation
        if last is not None:
            self._pass_seconds.observe(last.duration_s)
            self._last_success.set(last.at.timestamp())
        if seen is not None:
            result = "rejected" if seen.rejected is not None else "whole" if seen.complete else "partial"
            self._observations.labels(result).inc()

    def show(self, report: Report, now: datetime) -> None:
        """Set every gauge."""
        daemon, believed_at = report.daemon, report.sight.believed_at
        if daemon.since is not None:
            self._started.set(daemon.since.timestamp())
        age = float("nan") if believed_at is None else max(0.0, (now - believed_at).total_seconds())
        self._age.set(age)
        self._ahead.set(float("nan") if daemon.clock_ahead_s is None else daemon.clock_ahead_s)
        for state in PROVIDER_STATES:
            self._provider.labels(state).set(daemon.provider == state)
        self._cap.set(float(report.max_hourly_cost or "nan"))
        self._lease.show(daemon.lease, now)
        self._show_money(report)
        self._show_fleets(report.fleets)
        self._show_counts(report)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, of ``CONTENT_TYPE``."""
        return generate_latest(_Exposed(self._others)) + "".join(rows.text() for rows in self._by_fleet).encode()

    def _begin(self) -> None:
        """Make the series whose absence would hide their first increase."""
        self._age.set(float("nan"))
        self._ahead.set(float("nan"))
        self._reloaded.set(1)
        for result in OBSERVATIONS:
            self._observations.labels(result)
        for result in ("done", "failed"):
            self._passes.labels(result)
        for where in FAULTS:
            self._faults.labels(where)

    def _rows(self, name: str, says: str, labels: tuple[str, ...], *, counts: bool = False) -> Rows:
        rows = Rows(name, says, labels, counts=counts)
        self._by_fleet.append(rows)
        self.registry.register(rows)
        return rows

    def _expect(self, fleet: str, verb: str) -> None:
        """Have the series in which an action of this kind may end: the first must be an increase to see.

        Those of verbs that a fleet never uses would be most of all series.
        """
        if (fleet, verb, Outcome.REACHED) not in self._actions:
            for result in RESULTS:
                self._actions.begin((fleet, verb, result))

    def _show_money(self, report: Report) -> None:
        rates = [orphan.hourly for orphan in report.orphans]
        self._orphan_cost.set(float("nan") if None in rates else sum(float(rate) for rate in rates if rate))
        parts = {(budget.fleet or "", p): getattr(budget, p) for budget in report.budgets for p in BUDGET_PARTS}
        self._budget.fill({labels: float(amount) for labels, amount in parts.items() if amount is not None})

    def _show_fleets(self, fleets: Mapping[str, FleetReport]) -> None:
        self._target.fill({(name,): float(fleet.target) for name, fleet in fleets.items()})
        self._converged.fill({(name,): float(fleet.converged) for name, fleet in fleets.items()})
        self._machines.fill(
            {(name, phase): float(getattr(fleet, phase)) for name, fleet in fleets.items() for phase in PHASE_NAMES}
        )
        self._cost.fill({(name,): float(f.hourly) for name, f in fleets.items() if f.hourly is not None})

    def _show_counts(self, report: Report) -> None:
        fleets, machines = report.fleets, report.machines
        blocked: Tally[tuple[str, ...]] = Tally()
        for skip in report.blocked:
            blocked[skip.fleet, skip.verb or "any", skip.reason] += skip.count
        ours = [(m, m.fleet or "") for m in machines if m.owned]
        moving: Tally[tuple[str, ...]] = Tally((fleet, m.transition.verb) for m, fleet in ours if m.transition)
        for fleet, verb in moving:
            self._expect(fleet, verb)
        ruled = [(m.idle, fleet) for m, fleet in ours if m.idle]
        idle: Tally[tuple[str, ...]] = Tally((fleet, use.verdict) for use, fleet in ruled)
        unknown: dict[tuple[str, ...], float] = {}
        for use, fleet in ruled:
            unknown[fleet,] = max(unknown.get((fleet,), 0.0), use.unknown_s)
        futile: dict[tuple[str, ...], float] = {
            (name, verb): n for name, f in fleets.items() for verb, n in f.no_effect.items()
        }
        used = [(fleet, verb) for fleet, verb in self._actions.firsts(2) if fleet in fleets]
        self._blocked.fill(blocked)
        self._futile.fill(futile, always=used)
        self._fought.fill(Tally((fleet,) for m, fleet in ours if m.turned_outside), always=((f,) for f in fleets))
        self._transitions_open.fill(moving, always=used)
        self._idle.fill(idle, always=((fleet, v) for (fleet,) in unknown for v in Activity))
        self._unknown.fill(unknown)
        _fill(self._vetoes, Tally((v.kind,) for v in report.vetoes), always=(("hold",), ("freeze",)))
        _fill(self._orphans, Tally((m.phase,) for m in orphans(machines)), always=((str(p),) for p in Phase))


class _Exposed(Collector):
    """The registry without the ``_created`` series, which would double it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family


def _fill(gauge: Gauge, counts: Mapping[tuple[str, ...], int], *, always: Iterable[tuple[str, ...]] = ()) -> None:
    gauge.clear()
    for labels in always:
        gauge.labels(*labels).set(0)
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)

"""Numbers for Prometheus. Names and labels are an interface; no label ever holds a machine."""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fleetd.model.machine import Phase
from fleetd.model.reasons import Outcome, Verb
from fleetd.planner.standing import orphans

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PROVIDER_STATES = ("ok", "unavailable", "key_refused")
OBSERVATIONS = ("whole", "partial", "rejected")
BUDGET_PARTS = ("budget", "spent", "committed", "wanted")
IDLE_VERDICTS = ("idle", "active", "unknown")
FAULTS = ("pass", "fleet", "machine", "follower", "poller", "status", "alarms", "reload")
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
        self._known_fleets: set[str] = set()
        r = self.registry
        Gauge("fleetd_build_info", "Always 1; the version is in the label.", ["version"], registry=r).labels(
            version
        ).set(1)
        self._started = Gauge("fleetd_start_timestamp_seconds", "When the daemon started, Unix time.", registry=r)
        self._target = Gauge("fleetd_fleet_target", "Machines that should be up now.", ["fleet"], registry=r)
        self._machines = Gauge(
            "fleetd_fleet_machines",
            "The fleet's machines by what their state means.",
            ["fleet", "state"],
            registry=r,
        )
        self._converged = Gauge(
            "fleetd_fleet_converged",
            "1 while it is at its target, with nothing under way.",
            ["fleet"],
            registry=r,
        )
        self._transitions_open = Gauge(
            "fleetd_open_transitions", "Transitions under way, lost creates included.", ["fleet", "verb"], registry=r
        )
        self._blocked = Gauge(
            "fleetd_blocked_actions",
            "Machines for which something is not being done, and why.",
            ["fleet", "verb", "reason"],
            registry=r,
        )
        self._futile = Gauge(
            "fleetd_actions_without_effect",
            "Machines for which the provider accepts something again and again, and nothing comes of it.",
            ["fleet", "verb"],
            registry=r,
        )
        self._fought = Gauge(
            "fleetd_machines_fought_over",
            "Machines that somebody else has turned three times or more within an hour.",
            ["fleet"],
            registry=r,
        )
        self._vetoes = Gauge("fleetd_vetoes", "Holds and freezes in force.", ["kind"], registry=r)
        self._idle = Gauge(
            "fleetd_idle_verdicts", "Up machines by what their idle sources say.", ["fleet", "verdict"], registry=r
        )
        self._unknown = Gauge(
            "fleetd_idle_unknown_seconds",
            "How long it has not been known of some up machine whether it is in use.",
            ["fleet"],
            registry=r,
        )
        self._orphans = Gauge(
            "fleetd_orphans",
            "Machines that some fleetd made, by their name, and that no configured fleet owns.",
            ["state"],
            registry=r,
        )
        self._cost = Gauge("fleetd_hourly_cost_dollars", "What the fleet's machines cost.", ["fleet"], registry=r)
        self._cap = Gauge(
            "fleetd_hourly_cost_limit_dollars", "guards.max_hourly_cost; NaN without a cap.", registry=r
        )
        self._orphan_cost = Gauge(
            "fleetd_orphans_hourly_cost_dollars",
            "What machines cost whose fleet is not in the config; NaN when a price is not known.",
            registry=r,
        )
        self._budget = Gauge(
            "fleetd_monthly_budget_dollars",
            'Budgets of this month; fleet="" is everything together.',
            ["fleet", "part"],
            registry=r,
        )
        self._actions = Counter(
            "fleetd_actions", "Actions by how they ended.", ["fleet", "verb", "result"], registry=r
        )
        self._transitions = Histogram(
            "fleetd_transition_duration_seconds",
            "From the intent to the goal, for transitions that reached it.",
            ["verb"],
            buckets=_TRANSITION_BUCKETS,
            registry=r,
        )
        self._requests = Counter(
            "fleetd_provider_requests", "HTTP requests to the provider.", ["operation", "code"], registry=r
        )
        self._request_seconds = Histogram(
            "fleetd_provider_request_duration_seconds",
            "How long the provider took to answer.",
            ["operation"],
            buckets=_REQUEST_BUCKETS,
            registry=r,
        )
        self._provider = Gauge(
            "fleetd_provider_state", "1 for the state that the provider is in.", ["state"], registry=r
        )
        self._observations = Counter(
            "fleetd_observations",
            "Looks at the account, by how far they can be trusted.",
            ["result"],
            registry=r,
        )
        self._age = Gauge("fleetd_observation_age_seconds", "Age of the last look that was believed.", registry=r)
        self._passes = Counter("fleetd_passes", "Passes by how they ended.", ["result"], registry=r)
        self._pass_seconds = Histogram(
            "fleetd_pass_duration_seconds", "How long a pass took.", buckets=_PASS_BUCKETS, registry=r
        )
        self._last_success = Gauge(
            "fleetd_pass_last_success_timestamp_seconds",
            "When the last pass that ended well began, Unix time; 0 before the first.",
            registry=r,
        )
        self._reloaded = Gauge(
            "fleetd_config_last_reload_successful", "1 when the config in force is the one in the file.", registry=r
        )
        self._faults = Counter(
            "fleetd_faults", "Faults in fleetd's own code that ended what it was at.", ["where"], registry=r
        )
        self._lag = Gauge(
            "fleetd_event_loop_lag_seconds", "The most that a timer was late in the last minute.", registry=r
        )
        self._ahead = Gauge(
            "fleetd_clock_ahead_seconds",
            "How far our wall clock is ahead of the provider's, negative for behind; NaN before it told.",
            registry=r,
        )
        self._begin()

    def action(self, *, fleet: str, verb: str, result: str) -> None:
        """See ``Meter``."""
        self._actions.labels(fleet, str(verb), str(result)).inc()

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

    def pass_done(self, document: Mapping[str, Any]) -> None:
        """A pass ended well; ``document`` is the status document after it."""
        self._passes.labels("done").inc()
        last, seen = document["daemon"].get("last_pass"), document.get("observation")
        if last is not None:
            self._pass_seconds.observe(last["duration_s"])
            self._last_success.set(_unix(last["at"]))
        if seen is not None:
            result = "rejected" if seen["rejected"] is not None else "whole" if seen["complete"] else "partial"
            self._observations.labels(result).inc()

    def show(self, document: Mapping[str, Any], now: datetime) -> None:
        """Set every gauge from a status document."""
        daemon, seen, fleets = document["daemon"], document.get("observation"), document["fleets"]
        if daemon.get("since") is not None:
            self._started.set(_unix(daemon["since"]))
        believed_at = None if seen is None else seen.get("believed_at", seen["at"])
        self._age.set(float("nan") if believed_at is None else max(0.0, now.timestamp() - _unix(believed_at)))
        ahead = daemon.get("clock_ahead_s")
        self._ahead.set(float("nan") if ahead is None else ahead)
        for state in PROVIDER_STATES:
            self._provider.labels(state).set(daemon.get("provider") == state)
        self._cap.set(float(document.get("max_hourly_cost") or "nan"))
        self._show_money(document)
        self._show_fleets(fleets)
        self._show_counts(document)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, of ``CONTENT_TYPE``."""
        return generate_latest(_Exposed(self.registry))

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

    def _show_money(self, document: Mapping[str, Any]) -> None:
        rates = [orphan["hourly"] for orphan in document.get("orphans", ())]
        self._orphan_cost.set(float("nan") if None in rates else sum(float(rate) for rate in rates))
        self._budget.clear()
        for budget in document.get("budgets", ()):
            for part in BUDGET_PARTS:
                if budget[part] is not None:
                    self._budget.labels(budget["fleet"] or "", part).set(float(budget[part]))

    def _show_fleets(self, fleets: Mapping[str, Any]) -> None:
        for gauge in (self._target, self._machines, self._converged, self._cost):
            gauge.clear()
        for name, fleet in fleets.items():
            self._target.labels(name).set(fleet["target"])
            self._converged.labels(name).set(bool(fleet["converged"]))
            for phase in Phase:
                self._machines.labels(name, str(phase)).set(fleet[str(phase)])
            if fleet["hourly"] is not None:
                self._cost.labels(name).set(float(fleet["hourly"]))
            if name not in self._known_fleets:
                self._known_fleets.add(name)
                for verb in Verb:
                    for result in set(Outcome) - {Outcome.OBSERVED}:
                        self._actions.labels(name, str(verb), str(result))

    def _show_counts(self, document: Mapping[str, Any]) -> None:
        fleets, machines = document["fleets"], document["machines"]
        blocked: Tally[tuple[str, ...]] = Tally()
        for skip in document["blocked"]:
            blocked[skip["fleet"], skip["verb"] or "any", skip["reason"]] += skip["count"]
        moving = Tally((m["fleet"], m["transition"]["verb"]) for m in machines if m["owned"] and m["transition"])
        idle = Tally((m["fleet"], m["idle"]["verdict"]) for m in machines if m["owned"] and m.get("idle"))
        ruled = {fleet for fleet, _ in idle}
        _fill(self._blocked, blocked)
        futile = Tally({(name, verb): n for name, f in fleets.items() for verb, n in f.get("no_effect", {}).items()})
        _fill(self._futile, futile, always=((f, str(v)) for f in fleets for v in Verb))
        fought = Tally((m["fleet"],) for m in machines if m["owned"] and m.get("turned_outside"))
        _fill(self._fought, fought, always=((f,) for f in fleets))
        _fill(self._transitions_open, moving, always=((f, str(v)) for f in fleets for v in Verb))
        _fill(self._idle, idle, always=((f, v) for f in ruled for v in IDLE_VERDICTS))
        self._unknown.clear()
        for fleet in ruled:
            seconds = (m["idle"]["unknown_s"] for m in machines if m["fleet"] == fleet and m.get("idle"))
            self._unknown.labels(fleet).set(max(seconds))
        _fill(self._vetoes, Tally((v["kind"],) for v in document["vetoes"]), always=(("hold",), ("freeze",)))
        _fill(self._orphans, Tally((m["phase"],) for m in orphans(machines)), always=((str(p),) for p in Phase))


class _Exposed(Collector):
    """The registry without the ``_created`` series, which would double it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family


def _fill(gauge: Gauge, counts: Mapping[Any, int], *, always: Iterable[tuple[str, ...]] = ()) -> None:
    gauge.clear()
    for labels in always:
        gauge.labels(*labels).set(0)
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()

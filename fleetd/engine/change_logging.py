"""Log lines about passes and fleets: said when something changes, not every thirty seconds."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import structlog

from fleetd.engine.money_logging import MoneyLogger
from fleetd.model.machine import Machine, Phase
from fleetd.model.plan import Observation, Plan, Skip
from fleetd.model.reasons import ORDINARY, PASSING
from fleetd.model.report import BlockedReport, blocked_report
from fleetd.planner.ownership import lookalikes, made_for
from fleetd.words.blocked import Kind, as_one, together

log = structlog.get_logger(__name__)

NAMED = 10
"""Machines that a line names, at most."""


class ChangeLogger:
    """Remembers what was said last."""

    def __init__(self) -> None:
        self._observation: str | None = None
        self._converged: dict[str, bool] = {}
        self._at_target: set[str] = set()
        self._blocked: dict[Kind, set[str | None]] = {}
        """By fleet, verb and reason: the machines that were named."""
        self._orphaned: set[str] = set()
        self._unreadable: set[str] = set()
        self._unidentified = 0
        self._money = MoneyLogger()
        self._alike: set[str] = set()

    def observed(self, observation: Observation) -> None:
        """Say that an observation cannot be used, once for each reason."""
        self._say_unreadable(observation)
        if observation.rejected is not None:
            if self._observation != observation.rejected:
                log.warning("observation.rejected", reason=observation.rejected, machines=len(observation.machines))
            self._observation = observation.rejected
        elif not observation.complete:
            if self._observation != "partial":
                log.warning(
                    "observation.was_partial", machines=len(observation.machines), reason=observation.problem or None
                )
            self._observation = "partial"
        else:
            self._observation = None

    def owned(self, machines: Sequence[Machine], owned: Container[str], fleets: Iterable[str]) -> None:
        """Say which fleet has machines that no fleet of the config owns, once until it has none any more.

        And which machines are look-alikes of a configured fleet's, once each.
        """
        twins = {m.id: m for m in lookalikes(machines, owned, fleets)}
        for machine_id in sorted(twins.keys() - self._alike):
            twin = twins[machine_id]
            log.warning(
                "machine.was_lookalike",
                fleet=made_for(twin.name),
                machine=twin.id,
                name=twin.name,
                state=twin.state,
            )
        self._alike = set(twins)
        orphans: dict[str, list[Machine]] = {}
        for machine in machines:
            fleet = None if machine.id in owned or machine.id in twins else made_for(machine.name)
            if fleet is not None:
                orphans.setdefault(fleet, []).append(machine)
        for fleet in sorted(orphans.keys() - self._orphaned):
            left = orphans[fleet]
            log.warning(
                "fleet.was_orphaned",
                fleet=fleet,
                count=len(left),
                up=sum(m.phase is Phase.UP for m in left),
                names=", ".join(sorted(m.name for m in left)[:NAMED]),
            )
        self._orphaned = set(orphans)

    def passed(
        self, pass_id: int, duration_s: float, plan: Plan, skips: Iterable[Skip], busy: Container[str]
    ) -> None:
        """Say what a pass did; at info only when it did something. ``busy``: fleets with open transitions."""
        skips = list(skips)
        say = log.info if plan.actions else log.debug
        say(
            "pass.finished",
            pass_id=pass_id,
            duration_s=round(duration_s, 3),
            actions=len(plan.actions),
            skips=len(skips),
        )
        self._say_blocked(skips)
        self._money.passed(plan)
        if plan.complete:
            self._say_converged(plan, busy)

    def _say_unreadable(self, observation: Observation) -> None:
        """Once for each machine, until its entry can be read again."""
        odd = {m.id: m for m in observation.machines if m.unreadable is not None}
        fresh = [m for m in odd.values() if m.id not in self._unreadable]
        for machine in fresh[:NAMED]:
            log.warning(
                "machine.was_unreadable", machine=machine.id, name=machine.name or None, reason=machine.unreadable
            )
        more = max(0, len(fresh) - NAMED)
        unidentified = observation.unidentified
        if more or unidentified > self._unidentified:
            log.warning("listing.was_odd", without_id=unidentified, unreadable=len(fresh))
        if observation.complete:
            self._unreadable, self._unidentified = set(odd), unidentified

    def _say_converged(self, plan: Plan, busy: Container[str]) -> None:
        for name, view in plan.fleets.items():
            converged = view.converged and name not in busy
            if converged and not self._converged.get(name):
                log.info(
                    "fleet.converged",
                    fleet=name,
                    target=view.target,
                    up=view.up,
                    window=view.window,
                    hourly=None if view.hourly is None else str(view.hourly),
                )
            self._converged[name] = converged
            if converged:
                self._at_target.add(name)
            elif not view.converged and name in self._at_target:  # an update that is under way moves no machine
                self._at_target.remove(name)
                log.info("fleet.left_target", fleet=name, target=view.target, up=view.up, window=view.window)

    def _say_blocked(self, skips: Iterable[Skip]) -> None:
        """One line for each fleet, verb and reason; another one only of machines that were not named before."""
        groups = together(blocked_report(s) for s in skips if s.reason not in PASSING)
        self._blocked = {key: told for key, told in self._blocked.items() if key in groups}
        for key, group in groups.items():
            told = self._blocked.setdefault(key, set())
            fresh = [s for s in group if s.machine not in told]
            if fresh:
                told.update(s.machine for s in fresh)
                _say_group(fresh)


def _say_group(group: Sequence[BlockedReport]) -> None:
    whole = as_one(group)
    say = log.info if whole.reason in ORDINARY else log.warning
    say(
        "fleet.was_blocked",
        fleet=whole.fleet,
        machine=whole.machine,
        name=whole.name,
        names=None if len(group) == 1 else ", ".join(sorted(s.name or s.machine or "?" for s in group)[:NAMED]),
        action=None if whole.verb is None else str(whole.verb),
        reason=str(whole.reason),
        until=None if whole.until is None else whole.until.isoformat(),
        count=whole.count,
        detail=whole.detail,
    )

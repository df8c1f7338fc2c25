"""Machines that a fleetd made and that no fleet of the config looks after: they go on being billed."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from decimal import Decimal

from fleetd.model.fleet import Fleet
from fleetd.model.journal import MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.plan import OrphanView
from fleetd.planner.ownership import made_for
from fleetd.planner.rates import BILLED, hourly_rate, total


def orphans_of(
    machines: Iterable[Machine],
    owned: Container[str],
    facts: Mapping[str, MachineFacts],
    fleets: Sequence[Fleet],
) -> dict[str, list[Machine]]:
    """By the fleet that they were made for: machines whose fleet left the config, or belongs to another fleetd.

    The journal's word goes before the name's: a machine that was renamed is still the one that was made. A name of a
    configured fleet that nobody owns is a look-alike, not an orphan.
    """
    configured = {f.name for f in fleets}
    found: dict[str, list[Machine]] = {}
    for machine in machines:
        if machine.id in owned:
            continue
        fact = facts.get(machine.id)
        made = fact.fleet if fact is not None and not fact.adopted else made_for(machine.name)
        if made is not None and made not in configured:
            found.setdefault(made, []).append(machine)
    return found


def orphan_views(orphans: Mapping[str, Sequence[Machine]], prices: Mapping[str, Decimal]) -> tuple[OrphanView, ...]:
    """What each fleet that left the config still costs, by name."""
    views: list[OrphanView] = []
    for fleet, machines in sorted(orphans.items()):
        billed = [m for m in machines if m.phase in BILLED]
        names = tuple(sorted(m.name for m in machines))
        views.append(OrphanView(fleet, names, len(billed), total(hourly_rate(m, prices) for m in billed)))
    return tuple(views)

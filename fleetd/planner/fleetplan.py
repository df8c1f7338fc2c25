"""What one fleet wants: the difference between its target and its machines, before the guards cut it."""

from __future__ import annotations

from fleetd.model.plan import Due
from fleetd.planner.draft import Draft
from fleetd.planner.orders import carry_orders
from fleetd.planner.policy_actions import police, report_oddities
from fleetd.planner.scaling import drop_standby, park, rise, shrink
from fleetd.planner.windows import Effective


def decide(draft: Draft, effective: Effective, due: Due) -> None:
    """Fill the draft with the next safe things, in order, and with what is left undone and why."""
    members = draft.members
    report_oddities(draft)
    carry_orders(draft, effective.target)
    police(draft, due)
    if effective.park_idle:
        park(draft, effective)
        return
    short = effective.target - members.have
    rise(draft, short)
    if short < 0:
        shrink(draft, len(members.up) + len(members.rising) - len(members.uncertain) - effective.target)
    if short <= 0:
        drop_standby(draft)

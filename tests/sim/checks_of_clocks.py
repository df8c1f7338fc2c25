"""No clock alone decides: the provider tells the time with every answer, and ours may be set at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from fleetd.model.fleet import Fleet
from tests.sim.breach import Breach
from tests.sim.grounds import ON_ITS_WAY, decided_since, fleet_of, ordered
from tests.sim.record import Record
from tests.sim.truth import Truth, moment, target_at


def no_destroy_by_a_doubtful_clock(truth: Truth) -> Iterator[Breach]:
    """3. While the two clocks are apart nothing is destroyed."""
    for call in truth.writes:
        at = moment(call)
        if call.operation == "destroy" and all(truth.record.apart(t) for t in _moments(truth.record, at)):
            yield Breach(3, at, f"{call.machine_id} destroyed while the clocks are apart")


def no_window_by_a_doubtful_clock(truth: Truth) -> Iterator[Breach]:
    """13. No window that one of the two clocks does not see opens or closes a fleet."""
    record = truth.record
    for call in truth.writes:
        at, machine = moment(call), call.machine_id
        if call.operation not in {"create", "start", "stop", "destroy"} or machine is None:
            continue
        fleet, settings = fleet_of(truth, call)
        if fleet is None or settings is None or ordered(record, machine, at):
            continue
        since = decided_since(truth, at)
        known = [s.fleet(fleet.name) for s in record.configs_within(since, at)]
        moments = [since, *(t for t, _ in record.steps if since < t <= at), at]
        if all(_differs(f, record, t) for f in known if f is not None for t in moments):
            yield Breach(13, at, f"{call.operation} in {fleet.name} by a window that only one clock sees")


def _moments(record: Record, at: float) -> list[float]:
    """An instant, and all before it at which the last word may have been said."""
    return [at - ON_ITS_WAY, *(t for t, _ in record.steps if at - ON_ITS_WAY < t <= at), at]


def _differs(fleet: Fleet, record: Record, at: float) -> bool:
    if not record.apart(at):
        return False
    return _asks(fleet, record.wall(at)) != _asks(fleet, record.true(at))


def _asks(fleet: Fleet, now: datetime) -> tuple[int, bool]:
    target, window = target_at(fleet, now)
    return target, window is not None and window.park_idle

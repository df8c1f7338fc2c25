"""How long convergence may take once the faults are over: three intervals and what the vendor and the rules need."""

from __future__ import annotations

from fleetd.model.fleet import Fleet
from fleetd.model.settings import Settings
from fleetd.simulator.calls import Call
from tests.sim.truth import MOVING, ON, Truth, target_at

BOOT = 120 + 60 + 6 + 20
"""Seconds that the vendor takes for a new machine, at most."""
STOP = 30
BACKOFF = 1800
"""Seconds: the longest step of the capacity and refusal backoffs."""
CHECKS = 1200
"""Seconds between policy checks."""


def quiet_from(truth: Truth) -> float:
    """When every fleet must be at its target; nothing is written any more from then on."""
    record = truth.record
    settings = record.config(record.end)
    if settings is None:
        return record.calm_from
    interval = settings.daemon.interval.total_seconds()
    poll = settings.daemon.poll.total_seconds()
    calm = record.calm_from
    waits = [_transitions(truth, calm), _backoffs(truth, calm), _manual(truth, calm, settings)]
    waits += [90 + interval]  # a lost create is looked for as long as that
    pace = max((_pace(truth, fleet, settings, interval, poll) for fleet in settings.fleets), default=0.0)
    policies = CHECKS + interval if any(f.shutdown_timeout or f.auto_snapshot for f in settings.fleets) else 0.0
    return calm + 3 * interval + BOOT + max(*waits, policies) + pace + 2 * poll


def _transitions(truth: Truth, calm: float) -> float:
    """Until the vendor's transitions that began before have ended."""
    latest = calm
    for machine in truth.record.machines:
        at = calm
        while truth.state(machine, at) in MOVING:
            later = next((c.at for c in truth.changes(machine) if c.at > at), None)
            if later is None:
                break
            at = later
        latest = max(latest, at)
    return latest - calm


def _backoffs(truth: Truth, calm: float) -> float:
    """A capacity failure or a refusal shortly before, or after, is waited out."""
    short = [c.at for c in truth.record.timeline if c.cause == "capacity" and c.at > calm - BACKOFF - 300]
    refused = [
        c.world_seconds
        for c in truth.writes
        if c.status is not None
        and ((400 <= c.status < 500 and c.status != 429) or "no_effect" in c.faults or "odd_values" in c.faults)
        and c.world_seconds > calm - BACKOFF - 60
    ]
    lost = [c.world_seconds for c in truth.writes if c.operation == "create" and _lost(c)]
    lost = [at for at in lost if at > calm - BACKOFF - 150]
    if len(lost) < 2:  # the first in a row is made again at once
        lost = []
    last = max([*short, *refused, *lost], default=None)
    return 0.0 if last is None else max(0.0, last - calm) + BACKOFF + BOOT


def _lost(create: Call) -> bool:
    """Whether its answer did not come, or was not about it."""
    return create.status is None or create.status >= 500 or create.status == 429 or bool(create.faults)


def _manual(truth: Truth, calm: float, settings: Settings) -> float:
    """A person's stop is respected for a while from when it is seen: one in a downtime, after that."""
    longest = max((f.respect_manual.total_seconds() for f in settings.fleets), default=0.0)
    before = [look.began for look in truth.record.looks if look.listed is not None and look.began < calm]
    seen = max(before, default=0.0)
    since = min(calm - longest - 300, seen)
    if any(by < 0 for _, by in truth.record.steps):  # what was read off a clock that has been set back counts anew
        since = 0.0
    acts = [a.at for a in truth.record.acts if a.verb in {"stop", "restart", "start"} and a.at > since]
    timers = [c.at for c in truth.record.timeline if "timer" in c.cause and c.at > since]
    return longest + 120 if acts or timers else 0.0


def _pace(truth: Truth, fleet: Fleet, settings: Settings, interval: float, poll: float) -> float:
    """What guards and idle clocks make of the rest."""
    calm = truth.record.calm_from
    target, window = target_at(fleet, truth.record.wall(calm + 1))
    # A machine that a person has renamed is the fleet's as long as the journal knows its id.
    on = len(truth.on(fleet.name, calm, settings, states=ON)) + len(truth.doubtful(fleet.name, calm, settings))
    down = len(truth.on(fleet.name, calm, settings, states={"off", "stopping"}))
    round_trip = STOP + 10 + poll + 0.1 * interval + poll
    if window is not None and window.park_idle:
        after = fleet.idle.after.total_seconds() if fleet.idle is not None else 0.0
        rounds = -(-on // max(1, fleet.guards.max_stops_per_pass.of(on + down, at_least=1)))
        return 2 * after + 600 + 300 + rounds * (round_trip + interval)
    surplus = max(0, on - target)
    per_pass = max(1, fleet.guards.max_stops_per_pass.of(on + down, at_least=1))
    stops = -(-surplus // per_pass) * round_trip
    if surplus and fleet.idle is not None:  # what was used shortly before must have been idle for ``after``
        stops += fleet.idle.after.total_seconds() + 300 + interval
    creates = -(-max(0, target - on) // 10) * interval
    goes = max(0, on + down - target - fleet.standby) if fleet.allow_destroy else 0
    return stops + creates + goes * round_trip

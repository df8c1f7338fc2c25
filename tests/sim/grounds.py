"""On what grounds a call can have been made: what was configured, asked for and to be seen when it was decided.

Nothing in here asks fleetd either.
"""

from __future__ import annotations

from fleetd.model.fleet import Fleet, ScaleIn
from fleetd.model.settings import Settings
from fleetd.simulator.calls import Call
from tests.sim.record import Look, Record
from tests.sim.truth import ON, UP, Truth, created_name, moment, target_at

FRESH = 90.0
"""Seconds that a fresh look may be old when its write arrives: the write may wait behind calls that hang."""
ON_ITS_WAY = 5.0
"""Seconds between the last word on a call and its arrival, at most."""
HANDED_OVER = 1.0
"""Seconds between a decision and its call's arrival, where nothing hangs."""
ON_TIME = 60.0
"""Seconds from a listing to the ``show`` of what it lacks, at most."""
REQUEST_TIMEOUT = 30.0
GRACE = 60.0
ORDER_WAITS = 7200.0
BEFORE = 0.001
"""Seconds: right before a call had its effect (the call log rounds to the microsecond)."""


def fleet_of(truth: Truth, call: Call) -> tuple[Fleet | None, Settings | None]:
    """The fleet that a write is about, and the config in force."""
    at = moment(call)
    settings = truth.record.config(at)
    if settings is None:
        return None, None
    if call.operation == "create":
        name: str | None = created_name(call).rpartition("-")[0]
    else:
        name = truth.owner(call.machine_id or "", at, settings)[0]
    return next((f for f in settings.fleets if f.name == name), None), settings


def look_before(record: Record, at: float) -> Look | None:
    """The newest look that was answered: calls of a pass may still wait while the next one looks."""
    return next((look for look in reversed(record.looks) if look.ended <= at and look.listed is not None), None)


def decided_since(truth: Truth, at: float) -> float:
    """How far back what a decision at ``at`` was made on may lie."""
    look = look_before(truth.record, at)
    if look is None:
        return at
    return look.began - truth.staleness(look.began, look.ended) - HANDED_OVER


def targets(record: Record, fleet: str, since: float, until: float) -> list[int]:
    """Every target that a fleet had within a span."""
    moments = [since, until, *(t for t, _ in record.configs if since < t <= until)]
    moments += [t for t, _ in record.steps if since < t <= until]
    moments += [since + n * 60 for n in range(int((until - since) // 60))]
    found = []
    for at in moments:
        settings = record.config(at)
        wanted = None if settings is None else settings.fleet(fleet)
        if wanted is not None:
            found.append(target_at(wanted, record.wall(at))[0])
    return found or [0]


def unknowable(truth: Truth, machine: str, since: float, at: float, fleet: Fleet) -> bool:
    """Whether nobody could have told fleetd in time that this machine is on."""
    acts = [a for a in truth.record.acts if a.machine_id == machine and a.verb in {"start", "restart", "create"}]
    if any(since <= a.at <= at for a in acts):
        return True  # a person started it after the look
    if any(
        t <= at and (truth.unseen_since(machine, t, at) or truth.unnamed_since(machine, t, at))
        for t in truth.record.ignorant_from()
    ):
        return True  # whoever lost the journal knows of what a listing shows by its name, and of nothing else
    born = truth.born.get(machine)
    if born is None:
        return False
    if at - born.at > fleet.guards.settle.total_seconds() and truth.unseen_since(machine, born.at, at):
        return True
    deadline = fleet.guards.deadlines.create.total_seconds()
    return at - born.at > deadline and truth.unnamed_since(machine, born.at, at)


def shows(truth: Truth) -> dict[str, list[float]]:
    shows: dict[str, list[float]] = {}
    for call in truth.record.calls:
        if call.operation == "show" and call.machine_id is not None and call.status == 200:
            shows.setdefault(call.machine_id, []).append(moment(call))
    return shows


def insane_looks(truth: Truth) -> dict[int, str]:
    """Looks whose listing lacked a machine that fleetd knew of, and that was there; with that machine."""
    insane: dict[int, str] = {}
    known: set[str] = set()
    losses = truth.record.ignorant_from()
    for look in truth.record.looks:
        while losses and losses[0] <= look.began:
            losses.pop(0)
            known.clear()
        if look.listed is None:
            continue
        settings = truth.record.config(look.began)
        if settings is None:
            continue
        still = {m for m in look.visible if truth.state(m, look.ended) != "gone"}
        lacked = [m for m in sorted((known & still) - look.listed) if established(truth, m, look, settings)]
        if lacked:
            insane[id(look)] = lacked[0]
        else:
            known |= {m for m in look.listed if truth.owner(m, look.began, settings)[0] is not None}
    return insane


def established(truth: Truth, machine: str, look: Look, settings: Settings) -> bool:
    fleet, certain = truth.owner(machine, look.began, settings)
    if fleet is None or not certain:
        return False
    born = truth.born.get(machine)
    wanted = settings.fleet(fleet)
    settle = wanted.guards.settle.total_seconds() if wanted is not None else 90.0
    if born is not None and look.began - born.at < settle + REQUEST_TIMEOUT:
        return False
    if _may_be_leaving(truth, machine, look):
        return False
    # What was being destroyed when the look began may be lacking.
    return not any(
        c.machine_id == machine and c.operation == "destroy" and c.world_seconds <= look.ended for c in truth.writes
    ) and not any(a.machine_id == machine and a.verb == "destroy" and a.at <= look.ended for a in truth.record.acts)


_ODD = frozenset({"unknown_state", "odd_values"})


def _may_be_leaving(truth: Truth, machine: str, look: Look) -> bool:
    """Whether ``show``, asked because of this look, was answered with a state that nobody knows, or may have been.

    Such a machine may be leaving. It keeps its place for as long as a destroy may take, which promise 2 holds it to.
    """
    odd = (
        moment(c)
        for c in truth.record.calls
        if c.operation == "show" and c.machine_id == machine and c.status == 200 and _ODD.intersection(c.faults)
    )
    return any(look.began <= t <= look.ended + ON_TIME for t in odd)


def ordered(record: Record, machine: str, at: float, *, forced: bool = False) -> bool:
    """Whether a person asked fleetd for it lately; an order waits for the next sane pass."""
    return any(
        a.ordered and (a.forced or not forced) and a.machine_id == machine and at - ORDER_WAITS < a.at <= at
        for a in record.acts
    )


def surplus(truth: Truth, fleet: Fleet, at: float) -> int:
    """By how many machines the fleet was above its lowest target, at most, within what a decision can be made on."""
    since = decided_since(truth, at)
    settings = truth.record.config(at)
    if settings is None:
        return 0
    moments = {since, at - BEFORE}
    for machine in [*truth.on(fleet.name, at - BEFORE, settings), *truth.on(fleet.name, since, settings)]:
        moments |= {c.at for c in truth.changes(machine) if since <= c.at < at}
    doubtful = len(truth.doubtful(fleet.name, at - BEFORE, settings))
    most = max(len(truth.on(fleet.name, t, settings)) for t in moments) + doubtful
    return most - min(targets(truth.record, fleet.name, since, at))


def parks(fleet: Fleet, record: Record, since: float, at: float) -> bool:
    """Whether a window parks during all of a span."""
    moments = [since, at, *(since + n * 60 for n in range(int((at - since) // 60)))]
    moments += [t for t, _ in record.steps if since < t <= at]
    for instant in moments:
        window = target_at(fleet, record.wall(instant))[1]
        if window is None or not window.park_idle:
            return False
    return True


def parked(truth: Truth, fleet: Fleet, at: float) -> bool:
    """Whether a window parks at any time that a decision at ``at`` can be made on."""
    since = decided_since(truth, at)
    for settings in truth.record.configs_within(since, at):
        wanted = settings.fleet(fleet.name)
        if wanted is None:
            continue
        for instant in (since, at):
            window = target_at(wanted, truth.record.wall(instant))[1]
            if window is not None and window.park_idle:
                return True
    return False


def outlived(truth: Truth, fleet: Fleet, machine: str, at: float) -> bool:
    """Whether a policy that a decision at ``at`` can be made on ends the machine."""
    then = [s.fleet(fleet.name) for s in truth.record.configs_within(decided_since(truth, at), at)]
    policies = [f.shutdown_timeout for f in then if f is not None and f.shutdown_timeout is not None]
    hours = min((p.hours for p in policies if p.enforce), default=None)
    if hours is None:
        return False
    begun = {"starting", "restarting", "provisioning"}
    boots = [c.at for c in truth.changes(machine) if (c.state in begun or c.cause == "was there") and c.at < at]
    steps = sum(abs(by) for _, by in truth.record.steps)
    return bool(boots) and at - boots[-1] > hours * 3600 - steps - 600


def unconfirmed(truth: Truth, machine: str, at: float) -> bool:
    """Whether nothing but its name says that a machine is fleetd's: neither the journal nor the config names it."""
    configs = truth.record.configs_within(decided_since(truth, at), at)
    if any(machine in fleet.adopt for settings in configs for fleet in settings.fleets):
        return False
    born = truth.born.get(machine)
    return born is None or any(born.at < t <= at for t in truth.record.losses)


def off_target(truth: Truth, fleet: Fleet, at: float, settings: Settings) -> str | None:
    """What is wrong with a fleet that should be at its target, or None."""
    record = truth.record
    up = truth.on(fleet.name, at, settings, states=UP)
    moving = truth.on(fleet.name, at, settings, states=ON - UP)
    doubtful = len(truth.doubtful(fleet.name, at, settings))
    target, window = target_at(fleet, record.wall(at))
    where = f"{fleet.name} has {len(up)} of {target} up"
    if moving:
        return f"{where} and {moving[0]} is {truth.state(moving[0], at)}"
    spare = [m for m in up if not record.in_use(m, at) or fleet.idle is None]
    if window is not None and window.park_idle:
        floor = window.target or 0
        by_hand = {a.machine_id for a in record.acts if a.verb in {"start", "restart"}}
        idle = [m for m in spare if m not in by_hand]
        return None if len(up) <= floor or not idle else f"{where}, {idle[0]} is idle and not parked"
    if len(up) + doubtful < target:
        return where
    if len(up) > target and spare:
        return f"{where}, {spare[0]} is too many"
    down = [m for m in truth.on(fleet.name, at, settings, states={"off"}) if not unconfirmed(truth, m, at)]
    if fleet.scale_in is ScaleIn.DESTROY and fleet.allow_destroy and len(down) > fleet.standby:
        return f"{fleet.name} keeps {len(down)} stopped machines, standby is {fleet.standby}"
    return None

"""Decides the promises of a run, one function each, from what is true of it. See docs/promises.md.

    breaches = check(record)        # [] when every promise was kept

A promise that needs an excuse names it where it is applied; what no software could have known is an excuse, and
nothing else is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from fleetd.model.fleet import Fleet, ScaleIn
from fleetd.model.reasons import Verb
from fleetd.model.settings import Settings
from fleetd.simulator.calls import Call
from tests.sim.record import Look, Record
from tests.sim.settling import quiet_from
from tests.sim.truth import ON, UP, Truth, created_name, moment, target_at

FRESH = 90.0
"""Seconds that a fresh look may be old when its write arrives: the write may wait behind calls that hang."""
HANDED_OVER = 1.0
"""Seconds between a decision and its call's arrival, where nothing hangs."""
REQUEST_TIMEOUT = 30.0
GRACE = 60.0
ORDER_WAITS = 7200.0
BEFORE = 0.001
"""Seconds: right before a call had its effect (the call log rounds to the microsecond)."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept."""

    promise: int
    at: float
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise} at {self.at:.1f} s: {self.what}"


def check(record: Record) -> list[Breach]:
    """Everything that was promised and not kept, in the order of time."""
    truth = Truth(record)
    found = [breach for promise in PROMISES.values() for breach in promise(truth)]
    found += [
        Breach(0, span.ended, f"life {span.number} {span.how}")
        for span in record.lives
        if span.how.startswith("crashed")
    ]
    return sorted(found, key=lambda b: (b.at, b.promise))


def foreign_is_left_alone(truth: Truth) -> Iterator[Breach]:
    """1. A foreign machine is never written to."""
    for call in truth.writes:
        if call.operation == "create" or call.machine_id is None:
            continue
        at = moment(call)
        settings = truth.record.config(at)
        owner = None if settings is None else truth.owner(call.machine_id, at, settings)[0]
        if owner is None:
            yield Breach(1, at, f"{call.operation} of {call.machine_id} ({truth.name(call.machine_id, at)})")


def never_more_than_the_target(truth: Truth) -> Iterator[Breach]:
    """2. A fleet never bills more than target and surge: no create or start takes it beyond."""
    record = truth.record
    for call in truth.writes:
        starts = call.operation == "create" or (call.operation == "start" and call.state_before == "off")
        if not (starts and call.executed and call.machine_id):
            continue
        at = moment(call)
        fleet, settings = _fleet_of(truth, call)
        if fleet is None or settings is None:
            continue
        since = _decided_since(truth, at)
        allowed = max(_targets(record, fleet.name, since, at)) + fleet.guards.max_surge
        on = [m for m in truth.on(fleet.name, at, settings) if m != call.machine_id]
        excused = [m for m in on if _unknowable(truth, m, since, at, fleet)]
        if len(on) - len(excused) + 1 > allowed:
            yield Breach(2, at, f"{call.operation} makes {fleet.name} {len(on) + 1} of {allowed}")


def destroys_are_allowed(truth: Truth) -> Iterator[Breach]:
    """3. Nothing is destroyed without allow_destroy, beyond the guard, or without a fresh look."""
    shows = _shows(truth)
    under_way: list[tuple[str, str]] = []
    for call in truth.writes:
        if call.operation not in {"destroy", "stop"} or call.machine_id is None:
            continue
        at = moment(call)
        looked = [t for t in shows.get(call.machine_id, ()) if t <= at]
        if not looked or at - looked[-1] > FRESH:
            yield Breach(3, at, f"{call.operation} of {call.machine_id} without a fresh look")
        if call.operation == "stop":
            continue
        fleet, _ = _fleet_of(truth, call)
        if fleet is None:
            continue
        if not fleet.allow_destroy:
            yield Breach(3, at, f"{call.machine_id} destroyed, {fleet.name} does not allow it")
        under_way = [(m, f) for m, f in under_way if truth.state(m, at) != "gone" and m != call.machine_id]
        going = sum(f == fleet.name for _, f in under_way)
        if call.executed:
            under_way.append((call.machine_id, fleet.name))
        if going + 1 > fleet.guards.max_destroys_per_pass:
            yield Breach(3, at, f"{going + 1} destroys under way in {fleet.name}")


def sane_observations_only(truth: Truth) -> Iterator[Breach]:
    """4. No create, start, stop or destroy on a listing that lacks what is there, or on an old one."""
    insane = _insane_looks(truth)
    interval = max((s.daemon.interval.total_seconds() for _, s in truth.record.configs), default=30.0)
    for call in truth.writes:
        if call.operation not in {"create", "start", "stop", "destroy"}:
            continue
        at = moment(call)
        look = _look_before(truth.record, at)
        if look is None or look.listed is None:
            yield Breach(4, at, f"{call.operation} of {call.machine_id} without an answered look")
        elif id(look) in insane:
            yield Breach(4, at, f"{call.operation} of {call.machine_id} on a listing that lacked {insane[id(look)]}")
        elif at - look.began > 2 * interval + 2 * REQUEST_TIMEOUT:
            yield Breach(4, at, f"{call.operation} on a look that is {at - look.began:.0f} s old")


def journaled_and_single(truth: Truth) -> Iterator[Breach]:
    """5. Every write is in the journal before it arrives, and no create is made twice."""
    yield from (Breach(5, 0.0, f"not in the journal: {what}") for what in truth.record.unjournaled)
    names = Counter(created_name(c) for c in truth.writes if c.operation == "create")
    yield from (Breach(5, 0.0, f"{name} was asked for {n} times") for name, n in names.items() if n > 1)


def unknown_is_active(truth: Truth) -> Iterator[Breach]:
    """6. Nothing that is in use, or of which nobody knows, is stopped."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in {"stop", "destroy", "restart"} or call.machine_id is None:
            continue
        at, machine = moment(call), call.machine_id
        if call.state_before not in UP or _ordered(record, machine, at, forced=True):
            continue
        fleet, _ = _fleet_of(truth, call)
        if fleet is None or fleet.idle is None:
            continue
        asked, said = record.heard.get(call.seq, (float("-inf"), "never asked"))
        if said != "idle" or at - asked > FRESH:
            yield Breach(6, at, f"{call.operation} of {machine}, whose activity was {said} {at - asked:.0f} s before")
        elif not (
            _surplus(truth, fleet, at) > 0 or _outlived(truth, fleet, machine, at) or _ordered(record, machine, at)
        ):
            span = 0.85 * fleet.idle.after.total_seconds() - GRACE
            began = truth.change(machine, at - BEFORE)
            if record.in_use(machine, at - span, at) or (began is not None and at - began.at < span):
                yield Breach(6, at, f"{machine} parked although it was not idle for {fleet.idle.after}")


def vetoes_are_obeyed(truth: Truth) -> Iterator[Breach]:
    """7. A hold or freeze is obeyed from the next call on."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in set(Verb):
            continue
        at = moment(call)
        fleet, _ = _fleet_of(truth, call)
        name = created_name(call) if call.operation == "create" else truth.name(call.machine_id or "", at)
        for veto in record.vetoes:
            if not veto.since + BEFORE < at < veto.until or record.wall(at) >= veto.expires:
                continue
            hits = (
                veto.subject in {call.machine_id, name}
                if veto.kind == "hold"
                else veto.subject is None or (fleet is not None and veto.subject == fleet.name)
            )
            # A wall clock that was set back while the call was on its way revives what had expired.
            revived = any(at - GRACE < when <= at and by < 0 for when, by in record.steps)
            if hits and Verb(call.operation) in veto.verbs and not revived:
                yield Breach(7, at, f"{call.operation} of {call.machine_id or name} under a {veto.kind}")


def one_daemon_acts(truth: Truth) -> Iterator[Breach]:
    """8. At most one daemon acts: no process calls between two calls of another."""
    spans: dict[int, tuple[float, float]] = {}
    for at, life in truth.record.asked:
        first, _ = spans.get(life, (at, at))
        spans[life] = (first, at)
    ordered = sorted(spans.items(), key=lambda item: item[1])
    for (one, (_, last)), (other, (first, _)) in pairwise(ordered):
        if first < last:
            yield Breach(8, first, f"lives {one} and {other} both call the provider")


def the_good_config_rules(truth: Truth) -> Iterator[Breach]:
    """9. A bad config never replaces a good one: no machine is stopped but for a reason that the good one gives."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in {"stop", "destroy"} or not call.executed or call.machine_id is None:
            continue
        at, machine = moment(call), call.machine_id
        fleet, _ = _fleet_of(truth, call)
        if fleet is None or call.state_before not in ON or _ordered(record, machine, at):
            continue
        if _surplus(truth, fleet, at) > 0 or _parked(truth, fleet, at) or _outlived(truth, fleet, machine, at):
            continue
        yield Breach(9, at, f"{call.operation} of {machine}, which {fleet.name} needs")


def the_key_stays_secret(truth: Truth) -> Iterator[Breach]:
    """10. The key is nowhere to be found."""
    yield from (Breach(10, truth.record.end, f"the key is in {place}") for place in truth.record.exposures)


def it_converges_and_rests(truth: Truth) -> Iterator[Breach]:
    """11. When faults end, every fleet reaches its target in time, and then nothing is written any more."""
    record = truth.record
    settled = quiet_from(truth)
    settings = record.config(record.end)
    if settings is None:
        yield Breach(11, record.end, "no config is in force at the end")
        return
    if settled > record.end - record.rest:
        yield Breach(11, record.end, f"the run ends before it can have rested from {settled:.0f} s on")
        return
    for call in truth.writes:
        if moment(call) > settled:
            yield Breach(11, moment(call), f"{call.operation} of {call.machine_id} after {settled:.0f} s")
    for fleet in settings.fleets:
        moments = [settled, (settled + record.end) / 2, record.end]
        for at in moments:
            wrong = _off_target(truth, fleet, at, settings)
            if wrong is not None:
                yield Breach(11, at, wrong)
                break


def verdicts_come_in_time(truth: Truth) -> Iterator[Breach]:
    """12. Every transition ends in a verdict by its deadline."""
    yield from (Breach(12, truth.record.end, what) for what in truth.record.overdue)


def windows_are_honoured(truth: Truth) -> Iterator[Breach]:
    """13. While a window parks nothing is created or started, and nothing is parked outside of one."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in {"create", "start"}:
            continue
        at, machine = moment(call), call.machine_id
        fleet, _ = _fleet_of(truth, call)
        if fleet is None or (machine is not None and _ordered(record, machine, at)):
            continue
        since = _decided_since(truth, at)
        if all(
            (found := next((f for f in settings.fleets if f.name == fleet.name), None)) is not None
            and _parks(found, record, since, at)
            for settings in record.configs_within(since, at)
        ):
            yield Breach(13, at, f"{call.operation} in {fleet.name} while its window parks")


PROMISES: dict[int, Callable[[Truth], Iterator[Breach]]] = {
    1: foreign_is_left_alone,
    2: never_more_than_the_target,
    3: destroys_are_allowed,
    4: sane_observations_only,
    5: journaled_and_single,
    6: unknown_is_active,
    7: vetoes_are_obeyed,
    8: one_daemon_acts,
    9: the_good_config_rules,
    10: the_key_stays_secret,
    11: it_converges_and_rests,
    12: verdicts_come_in_time,
    13: windows_are_honoured,
}


def _fleet_of(truth: Truth, call: Call) -> tuple[Fleet | None, Settings | None]:
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


def _look_before(record: Record, at: float) -> Look | None:
    return next((look for look in reversed(record.looks) if look.began <= at), None)


def _decided_since(truth: Truth, at: float) -> float:
    """How far back what a decision at ``at`` was made on may lie."""
    look = _look_before(truth.record, at)
    if look is None:
        return at
    return look.began - truth.staleness(look.began, look.ended) - HANDED_OVER


def _targets(record: Record, fleet: str, since: float, until: float) -> list[int]:
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


def _unknowable(truth: Truth, machine: str, since: float, at: float, fleet: Fleet) -> bool:
    """Whether nobody could have told fleetd in time that this machine is on."""
    acts = [a for a in truth.record.acts if a.machine_id == machine and a.verb in {"start", "restart", "create"}]
    if any(since <= a.at <= at for a in acts):
        return True  # a person started it after the look
    if any(t <= at and truth.unseen_since(machine, t, at) for t in truth.record.losses):
        return True  # whoever lost the journal knows of what a listing shows, and of nothing else
    born = truth.born.get(machine)
    if born is None:
        return False
    return at - born.at > fleet.guards.settle.total_seconds() and truth.unseen_since(machine, born.at, at)


def _shows(truth: Truth) -> dict[str, list[float]]:
    shows: dict[str, list[float]] = {}
    for call in truth.record.calls:
        if call.operation == "show" and call.machine_id is not None and call.status == 200:
            shows.setdefault(call.machine_id, []).append(moment(call))
    return shows


def _insane_looks(truth: Truth) -> dict[int, str]:
    """Looks whose listing lacked a machine that fleetd knew of, and that was there; with that machine."""
    insane: dict[int, str] = {}
    known: set[str] = set()
    losses = list(truth.record.losses)
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
        lacked = [m for m in sorted((known & still) - look.listed) if _established(truth, m, look, settings)]
        if lacked:
            insane[id(look)] = lacked[0]
        else:
            known |= {m for m in look.listed if truth.owner(m, look.began, settings)[0] is not None}
    return insane


def _established(truth: Truth, machine: str, look: Look, settings: Settings) -> bool:
    fleet, certain = truth.owner(machine, look.began, settings)
    if fleet is None or not certain:
        return False
    born = truth.born.get(machine)
    wanted = settings.fleet(fleet)
    settle = wanted.guards.settle.total_seconds() if wanted is not None else 90.0
    if born is not None and look.began - born.at < settle + REQUEST_TIMEOUT:
        return False
    # What was being destroyed when the look began may be lacking.
    return not any(
        c.machine_id == machine and c.operation == "destroy" and c.world_seconds <= look.ended for c in truth.writes
    ) and not any(a.machine_id == machine and a.verb == "destroy" and a.at <= look.ended for a in truth.record.acts)


def _ordered(record: Record, machine: str, at: float, *, forced: bool = False) -> bool:
    """Whether a person asked fleetd for it lately; an order waits for the next sane pass."""
    return any(
        a.ordered and (a.forced or not forced) and a.machine_id == machine and at - ORDER_WAITS < a.at <= at
        for a in record.acts
    )


def _surplus(truth: Truth, fleet: Fleet, at: float) -> int:
    """By how many machines the fleet was above its lowest target, at most, within what a decision can be made on."""
    since = _decided_since(truth, at)
    settings = truth.record.config(at)
    if settings is None:
        return 0
    moments = {since, at - BEFORE}
    for machine in [*truth.on(fleet.name, at - BEFORE, settings), *truth.on(fleet.name, since, settings)]:
        moments |= {c.at for c in truth.changes(machine) if since <= c.at < at}
    doubtful = len(truth.doubtful(fleet.name, at - BEFORE, settings))
    most = max(len(truth.on(fleet.name, t, settings)) for t in moments) + doubtful
    return most - min(_targets(truth.record, fleet.name, since, at))


def _parks(fleet: Fleet, record: Record, since: float, at: float) -> bool:
    """Whether a window parks during all of a span."""
    moments = [since, at, *(since + n * 60 for n in range(int((at - since) // 60)))]
    moments += [t for t, _ in record.steps if since < t <= at]
    for instant in moments:
        window = target_at(fleet, record.wall(instant))[1]
        if window is None or not window.park_idle:
            return False
    return True


def _parked(truth: Truth, fleet: Fleet, at: float) -> bool:
    """Whether a window parks at any time that a decision at ``at`` can be made on."""
    since = _decided_since(truth, at)
    for settings in truth.record.configs_within(since, at):
        wanted = settings.fleet(fleet.name)
        if wanted is None:
            continue
        for instant in (since, at):
            window = target_at(wanted, truth.record.wall(instant))[1]
            if window is not None and window.park_idle:
                return True
    return False


def _outlived(truth: Truth, fleet: Fleet, machine: str, at: float) -> bool:
    """Whether a policy that a decision at ``at`` can be made on ends the machine."""
    then = [s.fleet(fleet.name) for s in truth.record.configs_within(_decided_since(truth, at), at)]
    policies = [f.shutdown_timeout for f in then if f is not None and f.shutdown_timeout is not None]
    hours = min((p.hours for p in policies if p.enforce), default=None)
    if hours is None:
        return False
    begun = {"starting", "restarting", "provisioning"}
    boots = [c.at for c in truth.changes(machine) if (c.state in begun or c.cause == "was there") and c.at < at]
    steps = sum(abs(by) for _, by in truth.record.steps)
    return bool(boots) and at - boots[-1] > hours * 3600 - steps - 600


def _off_target(truth: Truth, fleet: Fleet, at: float, settings: Settings) -> str | None:
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
    down = truth.on(fleet.name, at, settings, states={"off"})
    if fleet.scale_in is ScaleIn.DESTROY and fleet.allow_destroy and len(down) > fleet.standby:
        return f"{fleet.name} keeps {len(down)} stopped machines, standby is {fleet.standby}"
    return None

"""Decides the promises of a run, one function each, from what is true of it. See docs/promises.md.

    breaches = check(record)        # [] when every promise was kept

A promise that needs an excuse names it where it is applied; what no software could have known is an excuse, and
nothing else is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import chain, pairwise

from tests.sim.breach import Breach
from tests.sim.checks_of_clocks import no_destroy_by_a_doubtful_clock, no_window_by_a_doubtful_clock
from tests.sim.checks_of_people import unknown_is_active, vetoes_are_obeyed
from tests.sim.grounds import (
    FRESH,
    ON_ITS_WAY,
    decided_since,
    fleet_of,
    insane_looks,
    off_target,
    ordered,
    outlived,
    parked,
    parks,
    shows,
    surplus,
    targets,
    unconfirmed,
    unknowable,
)
from tests.sim.record import Record
from tests.sim.settling import quiet_from
from tests.sim.truth import ON, Truth, created_name, moment

LEARNT_WITHIN = 3600.0
"""Seconds after which a price that changed is known: the checks ring every 20 minutes."""
VERBS = frozenset({"create", "start", "stop", "restart", "destroy", "update"})
LATE_DESTROY = 2390.0
"""Seconds for which a destroy that is not done counts as under way: its deadline, and half an hour."""
UNNOTICED = 3600.0
"""Seconds for which a daemon whose lock was removed may go on looking."""
NO_EFFECT_STEPS = (60.0, 120.0, 300.0, 600.0, 1800.0)


def check(record: Record) -> list[Breach]:
    """Everything that was promised and not kept, in the order of time."""
    truth = Truth(record)
    checks = (*PROMISES.values(), never_more_than_the_cap)
    found = [breach for promise in checks for breach in promise(truth)]
    return sorted(found, key=lambda b: (b.at, b.promise))


def no_life_ends_by_itself(truth: Truth) -> Iterator[Breach]:
    """0. Nothing from outside ends the process, and no fault in a pass does."""
    for span in truth.record.lives:
        if span.how.startswith("crashed"):
            yield Breach(0, span.ended, f"life {span.number} {span.how}")


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
    for call in truth.record.others:
        born = truth.born.get(call.machine_id or "")
        if call.write and born is not None and truth.name(call.machine_id or "", moment(call)) == born.name:
            yield Breach(1, moment(call), f"somebody else's fleetd has {call.operation} of {born.name}")


def never_more_than_the_target(truth: Truth) -> Iterator[Breach]:
    """2. A fleet never bills more than target and surge: no create or start takes it beyond."""
    record = truth.record
    for call in truth.writes:
        starts = call.operation == "create" or (call.operation == "start" and call.state_before == "off")
        if not (starts and call.executed and call.machine_id):
            continue
        at = moment(call)
        fleet, settings = fleet_of(truth, call)
        if fleet is None or settings is None:
            continue
        since = decided_since(truth, at)
        allowed = max(targets(record, fleet.name, since, at)) + fleet.guards.max_surge
        on = [m for m in truth.on(fleet.name, at, settings) if m != call.machine_id]
        excused = [m for m in on if unknowable(truth, m, since, at, fleet)]
        if len(on) - len(excused) + 1 > allowed:
            yield Breach(2, at, f"{call.operation} makes {fleet.name} {len(on) + 1} of {allowed}")


def never_more_than_the_cap(truth: Truth) -> Iterator[Breach]:
    """2. Nor more dollars an hour than its cap, by the prices of the config and those that were billed for long."""
    for call in truth.writes:
        starts = call.operation == "create" or (call.operation == "start" and call.state_before == "off")
        at = moment(call)
        fleet, settings = fleet_of(truth, call)
        if not (starts and call.executed) or fleet is None or settings is None or not fleet.guards.max_hourly_cost:
            continue
        told = [(t, price) for t, kind, price in truth.record.prices if kind == fleet.machine_type and t < at]
        known = [price for t, price in told if t < at - LEARNT_WITHIN]
        lately = [price for t, price in told if t >= at - LEARNT_WITHIN]
        billed = min([known[-1], *lately]) if known else Decimal(0)
        price = max(billed, settings.costs.prices.get(fleet.machine_type, Decimal(0)))
        on = {*truth.on(fleet.name, at, settings), call.machine_id}
        if len(on) * price > fleet.guards.max_hourly_cost:
            yield Breach(2, at, f"{call.operation} makes {fleet.name} ${len(on) * price}/h of its cap")


def destroys_are_allowed(truth: Truth) -> Iterator[Breach]:
    """3. Nothing is destroyed without allow_destroy, beyond the guard, or without a fresh look."""
    looks = shows(truth)
    under_way: list[tuple[str, str, float]] = []
    for call in truth.writes:
        if call.operation not in {"destroy", "stop"} or call.machine_id is None:
            continue
        at = moment(call)
        looked = [t for t in looks.get(call.machine_id, ()) if t <= at]
        if not looked or at - looked[-1] > FRESH:
            yield Breach(3, at, f"{call.operation} of {call.machine_id} without a fresh look")
        if call.operation == "stop":
            continue
        fleet, _ = fleet_of(truth, call)
        if fleet is None:
            continue
        if unconfirmed(truth, call.machine_id, at):
            yield Breach(3, at, f"{call.machine_id} destroyed, which nobody has confirmed")
        if not fleet.allow_destroy:
            yield Breach(3, at, f"{call.machine_id} destroyed, {fleet.name} does not allow it")
        under_way = [
            (m, f, t)
            for m, f, t in under_way
            if truth.state(m, at) != "gone" and m != call.machine_id and at - t < LATE_DESTROY
        ]
        going = sum(f == fleet.name for _, f, _ in under_way)
        if call.executed:
            under_way.append((call.machine_id, fleet.name, at))
        if going + 1 > fleet.guards.max_destroys_per_pass:
            yield Breach(3, at, f"{going + 1} destroys under way in {fleet.name}")


def sane_observations_only(truth: Truth) -> Iterator[Breach]:
    """4. No create, start, stop or destroy on a listing that lacks what is there, or on an old one."""
    insane = insane_looks(truth)
    interval = max((s.daemon.interval.total_seconds() for _, s in truth.record.configs), default=30.0)
    for call in truth.writes:
        if call.operation not in {"create", "start", "stop", "destroy"}:
            continue
        at = moment(call)
        recent = [
            look
            for look in truth.record.looks
            if look.listed is not None and at - 2 * interval - ON_ITS_WAY < look.began and look.ended <= at
        ]
        if not recent:
            yield Breach(4, at, f"{call.operation} of {call.machine_id} without a look that was answered lately")
        elif all(id(look) in insane for look in recent):
            lacked = insane[id(recent[-1])]
            yield Breach(4, at, f"{call.operation} of {call.machine_id} on a listing that lacked {lacked}")


def journaled_and_single(truth: Truth) -> Iterator[Breach]:
    """5. Every write is in the journal before it arrives, and no create is made twice."""
    yield from (Breach(5, 0.0, f"not in the journal: {what}") for what in truth.record.unjournaled)
    names = Counter(created_name(c) for c in truth.writes if c.operation == "create")
    yield from (Breach(5, 0.0, f"{name} was asked for {n} times") for name, n in names.items() if n > 1)


def one_daemon_acts(truth: Truth) -> Iterator[Breach]:
    """8. At most one daemon acts: no process calls between two calls of another."""
    spans: dict[int, tuple[float, float]] = {}
    unlocked = truth.record.unlocked
    for at, life, name in truth.record.asked:
        # Who has lost the lock may find out only when it is about to write.
        if name not in VERBS and any(at - UNNOTICED < t <= at for t in unlocked):
            continue
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
        fleet, _ = fleet_of(truth, call)
        if fleet is None or call.state_before not in ON or ordered(record, machine, at):
            continue
        if surplus(truth, fleet, at) > 0 or parked(truth, fleet, at) or outlived(truth, fleet, machine, at):
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
            wrong = off_target(truth, fleet, at, settings)
            if wrong is not None:
                yield Breach(11, at, wrong)
                break


def verdicts_come_in_time(truth: Truth) -> Iterator[Breach]:
    """12. Every transition ends in a verdict by its deadline."""
    yield from (Breach(12, truth.record.end, what) for what in truth.record.overdue)


def what_has_no_effect_is_not_repeated(truth: Truth) -> Iterator[Breach]:
    """12. A verb that was accepted and changed nothing is made again after 1, 2, 5, 10, 30 minutes, not at once."""
    record = truth.record
    tried: dict[tuple[str, str, frozenset[str]], list[float]] = {}
    for call in truth.writes:
        # Two policies of one machine are two updates.
        body = call.body if call.operation == "update" and isinstance(call.body, dict) else {}
        key = (call.operation, call.machine_id or "", frozenset(body))
        at = moment(call)
        if call.operation == "create" or "no_effect" not in call.faults:
            tried.pop(key, None)
            continue
        before = tried.setdefault(key, [])
        disturbed = [t for t, _ in record.steps] + record.losses
        if before and not any(before[-1] < t <= at for t in disturbed) and not ordered(record, key[1], at):
            least = NO_EFFECT_STEPS[min(len(before), len(NO_EFFECT_STEPS)) - 1]
            if at - before[-1] < 0.8 * least:
                yield Breach(12, at, f"{key[0]} of {key[1]} again after {at - before[-1]:.0f} s, without any effect")
        before.append(at)


def windows_are_honoured(truth: Truth) -> Iterator[Breach]:
    """13. While a window parks nothing is created or started, and nothing is parked outside of one."""
    record = truth.record
    for call in truth.writes:
        if call.operation not in {"create", "start"}:
            continue
        at, machine = moment(call), call.machine_id
        fleet, _ = fleet_of(truth, call)
        if fleet is None or (machine is not None and ordered(record, machine, at)):
            continue
        since = decided_since(truth, at)
        if all(
            (found := next((f for f in settings.fleets if f.name == fleet.name), None)) is not None
            and parks(found, record, since, at)
            for settings in record.configs_within(since, at)
        ):
            yield Breach(13, at, f"{call.operation} in {fleet.name} while its window parks")


PROMISES: dict[int, Callable[[Truth], Iterator[Breach]]] = {
    0: no_life_ends_by_itself,
    1: foreign_is_left_alone,
    2: never_more_than_the_target,
    3: lambda truth: chain(destroys_are_allowed(truth), no_destroy_by_a_doubtful_clock(truth)),
    4: sane_observations_only,
    5: journaled_and_single,
    6: unknown_is_active,
    7: lambda truth: (breach for breach in vetoes_are_obeyed(truth) if breach.promise == 7),
    8: one_daemon_acts,
    9: the_good_config_rules,
    10: the_key_stays_secret,
    11: it_converges_and_rests,
    12: lambda truth: chain(verdicts_come_in_time(truth), what_has_no_effect_is_not_repeated(truth)),
    13: lambda truth: chain(windows_are_honoured(truth), no_window_by_a_doubtful_clock(truth)),
    14: lambda truth: (breach for breach in vetoes_are_obeyed(truth) if breach.promise == 14),
}

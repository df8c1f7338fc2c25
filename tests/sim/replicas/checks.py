"""The promises of several replicas, decided from the provider's call log and the database's own record of the lease.

What one daemon promises, and what is decided alike for two, is taken from ``tests/sim/checker.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise

from fleetd.engine.clocks import APART
from fleetd.model.reasons import Verb
from fleetd.store.postgres.lease import RENEWAL
from tests.sim import checker
from tests.sim.breach import Breach
from tests.sim.grounds import fleet_of, targets
from tests.sim.replicas.record import ReplicaRecord, Sent
from tests.sim.replicas.server import Tenure
from tests.sim.truth import ON, Truth, created_name, moment

DECIDED = 90.0
"""Seconds, and two intervals: how far back what a call was decided on may lie when it leaves."""
NOTICED = RENEWAL + 2.0
"""Seconds in which a replica notices that somebody has ended its lease by hand, where it reaches the database."""
BY_HAND = "by hand"


def check(record: ReplicaRecord) -> list[Breach]:
    """Everything that was promised and not kept, in the order of time."""
    truth = Truth(record)
    found = [breach for promise in CHECKS for breach in promise(truth, record)]
    return sorted(found, key=lambda breach: (breach.at, breach.promise))


def nothing_leaves_without_the_lease(truth: Truth, record: ReplicaRecord) -> Iterator[Breach]:
    """8. No call leaves a process whose lease has ended by the database's clock, or that never had it."""
    for sent in record.sent:
        at = sent.at + record.database_ahead
        row = next((t for t in reversed(record.tenures) if t.at <= at), None)
        mine = record.holders.get(sent.life)
        if row is not None and row.holder == mine and at <= row.expires_at:
            continue
        if row is not None and _by_hand(truth, record, sent, at, mine):
            continue
        what = sent.call.operation if sent.call is not None else "a call"
        ended = "" if row is None else f", which {row.about or 'nobody'} had to {row.expires_at - at:+.3f} s"
        yield Breach(8, sent.at, f"{what} leaves life {sent.life} without the lease{ended}")


def intents_are_the_holders(_truth: Truth, record: ReplicaRecord) -> Iterator[Breach]:
    """8. No intent is committed by another than the holder, whatever it believes; 5, and each is there once."""
    for written in record.written:
        life = record.names.get(written.by)
        if life is None or record.holders.get(life) != written.holder:
            at = written.at - record.database_ahead
            yield Breach(8, at, f"the intent to {written.verb} {written.name} is {written.by}'s, not the holder's")
    names = Counter(w.name for w in record.written if w.verb == "create")
    yield from (Breach(5, 0.0, f"{n} intents to create {name}") for name, n in names.items() if n > 1)


def never_more_than_the_target(truth: Truth, record: ReplicaRecord) -> Iterator[Breach]:
    """2. No create or start takes a fleet beyond its target."""
    for sent in record.sent:
        call = sent.call
        if call is None or not call.executed or not call.machine_id:
            continue
        if call.operation != "create" and not (call.operation == "start" and call.state_before == "off"):
            continue
        at = moment(call)
        fleet, settings = fleet_of(truth, call)
        if fleet is None or settings is None:
            continue
        allowed = max(targets(record, fleet.name, _decided(record, sent), at))
        on = len([m for m in truth.on(fleet.name, at, settings) if m != call.machine_id]) + 1
        if on > allowed:
            yield Breach(2, at, f"{call.operation} makes {fleet.name} {on} of {allowed}")


def nobodys_machine_is_taken(truth: Truth, record: ReplicaRecord) -> Iterator[Breach]:
    """9. No machine is stopped or destroyed that its fleet needs."""
    for sent in record.sent:
        call = sent.call
        if call is None or call.operation not in {"stop", "destroy"} or not call.executed or call.machine_id is None:
            continue
        at, since = moment(call), _decided(record, sent)
        fleet, settings = fleet_of(truth, call)
        if fleet is None or settings is None or call.state_before not in ON:
            continue
        moments = {since, at - 0.001} | {
            change.at for machine in record.machines for change in truth.changes(machine) if since <= change.at < at
        }
        most = max(len(truth.on(fleet.name, t, settings)) for t in moments)
        if most <= min(targets(record, fleet.name, since, at)):
            yield Breach(9, at, f"{call.operation} of {call.machine_id}, which {fleet.name} needs")


def vetoes_are_obeyed(truth: Truth, record: ReplicaRecord) -> Iterator[Breach]:
    """7. What a veto forbids whose command has returned does not leave any process any more."""
    for sent in record.sent:
        call = sent.call
        if call is None or call.operation not in set(Verb):
            continue
        fleet, _ = fleet_of(truth, call)
        name = created_name(call) if call.operation == "create" else truth.name(call.machine_id or "", sent.at)
        for veto in record.vetoes:
            if not veto.since < sent.at < veto.until or _run_out(record, sent, veto):
                continue
            hits = (
                veto.machine_id in {call.machine_id, name}
                if veto.kind == "hold"
                else veto.subject is None or (fleet is not None and veto.subject == fleet.name)
            )
            if hits and Verb(call.operation) in veto.verbs:
                given = "while none acted" if veto.unattended else "to the holder"
                yield Breach(7, sent.at, f"{call.operation} of {name} leaves under a {veto.kind} given {given}")


def no_machine_is_lost(truth: Truth, record: ReplicaRecord) -> Iterator[Breach]:
    """5. At rest whoever acts knows every machine that was made, and no two have one name."""
    there = {m: b.name for m, b in truth.born.items() if truth.state(m, record.end) != "gone"}
    yield from (
        Breach(5, record.end, f"{name} ({machine}) was made, and nobody knows it")
        for machine, name in there.items()
        if machine not in record.known
    )
    names = Counter(there.values())
    yield from (Breach(5, record.end, f"{n} machines are called {name}") for name, n in names.items() if n > 1)


def _alone(promise: Callable[[Truth], Iterator[Breach]]) -> Callable[[Truth, ReplicaRecord], Iterator[Breach]]:
    return lambda truth, _record: promise(truth)


CHECKS: tuple[Callable[[Truth, ReplicaRecord], Iterator[Breach]], ...] = (
    nothing_leaves_without_the_lease,
    intents_are_the_holders,
    never_more_than_the_target,
    nobodys_machine_is_taken,
    vetoes_are_obeyed,
    no_machine_is_lost,
    _alone(checker.no_life_ends_by_itself),
    _alone(checker.foreign_is_left_alone),
    _alone(checker.destroys_are_allowed),
    _alone(checker.journaled_and_single),
    _alone(checker.the_key_stays_secret),
    _alone(checker.it_converges_and_rests),
)


def under_way(record: ReplicaRecord) -> int:
    """Writes that had left, and had not arrived or not been answered, when another took the lease."""
    takeovers = [
        (b.at - record.database_ahead, a.holder)
        for a, b in pairwise(record.tenures)
        if b.holder is not None and a.epoch != b.epoch
    ]
    ids = record.holders
    return sum(
        any(sent.at <= at < moment(sent.call) and ids.get(sent.life) != holder for at, holder in takeovers)
        or any(sent.at <= at < moment(sent.call) for at, _ in takeovers)
        for sent in record.sent
        if sent.call is not None and sent.call.write
    )


def _decided(record: ReplicaRecord, sent: Sent) -> float:
    settings = record.config(sent.at)
    interval = 60.0 if settings is None else settings.daemon.interval.total_seconds()
    return sent.at - 2 * interval - DECIDED


def _by_hand(truth: Truth, record: ReplicaRecord, sent: Sent, at: float, mine: str | None) -> bool:
    """Whether somebody had ended the lease by hand just before, and the call rests on what was written until then."""
    taken = _taken_by_hand(record, sent, at, mine)
    if taken is None:
        return False
    call = sent.call
    if call is None or not call.write:
        return True
    name = created_name(call) if call.operation == "create" else truth.name(call.machine_id or "", sent.at)
    return any(
        record.names.get(w.by) == sent.life and (w.name, w.verb) == (name, call.operation) and w.at <= taken.at
        for w in record.written
    )


def _taken_by_hand(record: ReplicaRecord, sent: Sent, at: float, mine: str | None) -> Tenure | None:
    for before, after in pairwise(record.tenures):
        if after.by != BY_HAND or before.holder != mine:
            continue
        noticed = after.at + NOTICED
        taken = after.at - record.database_ahead
        if any(
            host == sent.host and began <= taken + NOTICED and taken <= ended for host, began, ended in record.cuts
        ):
            noticed = before.expires_at  # it has nobody to ask, and believes what it was told
        if after.at <= at <= noticed:
            return after
    return None


def _run_out(record: ReplicaRecord, sent: Sent, veto: object) -> bool:
    """Whether a veto has ended by a clock that may count.

    That is the provider's, and that of the host that acts now where the two agree within five minutes, or where the
    veto was given while none acted.
    """
    expires = veto.expires  # type: ignore[attr-defined]
    true = record.true(sent.at)
    if true >= expires:
        return True
    ahead = next((by for at, life, by in reversed(record.clocks) if life == sent.life and at <= sent.at), 0.0)
    if abs(ahead) > APART and not veto.unattended:  # type: ignore[attr-defined]
        return False
    return (true - expires).total_seconds() + ahead >= 0

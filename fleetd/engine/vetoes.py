"""Holds and freezes, obeyed from the next call on (promise 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import anyio.lowlevel

from fleetd.engine.ports import Clock
from fleetd.engine.stop_holds import lift as lift_keep_off
from fleetd.model.journal import HistoryEntry, Hold, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.reasons import Outcome, Reason, Verb, VetoKind
from fleetd.store.port import Journal

TURNS = 2
"""Turns of the loop in which a call that has just been let go is on the wire."""


class Vetoes:
    """Knows which calls are forbidden."""

    def __init__(self, journal: Journal, clock: Clock, reached: Callable[[], datetime] | None = None) -> None:
        """``reached``: the time that has certainly come, where the clock may be ahead of it; a veto ends then."""
        self._journal = journal
        self._clock = clock
        self._reached = reached or clock.now
        self._known: tuple[Hold, ...] = ()

    @property
    def in_force(self) -> tuple[Hold, ...]:
        """Those in force now, as far as the journal was last read; their ends are told by our clock."""
        now = self._reached()
        return tuple(self.told(hold) for hold in self._known if now < hold.expires_at)

    async def read(self) -> None:
        """Read them from the journal."""
        self._known = tuple(await self._journal.holds(now=self._reached()))

    def told(self, hold: Hold) -> Hold:
        """The veto with its end told by our clock."""
        return lasting(hold, self._clock.now() - self._reached())

    def against(self, verb: Verb, *, fleet: str, machine_id: str | None, name: str) -> Hold | None:
        """The veto in force against this call: every one that this process has acknowledged counts."""
        now = self._reached()
        for hold in self._known:
            if hold.forbids(verb, fleet=fleet, machine_id=machine_id, name=name, now=now):
                return self.told(hold)
        return None

    async def add(self, hold: Hold) -> Hold:
        """Store a veto. When this returns, no call that it forbids leaves the process any more.

        Its end in the answer is told by our clock.
        It waits for no call: what has not left is asked right before it would (``engine.gate``).
        """
        stored = await self._journal.add_hold(hold)
        await self.read()
        for _ in range(TURNS):
            await anyio.lowlevel.checkpoint()
        return self.told(stored)

    async def lift_keep_off(self, machine: Machine, fleet: str) -> Sequence[Hold]:
        """Remove what an operator's stop left on a machine; what was removed."""
        lifted = await lift_keep_off(self._journal, machine.id, machine.name, fleet, self._reached())
        await self.read()
        return lifted

    async def lift(self, kind: VetoKind, subject: str | None, found: Sequence[tuple[Machine, str]]) -> int:
        """Remove the vetoes of that kind on this; see ``lift``."""
        removed = await lift(self._journal, kind, subject, found, self._reached())
        await self.read()
        return removed


def hold_of(
    order: VetoOrder, actor: str, found: Sequence[tuple[Machine, str]], *, at: datetime, until: datetime
) -> Hold:
    """The veto that was asked for; ``found``: for a hold, the machine that is called so, if one is."""
    machine = found[0][0].id or None if found else None
    return Hold(0, order.subject, order.kind, order.reason, actor, at, until, order.verbs, machine)


def lasting(hold: Hold, longer: timedelta) -> Hold:
    """The veto with its end as our clock reads then: by ``longer`` later, where ours is ahead of the provider's."""
    return replace(hold, expires_at=hold.expires_at + longer) if longer > timedelta(0) else hold


async def lift(
    journal: Journal, kind: VetoKind, subject: str | None, found: Sequence[tuple[Machine, str]], now: datetime
) -> int:
    """Remove vetoes; the number removed.

    A hold ends by its machine's id, by what that is called now, and by what it was typed as, unless that is what
    another machine is called by now.

    Args:
        journal: where they are.
        kind: hold or freeze.
        subject: what was typed.
        found: for a hold, the machines of ours that are called so, each with its fleet.
        now: the time.
    """
    if kind != VetoKind.HOLD:
        return await journal.remove_holds(kind=kind, subject=subject)
    ids, names = {m.id for m, _ in found}, names_of(subject, found)
    ended = [
        hold
        for hold in await journal.holds(now=now)
        if hold.kind == VetoKind.HOLD
        and (
            hold.subject in names
            if hold.machine is None
            else hold.machine in {subject, *ids} or (not found and hold.subject == subject)
        )
    ]
    for hold in ended:
        await journal.remove_hold(hold.id)
    return len(ended)


def refuse_nobody(subject: str, fleets: Iterable[str], *, sure: bool) -> None:
    """Decline a hold where no machine is called so; ``sure``: everybody who knows was asked.

    Where not, the hold is on whatever has that id or name, which no fleet and no pattern is.

    Raises:
        LookupError: nothing can be held; the words say why.
    """
    if subject in set(fleets):
        why = f"{subject} is a fleet, and a hold is on one machine: fleetd freeze {subject} is what stops a fleet"
        raise LookupError(why)
    pattern = any(c in subject for c in "*?[")
    if sure or pattern:
        hint = "; a hold takes no patterns: fleetd freeze FLEET stops a fleet" if pattern else ""
        raise LookupError(f"no machine of ours is called {subject}; nothing is held{hint}")


def names_of(subject: str | None, found: Sequence[tuple[Machine, str]]) -> list[str | None]:
    """All that a veto may have been made with: the subject as it is called here, and its machines' ids and names."""
    return sorted({subject, *(m.id for m, _ in found), *(m.name for m, _ in found)}, key=str)


def order_entry(
    verb: str,
    subject: str | None,
    found: Sequence[tuple[Machine, str]],
    actor: str,
    at: datetime,
    words: str | None,
) -> HistoryEntry:
    """What history says of a hold, freeze, release, unfreeze or adopt.

    Args:
        verb: one of these words.
        subject: what it is on; None is everything.
        found: where it is on a machine, those that are called so, each with its fleet.
        actor: who ordered it.
        at: when.
        words: the operator's reason and the expiry.
    """
    machine, fleet = found[0] if len(found) == 1 else (None, "")
    frozen = verb in {"freeze", "unfreeze"}
    return HistoryEntry(
        ts=at,
        fleet=(subject or "") if frozen else fleet,
        machine=None if machine is None else machine.id,
        name=(subject or "everything") if machine is None else machine.name,
        verb=verb,
        reason=Reason.OPERATOR_REQUEST,
        outcome=Outcome.OBSERVED,
        actor=actor,
        evidence=words,
    )

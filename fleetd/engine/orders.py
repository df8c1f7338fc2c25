"""Operators' orders for single machines: one pass decides each of them, and whoever gave it hears how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import anyio

from fleetd.engine.clocks import Agreement
from fleetd.engine.stop_holds import remember
from fleetd.model.journal import Hold, Intent, Request
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb, VetoKind
from fleetd.store.port import Journal


@dataclass(frozen=True, slots=True)
class Decision:
    """What a pass made of an order: begun, or skipped; neither where the pass failed before it could decide."""

    begun: bool = False
    skip: Skip | None = None
    intent: Intent | None = None
    """Of the call; None where its transition has ended already."""
    kept_off: Hold | None = None
    """What a stop leaves behind."""
    withdrawn: bool = False
    """No pass has come to it in time, and none will carry it out."""


@dataclass(eq=False, slots=True)
class _Asked:
    request: Request
    taken: bool = False
    """A pass has it: what becomes of it is that pass's to say."""
    decision: Decision | None = None
    decided: anyio.Event = field(default_factory=anyio.Event)


class Orders:
    """Orders that wait for their pass. Nothing outlives it: an order is carried out then, or never."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._asked: list[_Asked] = []
        self._kept_off: dict[str, Hold] = {}

    @property
    def pending(self) -> tuple[Request, ...]:
        """Orders that no pass has decided yet."""
        return tuple(asked.request for asked in self._asked)

    def take(self) -> tuple[Request, ...]:
        """For a pass that decides them now: they cannot be withdrawn any more."""
        for asked in self._asked:
            asked.taken = True
        return self.pending

    async def ask(self, request: Request, *, patience: float) -> Decision | None:
        """Wait ``patience`` seconds until a pass has decided; None when one is about to.

        An order that no pass has come to by then is withdrawn: nothing is kept for later.
        """
        asked = _Asked(request)
        self._asked.append(asked)
        with anyio.move_on_after(patience):
            await asked.decided.wait()
        if asked.decision is None and not asked.taken:
            self._asked.remove(asked)
            return Decision(withdrawn=True)
        return asked.decision

    async def before_calls(
        self,
        requests: Iterable[Request],
        actions: Iterable[Action],
        now: datetime,
        agreement: Agreement | None = None,
    ) -> None:
        """What an ordered stop leaves behind is written before the call: a hold that forbids the next start.

        ``agreement``: who says how late it may be, and how early, where that is not ``now``.
        """
        latest, earliest = (agreement.latest(), agreement.earliest()) if agreement else (now, now)
        stops = {a.machine: a.name for a in actions if a.reason is Reason.OPERATOR_REQUEST and a.verb is Verb.STOP}
        for request in requests:
            if request.machine_id in stops and request.keep_off:
                hold = Hold(
                    id=0,
                    kind=VetoKind.HOLD,
                    subject=stops[request.machine_id],
                    machine=request.machine_id,
                    verbs=frozenset({Verb.START}),
                    reason=request.reason,
                    actor=request.actor,
                    created_at=now,
                    expires_at=latest + request.keep_off,
                )
                self._kept_off[request.machine_id] = await self._journal.add_hold(hold)
                await remember(self._journal, self._kept_off[request.machine_id], earliest)

    async def decided(
        self, requests: Sequence[Request], actions: Iterable[Action], skips: Iterable[Skip], intents: Iterable[Intent]
    ) -> None:
        """A pass has made its calls: tell everybody whose order it has seen."""
        skipped: dict[tuple[str | None, Verb | None], Skip] = {}
        for skip in skips:
            skipped.setdefault((skip.machine, skip.verb), skip)  # the order's own stands before what else is skipped
        called = {(a.machine, a.verb) for a in actions if a.reason is Reason.OPERATOR_REQUEST}
        opened = {(i.machine_id, i.verb): i for i in intents if i.reason is Reason.OPERATOR_REQUEST}
        for request in requests:
            key = (request.machine_id, request.verb)
            begun = key in opened or (key in called and key not in skipped)
            kept_off = self._kept_off.pop(request.machine_id, None)
            if kept_off is not None and not begun:
                await self._journal.remove_hold(kept_off.id)
            if begun:
                self._tell(request, Decision(begun, intent=opened.get(key), kept_off=kept_off))
            else:
                self._tell(request, Decision(skip=skipped.get(key)))

    async def failed(self) -> None:
        """A pass failed: orders that it has carried out all the same are told so, and of the others nothing is left.

        Raises:
            StoreError: the journal cannot be read or written.
        """
        kept_off, self._kept_off = self._kept_off, {}
        if not any(asked.taken for asked in self._asked):
            return
        opened = {
            (i.machine_id, i.verb): i
            for i in await self._journal.open_intents()
            if i.reason is Reason.OPERATOR_REQUEST
        }
        for request in [asked.request for asked in self._asked if asked.taken]:
            intent, hold = opened.get((request.machine_id, request.verb)), kept_off.get(request.machine_id)
            if intent is not None:
                self._tell(request, Decision(begun=True, intent=intent, kept_off=hold))
            elif hold is not None:
                await self._journal.remove_hold(hold.id)

    def withdraw(self, *, taken: bool) -> None:
        """No pass comes any more: nothing is left of the orders. ``taken``: nor of those that a pass has taken."""
        for request in [asked.request for asked in self._asked if taken or not asked.taken]:
            self._tell(request, Decision(withdrawn=True))

    def abandon(self, requests: Iterable[Request]) -> None:
        """A pass is over: what it should have decided and has not, it never will."""
        for request in [*requests, *(asked.request for asked in self._asked if asked.taken)]:
            self._tell(request, Decision())

    def _tell(self, request: Request, decision: Decision) -> None:
        for asked in [a for a in self._asked if a.request is request]:
            self._asked.remove(asked)
            asked.decision = decision
            asked.decided.set()

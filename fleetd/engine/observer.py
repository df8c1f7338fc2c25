"""Looking at the world, and deciding how far the look can be trusted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import anyio

from fleetd.cloud.port import Cloud
from fleetd.engine.ports import Clock
from fleetd.model.errors import CloudError, NotFound, Unauthorized
from fleetd.model.journal import MachineFacts
from fleetd.model.machine import UNVERIFIED, Machine, Phase
from fleetd.model.plan import Listing, Observation
from fleetd.planner.facts import as_left, went
from fleetd.planner.leaving import LEAVING, leaves

Turned = Callable[[Sequence[Machine]], Sequence[MachineFacts]]
"""What is remembered of those machines of a listing that are not as they were left; see ``planner.facts.turned``."""


MANY_LOOKS = 1_000_000
"""For a provider without a rate."""


class Observer:
    """Lists, and verifies with ``show`` whatever a listing should hold and does not, or holds otherwise than it was.

    ``progress`` is called after every page and every look at a machine: many of them take long. ``looks``: how many
    of the machines that are listed otherwise than they were left one pass looks at; those beyond are unverified.
    """

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        *,
        looks: Callable[[], int] = lambda: MANY_LOOKS,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._looks = looks
        self._turn = 0
        self._looked: dict[str, int] = {}
        """By machine id: the turn in which it was looked at last, of those that are doubtful."""
        self._progress = progress
        self.unidentified = 0
        """Entries without an id in the last listing that lacked nothing for it."""

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Ids of machines that were doubtful last and were looked at closer, the one longest ago first."""
        return tuple(sorted(self._looked, key=lambda m: (self._looked[m], m)))

    def assume(self, unidentified: int, doubtful: Iterable[str]) -> None:
        """Go on from where another process is."""
        self.unidentified = unidentified
        self._looked = {m: turn for turn, m in enumerate(doubtful, 1)}
        self._turn = len(self._looked)

    async def observe(self, expected: Iterable[str], turned: Turned = lambda _machines: ()) -> Observation:
        """One look. ``expected``: ids that a complete listing must hold.

        A listing that lacks a machine which ``show`` still finds is rejected whole. One that ``show`` does not know
        either, while the listing itself proves that the key works, is gone. A listing that has a machine up or down
        where ``show`` finds it as it was before is an old one, and is rejected too; where ``show`` fails, that
        machine alone is not believed, because one that fails for good must not stop every fleet. A machine that
        went, and is listed all the same, is among ``shown`` if it is back: see ``planner.facts.believed``. One that
        somebody else destroys, by what ``show`` says, is leaving, and says nothing against the listing. In the
        place of an entry that cannot be read stands what ``show`` says; where that says nothing either, that machine
        is unverified.

        Raises:
            CloudError: nothing could be read at all.
        """
        at = self._clock.now()
        listing = await self._cloud.list_machines(self._progress)
        if not listing.complete:
            return Observation(
                at,
                listing.machines,
                complete=False,
                problem=listing.problem,
                unidentified=listing.unidentified,
            )
        inquiry = _Inquiry(listing, frozenset(expected), self.unidentified)
        inquiry.left = {f.machine_id: f for f in turned(listing.machines)}

        async def verify(machine_id: str) -> str | None:
            return inquiry.answered(machine_id, *await self._look(machine_id))

        # A bad listing is wrong about many machines; one that is found is enough to reject it.
        doubtful = self._in_turn(inquiry)
        fault = await _first(doubtful[:1], verify) or await _first(doubtful[1:], verify) or inquiry.too_many()
        if fault is not None:
            return Observation(at, listing.machines, rejected=fault, unidentified=listing.unidentified)
        if not (inquiry.hidden and inquiry.missing):
            self.unidentified = listing.unidentified
        return inquiry.observation(at)

    def _in_turn(self, inquiry: _Inquiry) -> list[str]:
        """What is looked at in this pass, as far as its budget goes: of the missing and the others a half each.

        One kind has what the other leaves. Those that have waited longest come first.
        """
        missing, others = (
            sorted(ids, key=lambda m: (self._looked.get(m, 0), m)) for ids in (inquiry.missing, inquiry.others)
        )
        budget = max(2, self._looks())
        half = max(budget // 2, budget - len(others))
        first, waiting = missing[:half], missing[half:]
        left = budget - len(first)
        now, later = [*first, *others[:left]], [*waiting, *others[left:]]
        self._turn += 1
        self._looked = {m: self._looked[m] for m in later if m in self._looked} | dict.fromkeys(now, self._turn)
        for machine_id in later:
            inquiry.put_off(machine_id)
        return [*sorted(first), *sorted(set(now).difference(first))]

    async def _look(self, machine_id: str) -> tuple[Machine | None, CloudError | None]:
        """The machine, None when there is none, or why nobody could tell."""
        try:
            return await self._cloud.show(machine_id), None
        except NotFound:
            return None, None
        except Unauthorized:
            raise
        except CloudError as error:
            return None, error
        finally:
            self._progress()


class _Inquiry:
    """What of a listing is looked at closer, and what came of it.

    Args:
        listing: complete.
        expected: ids that it must hold.
        usual: entries without an id that were there when nothing was missing.
    """

    def __init__(self, listing: Listing, expected: frozenset[str], usual: int) -> None:
        self.listing = listing
        self.states = {m.id: m.state for m in listing.machines}
        self.missing = expected - self.states.keys()
        self.odd = {m.id: m.unreadable for m in listing.machines if m.unreadable is not None and m.id in expected}
        self.left: Mapping[str, MachineFacts] = {}
        """Machines that the listing has otherwise than they were left."""
        self.hidden = max(0, listing.unidentified - usual)
        """So many of the missing ones may be entries without an id."""
        self.shown: dict[str, Machine] = {}
        self.unverified: dict[str, str] = {}
        self.leaving: set[str] = set()

    @property
    def unknown(self) -> set[str]:
        """Those that are listed in a state that fleetd does not know."""
        return {m.id for m in self.listing.machines if m.unreadable is None and m.phase is Phase.UNKNOWN}

    @property
    def others(self) -> set[str]:
        """Ids to look at that are listed."""
        return {*self.left, *self.odd} - self.missing

    def put_off(self, machine_id: str) -> None:
        """It is not looked at in this pass, so nothing is believed of it; one that went has not come back."""
        what = "is missing" if machine_id in self.missing else "has changed"
        if machine_id not in self.left or not went(self.left[machine_id]):
            self.unverified[machine_id] = f"{machine_id} {what} with many others, and its turn has not come yet"

    def answered(self, machine_id: str, machine: Machine | None, error: CloudError | None) -> str | None:
        """Take what ``show`` says; why the listing is to be rejected because of it, else None."""
        if machine_id in self.left and went(self.left[machine_id]):
            back = machine is not None and not leaves(machine, listed=True)
            self.shown.update({machine_id: machine} if back and machine is not None else {})
            return None
        if self._takes_leave(machine_id, machine, error):
            return None
        if machine_id in self.odd or (machine_id in self.missing and self.hidden):
            self._take_odd(machine_id, machine, error)
            return None
        missing = machine_id in self.missing
        verb, where = ("lacks", "") if missing else ("has", f" in state {self.states[machine_id]}")
        if error is not None:
            why = f"the listing {verb} {machine_id}{where}, and it could not be verified: {error}"
            if missing:
                return why
            self.unverified[machine_id] = why
            return None
        if machine is None:
            return None
        self.shown[machine_id] = machine
        if missing or as_left(self.left[machine_id], machine):
            return (
                f"the listing {verb} {machine_id} ({machine.name}){where}, which show finds in state {machine.state}"
            )
        return None

    def _takes_leave(self, machine_id: str, machine: Machine | None, error: CloudError | None) -> bool:
        """True if the machine is, or may be, being removed; the listing is then not doubted because of it."""
        listed = machine_id in self.states
        remembered = machine_id in self.left and self.left[machine_id].last_state == LEAVING
        if machine is not None and leaves(machine, listed=listed):
            self.leaving.add(machine_id)
            self.shown[machine_id] = machine
        elif remembered and (error is not None or (machine is None and listed)):
            self.leaving.add(machine_id)  # nobody says that it has come back
        elif machine is not None and remembered and listed:
            self.shown[machine_id] = machine
        elif machine_id not in self.unknown:
            return False
        return True

    def too_many(self) -> str | None:
        """Why it is to be rejected: it lacks more than its entries without an id can stand for."""
        found = sorted((self.missing & self.shown.keys()) - self.leaving)
        if len(found) <= self.hidden:
            return None
        return f"the listing lacks {', '.join(found)}, which show finds, for {self.hidden} entries without an id"

    def observation(self, at: datetime) -> Observation:
        """The listing with what was found."""
        missing, shown, unverified = self.missing, self.shown, self.unverified
        machines = [self._believed(m) for m in self.listing.machines]
        machines += [shown[m] for m in sorted(missing & shown.keys())]
        blind = (self.missing & self.leaving) - shown.keys()
        machines += [Machine(m, self.left[m].name, LEAVING) for m in sorted(blind)]
        machines += [Machine(m, "", UNVERIFIED) for m in sorted(missing & unverified.keys())]
        return Observation(
            at,
            tuple(machines),
            gone=missing - shown.keys() - unverified.keys() - self.leaving,
            leaving=frozenset(self.leaving),
            shown=shown,
            unverified=unverified,
            unidentified=self.listing.unidentified,
        )

    def _take_odd(self, machine_id: str, machine: Machine | None, error: CloudError | None) -> None:
        if machine is not None:
            self.shown[machine_id] = machine
            return
        why = self.odd.get(machine_id) or "the listing has an entry without an id, which may be this machine"
        self.unverified[machine_id] = f"{why}; and show says: {error or 'not found'}"

    def _believed(self, machine: Machine) -> Machine:
        if machine.id in self.unverified:
            return replace(machine, state=UNVERIFIED)
        if machine.id in self.leaving and machine.id in self.shown:
            return self.shown[machine.id]
        if machine.unreadable is not None and machine.id in self.shown:
            return replace(self.shown[machine.id], unreadable=machine.unreadable)
        return machine


async def _first(machine_ids: Sequence[str], verify: Callable[[str], Awaitable[str | None]]) -> str | None:
    """One of the faults that looking closer finds, the same one whatever order the answers come in."""
    faults: list[str] = []

    async def one(machine_id: str) -> None:
        fault = await verify(machine_id)
        if fault is not None:
            faults.append(fault)

    async with anyio.create_task_group() as group:
        for machine_id in machine_ids:
            group.start_soon(one, machine_id)
    return min(faults, default=None)

"""Asking the idle sources: a round over many machines that has an end, or one machine right before its stop.

Answers that came count, also where the round ended before all were asked; the next round begins with those that were
not. Whatever a source does, a fault in its code included, is that source's answer: unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address

import anyio
import structlog

from fleetd.activity.port import Remembering, Source
from fleetd.engine.faults import leaf_of
from fleetd.engine.ports import Clock
from fleetd.model.fleet import IdleRule
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading

log = structlog.get_logger(__name__)

OpenSources = Callable[[Mapping[str, IdleSource]], dict[str, Source]]
"""Makes sources from the config's ``[idle_sources]``."""

Readings = dict[str, dict[str, Reading]]
"""By machine id and source; a source that was not asked about a machine in this round is not there."""

PROMPTLY = 0.1
"""Share of a round: a question that was asked later than that and got no answer was asked too late to tell."""


@dataclass(eq=False, slots=True)
class _Asking:
    """One source, as the rounds know it."""

    source: Source
    table: IdleSource | None
    places: anyio.CapacityLimiter
    answered: dict[str, float] = field(default_factory=dict)
    """When each machine was last asked about to an end, in monotonic seconds."""
    crashed: bool = False


class Rounds:
    """The sources that the config names."""

    def __init__(self, open_sources: OpenSources, clock: Clock) -> None:
        self._open_sources = open_sources
        self._clock = clock
        self._asking: dict[str, _Asking] = {}
        self._settings: Mapping[str, IdleSource] | None = None
        self._memory: dict[str, dict[str, int]] = {}
        """What sources that are closed, or were an earlier process's, had learnt, by name and question."""

    @property
    def memory(self) -> Mapping[str, Mapping[str, int]]:
        """What the sources have learnt, for the next process."""
        open_ones = [one.source for one in self._asking.values()]
        now = {_key(source): dict(source.learnt()) for source in open_ones if isinstance(source, Remembering)}
        return self._memory | now

    def remind(self, memory: Mapping[str, Mapping[str, int]]) -> None:
        """What an earlier process's sources had learnt; before the first ``use``."""
        self._memory = {key: dict(learnt) for key, learnt in memory.items()}

    def forget_others(self, machines: AbstractSet[str]) -> None:
        """Forget what was learnt of all but these machines (ids)."""
        for one in self._asking.values():
            if isinstance(one.source, Remembering):
                one.source.forget_others(machines)

    async def use(self, settings: Mapping[str, IdleSource]) -> None:
        """Ask these sources from now on."""
        if settings == self._settings:
            return
        await self.aclose()
        self._asking = {
            name: _Asking(source, table, anyio.CapacityLimiter(table.at_once if table is not None else 1))
            for name, source in self._open_sources(settings).items()
            for table in [settings.get(name)]
        }
        self._settings = settings
        sources = [one.source for one in self._asking.values() if isinstance(one.source, Remembering)]
        # What nobody asks any more is forgotten.
        self._memory = {_key(source): self._memory.get(_key(source), {}) for source in sources}
        for source in sources:
            source.remind(self._memory[_key(source)])

    async def aclose(self) -> None:
        """Close all sources. Idempotent."""
        self._memory = {key: dict(learnt) for key, learnt in self.memory.items()}
        asking, self._asking, self._settings = self._asking, {}, None
        for one in asking.values():
            await one.source.aclose()

    async def ask(
        self, rule: IdleRule, machines: Sequence[Machine], listed: Sequence[Machine], *, patience: timedelta | None
    ) -> Readings:
        """What each source of the rule says of each machine.

        Args:
            rule: names the sources, and how far back they look.
            machines: who is asked about.
            listed: all machines of the account: what two of them share tells of neither.
            patience: how long the round may take; None is one question that takes as long as its source lets it.
        """
        found: Readings = {m.id: {} for m in machines}

        async def one(name: str) -> None:
            for reading_of, reading in (await self._ask(name, rule, machines, listed, patience)).items():
                found[reading_of][name] = reading

        async with anyio.create_task_group() as group:
            for name in rule.sources:
                group.start_soon(one, name)
        return found

    async def _ask(
        self,
        name: str,
        rule: IdleRule,
        machines: Sequence[Machine],
        listed: Sequence[Machine],
        patience: timedelta | None,
    ) -> dict[str, Reading]:
        asking = self._asking.get(name)
        if asking is None:
            return {m.id: self._unknown(name, f"{name} does not answer") for m in machines}
        doubts = shared_names(asking.table, machines, listed)
        found = {machine: self._unknown(name, words) for machine, words in doubts.items()}
        sure = [m for m in machines if m.id not in doubts]
        if asking.table is not None and asking.table.asks_each and patience is not None:
            return found | await self._one_by_one(asking, sure, rule, patience)
        seconds = math.inf if patience is None else patience.total_seconds()
        with anyio.move_on_after(seconds) as limit:
            found |= await self._read(asking, sure, rule)
        if limit.cancelled_caught:
            words = f"no answer within {seconds:g} s"
            return found | {m.id: self._unknown(name, words) for m in sure}
        return found

    async def _one_by_one(
        self, asking: _Asking, machines: Sequence[Machine], rule: IdleRule, patience: timedelta
    ) -> dict[str, Reading]:
        found: dict[str, Reading] = {}
        under_way: dict[str, float] = {}
        began = anyio.current_time()

        async def one(machine: Machine) -> None:
            async with asking.places:
                under_way[machine.id] = anyio.current_time()
                found.update(await self._read(asking, [machine], rule))
                asking.answered[machine.id] = under_way.pop(machine.id)

        with anyio.move_on_after(patience.total_seconds()):
            async with anyio.create_task_group() as group:
                for machine in sorted(machines, key=lambda m: asking.answered.get(m.id, -1.0)):
                    group.start_soon(one, machine)
        for machine_id, asked_at in under_way.items():
            if asked_at - began <= PROMPTLY * patience.total_seconds():
                asking.answered[machine_id] = asked_at
                words = f"no answer within {patience.total_seconds():g} s"
                found[machine_id] = self._unknown(asking.source.name, words)
        return found

    async def _read(self, asking: _Asking, machines: Sequence[Machine], rule: IdleRule) -> dict[str, Reading]:
        name = asking.source.name
        answers: Mapping[str, Reading] = {}
        lacking = f"{name} does not answer"
        try:
            answers = await asking.source.read(machines, window=rule.after, now=self._clock.now())
        except Exception as error:  # a source is somebody else's word: none of theirs ends a pass
            leaf = leaf_of(error)
            lacking = f"a fault in the source: {type(leaf).__name__} {leaf}"[:300]
            if not asking.crashed:
                asking.crashed = True
                log.exception("idle_source.crashed", source=name, error=lacking)
        return {m.id: answers.get(m.id) or self._unknown(name, lacking) for m in machines}

    def _unknown(self, source: str, words: str) -> Reading:
        return Reading(source, Activity.UNKNOWN, self._clock.now(), words)


def _key(source: Source) -> str:
    question = source.question if isinstance(source, Remembering) else ""
    return f"{source.name}: {question}"


def shared_names(table: IdleSource | None, machines: Iterable[Machine], listed: Sequence[Machine]) -> dict[str, str]:
    """By machine id, in words: whose address or name, as far as the source asks by it, another machine has as well.

    Overlapping networks and addresses that are handed on do that. What is said of such an address is of nobody, and
    so is what is said of one that no machine can have, such as 0.0.0.0.
    """
    doubts: dict[str, str] = {}
    for placeholder in ("private_ip", "name"):
        if table is None or f"{{{placeholder}}}" not in table.text:
            continue
        bearers: dict[str, list[Machine]] = {}
        for machine in {m.id: m for m in (*listed, *machines)}.values():
            bearers.setdefault(_called(machine, placeholder), []).append(machine)
        for machine in machines:
            called = _called(machine, placeholder)
            if placeholder == "private_ip" and called and _nobodys(called):
                doubts[machine.id] = f"its private_ip {called[:60]} is no machine's own"
            other = next((m for m in bearers.get(called, ()) if called and m.id != machine.id), None)
            if other is not None:
                doubts[machine.id] = f"its {placeholder} {called[:60]} is also that of {other.id}: it is nobody's"
    return doubts


def _called(machine: Machine, placeholder: str) -> str:
    """A name in one case, as names of hosts have none; an address in one form of the many that there are."""
    if placeholder == "name":
        return machine.name.casefold()
    text = (machine.private_ip or "").strip()
    try:
        address = ip_address(text)
    except ValueError:
        return text
    return str(getattr(address, "ipv4_mapped", None) or address)


def _nobodys(text: str) -> bool:
    """Whether it is every machine's, or no address as such: 10.0.0.01 and 10.1 are what a resolver makes of them."""
    try:
        address = ip_address(text)
    except ValueError:
        return True
    return address.is_unspecified or address.is_loopback or address.is_multicast or text == "255.255.255.255"

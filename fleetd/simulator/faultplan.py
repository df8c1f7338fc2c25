"""Which faults strike a call. Counts and chances live here; the rules themselves are values."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from fleetd.simulator.faults import (
    AnswerRule,
    Capacity,
    FateRule,
    Invisible,
    Lingering,
    NoEffect,
    Rule,
    StaleList,
    Stuck,
    Vanish,
    ViewRule,
)
from fleetd.simulator.lifecycle import Fate
from fleetd.simulator.records import MachineRecord


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about, as far as can be told without judging it; a rule's conditions are held against it."""

    operation: str
    """"" for a path that is no call of the dialect."""
    write: bool
    machine_id: str | None = None
    machine_name: str | None = None
    machine_type: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What strikes one call."""

    answer: AnswerRule | None = None
    fate: Fate = field(default_factory=Fate)
    views: tuple[ViewRule, ...] = ()
    vanish: tuple[Vanish, ...] = ()
    kinds: tuple[str, ...] = ()
    """All of the above by name, for the call log."""


NOTHING = Decision()


class FaultPlan:
    """Rules in order, with their counts.

    Args:
        rules: the rules; an answer's fault is the first that strikes, all others add up.
        rng: where chances come from.
    """

    def __init__(self, rules: Iterable[Rule] = (), rng: random.Random | None = None) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.rng = rng or random.Random(0)
        self.matched = [0] * len(self.rules)
        """How many calls each rule's conditions matched."""
        self.struck = [0] * len(self.rules)
        """How often each rule struck."""

    @property
    def oldest(self) -> float:
        """World seconds for which the past has to be kept, for stale listings."""
        return max((rule.seconds for rule in self.rules if isinstance(rule, StaleList)), default=0.0)

    def decide(self, call: Target, t: float) -> Decision:
        """What strikes this call at world second ``t``."""
        if not self.rules:
            return NOTHING
        answer: AnswerRule | None = None
        hits: list[Rule] = []
        for index, rule in enumerate(self.rules):
            if (answer is not None and isinstance(rule, AnswerRule)) or not self._strikes(index, rule, call, t):
                continue
            hits.append(rule)
            if isinstance(rule, AnswerRule):
                answer = rule
        if not hits:
            return NOTHING
        return Decision(
            answer=answer,
            fate=_fate(rule for rule in hits if isinstance(rule, FateRule)),
            views=tuple(rule for rule in hits if isinstance(rule, ViewRule)),
            vanish=tuple(rule for rule in hits if isinstance(rule, Vanish)),
            kinds=tuple(rule.kind for rule in hits),
        )

    def sold_out(self, region: str, machine_type: str, t: float) -> bool:
        """Whether a capacity rule is sure to strike a create of that kind now."""
        call = Target("create", write=True, machine_type=machine_type, region=region)
        return any(
            isinstance(rule, Capacity)
            and rule.probability >= 1
            and rule.nth is None
            and rule.every is None
            and (rule.limit is None or self.struck[index] < rule.limit)
            and _matches(rule, call)
            and _in_time(rule, t)
            for index, rule in enumerate(self.rules)
        )

    def _strikes(self, index: int, rule: Rule, call: Target, t: float) -> bool:
        if not (_in_time(rule, t) and _matches(rule, call)):
            return False
        if rule.limit is not None and self.struck[index] >= rule.limit:
            return False
        self.matched[index] += 1
        count = self.matched[index]
        if rule.nth is not None and count not in ((rule.nth,) if isinstance(rule.nth, int) else rule.nth):
            return False
        if rule.every is not None and count % rule.every != 0:
            return False
        if rule.probability < 1 and self.rng.random() >= rule.probability:
            return False
        self.struck[index] += 1
        return True


def chosen(rule: Rule, machines: Sequence[MachineRecord]) -> list[MachineRecord]:
    """The machines that a rule about machines is about."""
    return [
        record
        for record in machines
        if (rule.machine is None or fnmatchcase(record.id, rule.machine) or fnmatchcase(record.name, rule.machine))
        and rule.machine_type in {None, record.machine_type}
        and rule.region in {None, record.region}
    ]


def _in_time(rule: Rule, t: float) -> bool:
    return (rule.after is None or t >= rule.after) and (rule.until is None or t < rule.until)


def _matches(rule: Rule, call: Target) -> bool:
    group = "write" if call.write else "read"
    if not any(name in {call.operation, group, "any"} for name in rule.operations):
        return False
    if not rule.about_calls:
        return True
    if rule.machine is not None and not any(
        fnmatchcase(text, rule.machine) for text in (call.machine_id, call.machine_name) if text is not None
    ):
        return False
    return rule.machine_type in {None, call.machine_type} and rule.region in {None, call.region}


def _fate(rules: Iterable[FateRule]) -> Fate:
    fate = Fate()
    for rule in rules:
        match rule:
            case Capacity():
                fate = replace(fate, capacity=rule.message)
            case Stuck():
                fate = replace(fate, stuck=True, stuck_seconds=rule.seconds)
            case Invisible():
                fate = replace(fate, hidden_seconds=rule.seconds, hidden_from_show=rule.show)
            case NoEffect():
                fate = replace(fate, without_effect=True, event=rule.event, event_text=rule.message)
            case Lingering():
                fate = replace(fate, lingers=True, lingers_seconds=rule.seconds, lingers_in=rule.state)
    return fate

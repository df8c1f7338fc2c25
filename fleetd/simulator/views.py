"""Listings as faults show them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from fleetd.simulator.admission import NewMachine, admit
from fleetd.simulator.faultplan import chosen
from fleetd.simulator.faults import (
    DuplicatedList,
    EmptyList,
    EndlessList,
    OtherMachine,
    PartialList,
    ReorderedList,
    ShiftingPages,
    StaleList,
    UnknownState,
    ViewRule,
)
from fleetd.simulator.records import MachineRecord
from fleetd.simulator.world import World

Arrange = Callable[[list[MachineRecord]], list[MachineRecord]]


def list_view(
    world: World, rules: Iterable[ViewRule], rng: random.Random, arrange: Arrange = list
) -> list[MachineRecord]:
    """The machines that a listing shows, with the faults of this call. The world's own records are not changed.

    Args:
        world: whose machines.
        rules: the faults, in order.
        rng: where chances come from.
        arrange: the order that was asked for; by default the oldest first.
    """
    records = arrange(world.listed())
    for rule in rules:
        match rule:
            case StaleList():
                then = world.state.t - rule.seconds
                records = arrange([record for record in world.state.as_of(then) if record.listed_from <= then])
            case EmptyList():
                out = {record.id for record in chosen(rule, records)}
                records = [record for record in records if record.id not in out]
            case PartialList():
                out = {record.id for record in chosen(rule, records) if _falls(rule, record, rng)}
                records = [record for record in records if record.id not in out]
            case DuplicatedList():
                twice = {record.id for record in chosen(rule, records) if rng.random() < rule.share}
                records = [record for record in records for _ in range(2 if record.id in twice else 1)]
            case ReorderedList():
                rng.shuffle(records)
            case UnknownState():
                records = [_disguised(record, rule) for record in records]
            case _:
                continue
    return records


def show_view(record: MachineRecord, rules: Iterable[ViewRule]) -> MachineRecord:
    """One machine, with the faults of this call."""
    for rule in rules:
        if isinstance(rule, UnknownState):
            record = _disguised(record, rule)
    return record


def page_shift(rules: Iterable[ViewRule]) -> int:
    """By how many machines later pages are off."""
    return sum(rule.by for rule in rules if isinstance(rule, ShiftingPages))


def endless(rules: Iterable[ViewRule]) -> EndlessList | None:
    """The rule that lets a listing have no end."""
    return next((rule for rule in rules if isinstance(rule, EndlessList)), None)


def endless_page(
    records: Sequence[MachineRecord], rules: Iterable[ViewRule], start: int, end: int
) -> list[MachineRecord]:
    """The machines from one place to another of a listing without end; none where the listing has one."""
    rule = endless(rules)
    if rule is None or not records:
        return []
    if rule.way == "fresh":
        return [records[n] if n < len(records) else stranger(records[0], n) for n in range(start, end)]
    return [records[n % len(records)] for n in range(start, end)]


def stranger(like: MachineRecord, number: int) -> MachineRecord:
    """A machine that does not exist."""
    return replace(like, id=f"psx{number:06}", name=f"stranger-{number}", cache={})


def another(
    world: World, target_id: str | None, name: str | None, rule: OtherMachine, rng: random.Random
) -> MachineRecord:
    """The machine that an answer is about instead of the one that was asked for."""
    known = [
        r
        for r in world.listed()
        if r.id != target_id and (fnmatchcase(r.id, rule.of) or fnmatchcase(r.name, rule.of))
    ]
    if known:
        found = replace(rng.choice(known), cache={})
    else:
        new = NewMachine("alice-workstation", "P4000", "East Coast (NY2)", "tbu200wi", 50)
        found = admit(world.state, new)
        found.state, found.young = "ready", False
    if rule.keep_name and name is not None:
        found.name = name
    return found


def _disguised(record: MachineRecord, rule: UnknownState) -> MachineRecord:
    if not chosen(rule, [record]) or not _always(rule.share, record):
        return record
    return replace(record, state=rule.state, cache={})


def _falls(rule: PartialList, record: MachineRecord, rng: random.Random) -> bool:
    return _always(rule.share, record) if rule.sticky else rng.random() < rule.share


def _always(share: float, record: MachineRecord) -> bool:
    # a stable choice: the same machines for as long as the rule stands
    return zlib.crc32(record.id.encode()) / 2**32 < share

"""Listings as faults show them."""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Callable, Iterable

from fleetd.simulator.faultplan import chosen
from fleetd.simulator.faults import (
    DuplicatedList,
    EmptyList,
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


def _disguised(record: MachineRecord, rule: UnknownState) -> MachineRecord:
    if not chosen(rule, [record]) or not _always(rule.share, record):
        return record
    other = copy.copy(record)
    other.cache = {}
    other.state = rule.state
    return other


def _falls(rule: PartialList, record: MachineRecord, rng: random.Random) -> bool:
    return _always(rule.share, record) if rule.sticky else rng.random() < rule.share


def _always(share: float, record: MachineRecord) -> bool:
    # a stable choice: the same machines for as long as the rule stands
    return zlib.crc32(record.id.encode()) / 2**32 < share

"""Puts odd values into what is shown."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from fleetd.simulator.faultplan import chosen
from fleetd.simulator.faults import OddValues, ViewRule
from fleetd.simulator.odd_values import VALUES
from fleetd.simulator.wire import Answer
from fleetd.simulator.world import World

_KINDS = tuple(VALUES)


def disfigured(answer: Answer, rules: Iterable[ViewRule], world: World) -> Answer:
    """The answer with odd values in the entries that the rules are about."""
    odd = [rule for rule in rules if isinstance(rule, OddValues)]
    if not odd or answer.status >= 300 or not answer.body:
        return answer
    whole = msgspec.json.decode(answer.body)
    for rule in odd:
        for entry in _entries(whole):
            _disfigure(entry, rule, world)
    return replace(answer, body=msgspec.json.encode(whole))


def _entries(whole: Any) -> list[dict[str, Any]]:
    """The machines (or events ...) of an answer in either dialect."""
    match whole:
        case {"items": list(entries)}:
            return [entry for entry in entries if isinstance(entry, dict)]
        case {"data": dict(entry)}:
            return [entry]
        case dict():
            return [whole]
        case list():
            return [entry for entry in whole if isinstance(entry, dict)]
        case _:
            return []


def _disfigure(entry: dict[str, Any], rule: OddValues, world: World) -> None:
    id_ = entry.get("machineId", entry.get("id"))
    if not isinstance(id_, str) or _drawn(f"odd {id_}", 2**32) >= rule.share * 2**32:
        return
    record = world.machines.get(id_)
    if record is not None and not chosen(rule, [record]):
        return
    names = sorted(entry)
    path = rule.field if rule.field is not None else names[_drawn(f"field of {id_}", len(names))]
    kind = rule.value if rule.value is not None else _KINDS[_drawn(f"value of {id_}", len(_KINDS))]
    _put(entry, path.split("."), msgspec.Raw(VALUES[kind]))


def _put(place: Any, path: list[str], value: msgspec.Raw) -> None:
    name, *rest = path
    if isinstance(place, list):
        for each in place:
            _put(each, path, value)
    elif isinstance(place, dict) and name in place:
        if rest:
            _put(place[name], rest, value)
        else:
            place[name] = value


def _drawn(text: str, choices: int) -> int:
    # a stable choice: the same machines, fields and values for as long as the rule stands
    return zlib.crc32(text.encode()) % choices

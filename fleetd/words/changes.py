"""What two configs say differently, in the config's own words: ``training.target 8 -> 12``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import StrEnum

from fleetd.model.fleet import Fleet, Window
from fleetd.model.settings import Settings
from fleetd.words.times import span

_DERIVED = frozenset({"name", "machine_type", "region"})
"""Of a fleet: its key, and what its create parameters say as well."""


def differences(old: Settings, new: Settings) -> dict[str, list[str]]:
    """Lines by fleet; under "" what is about everything.

    What may hold somebody's secret, an idle source's address or program, is named and not shown.
    """
    before, after = {f.name: f for f in old.fleets}, {f.name: f for f in new.fleets}
    found: dict[str, list[str]] = {"": list(_general(old, new))}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            found[name] = [f"fleet {name} removed; its machines are let go as they are"]
        elif name not in before:
            found[name] = [f"fleet {name} added, target {after[name].target}"]
        else:
            found[name] = list(_lines(name, _flat_fleet(before[name]), _flat_fleet(after[name])))
    return {name: lines for name, lines in found.items() if lines}


def _general(old: Settings, new: Settings) -> Iterator[str]:
    orders = [[f.name for f in one.fleets if other.fleet(f.name)] for one, other in ((old, new), (new, old))]
    if orders[0] != orders[1]:
        yield f"order of fleets {', '.join(orders[0])} -> {', '.join(orders[1])}"
    for key in ("daemon", "costs", "schedules"):
        yield from _lines(key, _flat(getattr(old, key)), _flat(getattr(new, key)))
    for name in sorted(old.idle_sources.keys() | new.idle_sources.keys()):
        if old.idle_sources.get(name) != new.idle_sources.get(name):
            gone, fresh = name not in new.idle_sources, name not in old.idle_sources
            yield f"idle_sources.{name} {'removed' if gone else 'added' if fresh else 'changed'}"


def _lines(path: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key, "unset"), new.get(key, "unset")
        if before != after:
            yield f"{path}.{key} {before} -> {after}"


def _flat_fleet(fleet: Fleet) -> dict[str, str]:
    found = {key: value for key, value in _flat(fleet).items() if key not in _DERIVED}
    return {key.replace("parameters.", "machine.", 1): value for key, value in found.items()}


def _flat(value: object, path: str = "") -> dict[str, str]:
    """Every value in it by its dotted path."""
    if isinstance(value, Window):
        return {f"{path}.{key}": text for key, text in _window(value).items()}
    if is_dataclass(value) and type(value).__str__ is object.__str__:
        parts: Mapping[str, object] = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Mapping):
        parts = {str(key): one for key, one in value.items()}
    elif isinstance(value, tuple) and value and all(isinstance(one, Window) for one in value):
        names = [one.name for one in value]  # where they overlap the later one decides
        return {path: ", ".join(names)} | {k: v for one in value for k, v in _flat(one, f"{path}.{one.name}").items()}
    else:
        return {path: _word(value)}
    found: dict[str, str] = {}
    for key, one in parts.items():
        found |= _flat(one, f"{path}.{key}" if path else key)
    return found


def _window(window: Window) -> dict[str, str]:
    times = {"start": window.start, "end": window.end}
    rest = {f.name: getattr(window, f.name) for f in fields(window) if f.name not in {"name", *times}}
    found = {key: f"{minutes // 60:02}:{minutes % 60:02}" for key, minutes in times.items()}
    return found | {key: _word(value) for key, value in rest.items()}


def _word(value: object) -> str:
    match value:
        case None | ():
            return "unset"
        case bool():
            return "true" if value else "false"
        case timedelta():
            return span(value)
        case StrEnum():
            return value.value
        case tuple() | frozenset():
            return ", ".join(_word(one) for one in value)
        case _:
            return str(value)

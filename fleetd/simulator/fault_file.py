"""How a fault plan's rules are read from a TOML or JSON file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import msgspec

from fleetd.model.errors import ConfigError, Fault
from fleetd.simulator.faults import AnswerRule, FateRule, Rule, Vanish, ViewRule

RULES: tuple[type[Rule], ...] = (
    *AnswerRule.__subclasses__(),
    *FateRule.__subclasses__(),
    *ViewRule.__subclasses__(),
    Vanish,
)
"""Every kind of rule that a file may hold."""
_ANY: Any = reduce(or_, RULES)
_KINDS = frozenset(str(rule.__struct_config__.tag) for rule in RULES)


def load_faults(path: Path) -> tuple[Rule, ...]:
    """The rules in a file: JSON when its name ends so, TOML otherwise.

    Raises:
        ConfigError: the file cannot be read, or with every rule in it that is wrong.
    """
    try:
        text = path.read_text("utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as e:
        raise ConfigError(str(path), (Fault(str(path), f"cannot be read: {e.strerror or e}"),)) from e
    except ValueError as e:
        raise ConfigError(
            str(path), (Fault(str(path), f"is not {'JSON' if path.suffix == '.json' else 'TOML'}: {e}"),)
        ) from e
    return parse_faults(data, str(path))


def parse_faults(data: object, source: str = "faults") -> tuple[Rule, ...]:
    """The rules in ``{"faults": [...]}`` or in a plain list.

    Raises:
        ConfigError: with every rule that is wrong.
    """
    entries = data
    if isinstance(data, Mapping):
        unknown = sorted(set(data) - {"faults"})
        if unknown:
            raise ConfigError(
                source, tuple(Fault(key, "unknown key; rules stand under [[faults]]") for key in unknown)
            )
        entries = data.get("faults", [])
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ConfigError(source, (Fault("faults", "must be a list of rules"),))
    rules: list[Rule] = []
    wrong: list[Fault] = []
    for number, entry in enumerate(entries):
        try:
            rules.append(msgspec.convert(entry, _ANY))
        except msgspec.ValidationError as e:
            problem, _, place = str(e).partition(" - at `$")
            if place.startswith(".kind"):
                problem += f"; kinds are {', '.join(sorted(_KINDS))}"
            wrong.append(Fault(f"faults[{number}]{place.rstrip('`')}", problem))
    if wrong:
        raise ConfigError(source, tuple(wrong))
    return tuple(rules)

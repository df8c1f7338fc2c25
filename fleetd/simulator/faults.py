"""The fault plan's rules, and how they are read from a TOML or JSON file.

A file is a list of rules under ``faults``; docs/simulator.md has every kind with an example::

    [[faults]]
    kind = "timeout_after"      # the create is carried out, its answer never comes
    operation = "create"
    nth = 2                     # the second create only

    [[faults]]
    kind = "rate_limit"
    operation = ["list", "show"]
    probability = 0.1
    after = 600                 # world seconds
    until = 1200
    retry_after = 2

Every rule has the same conditions, and all that are given must hold:

* ``operation``: a name or a list of names (list, show, create, start, stop, restart, destroy, update, set_access,
  utilization, availability, networks, templates, users, scripts, ...), or ``read``, ``write``, ``any``;
* ``machine`` (id or name, ``*`` and ``?`` allowed), ``machine_type``, ``region``;
* ``nth`` (a number or a list, counted over the calls that the conditions above match), ``every`` (each n-th);
* ``probability`` 0..1, ``after`` and ``until`` in world seconds since the world began;
* ``limit``: how often it strikes at most.

On rules about listings and states, ``machine``, ``machine_type`` and ``region`` choose the machines instead.
The rules are msgspec structs because the file is their wire form: reading it validates it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from fleetd.model.errors import ConfigError, Fault
from fleetd.simulator.fault_answers import (
    ErrorAnswer,
    ForeignBody,
    OtherMachine,
    RateLimit,
    ResetAfter,
    ResetBefore,
    SlowDrip,
    StrayAnswer,
    TimeoutAfter,
    TimeoutBefore,
    Truncated,
    Unauthorized,
    Unavailable,
)
from fleetd.simulator.fault_base import (
    AnswerRule,
    FateRule,
    Rule,
    ViewRule,
)
from fleetd.simulator.fault_machines import (
    Capacity,
    DuplicatedList,
    EmptyList,
    EndlessList,
    Invisible,
    Lingering,
    NoEffect,
    OddValues,
    PartialList,
    ReorderedList,
    ShiftingPages,
    StaleList,
    Stuck,
    UnknownState,
    Vanish,
)

__all__ = [
    "AnswerRule",
    "AnyRule",
    "Capacity",
    "DuplicatedList",
    "EmptyList",
    "EndlessList",
    "ErrorAnswer",
    "FateRule",
    "ForeignBody",
    "Invisible",
    "Lingering",
    "NoEffect",
    "OddValues",
    "OtherMachine",
    "PartialList",
    "RateLimit",
    "ReorderedList",
    "ResetAfter",
    "ResetBefore",
    "Rule",
    "ShiftingPages",
    "SlowDrip",
    "StaleList",
    "StrayAnswer",
    "Stuck",
    "TimeoutAfter",
    "TimeoutBefore",
    "Truncated",
    "Unauthorized",
    "Unavailable",
    "UnknownState",
    "Vanish",
    "ViewRule",
    "load_faults",
    "parse_faults",
]

AnyRule = (
    ErrorAnswer
    | Unauthorized
    | RateLimit
    | Unavailable
    | TimeoutBefore
    | TimeoutAfter
    | ResetBefore
    | ResetAfter
    | Truncated
    | SlowDrip
    | ForeignBody
    | OtherMachine
    | StrayAnswer
    | Capacity
    | Stuck
    | Invisible
    | NoEffect
    | Lingering
    | Vanish
    | StaleList
    | PartialList
    | EmptyList
    | DuplicatedList
    | ReorderedList
    | ShiftingPages
    | UnknownState
    | EndlessList
    | OddValues
)


_KINDS = frozenset(str(rule.__struct_config__.tag) for rule in get_args(AnyRule))


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
            rules.append(msgspec.convert(entry, AnyRule))
        except msgspec.ValidationError as e:
            problem, _, place = str(e).partition(" - at `$")
            if place.startswith(".kind"):
                problem += f"; kinds are {', '.join(sorted(_KINDS))}"
            wrong.append(Fault(f"faults[{number}]{place.rstrip('`')}", problem))
    if wrong:
        raise ConfigError(source, tuple(wrong))
    return tuple(rules)

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
from typing import Any, ClassVar, get_args

import msgspec

from fleetd.model.errors import ConfigError, Fault
from fleetd.simulator.lifecycle import NO_CAPACITY

_RISES = ("create", "start", "restart")
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """The conditions that every kind shares."""

    operation: str | tuple[str, ...] | None = None
    machine: str | None = None
    machine_type: str | None = None
    region: str | None = None
    nth: int | tuple[int, ...] | None = None
    every: int | None = None
    probability: float = 1.0
    after: float | None = None
    until: float | None = None
    limit: int | None = None

    usual: ClassVar[tuple[str, ...]] = ("any",)
    """The operations it is about when the rule does not say."""
    about_calls: ClassVar[bool] = True
    """Whether ``machine``, ``machine_type`` and ``region`` choose calls; otherwise they choose machines."""

    @property
    def kind(self) -> str:
        """Its name in the file."""
        return str(self.__struct_config__.tag)

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations it is about."""
        if self.operation is None:
            return self.usual
        return (self.operation,) if isinstance(self.operation, str) else self.operation


class AnswerRule(Rule, frozen=True, kw_only=True):
    """A fault in how a call is answered. At most one of these strikes a call: the first that matches."""

    executes: ClassVar[bool] = False


class ErrorAnswer(AnswerRule, frozen=True, kw_only=True, tag="error"):
    """An error status with a body: the dialect's own error, or ``body`` as it stands (text, or a table as JSON)."""

    status: int = 500
    message: str = "Internal Server Error"
    body: str | dict[str, Any] | None = None
    executed: bool = False
    """Whether the call is carried out all the same."""


class Unauthorized(AnswerRule, frozen=True, kw_only=True, tag="unauthorized"):
    """As if the key were wrong; with ``after`` and ``until``: a key revoked for a while."""


class RateLimit(AnswerRule, frozen=True, kw_only=True, tag="rate_limit"):
    """429, with Retry-After when ``retry_after`` (real seconds) is given."""

    retry_after: float | None = None


class Unavailable(AnswerRule, frozen=True, kw_only=True, tag="unavailable"):
    """503, with Retry-After when ``retry_after`` (real seconds) is given."""

    retry_after: float | None = None


class TimeoutBefore(AnswerRule, frozen=True, kw_only=True, tag="timeout_before"):
    """No answer for ``seconds`` (real), then a closed connection; nothing is carried out."""

    seconds: float = 300.0


class TimeoutAfter(AnswerRule, frozen=True, kw_only=True, tag="timeout_after"):
    """The call is carried out; its answer never comes."""

    executes: ClassVar[bool] = True
    seconds: float = 300.0


class ResetBefore(AnswerRule, frozen=True, kw_only=True, tag="reset_before"):
    """The connection is reset; nothing is carried out."""


class ResetAfter(AnswerRule, frozen=True, kw_only=True, tag="reset_after"):
    """The call is carried out, then the connection is reset."""

    executes: ClassVar[bool] = True


class Truncated(AnswerRule, frozen=True, kw_only=True, tag="truncated"):
    """The call is carried out; its answer breaks off half-way."""

    executes: ClassVar[bool] = True


class SlowDrip(AnswerRule, frozen=True, kw_only=True, tag="slow_drip"):
    """The call is carried out; its answer trickles in over ``seconds`` (real)."""

    executes: ClassVar[bool] = True
    seconds: float = 30.0
    chunks: int = 20


class ForeignBody(AnswerRule, frozen=True, kw_only=True, tag="foreign_body"):
    """Somebody else's HTML with a status of its own, e.g. from a proxy."""

    status: int = 200
    body: str = _HTML
    executed: bool = False


class FateRule(Rule, frozen=True, kw_only=True):
    """A fault in what becomes of a machine. The call itself is answered as ever."""


class Capacity(FateRule, frozen=True, kw_only=True, tag="capacity"):
    """The machine ends in off, and only its event says why. While certain, availability says no as well."""

    usual: ClassVar[tuple[str, ...]] = _RISES
    message: str = NO_CAPACITY


class Stuck(FateRule, frozen=True, kw_only=True, tag="stuck"):
    """The transition never ends, or takes ``seconds`` (world) longer."""

    usual: ClassVar[tuple[str, ...]] = _RISES
    seconds: float | None = None


class Invisible(FateRule, frozen=True, kw_only=True, tag="invisible_after_create"):
    """A created machine is in no listing for ``seconds`` (world); with ``show``, show does not find it either."""

    usual: ClassVar[tuple[str, ...]] = ("create",)
    seconds: float = 60.0
    show: bool = False


class Vanish(Rule, frozen=True, kw_only=True, tag="vanish"):
    """A machine that matches disappears when the rule strikes; one, unless ``limit`` says otherwise."""

    about_calls: ClassVar[bool] = False
    limit: int | None = 1


class ViewRule(Rule, frozen=True, kw_only=True):
    """A fault in what is shown; the world itself is unharmed."""

    usual: ClassVar[tuple[str, ...]] = ("list",)
    about_calls: ClassVar[bool] = False


class StaleList(ViewRule, frozen=True, kw_only=True, tag="stale_list"):
    """The listing as it was ``seconds`` (world) ago."""

    seconds: float = 60.0


class PartialList(ViewRule, frozen=True, kw_only=True, tag="partial_list"):
    """A ``share`` of the machines is missing: always the same ones, or others each time when not ``sticky``."""

    share: float = 0.3
    sticky: bool = True


class EmptyList(ViewRule, frozen=True, kw_only=True, tag="empty_list"):
    """No machine at all."""


class DuplicatedList(ViewRule, frozen=True, kw_only=True, tag="duplicated_list"):
    """A ``share`` of the machines is listed twice."""

    share: float = 0.5


class ReorderedList(ViewRule, frozen=True, kw_only=True, tag="reordered_list"):
    """The listing's order is another each time."""


class ShiftingPages(ViewRule, frozen=True, kw_only=True, tag="shifting_pages"):
    """Later pages start ``by`` machines too far on (too early when negative), as when machines go meanwhile."""

    by: int = 1


class UnknownState(ViewRule, frozen=True, kw_only=True, tag="unknown_state"):
    """A ``share`` of the machines is reported in a state that the vendor does not document."""

    usual: ClassVar[tuple[str, ...]] = ("list", "show")
    state: str = "hibernating"
    share: float = 1.0


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
    | Capacity
    | Stuck
    | Invisible
    | Vanish
    | StaleList
    | PartialList
    | EmptyList
    | DuplicatedList
    | ReorderedList
    | ShiftingPages
    | UnknownState
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

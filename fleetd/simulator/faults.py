"""The fault plan's rules, which ``fault_file`` reads from a TOML or JSON file.

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

from typing import Any, ClassVar, Literal

import msgspec

from fleetd.simulator.lifecycle import NO_CAPACITY
from fleetd.simulator.odd_values import VALUES

_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_RISES = ("create", "start", "restart")


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


class FateRule(Rule, frozen=True, kw_only=True):
    """A fault in what becomes of a machine. The call itself is answered as ever."""


class ViewRule(Rule, frozen=True, kw_only=True):
    """A fault in what is shown; the world itself is unharmed."""

    usual: ClassVar[tuple[str, ...]] = ("list",)
    about_calls: ClassVar[bool] = False


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
    executed: bool = False
    """Whether the call is carried out all the same."""


class Unavailable(AnswerRule, frozen=True, kw_only=True, tag="unavailable"):
    """503, with Retry-After when ``retry_after`` (real seconds) is given."""

    retry_after: float | None = None
    executed: bool = False
    """Whether the call is carried out all the same."""


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


class OtherMachine(AnswerRule, frozen=True, kw_only=True, tag="other_machine"):
    """The call is carried out, or not; its answer is the JSON of another machine.

    The other one is drawn from those that ``of`` (id or name, ``*`` and ``?`` allowed) matches, the one asked about
    left out; where there is none, it is one that does not exist.
    """

    usual: ClassVar[tuple[str, ...]] = ("create", "show", "start", "stop", "restart", "destroy", "update")
    of: str = "*"
    keep_name: bool = False
    """Whether the answer carries the name that was asked for, so that its id alone is wrong."""
    executed: bool = True
    """Whether the call is carried out."""


class StrayAnswer(AnswerRule, frozen=True, kw_only=True, tag="stray_answer"):
    """The call is carried out and answered; later a second answer comes on the same connection, of its own accord.

    It stands before the answer to the next request on that connection, or comes ``seconds`` (real) after the first.
    """

    executes: ClassVar[bool] = True
    seconds: float | None = None
    status: int = 200
    body: str | dict[str, Any] | None = None
    """None: the first answer once more."""


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


class NoEffect(FateRule, frozen=True, kw_only=True, tag="no_effect"):
    """The call is answered as if it were carried out, and nothing happens but an event.

    ``event`` is how that ends: done, error (with ``message``, or without any text), in progress (for ever), or none
    (there is no event).
    """

    usual: ClassVar[tuple[str, ...]] = ("start", "stop", "restart", "destroy", "update")
    event: Literal["done", "error", "in progress", "none"] = "done"
    message: str | None = None


class Lingering(FateRule, frozen=True, kw_only=True, tag="lingering"):
    """A destroyed machine is in no listing, but show finds it in ``state`` for ``seconds`` (world), or for ever."""

    usual: ClassVar[tuple[str, ...]] = ("destroy",)
    seconds: float | None = None
    state: str = "destroying"


class Vanish(Rule, frozen=True, kw_only=True, tag="vanish"):
    """A machine that matches disappears when the rule strikes; one, unless ``limit`` says otherwise."""

    about_calls: ClassVar[bool] = False
    limit: int | None = 1


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


class EndlessList(ViewRule, frozen=True, kw_only=True, tag="endless_list"):
    """A listing that has no end: there is always another page.

    ``way``: ``cycle`` (it begins again), ``empty`` (pages with nobody on them; the Core API has none such, there it
    is ``cycle``) or ``fresh`` (machines that nobody has ever heard of, others on each page).
    """

    way: Literal["cycle", "empty", "fresh"] = "cycle"


class OddValues(ViewRule, frozen=True, kw_only=True, tag="odd_values"):
    """A ``share`` of the machines is shown with an odd value in a field: the same each time while the rule stands.

    ``field`` is the wire's own name, with dots into what it holds (``events.state``); without one, each machine has
    another. ``value`` is the name of one of ``VALUES``; without one, each machine has another. On operations
    that show something else it is about the entries of their answers.
    """

    usual: ClassVar[tuple[str, ...]] = ("list", "show")
    field: str | None = None
    value: str | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a value that has no such name."""
        if self.value not in {None, *VALUES}:
            raise ValueError(f"value must be one of {', '.join(VALUES)}")

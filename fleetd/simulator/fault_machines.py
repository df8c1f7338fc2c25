"""Rules about what becomes of a machine, and about what is shown of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from fleetd.simulator.fault_base import FateRule, Rule, ViewRule
from fleetd.simulator.lifecycle import NO_CAPACITY
from fleetd.simulator.odd_values import VALUES

_RISES = ("create", "start", "restart")


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
            msg = f"value must be one of {', '.join(VALUES)}"
            raise ValueError(msg)

"""Whether ``apply`` is over: at target, hopeless, or without a provider."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from fleetd.engine.daemon import Daemon
from fleetd.engine.pass_report import PassReport
from fleetd.model.errors import ApplyBlocked, FleetdError, StoreError, Unauthorized, Unavailable, Untrusted
from fleetd.model.reasons import PASSING, Reason
from fleetd.words.fleets import fleet_sentence
from fleetd.words.reasons import sentence

MOST_SKIPS = 10
"""Of a fleet's reasons, so many are told where ``apply`` gives up."""


class ConvergenceWatch:
    """Decides after every pass of ``apply`` whether it is over."""

    def __init__(self, *, limit: float) -> None:
        self.failure: FleetdError | None = None
        """Why it gave up; None when it did not."""
        self.converged = False
        self._limit = limit
        self._last: PassReport | None = None
        self._daemon: Daemon | None = None
        self._show: Callable[[], None] = lambda: None
        self._answered = anyio.Event()

    def attach(self, daemon: Daemon, show: Callable[[], None]) -> None:
        """Watch this daemon; ``show`` is called after every pass that ended well."""
        self._daemon = daemon
        self._show = show

    def saw(self, result: PassReport | FleetdError) -> None:
        """Look at how a pass ended."""
        if self._daemon is None:
            return
        if isinstance(result, FleetdError):
            if isinstance(result, Unauthorized | Untrusted | StoreError) or not self._answered.is_set():
                self.failure = result
                self._daemon.stop()
            return
        self._answered.set()
        self._last = result
        self._show()
        self.converged = result.converged
        self.failure = None if self.converged else hopeless(result)
        if self.converged or self.failure is not None:
            self._daemon.stop()

    def unfinished(self) -> list[str]:
        """How the fleets stand that were not at their targets after the last pass, and what keeps them from it."""
        return [] if self._last is None else unfinished(self._last)

    async def first_answer(self) -> None:
        """Give up when the provider does not answer at all."""
        with anyio.move_on_after(self._limit):
            await self._answered.wait()
        if not self._answered.is_set() and self._daemon is not None and self.failure is None:
            self.failure = Unavailable(f"no answer from the provider within {self._limit:.0f} s")
            self._daemon.abandon()


_HOPELESS = frozenset({Reason.REFUSED_RECENTLY, Reason.GUARD_COST, Reason.PRICE_UNKNOWN, Reason.UNKNOWN_STATE})
_VETOED = frozenset({Reason.FROZEN, Reason.HELD})


def unfinished(report: PassReport) -> list[str]:
    """A sentence on each fleet that is not at its target, and one on each thing that is not being done for it."""
    lines = []
    for name, view in report.plan.fleets.items():
        if view.converged and report.plan.complete:
            continue
        lines.append(fleet_sentence(name, view))
        skips = [s for s in report.skips if s.fleet == name and s.reason not in PASSING]
        lines += [sentence(skip, report.plan.at) for skip in skips[:MOST_SKIPS]]
        if len(skips) > MOST_SKIPS:
            lines.append(f"{len(skips) - MOST_SKIPS} more of {name} are in fleetd status.")
    return lines


def hopeless(report: PassReport) -> ApplyBlocked | None:
    """Why waiting longer brings no fleet to its target, or None: nothing under way, and only a person can help."""
    if report.intents or (report.plan.actions and len(report.skips) == len(report.plan.skips)):
        return None
    blocking = [s for s in report.skips if s.reason in _HOPELESS | _VETOED]
    if not blocking or any(s.reason not in _HOPELESS | _VETOED for s in report.skips if s.verb is not None):
        return None
    text = "\n".join(sentence(s, report.plan.at) for s in blocking)
    return ApplyBlocked(text, temporary=all(s.reason in _VETOED for s in blocking))

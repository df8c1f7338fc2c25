"""What operators may ask of a running daemon: the port between the control socket and the engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from fleetd.model.answers import Adopted, LeaseTaken, OrderTaken, VetoTaken
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import VetoKind
from fleetd.model.report import Report


class Told(Protocol):
    """What may be read of a process: of a daemon, or of a replica that stands by."""

    def status(self) -> Report:
        """How everything stands."""
        ...

    def alive(self) -> str | None:
        """Why the process should be restarted, or None: passes begin. The provider's health is another matter."""
        ...

    def ready(self) -> str | None:
        """Why its picture of the world cannot be relied on now, or None."""
        ...


class DaemonHandle(Told, Protocol):
    """The on-call person's handle on the daemon. Every write names its actor."""

    def reload(self, actor: str) -> None:
        """Read the config again. Raises ``ConfigError``."""
        ...

    def wake(self) -> None:
        """Begin a pass now."""
        ...

    async def veto(self, order: VetoOrder, actor: str) -> VetoTaken:
        """Store a veto; on return no call that it forbids is under way any more.

        Raises ``LookupError`` for a hold on no machine of ours, ``StoreError``.
        """
        ...

    async def lift(self, kind: VetoKind, subject: str | None, actor: str) -> int:
        """Remove vetoes; the number removed. Raises ``StoreError``."""
        ...

    async def adopt(self, subject: str, reason: str, actor: str) -> Adopted:
        """Confirm that a machine is ours, so that it may be destroyed like any other.

        Raises ``LookupError`` if it is not owned, ``StoreError``.
        """
        ...

    async def request(self, order: MachineOrder, actor: str) -> OrderTaken:
        """Have one machine started, stopped or restarted by the next pass, and hear what became of it.

        Raises ``LookupError`` if it is not owned, ``OrderDeclined`` if it is not done.
        """
        ...

    async def lease(self, machine: str, source: str, lasts: timedelta, actor: str) -> LeaseTaken:
        """Say that a machine is in use for so long; zero ends it.

        Raises ``LookupError``, ``NotYet`` before the first pass, ``OrderDeclined`` where it cannot be kept, and
        ``StoreError``.
        """
        ...

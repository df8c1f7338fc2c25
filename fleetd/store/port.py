"""The journal port: what the engine remembers, and the order in which it is written.

Contract: a method that writes returns only when the write is durable (committed and synced); after ``kill -9`` at
any point the journal opens with every returned write in it and no half of any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, KeptLease, MachineFacts
from fleetd.model.reasons import Outcome, VetoKind


class Journal(Protocol):
    """Durable memory. Every method raises ``StateUnusable`` when the disk is full, gone or damaged."""

    async def write_intent(self, intent: Intent) -> Intent:
        """Store a new intent (its ``id`` is ignored) and return it with its id. Durable before it returns."""
        ...

    async def update_intent(
        self,
        intent_id: int,
        *,
        machine_id: str | None = None,
        accepted_at: datetime | None = None,
        ambiguous_since: datetime | None = None,
    ) -> None:
        """Set the given fields of an open intent."""
        ...

    async def close_intent(self, intent_id: int, *, at: datetime, outcome: Outcome, error: str | None = None) -> bool:
        """Close it and append its history entry, in one transaction; whether it was open.

        Closing a closed one changes nothing: its first verdict stands, and nothing else may count a second one.
        """
        ...

    async def open_intents(self) -> Sequence[Intent]:
        """All open intents, oldest first."""
        ...

    async def reached(self, limit: int) -> Sequence[Intent]:
        """The newest intents that have reached their goal, in the order of their ends; of destroys none."""
        ...

    async def made(self, machines: Mapping[str, str]) -> frozenset[str]:
        """Those of these machines (names by id) that a create of this journal's made, or may have made.

        That is one whose id a create has, or whose name one was written with that never heard of its machine, or
        was answered with an id under which none was ever seen.
        """
        ...

    async def append_history(self, entry: HistoryEntry) -> None:
        """Record something that is not an intent's outcome (a change from outside, a veto)."""
        ...

    async def history(
        self,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machine: str | None = None,
        after_id: int = 0,
        limit: int | None = None,
    ) -> Sequence[tuple[int, HistoryEntry]]:
        """Entries with their row ids, oldest first; with ``limit`` the newest.

        ``machine`` matches id or name; ``fleet`` also what was about everything (a freeze of all fleets).
        """
        ...

    async def facts(self) -> Sequence[MachineFacts]:
        """Everything remembered of owned machines."""
        ...

    async def put_facts(self, facts: Iterable[MachineFacts]) -> None:
        """Insert or replace, in one transaction."""
        ...

    async def forget_facts(self, machine_ids: Iterable[str]) -> None:
        """Forget machines that are gone for good."""
        ...

    async def backoffs(self) -> Sequence[Backoff]:
        """All backoffs, expired ones included (their attempt count goes on)."""
        ...

    async def put_backoff(self, backoff: Backoff) -> None:
        """Insert or replace by (region, machine_type)."""
        ...

    async def clear_backoff(self, region: str, machine_type: str) -> None:
        """After a success."""
        ...

    async def bills(self, *, month: str) -> Sequence[BilledMonth]:
        """What was billed in a month (``YYYY-MM``), by machine id."""
        ...

    async def put_bills(self, bills: Iterable[BilledMonth]) -> None:
        """Insert or replace by month and machine, in one transaction. ``prune`` leaves them for two years."""
        ...

    async def holds(self, *, now: datetime) -> Sequence[Hold]:
        """Holds and freezes that have not expired."""
        ...

    async def add_hold(self, hold: Hold) -> Hold:
        """Store a veto (its ``id`` is ignored) and return it with its id. Durable: it is obeyed from now on."""
        ...

    async def remove_holds(self, *, kind: VetoKind, subject: str | None) -> int:
        """Remove the vetoes of that kind on that subject; the number removed."""
        ...

    async def remove_hold(self, hold_id: int) -> None:
        """Remove one veto; no error where it has gone already."""
        ...

    async def leases(self) -> Sequence[KeptLease]:
        """All leases that are kept, ended ones included."""
        ...

    async def put_leases(self, leases: Iterable[KeptLease], *, drop: Iterable[tuple[str, str]] = ()) -> None:
        """Insert or replace by machine and source, and drop others by the same, in one transaction."""
        ...

    async def get_note(self, key: str) -> str | None:
        """A small value kept under ``key`` (idle clocks, learnt prices)."""
        ...

    async def put_note(self, key: str, value: str) -> None:
        """Insert or replace a note."""
        ...

    async def prune(self, *, before: datetime, max_rows: int) -> int:
        """Drop closed intents and history older than ``before`` or beyond ``max_rows`` each; the number dropped.

        Holds that expired before then go, and count, as well.
        """
        ...

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        ...

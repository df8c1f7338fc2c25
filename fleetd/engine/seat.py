"""The on-call person's handle on the running daemon (``ops.seat.Seat``)."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from fleetd.engine.daemon import HEARTBEAT, Daemon
from fleetd.engine.leases import Leases
from fleetd.engine.ports import Clock
from fleetd.engine.status import hold_document, status_document, time_text
from fleetd.model.journal import HistoryEntry, Request, VetoOrder
from fleetd.model.machine import Machine
from fleetd.model.reasons import Outcome, Verb

STALE_PASSES = 5
"""Intervals without a pass after which the daemon counts as stuck."""


class EngineSeat:
    """Answers from the last pass and hands orders to the reconciler; every order goes into history with its actor."""

    def __init__(self, daemon: Daemon, leases: Leases, clock: Clock) -> None:
        self._daemon = daemon
        self._leases = leases
        self._clock = clock

    def status(self) -> dict[str, Any]:
        """See ``Seat.status``."""
        cap = self._daemon.reconciler.settings.costs.max_hourly_cost
        document = status_document(self._daemon.reconciler.last, daemon=self._about())
        return document | {"max_hourly_cost": str(cap) if cap else None}

    def alive(self) -> str | None:
        """See ``Seat.alive``."""
        began = self._daemon.pass_began_at
        if began is None:
            return None
        patience = self._daemon.reconciler.settings.daemon.interval * STALE_PASSES + timedelta(seconds=HEARTBEAT)
        idle = self._clock.now() - began
        return f"no pass has begun for {idle.total_seconds():.0f} s" if idle > patience else None

    def ready(self) -> str | None:
        """See ``Seat.ready``."""
        report = self._daemon.reconciler.last
        if report is None:
            return "no pass has ended well yet"
        if self._daemon.last_error is not None:
            return self._daemon.last_error
        if not report.observation.sane:
            return report.observation.rejected or "the listing is not whole"
        return None

    def reload(self, actor: str) -> None:
        """See ``Seat.reload``."""
        del actor  # the config's own log line says what changed; who sent it is in systemd's journal
        self._daemon.reload()

    def wake(self) -> None:
        """See ``Seat.wake``."""
        self._daemon.wake()

    async def veto(self, order: VetoOrder, actor: str) -> dict[str, Any]:
        """See ``Seat.veto``."""
        hold = await self._daemon.reconciler.vetoes.add(
            kind=order.kind,
            subject=order.subject,
            verbs=order.verbs,
            reason=order.reason,
            actor=actor,
            expires_at=self._clock.now() + order.lasts,
        )
        await self._record(order.kind, order.subject, actor, f"{order.reason}; until {time_text(hold.expires_at)}")
        self._daemon.wake()
        return hold_document(hold)

    async def lift(self, kind: str, subject: str | None, actor: str) -> int:
        """See ``Seat.lift``."""
        removed = await self._daemon.reconciler.recall.journal.remove_holds(kind=kind, subject=subject)
        if removed:
            await self._record("release" if kind == "hold" else "unfreeze", subject, actor, None)
            self._daemon.wake()
        return removed

    async def request(self, verb: Verb, machine: str, reason: str, actor: str) -> dict[str, Any]:
        """See ``Seat.request``."""
        found = self._owned(machine)
        self._daemon.reconciler.recall.requests.append(Request(verb, found.id, actor, reason))
        self._daemon.wake()
        return {"verb": str(verb), "machine": found.id, "name": found.name}

    async def lease(self, machine: str, source: str, lasts: timedelta, actor: str) -> dict[str, Any]:
        """See ``Seat.lease``."""
        found = self._owned(machine)
        until = self._clock.now() + lasts
        await self._leases.put(found.id, source, until, actor)
        return {"machine": found.id, "source": source, "until": time_text(until)}

    def _owned(self, machine: str) -> Machine:
        report = self._daemon.reconciler.last
        found = [
            m
            for m in (report.observation.machines if report is not None else ())
            if machine in {m.id, m.name} and report is not None and m.id in report.owned
        ]
        if len(found) != 1:
            raise LookupError(
                f"{machine}: {'no machine of ours' if not found else 'more than one machine'} is called so"
            )
        return found[0]

    async def _record(self, what: str, subject: str | None, actor: str, words: str | None) -> None:
        await self._daemon.reconciler.recall.journal.append_history(
            HistoryEntry(
                ts=self._clock.now(),
                fleet="" if subject is None else subject,
                machine=None,
                name=subject or "everything",
                verb=what,
                reason="operator_request",
                outcome=Outcome.OBSERVED,
                error=words,
                actor=actor,
            )
        )

    def _about(self) -> dict[str, Any]:
        daemon = self._daemon
        report = daemon.reconciler.last
        return {
            "running": True,
            "pid": os.getpid(),
            "since": time_text(daemon.started_at),
            "config": daemon.reconciler.settings.source,
            "config_fault": daemon.reload_fault,
            "last_pass": None
            if report is None
            else {
                "id": report.pass_id,
                "at": time_text(report.started_at),
                "duration_s": round(report.duration_s, 3),
                "actions": len(report.plan.actions),
            },
            "provider": daemon.reconciler.health.word,
            "error": daemon.last_error,
        }

"""Reports made by hand, and a daemon's handle that answers with one and notes what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from fleetd.model.answers import Adopted, LeaseTaken, OrderTaken, VetoTaken
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Verb
from fleetd.model.report import FleetReport, MachineReport, Report, VetoReport, document

T = TypeVar("T")

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def a_fleet(**fields: Any) -> FleetReport:
    row: dict[str, Any] = {
        "target": 2, "configured_target": 2, "window": None, "up": 2, "rising": 0, "falling": 0, "down": 1,
        "unknown": 0, "intents": 0, "converged": True, "hourly": "1.02",
    } | fields  # fmt: skip
    return made({"was_converged": row["converged"]} | row, FleetReport)


def a_machine(name: str, **fields: Any) -> MachineReport:
    row = {
        "id": f"ps-{name}", "name": name, "fleet": "training", "state": "ready", "phase": "up", "owned": True,
        "transition": None, "hold": None, "type": "P4000", "up_since": None, "failure": None, "idle": None,
    }  # fmt: skip
    return made(row | fields, MachineReport)


def a_veto(kind: str, subject: str | None, *verbs: str, **fields: Any) -> VetoReport:
    row = {
        "id": 1, "kind": kind, "subject": subject, "verbs": sorted(verbs or Verb), "reason": "a run", "actor": "ada",
        "created_at": "2026-03-02T11:00:00Z", "expires_at": "2026-03-02T14:00:00Z",
    }  # fmt: skip
    return made(row | fields, VetoReport)


def made(parts: object, kind: type[T]) -> T:
    """A report out of what JSON could hold, or other reports."""
    return msgspec.convert(document(parts), kind)


def a_report(**fields: Any) -> Report:
    """Of a daemon that has nothing to do."""
    whole: dict[str, Any] = {
        "format": 1,
        "daemon": {
            "running": True,
            "pid": 4711,
            "since": "2026-03-02T11:00:00Z",
            "config": "/etc/fleetd/fleetd.toml",
            "config_fault": None,
            "last_pass": {"id": 9, "at": "2026-03-02T11:59:50Z", "duration_s": 0.25, "actions": 0},
            "provider": "ok",
            "error": None,
        },
        "fleets": {"training": a_fleet()},
        "machines": [],
        "blocked": [],
        "vetoes": [],
        "hourly": "1.02",
        "observation": {
            "at": "2026-03-02T11:59:50Z",
            "complete": True,
            "rejected": None,
            "believed_at": "2026-03-02T11:59:50Z",
        },
    }
    return made(whole | fields, Report)


@dataclass
class FakeHandle:
    answer: Report = field(default_factory=a_report)
    sick: str | None = None
    unready: str | None = None
    failure: Exception | None = None
    """Raised by every order."""
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def status(self) -> Report:
        return self.answer

    def alive(self) -> str | None:
        return self.sick

    def ready(self) -> str | None:
        return self.unready

    def reload(self, actor: str) -> None:
        self._note("reload", actor)

    def wake(self) -> None:
        self._note("wake")

    async def veto(self, order: VetoOrder, actor: str) -> VetoTaken:
        self._note("veto", order, actor)
        return made(a_veto(order.kind, order.subject), VetoTaken)

    async def lift(self, kind: str, subject: str | None, actor: str) -> int:
        self._note("lift", kind, subject, actor)
        return 1

    async def adopt(self, subject: str, reason: str, actor: str) -> Adopted:
        self._note("adopt", subject, reason, actor)
        return Adopted(machine=subject, name=subject, fleet="training", confirmed=True)

    async def request(self, order: MachineOrder, actor: str) -> OrderTaken:
        self._note("request", order, actor)
        return OrderTaken(
            verb=order.verb, machine=order.subject, name=order.subject, fleet="training", result="begun"
        )

    async def lease(self, machine: str, source: str, lasts: timedelta, actor: str) -> LeaseTaken:
        self._note("lease", machine, source, lasts, actor)
        return LeaseTaken(machine=machine, source=source, until=AT + lasts)

    def _note(self, *what: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.asked.append(what)

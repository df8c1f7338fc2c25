"""A daemon's seat that answers from a document and notes what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fleetd.model.journal import MachineOrder, VetoOrder

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def fleet_row(**fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "target": 2, "configured_target": 2, "window": None, "up": 2, "rising": 0, "falling": 0, "down": 1,
        "unknown": 0, "intents": 0, "converged": True, "hourly": "1.02",
    }  # fmt: skip
    return row | fields


def machine_row(name: str, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"ps-{name}", "name": name, "fleet": "training", "state": "ready", "phase": "up", "owned": True,
        "transition": None, "hold": None, "type": "P4000", "up_since": None, "failure": None, "idle": None,
    }  # fmt: skip
    return row | fields


def document(**fields: Any) -> dict[str, Any]:
    """A status document of a daemon that has nothing to do."""
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
        "fleets": {"training": fleet_row()},
        "machines": [],
        "blocked": [],
        "vetoes": [],
        "hourly": "1.02",
        "observation": {"at": "2026-03-02T11:59:50Z", "complete": True, "rejected": None},
    }
    return whole | fields


@dataclass
class FakeSeat:
    answer: dict[str, Any] = field(default_factory=document)
    sick: str | None = None
    unready: str | None = None
    failure: Exception | None = None
    """Raised by every order."""
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def status(self) -> dict[str, Any]:
        return self.answer

    def alive(self) -> str | None:
        return self.sick

    def ready(self) -> str | None:
        return self.unready

    def reload(self, actor: str) -> None:
        self._note("reload", actor)

    def wake(self) -> None:
        self._note("wake")

    async def veto(self, order: VetoOrder, actor: str) -> dict[str, Any]:
        self._note("veto", order, actor)
        return {"id": 1, "kind": order.kind}

    async def lift(self, kind: str, subject: str | None, actor: str) -> int:
        self._note("lift", kind, subject, actor)
        return 1

    async def adopt(self, subject: str, reason: str, actor: str) -> dict[str, Any]:
        self._note("adopt", subject, reason, actor)
        return {"machine": subject, "confirmed": True}

    async def request(self, order: MachineOrder, actor: str) -> dict[str, Any]:
        self._note("request", order, actor)
        return {"verb": str(order.verb), "machine": order.subject}

    async def lease(self, machine: str, source: str, lasts: timedelta, actor: str) -> dict[str, Any]:
        self._note("lease", machine, source, lasts, actor)
        return {"machine": machine}

    def _note(self, *what: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.asked.append(what)

"""An idle source that says what a test tells it to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.planner.idle import Reading


class ScriptedSource:
    def __init__(self, name: str = "gpu", says: Callable[[Machine], Activity] = lambda _m: Activity.IDLE) -> None:
        self.name = name
        self.says = says
        self.asked: list[tuple[str, timedelta]] = []

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        self.asked += [(m.id, window) for m in machines]
        return {m.id: Reading(self.name, self.says(m), now, f"scripted {self.says(m)}") for m in machines}

    async def aclose(self) -> None:
        pass

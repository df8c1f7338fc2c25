"""The alarms on virtual time: APScheduler's own triggers, asked with the virtual clock and rung by the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

from fleetd.engine.ports import Clock
from fleetd.ops.alarms import EDGE, trigger_of


class VirtualAlarms:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: Callable[[str], None] = lambda _name: None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._on = False

    def start(self, ring: Callable[[str], None]) -> None:
        self._ring, self._on = ring, True

    def stop(self) -> None:
        self._on = False
        for timer in self._timers.values():
            timer.cancel()

    def schedule(self, checks: Mapping[str, str]) -> None:
        for name, when in checks.items():
            self._arm(name, trigger_of(when, self._clock.now()), None)

    def edge(self, at: datetime | None) -> None:
        self._cancel(EDGE)
        if at is not None:
            wait = (at - self._clock.now()).total_seconds()
            self._timers[EDGE] = asyncio.get_running_loop().call_later(max(0.0, wait), self._fire, EDGE)

    def _arm(self, name, trigger, previous: datetime | None) -> None:
        self._cancel(name)
        now = self._clock.now()
        at = trigger.get_next_fire_time(previous, now)

        def fire() -> None:
            self._fire(name)
            if self._on:
                self._arm(name, trigger, at)

        wait = max(0.0, (at - now).total_seconds())
        self._timers[name] = asyncio.get_running_loop().call_later(wait, fire)

    def _fire(self, name: str) -> None:
        if self._on:
            self._ring(name)

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

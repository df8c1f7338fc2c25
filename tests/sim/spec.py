"""Fleets as the config file says them, and beats: what a story is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetd.model.fleet import Window

REGION = "East Coast (NY2)"
DAYS_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class FleetSpec:
    """A fleet as the file will say it."""

    name: str
    target: int
    machine_type: str = "P4000"
    scale_in: str = "stop"
    allow_destroy: bool = False
    standby: int = 0
    adopt: tuple[str, ...] = ()
    window: Window | None = None
    idle_after: int | None = None
    """Minutes."""
    timeout_hours: int | None = None
    snapshots: bool = False
    respect_manual: int = 30
    """Minutes."""
    stops: str = "25%"
    surge: int = 0
    cost_cap: float = 0.0

    def toml(self, parameters: str) -> str:
        """Its part of the file; ``parameters``: the dialect's own of the create call."""
        name = f"fleets.{self.name}"
        lines = [
            f"[{name}]",
            f"target = {self.target}",
            f'scale_in = "{self.scale_in}"',
            f"allow_destroy = {str(self.allow_destroy).lower()}",
            f"standby = {self.standby}" if self.standby else "",
            f"adopt = {list(self.adopt)!r}" if self.adopt else "",
            f'respect_manual = "{self.respect_manual}m"',
            f"[{name}.machine]",
            f'region = "{REGION}"',
            f'machineType = "{self.machine_type}"',
            parameters,
            f"[{name}.guards]",
            f'max_stops_per_pass = "{self.stops}"',
            f"max_surge = {self.surge}",
            f"max_hourly_cost = {self.cost_cap}" if self.cost_cap else "",
        ]
        if self.window is not None:
            lines += _window(name, self.window)
        if self.idle_after is not None:
            lines += [f'[{name}.idle]\nafter = "{self.idle_after}m"\nmin_uptime = "5m"\nsources = ["gpu", "job"]']
        if self.timeout_hours is not None:
            lines += [f"[{name}.shutdown_timeout]\nhours = {self.timeout_hours}\nenforce = true"]
        if self.snapshots:
            lines += [f'[{name}.auto_snapshot]\nfrequency = "day"\nkeep = 3']
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True)
class Beat:
    """Something that happens at an instant."""

    at: float
    what: str
    more: Mapping[str, Any] = field(default_factory=dict)


def _window(fleet: str, window: Window) -> list[str]:
    lines = [
        f"[[{fleet}.windows]]",
        f'name = "{window.name}"',
        f"days = {[DAYS_NAMES[d] for d in sorted(window.days)]!r}",
        f'start = "{window.start // 60:02}:{window.start % 60:02}"',
        f'end = "{window.end // 60:02}:{window.end % 60:02}"',
        f'timezone = "{window.timezone}"',
    ]
    if window.target is not None:
        lines.append(f"target = {window.target}")
    if window.park_idle:
        lines.append("park_idle = true")
    return lines

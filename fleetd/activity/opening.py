"""From the config's ``[idle_sources]`` to sources."""

from __future__ import annotations

from collections.abc import Mapping

from fleetd.activity.command import CommandSource
from fleetd.activity.http import HttpSource
from fleetd.activity.plain import LeaseOf, LeaseSource, UptimeSource
from fleetd.activity.port import Source
from fleetd.activity.prometheus import PrometheusSource
from fleetd.model.settings import IdleSource


def open_sources(settings: Mapping[str, IdleSource], lease_of: LeaseOf) -> dict[str, Source]:
    """One source for each table; close each with ``aclose``."""
    return {name: _open(source, lease_of) for name, source in settings.items()}


def _open(source: IdleSource, lease_of: LeaseOf) -> Source:
    match source.kind:
        case "prometheus":
            return PrometheusSource(source)
        case "http":
            return HttpSource(source)
        case "exec":
            return CommandSource(source)
        case "lease":
            return LeaseSource(source.name, lease_of)
        case "uptime":
            return UptimeSource(source.name)
        case unknown:
            raise ValueError(f"no such kind of idle source: {unknown}")

"""What a machine's phase is called, and its sign: the sign alone says it too."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fleetd.model.machine import Phase

PHASES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        Phase.UP: ("●", "up"),
        Phase.RISING: ("◐", "on its way up"),
        Phase.FALLING: ("◑", "on its way down"),
        Phase.DOWN: ("○", "off"),
        Phase.UNKNOWN: ("?", "unknown"),
    }
)
"""A sign and words for each phase."""

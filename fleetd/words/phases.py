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

_EVENTFUL = (Phase.UNKNOWN, Phase.RISING, Phase.FALLING, Phase.UP, Phase.DOWN)


def eventful_first(phase: str) -> int:
    """Sort key; one that is not known here is as the unknown."""
    return next((n for n, known in enumerate(_EVENTFUL) if known == phase), 0)

"""A promise that was not kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was not kept."""

    promise: int
    at: float
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise} at {self.at:.1f} s: {self.what}"

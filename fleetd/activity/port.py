"""The port of idle sources: what can tell whether a machine is being used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from fleetd.model.machine import Machine
from fleetd.planner.idle import Reading


class Source(Protocol):
    """One idle source, as the config names it.

    Contract: ``read`` answers for every machine that it is given, bounds its own time, and never raises for a
    source's failure: a source that cannot tell answers ``unknown``, with the reason as evidence.
    """

    @property
    def name(self) -> str:
        """Its name in the config."""
        ...

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """Readings by machine id, about the ``window`` that ends ``now``."""
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A source that judges an answer by those before it: what it has learnt outlives the process and a reload."""

    @property
    def question(self) -> str:
        """What it asks. Another question is answered otherwise: nothing learnt by this one is true of that."""
        ...

    def learnt(self) -> Mapping[str, int]:
        """What it has learnt, by machine id."""
        ...

    def remind(self, learnt: Mapping[str, int]) -> None:
        """What an earlier one had learnt that asked the same; before the first ``read``."""
        ...

    def forget_others(self, machines: AbstractSet[str]) -> None:
        """Nothing learnt of any but these machines (ids) is true any more: the others have been down, or are gone."""
        ...

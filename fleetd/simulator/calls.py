"""The provider's own record of who asked for what: what the promises are checked against."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

HIDDEN_HEADERS = frozenset({"x-api-key", "authorization", "cookie", "host"})
"""Never kept: the key, and the port that differs from run to run."""


@dataclass(slots=True)
class Call:
    """One request and what became of it."""

    seq: int
    world_time: str
    """As the vendor writes dates."""
    world_seconds: float
    loop_seconds: float
    """The clock under the world's, unscaled."""
    dialect: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    """Parsed JSON; the raw text where it is not JSON; None without a body."""
    headers: Mapping[str, str]
    operation: str
    """"" for a path that is no call of the dialect."""
    write: bool
    machine_id: str | None = None
    """The one it is about; for a create, the one it made."""
    state_before: str | None = None
    """For a write: the machine's state when it arrived."""
    executed: bool = False
    """Whether it was carried out (for a write: whether the world took it)."""
    status: int | None = None
    """HTTP status; None when no answer was sent."""
    faults: tuple[str, ...] = field(default_factory=tuple)
    """Kinds of the rules that struck it."""


class CallLog:
    """Every request in order. Writes are kept for ever, reads up to a number.

    Args:
        keep_reads: how many reads are kept, the newest ones; None for all.
    """

    def __init__(self, keep_reads: int | None = 50_000) -> None:
        self._reads: deque[Call] = deque(maxlen=keep_reads)
        self._writes: list[Call] = []
        self.count = 0
        """How many requests there were since the last reset, kept or not."""

    def add(self, call: Call) -> None:
        """Record a request."""
        self.count += 1
        (self._writes if call.write else self._reads).append(call)

    def reset(self) -> None:
        """Forget everything; numbers start again."""
        self._reads.clear()
        self._writes.clear()
        self.count = 0

    @property
    def writes(self) -> list[Call]:
        """The calls that can change something, in order."""
        return list(self._writes)

    def of(self, *operations: str) -> list[Call]:
        """The calls of these operations, in order."""
        return [call for call in self if call.operation in operations]

    def __iter__(self) -> Iterator[Call]:
        return merge(list(self._reads), list(self._writes), key=lambda call: call.seq)

    def __len__(self) -> int:
        return len(self._reads) + len(self._writes)

    def __getitem__(self, index: int) -> Call:
        return list(self)[index]

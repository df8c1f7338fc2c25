"""Who has locked what, and who waits for it: as PostgreSQL does, up to its ``lock_timeout``."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from psycopg import errors

LOCK_TIMEOUT = 5.0
"""Seconds; fleetd asks for it in every session."""


@dataclass(eq=False)
class Lock:
    """A row, or a table's rows together. Shares go together, whoever waits meanwhile; an update goes alone."""

    holders: dict[Hashable, str] = field(default_factory=dict)
    waiters: list[tuple[Hashable, str, asyncio.Future[None]]] = field(default_factory=list)

    async def take(self, who: Hashable, how: str) -> None:
        """Have it, ``share`` or ``update``, until ``release``.

        Raises:
            errors.LockNotAvailable: it did not come in time.
        """
        if self._free(who, how):
            self._give(who, how)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (who, how, turn)
        self.waiters.append(waiter)
        try:
            await asyncio.wait_for(turn, LOCK_TIMEOUT)
        except TimeoutError:
            raise errors.LockNotAvailable("canceling statement due to lock timeout") from None
        finally:
            if waiter in self.waiters:
                self.waiters.remove(waiter)

    def release(self, who: Hashable) -> None:
        """Have it no more."""
        self.holders.pop(who, None)
        for waiter in list(self.waiters):
            who, how, turn = waiter
            if not turn.done() and self._free(who, how):
                self.waiters.remove(waiter)
                self._give(who, how)
                turn.set_result(None)

    def _free(self, who: Hashable, how: str) -> bool:
        others = [mode for holder, mode in self.holders.items() if holder is not who]
        return not others or (how == "share" and "update" not in others)

    def _give(self, who: Hashable, how: str) -> None:
        self.holders[who] = "update" if "update" in {how, self.holders.get(who)} else "share"

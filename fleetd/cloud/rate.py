"""The token bucket in front of a provider."""

from __future__ import annotations

import anyio
from aiolimiter import AsyncLimiter


class TokenBucket:
    """Holds the tokens of one second, at least one; whoever comes first is served first.

    Args:
        per_second: tokens that come in each second; fractions are fine.
    """

    def __init__(self, per_second: float) -> None:
        size = max(1.0, per_second)
        self._bucket = AsyncLimiter(size, size / per_second)
        # A hair longer than one token takes, so that rounding never leaves the bucket a hair short of it.
        self._token = (1.0 + 1e-6) / per_second
        self._queue = anyio.Lock()

    async def take(self) -> None:
        """Wait for a token and take it."""
        # AsyncLimiter's own waiting needs a clock that moves while it asks. Virtual time stands still then, and
        # rounding makes it ask for ever; so here the waiting is done outside.
        async with self._queue:
            while not self._bucket.has_capacity():  # noqa: ASYNC110 - time alone makes room
                await anyio.sleep(self._token)
            await self._bucket.acquire()

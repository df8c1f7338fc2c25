"""When a call that is safe to repeat is made again."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import anyio

from fleetd.model.errors import Ambiguous, CloudError, RetryLater
from fleetd.model.httpdate import http_date

LONGEST_RETRY_AFTER = 300.0
"""Seconds. What a provider asks for beyond that is taken for a mistake and counts as this much."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how far apart. The whole call, waiting included, is bounded by the request timeout besides."""

    attempts: int = 4
    """In total, the first one included."""
    first_wait: float = 0.5
    """Seconds before the second attempt, at most; it doubles from there."""
    longest_wait: float = 8.0
    """Seconds at which doubling ends. A Retry-After may ask for more."""

    patience: float = math.inf
    """Seconds of waiting before one attempt beyond which there is none."""

    def wait(self, attempt: int, retry_after: float | None, rng: random.Random) -> float:
        """Seconds to wait after the ``attempt``-th failure (from 1): never less than the provider asked for."""
        backoff = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 32))
        jittered = backoff * rng.uniform(0.5, 1.0)
        # Jitter on top of Retry-After too: whoever was turned away together should not come back together.
        return jittered if retry_after is None else max(jittered, retry_after + rng.uniform(0.0, self.first_wait))


IN_PLACE = RetryPolicy(attempts=2, patience=1.0)
"""Used while others wait for the place that is held; the caller tries again later anyway."""


class Attempts:
    """What the attempts of one call have in common.

    Args:
        seconds: for all of them together, from the first request on; queueing for it does not count.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: float | None = None
        self._lost: Ambiguous | None = None
        self.hopeful = True
        """Whether another attempt could end otherwise than the last one."""

    def begin(self) -> float:
        """Seconds that the attempt which begins now may take."""
        if self._ends is None:
            self._ends = anyio.current_time() + self._seconds
        return self.left

    @property
    def left(self) -> float:
        """Seconds until the call's time is up."""
        return self._seconds if self._ends is None else self._ends - anyio.current_time()

    def settle(self, error: CloudError) -> CloudError:
        """What an attempt's error means after those before it.

        Once the answer to a write was lost, only a success tells what happened: a "not found" may be its own effect,
        and a "no connection" does not undo it.
        """
        self.hopeful = isinstance(error, RetryLater | Ambiguous)
        if self._lost is None:
            self._lost = error if isinstance(error, Ambiguous) else None
            return error
        message = f"{self._lost.message}; then: {error.message}"
        return Ambiguous(message, operation=error.operation, status=error.status)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that an answer asks to wait, from its Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3).

    A date is compared with the answer's own Date, so that clocks that disagree do no harm; ``now`` stands in for
    it. None where the header is missing or unreadable; never negative, never above ``LONGEST_RETRY_AFTER``.
    """
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        until = http_date(text)
        if until is None:
            return None
        seconds = (until - (http_date(headers.get("Date", "")) or now)).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_RETRY_AFTER)

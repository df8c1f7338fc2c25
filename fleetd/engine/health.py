"""Whether the provider answers: said once when it stops, and once when it is back."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from fleetd.cloud.retry import LONGEST_RETRY_AFTER
from fleetd.model.errors import CloudError, RetryLater, Unauthorized

log = structlog.get_logger(__name__)


class Health:
    """The provider's health as passes see it."""

    def __init__(self) -> None:
        self.failing_since: datetime | None = None
        self.last_error: CloudError | None = None
        self._said: str | None = None

    @property
    def word(self) -> str:
        """ok, unavailable or key_refused; "unknown" before the first answer is not told apart from ok."""
        if self.last_error is None:
            return "ok"
        return "key_refused" if isinstance(self.last_error, Unauthorized) else "unavailable"

    def failing_for(self, now: datetime) -> timedelta:
        """How long there has been nothing but errors."""
        return failing_for(self.failing_since, now)

    @property
    def retry_after(self) -> float:
        """Seconds for which the last error asks to be left alone; 0 where it does not, and when all is well."""
        asked = self.last_error.retry_after if isinstance(self.last_error, RetryLater) else None
        return min(max(asked or 0.0, 0.0), LONGEST_RETRY_AFTER)

    def failed(self, error: CloudError, now: datetime) -> None:
        """A pass could not look."""
        self.failing_since = self.failing_since or now
        self.last_error = error
        if self._said == self.word:
            return
        self._said = self.word
        event = "provider.key_refused" if isinstance(error, Unauthorized) else "provider.unavailable"
        log.error(
            event,
            error=str(error),
            operation=error.operation,
            status=error.status,
            retry_after_s=round(self.retry_after, 3) or None,
        )

    def worked(self, now: datetime) -> None:
        """A pass could look."""
        if self._said is not None:
            down = self.failing_for(now)
            log.info("provider.recovered", duration_s=round(down.total_seconds(), 3))
        self.failing_since = None
        self.last_error = None
        self._said = None


def failing_for(since: datetime | None, now: datetime) -> timedelta:
    """How long there has been nothing but errors; ``since``: None while there are answers."""
    return timedelta(0) if since is None else max(timedelta(0), now - since)

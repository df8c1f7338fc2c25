"""Whether the events of machines can be read: said once when they cannot, and once when they can again."""

from __future__ import annotations

import structlog

from fleetd.model.errors import CloudError
from fleetd.model.lists import some

log = structlog.get_logger(__name__)

MOST_REMEMBERED = 100
"""Machines of which it is remembered that their events could not be read."""
ENOUGH = 20
"""Successes in a row after which what failed before them is forgotten: nobody may ask about those machines again."""


class EventsSight:
    """What came of asking for events. One machine whose events fail for good is said once, too."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}
        """By machine id, why."""
        self._successes = 0

    @property
    def silent(self) -> bool:
        """Whether the last ones that were asked for could not be read."""
        return bool(self._failed) and self._successes == 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """In a sentence, what it means; nothing while they can be read."""
        if not self._failed:
            return ()
        why = next(reversed(self._failed.values()))
        cannot = f"the events of {some([*reversed(self._failed)], 1)} cannot be read ({why})"
        return (f"{cannot}: why a machine did not start, or who stopped it, is not known; its state decides alone",)

    def asked(self, machine_id: str, problem: CloudError | None) -> None:
        """Somebody asked for a machine's events; ``problem`` is why they could not be read."""
        if problem is None:
            self._successes += 1
            if machine_id in self._failed or (self._failed and self._successes >= ENOUGH):
                self._failed.clear()
                log.info("events.came_back", machine=machine_id)
            return
        self._successes = 0
        if not self._failed:
            log.warning("events.went_silent", machine=machine_id, error=problem.message, status=problem.status)
        self._failed[machine_id] = problem.message
        if len(self._failed) > MOST_REMEMBERED:
            del self._failed[next(iter(self._failed))]

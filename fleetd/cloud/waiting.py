"""Waiting for one machine by hand, on any dialect. The daemon's own waiting is the engine's poller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from fleetd.cloud.port import Json
from fleetd.cloud.reading import Unreadable
from fleetd.model.errors import CloudError, MalformedAnswer, NotFound, RetryLater, WaitEnded
from fleetd.model.machine import WENT_BACK, Machine, Phase
from fleetd.model.reasons import Outcome

GOALS = {
    "off": frozenset({"off"}),
    "serviceready": frozenset({"serviceready", "ready"}),
    "ready": frozenset({"ready"}),
}
"""The states that can be waited for, and those that satisfy them: services run on a ready machine, too."""

LAG = 30.0
"""Seconds for which the provider's views may trail its own acceptance of a create or start."""

SHORTEST_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Eyes:
    """How a dialect looks at the machine that is waited for."""

    look: Callable[[], Awaitable[Json]]
    """Its show. Raises ``CloudError``."""
    read: Callable[[Json], Machine | None]
    """What that means, events included; None of one that is deleted. Raises ``Unreadable``."""
    listed: Callable[[], Awaitable[bool]]
    """Whether a listing has it: the second look that "not found" needs. Raises ``CloudError``."""


async def wait_until(eyes: Eyes, state: str, *, timeout: float, poll: float) -> Json:
    """Look every ``poll`` seconds until the machine is in ``state``; what show said then.

    An outage of the provider is waited out. ``timeout`` is in seconds; there is one look at least.

    Raises:
        WaitEnded: timed_out, gone or failed_to_start.
        ValueError: a state that cannot be waited for.
        Unauthorized, Refused: looking is not allowed.
    """
    if state not in GOALS:
        raise ValueError(f"cannot wait for {state!r}: only for {', '.join(GOALS)}")
    wait = _Wait(state)
    ends = anyio.current_time() + timeout
    least = poll = max(poll, SHORTEST_POLL)
    while True:
        pause = poll
        with anyio.move_on_after(max(ends - anyio.current_time(), least)):
            try:
                content = await eyes.look()
                machine = eyes.read(content)
                if machine is None:
                    raise NotFound("the machine is deleted", operation="show")  # noqa: TRY301
                if wait.satisfied(machine):
                    return content
                wait.judge(machine)
            except NotFound as e:
                await wait.judge_absent(eyes, e)
            except Unreadable as e:
                wait.trouble = MalformedAnswer(str(e), operation="show")
            except (RetryLater, MalformedAnswer) as e:
                wait.trouble = e
                pause = max(poll, getattr(e, "retry_after", None) or 0.0)
        least = 0.0
        left = ends - anyio.current_time()
        if left <= 0:
            raise wait.ended(Outcome.TIMED_OUT, f"not {state} within {timeout:g} s, {wait.last_seen}")
        await anyio.sleep(min(pause, left))


@dataclass(slots=True)
class _Wait:
    goal: str
    began: float = field(default_factory=anyio.current_time)
    last_state: str | None = None
    moved: bool = False
    """Whether it has been seen on its way up."""
    old_failures: frozenset[str] | None = None
    """Handles of the failures that the first look showed: perhaps of an earlier start."""
    absent_since: float | None = None
    trouble: CloudError | None = None

    def satisfied(self, machine: Machine) -> bool:
        self.last_state, self.absent_since, self.trouble = machine.state, None, None
        return machine.state in GOALS[self.goal]

    def judge(self, machine: Machine) -> None:
        """Raise if a machine that should come up will not.

        Which start is waited for nobody knows here: the newest event alone counts, and an old one's failure not at
        once. The engine knows its call's own events, and judges by them (``planner.transitions``).
        """
        self.moved = self.moved or machine.phase is Phase.RISING
        events = machine.events or ()
        failures = frozenset(event.handle for event in events if event.rises and event.failed)
        if self.old_failures is None:
            self.old_failures = frozenset() if self.moved else failures
        newest = events[0] if events else None
        if machine.phase is not Phase.DOWN or (newest is not None and newest.goes_on):
            return
        if newest is not None and newest.rises and newest.failed:
            settled = anyio.current_time() - self.began >= LAG
            if self.moved or settled or newest.handle not in self.old_failures:
                raise self.ended(Outcome.FAILED_TO_START, f"it failed to start: {newest.why}")
        elif self.moved and (newest is None or newest.rises):
            raise self.ended(Outcome.FAILED_TO_START, f"it failed to start: {WENT_BACK}")

    async def judge_absent(self, eyes: Eyes, not_found: NotFound) -> None:
        """Raise if a machine that show does not find is proven gone; one never seen may still be too young."""
        self.trouble = not_found
        try:
            if await eyes.listed():
                self.absent_since = None
                return
        except (RetryLater, MalformedAnswer) as e:
            self.trouble = e
            return
        now = anyio.current_time()
        twice = self.absent_since is not None
        self.absent_since = now if self.absent_since is None else self.absent_since
        if (twice and self.last_state is not None) or now - self.absent_since >= LAG:
            raise self.ended(Outcome.GONE, "the provider does not know the machine, by show and by list")

    @property
    def last_seen(self) -> str:
        seen = f"last seen {self.last_state}" if self.last_state is not None else "never seen"
        return f"{seen} ({self.trouble.message})" if self.trouble is not None else seen

    def ended(self, verdict: Outcome, message: str) -> WaitEnded:
        return WaitEnded(message, verdict=verdict.value, state=self.last_state)

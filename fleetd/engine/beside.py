"""Calls beside the passes: a pass starts them, waits for them as long as they move, and leaves those that hang."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
import structlog
from anyio.abc import TaskGroup

from fleetd.engine.gate import Gate, Objection
from fleetd.engine.pace import Pace
from fleetd.model.reasons import Reason

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[None]]

LEFT_OVER = Objection(Reason.CALLS_USED_UP, "the pass is over")


class Beside:
    """Runs a pass's calls in the daemon's task group, so that no pass ends one, and none waits for one that hangs."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._group: TaskGroup | None = None
        self._running = 0

    def attach(self, group: TaskGroup) -> None:
        """Run calls in ``group`` from now on. Without one, every pass waits for all of its calls."""
        self._group = group

    async def run(self, jobs: Sequence[Job], pace: Pace) -> None:
        """Start jobs, and return when they are done, or when what is left of them hangs.

        Raises:
            ExceptionGroup: what jobs raised until then; what they raise later is logged.
        """
        if self._group is None:
            async with anyio.create_task_group() as group:
                await self._run(group, jobs, pace)
        else:
            await self._run(self._group, jobs, pace)

    async def drain(self) -> None:
        """Wait for the calls that are left."""
        while self._running:
            await self._gate.moved.wait()

    async def _run(self, group: TaskGroup, jobs: Sequence[Job], pace: Pace) -> None:
        raised: list[Exception] = []
        waiting = [True]
        left = len(jobs)

        async def one(job: Job) -> None:
            nonlocal left
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - handed on below, or logged: it must not end the daemon
                if waiting:
                    raised.append(error)
                else:
                    log.error("call.failed", error=f"{type(error).__name__}: {error}")  # noqa: TRY400
            finally:
                self._running -= 1
                left -= 1
                self._gate.move()

        for job in jobs:
            self._running += 1
            group.start_soon(one, job)
        ends = anyio.current_time() + pace.acting
        while left and (seconds := ends - anyio.current_time()) > 0:
            with anyio.move_on_after(min(seconds, pace.quiet)) as limit:
                await self._gate.moved.wait()
            if limit.cancelled_caught and not any(t.looking and not t.committed for t in self._gate.tickets):
                break
        slow = f"looking and asking took more than {pace.acting:g} s"
        for ticket in self._gate.tickets:
            ticket.end(Objection(Reason.FRESH_LOOK_DIFFERS, slow) if ticket.looking else LEFT_OVER)
        while left and any(not t.committed for t in self._gate.tickets):
            await self._gate.moved.wait()
        waiting.clear()
        if raised:
            raise ExceptionGroup("calls of this pass failed", raised)

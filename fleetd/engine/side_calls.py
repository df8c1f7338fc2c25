"""Calls beside the passes: a pass starts them, waits for them as long as they move, and leaves those that hang."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio
import structlog
from anyio.abc import TaskGroup

from fleetd.engine.gate import Gate, Objection
from fleetd.engine.pace import Pace
from fleetd.model.errors import StoreError
from fleetd.model.reasons import Reason

log = structlog.get_logger(__name__)

Job = Callable[[], Awaitable[None]]

LEFT_OVER = Objection(Reason.CALLS_USED_UP, "the pass is over")


@dataclass(eq=False, slots=True)
class _Batch:
    """One pass's jobs."""

    left: int
    waited_for: bool = True
    raised: list[Exception] = field(default_factory=list)


class SideCalls:
    """Runs a pass's calls in the daemon's task group, so that no pass ends one, and none waits for one that hangs."""

    def __init__(
        self, gate: Gate, on_fault: Callable[[str, BaseException], object] = lambda _where, _error: None
    ) -> None:
        self._gate = gate
        self._on_fault = on_fault
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
        batch = _Batch(len(jobs))
        for job in jobs:
            self._running += 1
            group.start_soon(self._one, job, batch)
        await self._watch(batch, pace)
        slow = f"looking and asking took more than {pace.acting:g} s"
        for ticket in self._gate.tickets:
            ticket.end(Objection(Reason.FRESH_LOOK_DIFFERS, slow) if ticket.looking else LEFT_OVER)
        while batch.left and any(not t.committed for t in self._gate.tickets):
            await self._gate.moved.wait()
        batch.waited_for = False
        if batch.raised:
            raise ExceptionGroup("calls of this pass failed", batch.raised)

    async def _watch(self, batch: _Batch, pace: Pace) -> None:
        ends = anyio.current_time() + pace.acting
        while batch.left and (seconds := ends - anyio.current_time()) > 0:
            with anyio.move_on_after(min(seconds, pace.quiet)) as limit:
                await self._gate.moved.wait()
            if limit.cancelled_caught and not any(t.looking and not t.committed for t in self._gate.tickets):
                return

    async def _one(self, job: Job, batch: _Batch) -> None:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - handed on to the pass, or noted: it ends no daemon
            if batch.waited_for:
                batch.raised.append(error)
            elif isinstance(error, StoreError):
                log.error("journal.failed", error=str(error))  # noqa: TRY400 - no traceback wanted
            else:
                self._on_fault("call", error)
        finally:
            self._running -= 1
            batch.left -= 1
            self._gate.move()

"""Idle by a command of the operator's own: argv without a shell, in a process group of its own, with a time limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import anyio
from anyio.abc import Process

from fleetd.activity import strays
from fleetd.activity.asking import Asking, Said
from fleetd.activity.fill import Missing, fill_argument, values_of
from fleetd.activity.json_answer import parse_verdict
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading

LONGEST_ANSWER = 64 * 1024
"""Bytes of output that are read; a command that says more is killed."""
INHERITED = ("PATH", "HOME", "LANG", "TZ")
"""What a command gets of fleetd's environment: above all not the API key."""


class CommandSource(Asking):
    """Exit status 0 and the verdict's JSON on standard output, or unknown. Nothing that it started outlives it."""

    def __init__(self, settings: IdleSource) -> None:
        super().__init__(settings)
        self._argv = settings.argv

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        return await self._ask_each(machines, lambda machine: self._ask(machine, window), now)

    async def _ask(self, machine: Machine, window: timedelta) -> Said:
        try:
            values = values_of(machine, window, *self._argv)
        except Missing as error:
            return Activity.UNKNOWN, str(error)
        argv = [fill_argument(argument, values) for argument in self._argv]
        with strays.watched() as mark:
            return await self._run(argv, mark, machine.id)

    async def _run(self, argv: Sequence[str], mark: str, machine_id: str) -> Said:
        try:
            process = await anyio.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in INHERITED if name in os.environ} | {strays.MARK: mark},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Activity.UNKNOWN, f"cannot be run: {error}"
        strays.began(mark, process.pid)
        async with process:
            try:
                with anyio.fail_after(self._timeout.total_seconds()):
                    output = await _output(process)
                    status = await process.wait() if output is not None else 0
            except TimeoutError:
                return Activity.UNKNOWN, f"no answer within {self._timeout.total_seconds():g} s"
            finally:
                with anyio.CancelScope(shield=True):
                    await strays.end_all(mark)
        if output is None:
            return Activity.UNKNOWN, "it says too much"
        return parse_verdict(output, machine_id) if status == 0 else (Activity.UNKNOWN, f"exit status {status}")


async def _output(process: Process) -> bytes | None:
    """What it says; None where that is too much."""
    collected = bytearray()
    if process.stdout is None:
        return b""
    async for chunk in process.stdout:
        collected += chunk
        if len(collected) > LONGEST_ANSWER:
            return None
    return bytes(collected)

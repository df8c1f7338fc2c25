"""Idle by a command of the operator's own: argv without a shell, in a process group of its own, with a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import anyio
from anyio.abc import Process

from fleetd.activity.fill import Missing, fill_argument, values_of
from fleetd.activity.verdict import parse_verdict
from fleetd.model.machine import Machine
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Activity, Reading

AT_ONCE = 4
"""Commands under way at one time."""
LONGEST_ANSWER = 64 * 1024
"""Bytes of output that are read; a command that says more is killed."""
INHERITED = ("PATH", "HOME", "LANG", "TZ")
"""What a command gets of fleetd's environment: above all not the API key."""


class CommandSource:
    """Exit status 0 and the verdict's JSON on standard output, or unknown."""

    def __init__(self, settings: IdleSource) -> None:
        self.name = settings.name
        self._argv = settings.argv
        self._timeout = settings.timeout

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        readings: dict[str, Reading] = {}
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def one(machine: Machine) -> None:
            async with limiter:
                verdict, evidence = await self._run(machine, window)
                readings[machine.id] = Reading(self.name, verdict, now, evidence)

        async with anyio.create_task_group() as group:
            for machine in machines:
                group.start_soon(one, machine)
        return readings

    async def aclose(self) -> None:
        """Nothing is kept open."""

    async def _run(self, machine: Machine, window: timedelta) -> tuple[Activity, str]:
        try:
            values = values_of(machine, window, *self._argv)
            argv = [fill_argument(argument, values) for argument in self._argv]
            process = await anyio.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in INHERITED if name in os.environ},
                start_new_session=True,
            )
        except Missing as error:
            return Activity.UNKNOWN, str(error)
        except (OSError, ValueError) as error:
            return Activity.UNKNOWN, f"cannot be run: {error}"
        async with process:
            try:
                with anyio.fail_after(self._timeout.total_seconds()):
                    output = await _output(process)
                    status = await process.wait()
            except TimeoutError:
                return Activity.UNKNOWN, f"no answer within {self._timeout.total_seconds():g} s"
            finally:
                _kill_group(process)
        if output is None:
            return Activity.UNKNOWN, "it says too much"
        return parse_verdict(output) if status == 0 else (Activity.UNKNOWN, f"exit status {status}")


async def _output(process: Process) -> bytes | None:
    collected = bytearray()
    if process.stdout is None:
        return b""
    async for chunk in process.stdout:
        collected += chunk
        if len(collected) > LONGEST_ANSWER:
            _kill_group(process)
            return None
    return bytes(collected)


def _kill_group(process: Process) -> None:
    """The group outlives its leader when it left children behind; they go too."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)

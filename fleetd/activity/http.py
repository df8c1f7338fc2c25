"""Idle by a web service of the operator's own, asked once for each machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import aiohttp
import anyio

from fleetd.activity.fill import Missing, fill_url, values_of
from fleetd.activity.verdict import parse_verdict
from fleetd.model.machine import Machine
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Activity, Reading

AT_ONCE = 8
"""Requests under way at one time."""
LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer."""


class HttpSource:
    """GET of a URL with the machine filled in; a 200 with the verdict's JSON, or unknown."""

    def __init__(self, settings: IdleSource) -> None:
        self.name = settings.name
        self._url = settings.url or ""
        self._timeout = settings.timeout
        self._session: aiohttp.ClientSession | None = None

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        readings: dict[str, Reading] = {}
        limiter = anyio.CapacityLimiter(AT_ONCE)

        async def one(machine: Machine) -> None:
            async with limiter:
                verdict, evidence = await self._ask(machine, window)
                readings[machine.id] = Reading(self.name, verdict, now, evidence)

        async with anyio.create_task_group() as group:
            for machine in machines:
                group.start_soon(one, machine)
        return readings

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, machine: Machine, window: timedelta) -> tuple[Activity, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=self._timeout.total_seconds())
        try:
            url = fill_url(self._url, values_of(machine, window, self._url))
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as answer:
                body = await _read(answer)
        except Missing as error:
            return Activity.UNKNOWN, str(error)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Activity.UNKNOWN, f"no answer: {type(error).__name__} {error}".strip()
        if answer.status != 200:
            return Activity.UNKNOWN, f"HTTP {answer.status}"
        return parse_verdict(body)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body, in however many pieces it comes.

    Raises:
        ValueError: it is longer than an answer can be.
    """
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > LONGEST_ANSWER:
            answer.close()
            raise ValueError(f"longer than {LONGEST_ANSWER} bytes")
    return bytes(body)

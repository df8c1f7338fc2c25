"""Idle by a web service of the operator's own, asked once for each machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import aiohttp

from fleetd.activity.asking import Said, Unusable, ask_each, open_session, read_body
from fleetd.activity.fill import Missing, fill_url, values_of
from fleetd.activity.verdict import parse_verdict
from fleetd.model.machine import Machine
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Activity, Reading

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer."""


class HttpSource:
    """GET of a URL with the machine filled in; a 200 with the verdict's JSON, or unknown."""

    def __init__(self, settings: IdleSource) -> None:
        self.name = settings.name
        self._url = settings.url or ""
        self._timeout = settings.timeout
        self._at_once = settings.at_once
        self._session: aiohttp.ClientSession | None = None

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        return await ask_each(
            self.name, machines, lambda machine: self._ask(machine, window), at_once=self._at_once, now=now
        )

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, machine: Machine, window: timedelta) -> Said:
        if self._session is None:
            self._session = open_session()
        timeout = aiohttp.ClientTimeout(total=self._timeout.total_seconds())
        try:
            url = fill_url(self._url, values_of(machine, window, self._url))
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as answer:
                body = await read_body(answer, longest=LONGEST_ANSWER)
        except (Missing, Unusable) as error:
            return Activity.UNKNOWN, str(error)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Activity.UNKNOWN, f"no answer: {type(error).__name__} {error}".strip()
        if answer.status != 200:
            return Activity.UNKNOWN, f"HTTP {answer.status}"
        return parse_verdict(body, machine.id)

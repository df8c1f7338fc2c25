"""Idle by a web service of the operator's own, asked once for each machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import aiohttp
import anyio

from fleetd.activity.asking import AskingByHttp, Said, Unusable, read_body
from fleetd.activity.fill import Missing, fill_url, values_of
from fleetd.activity.json_answer import parse_verdict
from fleetd.model.httpdate import http_date
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading

LONGEST_ANSWER = 64 * 1024
"""Bytes of an answer."""
FRESH = timedelta(minutes=1)
"""How far from now the Date of an answer may be, or how old a cache may say that it is."""

ANEW = {"Cache-Control": "no-cache"}
"""What a cache on the way told before is not asked for."""


class HttpSource(AskingByHttp):
    """GET of a URL with the machine filled in; a 200 with the verdict's JSON, or unknown."""

    def __init__(self, settings: IdleSource) -> None:
        super().__init__(settings)
        self._url = settings.url or ""

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        began = anyio.current_time()
        return await self._ask_each(machines, lambda machine: self._ask(machine, window, now, began), now)

    async def _ask(self, machine: Machine, window: timedelta, now: datetime, began: float) -> Said:
        try:
            url = fill_url(self._url, values_of(machine, window, self._url))
            async with self._request("GET", url, headers=ANEW) as answer:
                body = await read_body(answer, longest=LONGEST_ANSWER)
            judge_age(answer.headers, now + timedelta(seconds=anyio.current_time() - began))
        except (Missing, Unusable) as error:
            return Activity.UNKNOWN, str(error)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Activity.UNKNOWN, f"no answer: {type(error).__name__} {error}".strip()
        if answer.status != 200:
            return Activity.UNKNOWN, f"HTTP {answer.status}"
        return parse_verdict(body, machine.id)


def judge_age(headers: Mapping[str, str], now: datetime) -> None:
    """An answer that a cache kept is about another time. One that does not say when it was made passes.

    Raises:
        Unusable: it says that it was made at another time.
    """
    date, age = headers.get("Date", ""), headers.get("Age", "0").strip()
    made = http_date(date)
    if not age.isdecimal() or int(age[:9]) > FRESH.total_seconds():
        raise Unusable(f"a cache had it already: Age {age[:20]!r}")
    if date and made is None:
        raise Unusable(f"nobody can tell when it was made: Date {date[:40]!r}")
    if made is not None and abs(made - now) > FRESH:
        raise Unusable(f"the answer is of {made:%Y-%m-%dT%H:%M:%SZ}, and it is {now:%Y-%m-%dT%H:%M:%SZ}")

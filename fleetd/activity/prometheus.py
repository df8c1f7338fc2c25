"""Idle by a Prometheus query, range-safe: what is missing, broken or ambiguous is unknown, never idle.

The query is evaluated over the asked window in steps, with ``{window}`` filled in as the step, so that every sample
stands for the time since the one before it. Each series of the answer is judged alone (``series``): the machine is
active if any sample of any series reaches ``below``, idle if none does and every series is there all the time. So a
query for a machine with two GPUs needs no ``max()``, which would let one GPU speak for the other. Never an average:
one busy GPU for one step is use.

A series that was there and is not any more hides what it would have told, also when the window has moved on: for as
long as a machine is not down it must have as many series as it has had, before a restart of fleetd too.

The window ends now by our clock. Where the server's is another, it ends at some other time, of which nobody asked:
what was idle two hours ago may be in use. Every answer's Date is compared. And where both clocks were set back, as on
one host, that time goes by a second time: its samples may be those of the first, for a Prometheus takes none that is
older than its newest. So such times are unknown, also to the next process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

import aiohttp
import anyio

from fleetd.activity.asking import AskingByHttp, Said, Unusable, read_body
from fleetd.activity.fill import Missing, fill_promql, labels_of, values_of
from fleetd.activity.series import Asked, asked_about, judge_answer, judge_series, standing
from fleetd.model.httpdate import http_date
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading

DATE_UNIT = timedelta(seconds=1)
"""Dates have whole seconds."""
LONGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer: 11,000 samples, the most that a Prometheus gives, of two dozen series."""
NEWEST, TWICE = "newest time", "twice until"
"""Under what these are kept beside the machines' series."""
BACK = 1.0
"""Seconds: a clock that is slewed does not go back at all."""


class PrometheusSource(AskingByHttp):
    """One query on one server."""

    def __init__(self, settings: IdleSource) -> None:
        super().__init__(settings)
        self._url = (settings.url or "").rstrip("/") + "/api/v1/query_range"
        self._query = settings.query or ""
        self._below = settings.below or 0.0
        self._step = settings.step
        self._series: dict[str, int] = {}
        """By machine: the most series that it has had since it was down last."""
        self._newest = 0.0
        """Unix time of the newest samples that there may be, by a clock that agreed with ours ..."""
        self._twice = 0.0
        """... and until when times have gone by twice."""

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        began = anyio.current_time()
        asked = asked_about(max(window, 3 * self._step), self._step, now)
        if asked.end < self._newest - BACK:
            self._twice, self._newest = max(self._twice, self._newest), asked.end
        return await self._ask_each(machines, lambda m: self._one(m, asked, now, began), now)

    @property
    def question(self) -> str:
        """See ``Remembering``."""
        return self._query

    def learnt(self) -> Mapping[str, int]:
        """See ``Remembering``: how many series each machine has had."""
        return {**self._series, NEWEST: int(self._newest), TWICE: math.ceil(self._twice)}

    def remind(self, learnt: Mapping[str, int]) -> None:
        """See ``Remembering``."""
        self._series = {machine: most for machine, most in learnt.items() if machine not in {NEWEST, TWICE}}
        self._newest, self._twice = float(learnt.get(NEWEST, 0)), float(learnt.get(TWICE, 0))

    def forget_others(self, machines: AbstractSet[str]) -> None:
        """See ``Remembering``."""
        self._series = {machine: most for machine, most in self._series.items() if machine in machines}

    async def _one(self, machine: Machine, asked: Asked, now: datetime, began: float) -> Said:
        try:
            values = values_of(machine, self._step, self._query)
            query = fill_promql(self._query, values)
            body, date = await self._ask(query, asked)
            judge_date(date, now + timedelta(seconds=anyio.current_time() - began), self._step)
            self._newest = max(self._newest, asked.end)
            found = judge_answer(body, asked, labels_of(self._query, values))
            verdict, evidence = judge_series(found, self._below, asked)
            missing = self._missing(machine, standing(found, asked))
        except (Missing, Unusable) as error:
            return Activity.UNKNOWN, str(error)
        missing = missing or self._gone_by_twice(asked)
        return (Activity.UNKNOWN, missing) if missing and verdict is Activity.IDLE else (verdict, evidence)

    def _gone_by_twice(self, asked: Asked) -> str | None:
        """Whether the clock was set back into what is asked about, in words."""
        if self._twice <= asked.start - asked.step:
            return None
        until = datetime.fromtimestamp(self._twice, UTC)
        return f"the clock was set back: samples until {until:%Y-%m-%d %H:%M:%S} UTC may be of the time before"

    def _missing(self, machine: Machine, there: int) -> str | None:
        """Whether the machine had more series, in words."""
        most = self._series.get(machine.id, 0)
        self._series[machine.id] = max(most, there)
        return f"{there} series, it had {most}: what became of the others?" if there < most else None

    async def _ask(self, query: str, asked: Asked) -> tuple[bytes, str]:
        """The answer's body and its Date."""
        parameters = {
            "query": query,
            "start": f"{asked.start:.3f}",
            "end": f"{asked.end:.3f}",
            "step": f"{asked.step:g}",
            "nocache": "1",  # VictoriaMetrics: the very times that are asked for. Prometheus does not know it
        }
        try:
            async with self._request("POST", self._url, data=parameters) as answer:
                body = await read_body(answer, longest=LONGEST_ANSWER)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unusable(f"no answer: {type(error).__name__} {error}".strip()) from error
        if answer.status != 200:
            raise Unusable(f"HTTP {answer.status}: {body[:200].decode(errors='replace')}")
        return body, answer.headers.get("Date", "")


def judge_date(date: str, now: datetime, step: timedelta) -> None:
    """Two steps apart are as good as samples that are two steps old.

    Raises:
        Unusable: the clocks are further apart, or the answer does not say what time it is.
    """
    theirs = http_date(date)
    if theirs is None:
        raise Unusable("the answer has no Date: nobody can tell whether its clock and ours agree")
    ahead = (theirs - now).total_seconds()
    if abs(ahead) > (2 * step + DATE_UNIT).total_seconds():
        raise Unusable(f"its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours")

"""Idle by a Prometheus query, range-safe: what is missing, broken or ambiguous is unknown, never idle.

The query is evaluated over the asked window in steps, with ``{window}`` filled in as the step, so that every sample
stands for the time since the one before it. The machine is active if any sample reaches ``below``, idle if none does
and at least 90 % of the samples are there. Never an average: one busy GPU for one step is use.

The window ends now by our clock. Where the server's is another, it ends at some other time, of which nobody asked:
what was idle two hours ago may be in use. Every answer's Date is compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import aiohttp
import anyio
import msgspec

from fleetd.activity.fill import Missing, fill_promql, values_of
from fleetd.model.httpdate import http_date
from fleetd.model.machine import Machine
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import COVERAGE, Activity, Reading

AT_ONCE = 8
"""Queries under way at one time."""
DATE_UNIT = timedelta(seconds=1)
"""Dates have whole seconds."""


class _Series(msgspec.Struct):
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: list[_Series] = []


class _Answer(msgspec.Struct, rename="camel"):
    """``/api/v1/query_range`` (Prometheus HTTP API)."""

    status: str
    data: _Data = msgspec.field(default_factory=_Data)
    error: str = ""
    warnings: list[str] = []


class Unusable(Exception):
    """An answer from which nothing follows; the text says why."""


class PrometheusSource:
    """One query on one server."""

    def __init__(self, settings: IdleSource) -> None:
        self.name = settings.name
        self._url = (settings.url or "").rstrip("/") + "/api/v1/query_range"
        self._query = settings.query or ""
        self._below = settings.below or 0.0
        self._step = settings.step
        self._timeout = settings.timeout
        self._session: aiohttp.ClientSession | None = None

    async def read(self, machines: Sequence[Machine], *, window: timedelta, now: datetime) -> Mapping[str, Reading]:
        """See ``Source.read``."""
        readings: dict[str, Reading] = {}
        limiter = anyio.CapacityLimiter(AT_ONCE)
        began = anyio.current_time()

        async def one(machine: Machine) -> None:
            async with limiter:
                readings[machine.id] = await self._one(machine, max(window, 3 * self._step), now, began)

        async with anyio.create_task_group() as group:
            for machine in machines:
                group.start_soon(one, machine)
        return readings

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _one(self, machine: Machine, window: timedelta, now: datetime, began: float) -> Reading:
        try:
            query = fill_promql(self._query, values_of(machine, self._step, self._query))
            body, date = await self._ask(query, window, now)
            samples = judge_answer(body)
            judge_date(date, now + timedelta(seconds=anyio.current_time() - began), self._step)
            verdict, evidence = judge_samples(samples, self._below, window, self._step, now)
        except (Missing, Unusable) as error:
            verdict, evidence = Activity.UNKNOWN, str(error)
        return Reading(self.name, verdict, now, evidence)

    async def _ask(self, query: str, window: timedelta, now: datetime) -> tuple[bytes, str]:
        """The answer's body and its Date."""
        step = self._step.total_seconds()
        parameters = {
            "query": query,
            "start": f"{(now - window).timestamp() + step:.3f}",
            "end": f"{now.timestamp():.3f}",
            "step": f"{step:g}",
        }
        if self._session is None:
            self._session = aiohttp.ClientSession()
        timeout = aiohttp.ClientTimeout(total=self._timeout.total_seconds())
        try:
            async with self._session.post(self._url, data=parameters, timeout=timeout) as answer:
                body = await answer.read()
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


def judge_answer(body: bytes) -> list[tuple[float, float]]:
    """(unix time, value) of the one series in an answer.

    Raises:
        Unusable: an error, warnings, no series, several series, or a value that is no number.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError as error:
        raise Unusable(f"not an answer of Prometheus: {error}") from error
    if answer.status != "success":
        raise Unusable(f"error: {answer.error[:200]}")
    if answer.warnings:
        raise Unusable(f"warning: {answer.warnings[0][:200]}")
    if answer.data.result_type != "matrix" or not answer.data.result:
        raise Unusable("no series")
    if len(answer.data.result) > 1:
        raise Unusable(f"{len(answer.data.result)} series; the query must aggregate them, as max() does")
    samples = [(at, _number(text)) for at, text in answer.data.result[0].values]
    if any(math.isnan(value) for _, value in samples):
        raise Unusable("a value is not a number")
    return samples


def judge_samples(
    samples: Sequence[tuple[float, float]], below: float, window: timedelta, step: timedelta, now: datetime
) -> tuple[Activity, str]:
    """The verdict, and its evidence in words. Use wins over a lack of coverage: one busy sample is enough."""
    expected = max(1, round(window / step))
    highest = max((value for _, value in samples), default=math.nan)
    if highest >= below:
        return Activity.ACTIVE, f"max {highest:g} >= {below:g}"
    covered = len(samples) / expected
    fresh = bool(samples) and now.timestamp() - samples[-1][0] <= 2 * step.total_seconds()
    if covered < COVERAGE or not fresh:
        return Activity.UNKNOWN, f"{len(samples)} of {expected} samples{'' if fresh else ', the newest one is old'}"
    minutes = window.total_seconds() / 60
    return Activity.IDLE, f"max {highest:g} < {below:g} over {minutes:g} min, {len(samples)} of {expected} samples"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Unusable("a value is not a number") from error

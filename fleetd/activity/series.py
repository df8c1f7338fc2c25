"""What follows from the series of a Prometheus answer: each is judged alone, and none speaks for another.

A sample stands for the step that ends with it. What is missing may be forgiven once in a row: a scrape that failed.
Two steps in a row are a gap, and in a gap somebody may have worked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec

from fleetd.activity.asking import Said, Unusable
from fleetd.model.reasons import Activity
from fleetd.model.singlekeys import refuse_doubled_keys
from fleetd.planner.idle import COVERAGE

FORGIVEN = 1
"""Samples that may be missing in a row."""
SLACK = 0.01
"""Seconds by which a time may differ from what was asked for: it is sent in milliseconds."""

Samples = Sequence[tuple[float, float]]
"""(unix time, value), oldest first."""

Labels = Mapping[str, re.Pattern[str]]
"""What a label may say in an answer, by its name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question was about."""

    start: float
    """Unix time of the first sample."""
    end: float
    """Unix time of the newest one that there can be."""
    step: float
    """Seconds between two."""

    @property
    def expected(self) -> int:
        """How many samples a series has that lacks none."""
        return int((self.end - self.start) / self.step + SLACK) + 1


_A_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|Inf)")
_NO: Sequence[object] = (None, False, "", "0", "false", [], {})
"""What a key means that says no."""


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    histograms: list[msgspec.Raw] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: list[_Series] = []


class _Answer(msgspec.Struct, rename="camel"):
    """``/api/v1/query_range`` (Prometheus HTTP API)."""

    status: str
    data: _Data = msgspec.field(default_factory=_Data)
    error: str = ""
    error_type: str = ""
    warnings: list[str] = []


def asked_about(window: timedelta, step: timedelta, now: datetime) -> Asked:
    """The times of the samples that cover ``window`` until ``now``, in steps."""
    end = now.timestamp()
    return Asked(round(end - window.total_seconds() + step.total_seconds(), 3), round(end, 3), step.total_seconds())


def judge_answer(body: bytes, asked: Asked, labels: Labels | None = None) -> list[Samples]:
    """The samples of each series in an answer to what was asked.

    Args:
        body: the answer.
        asked: the times that it must be about.
        labels: what a series must be labelled as, where it has such a label.

    Raises:
        Unusable: an error, warnings, a part of an answer, no series, one series twice or one of another machine,
            values that are no measurement (not a number, infinite, negative, a histogram), times that were not asked
            about, or a key twice.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        told = refuse_doubled_keys(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unusable(f"not an answer of Prometheus: {error}") from error
    except RecursionError as error:
        raise Unusable("not an answer of Prometheus: nested too deep") from error
    if answer.status != "success" or answer.error or answer.error_type:
        raise Unusable(f"error: {answer.error[:200] or answer.error_type[:200]}")
    if answer.warnings:
        raise Unusable(f"warning: {answer.warnings[0][:200]}")
    mark = next((key for part in (told, told.get("data")) for key in _parts(part)), None)
    if mark is not None:
        raise Unusable(f"a part of an answer only ({mark[:40]})")
    if answer.data.result_type != "matrix" or not answer.data.result:
        raise Unusable("no series")
    _refuse_what_is_not_its_own([series.metric for series in answer.data.result], labels or {})
    return [_read(series, asked) for series in answer.data.result]


def judge_series(found: Sequence[Samples], below: float, asked: Asked) -> Said:
    """The verdict over all series, and its evidence in words.

    Use wins over whatever else is missing: one busy sample of one series is enough. Idle needs every series whole.
    """
    highest = max((value for samples in found for _, value in samples), default=math.nan)
    if highest >= below:
        return Activity.ACTIVE, f"max {highest:g} >= {below:g}"
    for place, samples in enumerate(found, start=1):
        fault = _gap(samples, asked)
        if fault is not None:
            return Activity.UNKNOWN, fault if len(found) == 1 else f"series {place} of {len(found)}: {fault}"
    fewest = min(len(samples) for samples in found)
    minutes = asked.expected * asked.step / 60
    words = f"max {highest:g} < {below:g} over {minutes:g} min, {fewest} of {asked.expected} samples"
    return Activity.IDLE, words if len(found) == 1 else f"{words} in each of {len(found)} series"


def standing(found: Sequence[Samples], asked: Asked) -> int:
    """How many series there are at the newest instants that were asked about."""
    limit = asked.end - (FORGIVEN + 1) * asked.step - SLACK
    return sum(bool(samples) and samples[-1][0] > limit for samples in found)


def _refuse_what_is_not_its_own(metrics: Sequence[Mapping[str, str]], labels: Labels) -> None:
    """A Prometheus gives each series once, and none that was not selected; what merges or caches answers may not."""
    if len({frozenset(metric.items()) for metric in metrics}) < len(metrics):
        raise Unusable("one series twice, with the same labels: which of them is it?")
    for metric in metrics:
        for label, allowed in labels.items():
            if label in metric and allowed.fullmatch(metric[label]) is None:
                raise Unusable(f"a series is of {label}={metric[label][:60]!r}, which was not asked about")


def _parts(told: object) -> Iterator[str]:
    """The keys by which an answer says that it is a part: VictoriaMetrics' ``isPartial``, and what others call it."""
    if isinstance(told, dict):
        yield from (key for key, value in told.items() if "partial" in key.casefold() and value not in _NO)


def _read(series: _Series, asked: Asked) -> Samples:
    if series.histograms:
        raise Unusable("a series has histograms, which say no load")
    samples = [(at, _number(text)) for at, text in series.values]
    before: float | None = None
    for at, _ in samples:
        if not asked.start - SLACK <= at <= asked.end + SLACK:
            raise Unusable("it has samples of a time that was not asked about")
        if before is not None and at - before < asked.step - SLACK:
            raise Unusable("it has more samples than were asked for: several for one time")
        before = at
    return samples


def _gap(samples: Samples, asked: Asked) -> str | None:
    """Why the samples do not cover what was asked about, in words; None where they do."""
    if not samples:
        return "no samples"
    count = f"{len(samples)} of {asked.expected} samples"
    times = [asked.start - asked.step, *(at for at, _ in samples), asked.end + asked.step]
    gaps = [round((after - before) / asked.step) - 1 for before, after in pairwise(times)]
    longest = max(gaps)
    if gaps[-1] > FORGIVEN:
        return f"{count}, the newest one is old"
    if longest > FORGIVEN:
        return f"{count}, {longest} missing in a row"
    if len(samples) < COVERAGE * asked.expected:
        return count
    return None


def _number(text: str) -> float:
    # float() also takes what Prometheus never writes: 1_0, spaces, digits of other scripts.
    if _A_NUMBER.fullmatch(text) is None:
        raise Unusable("a value is not a number")
    value = float(text)
    if math.isinf(value) or value < 0:
        raise Unusable(f"a value is {value:g}, which measures nothing")
    return value

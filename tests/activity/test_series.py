"""What follows from an answer of Prometheus, at each border: times, gaps, coverage, values and what is in words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetd.activity.asking import Unusable
from fleetd.activity.series import Asked, asked_about, judge_answer, judge_series, standing
from fleetd.model.reasons import Activity

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
END, STEP = NOW.timestamp(), 30.0
ASKED = asked_about(timedelta(minutes=10), timedelta(seconds=30), NOW)


def places(*missing: int, count: int = 20, value: float = 0.0) -> list[tuple[float, float]]:
    """Samples of a whole window, the newest in place 0, but for some."""
    return [(END - STEP * n, value) for n in reversed(range(count)) if n not in missing]


def answer(*series: Any, **more: Any) -> bytes:
    data = {"resultType": "matrix", "result": [{"metric": {"n": str(n)}, **one} for n, one in enumerate(series)]}
    return json.dumps({"status": "success", "data": data, **more}).encode()


def series(*values: Any, **more: Any) -> dict[str, Any]:
    return {"values": list(values), **more}


@pytest.mark.parametrize(
    ("window", "step", "start", "expected"),
    [
        (600, 30, -570, 20),
        (90, 30, -60, 3),
        (100, 30, -70, 3),
        (30, 30, 0, 1),
        (60, 7, -53, 8),
    ],
)
def test_the_times_that_cover_a_window(window: float, step: float, start: float, expected: int) -> None:
    asked = asked_about(timedelta(seconds=window), timedelta(seconds=step), NOW)
    assert asked == Asked(END + start, END, step)
    assert asked.expected == expected


def test_times_are_asked_for_in_milliseconds() -> None:
    asked = asked_about(timedelta(seconds=60), timedelta(seconds=30), NOW + timedelta(microseconds=123_456))
    assert (asked.start, asked.end) == (END - 30 + 0.123, END + 0.123)


@pytest.mark.parametrize(
    ("found", "below", "verdict", "evidence"),
    [
        ([places()], 0.5, Activity.IDLE, "max 0 < 0.5 over 10 min, 20 of 20 samples"),
        ([places(0)], 0.5, Activity.IDLE, "max 0 < 0.5 over 10 min, 19 of 20 samples"),
        ([places(19)], 0.5, Activity.IDLE, "max 0 < 0.5 over 10 min, 19 of 20 samples"),
        ([places(4, 9)], 0.5, Activity.IDLE, "max 0 < 0.5 over 10 min, 18 of 20 samples"),
        ([places(4, 9, 14)], 0.5, Activity.UNKNOWN, "17 of 20 samples"),
        ([places(4, 5)], 0.5, Activity.UNKNOWN, "18 of 20 samples, 2 missing in a row"),
        ([places(4, 5, 6)], 0.5, Activity.UNKNOWN, "17 of 20 samples, 3 missing in a row"),
        ([places(0, 1)], 0.5, Activity.UNKNOWN, "18 of 20 samples, the newest one is old"),
        ([places(18, 19)], 0.5, Activity.UNKNOWN, "18 of 20 samples, 2 missing in a row"),
        ([places(*range(20))], 0.5, Activity.UNKNOWN, "no samples"),
        ([places(value=0.5)], 0.5, Activity.ACTIVE, "max 0.5 >= 0.5"),
        ([places(value=0.49)], 0.5, Activity.IDLE, "max 0.49 < 0.5 over 10 min, 20 of 20 samples"),
        ([places(*range(1, 20), value=3)], 0.5, Activity.ACTIVE, "max 3 >= 0.5"),
        ([places(), places(7)], 0.5, Activity.IDLE, "max 0 < 0.5 over 10 min, 19 of 20 samples in each of 2 series"),
        ([places(), places(7, 8)], 0.5, Activity.UNKNOWN, "series 2 of 2: 18 of 20 samples, 2 missing in a row"),
        ([places(*range(20)), places()], 0.5, Activity.UNKNOWN, "series 1 of 2: no samples"),
        ([places(*range(20)), places(value=9)], 0.5, Activity.ACTIVE, "max 9 >= 0.5"),
    ],
)
def test_what_is_said_of_the_series(found: Any, below: float, verdict: Activity, evidence: str) -> None:
    assert judge_series(found, below, ASKED) == (verdict, evidence)


@pytest.mark.parametrize(
    ("newest", "there"), [(0.0, 1), (30.0, 1), (59.0, 1), (60.0, 1), (60.005, 1), (60.02, 0), (90.0, 0)]
)
def test_a_series_stands_whose_newest_sample_may_be_one_that_is_missing_behind(newest: float, there: int) -> None:
    assert standing([[(END - newest, 0.0)]], ASKED) == there
    assert standing([[(END - newest, 0.0)], [], places()], ASKED) == there + 1


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        (END, True),
        (END + 0.009, True),
        (END + 0.02, False),
        (END - 570, True),
        (END - 570.009, True),
        (END - 570.02, False),
    ],
)
def test_samples_are_of_the_times_that_were_asked_about(at: float, fits: bool) -> None:
    body = answer(series((at, "1")))
    if fits:
        assert judge_answer(body, ASKED) == [[(at, 1.0)]]
    else:
        with pytest.raises(Unusable, match="of a time that was not asked about"):
            judge_answer(body, ASKED)


@pytest.mark.parametrize(
    ("apart", "fits"), [(30.0, True), (29.995, True), (29.98, False), (0.0, False), (-30.0, False)]
)
def test_there_is_one_sample_a_step(apart: float, fits: bool) -> None:
    body = answer(series((END - 60, "0"), (END - 60 + apart, "0")))
    if fits:
        assert len(judge_answer(body, ASKED)[0]) == 2
    else:
        with pytest.raises(Unusable, match="several for one time"):
            judge_answer(body, ASKED)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("1.5", 1.5), ("+2", 2.0), ("1e-3", 0.001), ("2.E+1", 20.0), ("00", 0.0), ("-0", 0.0), ("1.", 1.0)],
)
def test_a_value_is_a_number(text: str, value: float) -> None:
    assert judge_answer(answer(series((END, text))), ASKED) == [[(END, value)]]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NaN", "a value is not a number"),
        (".5", "a value is not a number"),
        ("1e", "a value is not a number"),
        ("1_0", "a value is not a number"),
        ("", "a value is not a number"),
        ("Inf", "a value is inf, which measures nothing"),
        ("-Inf", "a value is -inf, which measures nothing"),
        ("1e999", "a value is inf, which measures nothing"),
        ("-0.5", "a value is -0.5, which measures nothing"),
    ],
)
def test_what_measures_nothing_is_no_value(text: str, why: str) -> None:
    with pytest.raises(Unusable) as caught:
        judge_answer(answer(series((END, text))), ASKED)
    assert str(caught.value) == why


WHOLE = series(*((at, f"{value:g}") for at, value in places()))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (answer(WHOLE, status="error", error="bad query"), "error: bad query"),
        (answer(WHOLE, status="error", errorType="timeout"), "error: timeout"),
        (answer(WHOLE, error="x" * 300), "error: " + "x" * 200),
        (answer(WHOLE, errorType="y" * 300), "error: " + "y" * 200),
        (answer(WHOLE, warnings=["z" * 300, "b"]), "warning: " + "z" * 200),
        (answer(WHOLE, isPartial=True), "a part of an answer only (isPartial)"),
        (answer(WHOLE, **{"partial" + "x" * 60: 1}), "a part of an answer only (partial" + "x" * 33 + ")"),
        (answer(), "no series"),
        (answer({"values": [], "histograms": [[END, {}]]}), "a series has histograms, which say no load"),
        (
            answer(WHOLE, WHOLE | {"metric": {"n": "0"}}),
            "one series twice, with the same labels: which of them is it?",
        ),
        (answer(WHOLE).replace(b"matrix", b"vector"), "no series"),
    ],
)
def test_an_answer_from_which_nothing_follows_says_why(body: bytes, why: str) -> None:
    with pytest.raises(Unusable) as caught:
        judge_answer(body, ASKED)
    assert str(caught.value) == why


@pytest.mark.parametrize("no", [None, False, "", "0", 0, "false", [], {}])
def test_a_mark_that_says_no_is_none(no: Any) -> None:
    assert len(judge_answer(answer(WHOLE, isPartial=no), ASKED)[0]) == 20


@pytest.mark.parametrize("status", ["success"])
def test_a_series_may_lack_values_and_labels(status: str) -> None:
    body = json.dumps({"status": status, "data": {"resultType": "matrix", "result": [{}]}}).encode()
    assert judge_answer(body, ASKED) == [[]]


@pytest.mark.parametrize(
    ("labels", "fits"),
    [
        ({}, True),
        ({"n": "0"}, True),
        ({"host": "b"}, True),  # it has no such label
        ({"n": "1"}, False),
        ({"n": ""}, False),
        ({"n": "0|1"}, True),
        ({"n": "0", "host": "b"}, True),
    ],
)
def test_a_series_is_of_the_machine_that_was_asked_about(labels: dict[str, str], fits: bool) -> None:
    patterns = {label: re.compile(pattern) for label, pattern in labels.items()}
    if fits:
        assert len(judge_answer(answer(WHOLE), ASKED, patterns)) == 1
    else:
        with pytest.raises(Unusable, match="a series is of n='0', which was not asked about"):
            judge_answer(answer(WHOLE), ASKED, patterns)


def test_a_label_in_the_words_is_cut() -> None:
    body = answer(WHOLE | {"metric": {"n": "x" * 100}})
    with pytest.raises(Unusable, match="n='" + "x" * 60 + "', which"):
        judge_answer(body, ASKED, {"n": re.compile("0")})

"""The record of the last 24 hours, and its drawing."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fleetd.model.report import Report
from fleetd.ops.page.chart import MOST_MARKS, RANGES, chart, reach, spark
from fleetd.ops.page.record import KEPT, MOST_SPANS, Record, Span
from tests.support.fake_handle import AT, a_fleet, a_report

PATIENCE = timedelta(seconds=150)


def look(minutes: float, up: int = 2, target: int = 2, **fields: Any) -> Report:
    """A report of so many minutes after noon."""
    seen = {"at": AT + timedelta(minutes=minutes), "complete": True, "rejected": None}
    return a_report(fleets={"training": a_fleet(up=up, target=target)}, observation=seen | fields)


def recorded(*looks: Report) -> Record:
    record = Record()
    for one in looks:
        record.saw(one, patience=PATIENCE)
    return record


def rows(record: Record, fleet: str = "training") -> list[tuple[float, float, int, int]]:
    def minutes(at: datetime) -> float:
        return (at - AT) / timedelta(minutes=1)

    return [(minutes(s.since), minutes(s.until), s.target, s.up) for s in record.spans(fleet)]


@pytest.mark.parametrize(
    ("looks", "spans"),
    [
        pytest.param([look(0)], [(0, 0, 2, 2)], id="one look"),
        pytest.param([look(0), look(1), look(2)], [(0, 2, 2, 2)], id="no change"),
        pytest.param([look(0), look(1, 1), look(2, 1)], [(0, 1, 2, 2), (1, 2, 2, 1)], id="a change"),
        pytest.param([look(0), look(1, 2, 5)], [(0, 1, 2, 2), (1, 1, 5, 2)], id="a new target"),
        pytest.param([look(0), look(9)], [(0, 0, 2, 2), (9, 9, 2, 2)], id="a gap"),
        pytest.param([look(0), look(1, 0, complete=False), look(2)], [(0, 2, 2, 2)], id="half a listing"),
        pytest.param([look(0), look(1, 0, rejected="no"), look(2)], [(0, 2, 2, 2)], id="a rejected one"),
        pytest.param([look(10), look(11), look(3, 1)], [(3, 3, 2, 1)], id="the clock goes back"),
        pytest.param([look(0), look(2), look(1, 1)], [(0, 1, 2, 2), (1, 1, 2, 1)], id="the clock goes back a little"),
    ],
)
def test_what_is_recorded(looks: list[Report], spans: list[tuple[float, ...]]) -> None:
    assert rows(recorded(*looks)) == spans


def test_a_failed_pass_adds_nothing_although_the_last_observation_is_still_there() -> None:
    failed = look(1)
    failed = replace(failed, daemon=replace(failed.daemon, error="connection refused"))
    record = recorded(look(0))
    assert not record.saw(failed, patience=PATIENCE)
    assert rows(record) == [(0, 0, 2, 2)]
    assert not record.saw(a_report(observation=None), patience=PATIENCE)


def test_it_says_whether_anything_is_new() -> None:
    record = Record()
    assert record.saw(look(0), patience=PATIENCE)
    assert not record.saw(look(1), patience=PATIENCE)
    assert record.saw(look(2, 1), patience=PATIENCE)


def test_what_is_older_than_a_day_is_forgotten() -> None:
    record = recorded(look(0), look(1), look(60 * 24 + 0.5))
    assert rows(record)[0] == (0.5, 1, 2, 2)
    record.saw(look(60 * 24 + 2), patience=PATIENCE)
    assert rows(record)[0][0] == 60 * 24 + 0.5
    gone = a_report(fleets={}, observation={"at": AT + timedelta(days=3), "complete": True, "rejected": None})
    record.saw(gone, patience=PATIENCE)
    assert record.spans("training") == ()
    assert record.begins() is None


def test_it_is_bounded() -> None:
    record = recorded(*(look(n / 60, n % 2) for n in range(MOST_SPANS * 2)))
    assert len(record.spans("training")) == MOST_SPANS
    assert len(record.dump()) < 100_000


def test_it_survives_a_restart() -> None:
    record = recorded(look(0), look(1, 1), look(2, 0), look(9, 2))
    again = Record.load(record.dump(), AT + timedelta(minutes=10))
    assert again.spans("training") == record.spans("training")
    assert again.begins() == AT
    assert rows(Record.load(record.dump(), AT + KEPT + timedelta(minutes=1.5))) == [
        (1.5, 2, 2, 1),
        (2, 2, 2, 0),
        (9, 9, 2, 2),
    ]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        '{"format":2,"fleets":{"a":[[0,1,1,1,null]]}}',
        '{"format":1}',
        '{"format":1,"fleets":[]}',
        '{"format":1,"fleets":{"a":[[0]]}}',
        '{"format":1,"fleets":{"a":[["x",1,1,1,null]]}}',
        '{"format":1,"fleets":{"a":[[1e99,1e99,1,1,null]]}}',
        '{"format":1,"fleets":{"a":[[9,1,1,1,null]]}}',
        '{"format":1,"fleets":{"a":[[0,1,1,1,7]]}}',
    ],
)
def test_a_record_that_cannot_be_read_begins_anew(text: str | None) -> None:
    assert Record.load(text, AT).begins() is None


def test_what_a_wrong_clock_wrote_is_left_out() -> None:
    assert rows(Record.load(recorded(look(0), look(600)).dump(), AT + timedelta(minutes=5))) == [(0, 0, 2, 2)]


@given(
    st.lists(
        st.tuples(st.floats(-300, 300), st.integers(0, 9), st.integers(0, 9)).map(lambda r: look(r[0], r[1], r[2])),
        max_size=40,
    )
)
def test_spans_never_overlap_whatever_the_clock_does(looks: list[Report]) -> None:
    record = recorded(*looks)
    spans = record.spans("training")
    assert all(s.since <= s.until for s in spans)
    assert all(a.until <= b.since for a, b in pairwise(spans))
    json.loads(record.dump())
    chart(spans, AT + timedelta(minutes=300), RANGES[-1], label="x")


def span(since: float, until: float, up: int, target: int = 4) -> Span:
    return Span(AT + timedelta(minutes=since), AT + timedelta(minutes=until), target, up)


def drawn(*spans: Span, now: float = 60, back: Any = RANGES[0]) -> tuple[dict[str, str], str]:
    """(path data by class, caption)."""
    whole = chart(spans, AT + timedelta(minutes=now), back, label="<a>")
    assert 'aria-label="&lt;a&gt;"' in whole
    paths = dict(re.findall(r'<path class="([a-z]+)" d="([^"]*)"/>', whole))
    return paths, re.findall(r"<figcaption>(.*)</figcaption>", whole)[0]


def test_the_drawing_steps_breaks_at_gaps_and_shows_what_is_missing() -> None:
    paths, caption = drawn(span(0, 15, 4), span(15, 30, 2), span(45, 60, 4))
    top = f"{100 * (1 - 1 / 1.12):.1f}"
    half = f"{100 * (1 - 0.5 / 1.12):.1f}"
    assert paths["line"] == f"M0.0 {top}H250.0V{half}H500.0M750.0 {top}H1000.0"
    assert paths["goal"] == f"M0.0 {top}H250.0V{top}H500.0M750.0 {top}H1000.0"
    assert paths["short"] == f"M250.0 {half}V{top}H500.0V{half}Z"
    assert paths["area"].count("M") == 3
    assert caption == "Last 60 min: 2 to 4 up, below target for 15 min, 1 gap in which nobody looked."


def test_the_last_look_holds_until_now_unless_it_is_old() -> None:
    assert drawn(span(0, 59, 4))[0]["line"].endswith("H1000.0")
    paths, caption = drawn(span(0, 30, 4))
    assert paths["line"].endswith("H500.0")
    assert caption == "Last 60 min: 4 up throughout, never below target, not seen for the last 30 min."


def test_a_young_record_says_where_it_begins() -> None:
    assert drawn(span(50, 60, 4))[1].endswith("The record begins at 12:50:00 UTC.")
    assert drawn()[1] == "No record yet: it begins with the next pass."
    assert drawn(span(0, 0, 0, 0), now=0)[0]["line"] == "M1000.0 100.0H1000.0"


def asleep(minutes: float, up: int, *, parked: bool) -> Report:
    seen = {"at": AT + timedelta(minutes=minutes), "complete": True, "rejected": None}
    return a_report(fleets={"training": a_fleet(up=up, target=4, parked=parked)}, observation=seen)


def test_a_parked_night_is_recorded_and_is_no_shortfall() -> None:
    looks = [asleep(0, 4, parked=False), asleep(1, 4, parked=True), asleep(2, 0, parked=True)]
    record = recorded(*looks, asleep(3, 0, parked=False))
    assert [s.parked for s in record.spans("training")] == [False, True, True, False]
    again = Record.load(record.dump(), AT + timedelta(minutes=10))
    assert again.spans("training") == record.spans("training")
    paths, caption = drawn(*record.spans("training"), now=3)
    assert paths["parked"] == "M966.7 0H1000.0V100H966.7Z"
    assert paths["short"].count("M") == 1, "it is short from the morning on only"
    assert caption.startswith("Last 60 min: 0 to 4 up, never below target, parked for 2 min.")


def test_a_record_of_before_has_nothing_parked() -> None:
    text = '{"format":1,"fleets":{"a":[[1772452800,1772452800,1,1,null]]}}'
    assert [s.parked for s in Record.load(text, AT + timedelta(hours=1)).spans("a")] == [False]


@pytest.mark.parametrize(
    ("looks", "since"),
    [
        pytest.param([look(0)], None, id="not short"),
        pytest.param([look(0), look(1, 1), look(2, 0)], 1, id="short, and shorter"),
        pytest.param([look(0, 1), look(1), look(2, 1)], 2, id="again"),
        pytest.param([look(0, 1), look(9, 1)], 9, id="nobody looked in between"),
        pytest.param([asleep(0, 1, parked=True)], None, id="parked"),
    ],
)
def test_since_when_a_fleet_is_short(looks: list[Report], since: float | None) -> None:
    expected = None if since is None else AT + timedelta(minutes=since)
    assert recorded(*looks).short_since("training") == expected
    assert recorded(*looks).short_since("other") is None


@pytest.mark.parametrize(
    ("looks", "since"),
    [
        pytest.param([(0, 2), (1, 1)], 1, id="short throughout"),
        pytest.param([(0, 1), (30, 0), (40, 1)], 0, id="short, and shorter, and less short"),
        pytest.param([(0, 1), (20, 2), (21, 1)], 21, id="at its target in between"),
        pytest.param([(0, 1), (20, None), (22, 1)], 22, id="nobody looked in between"),
        pytest.param([(0, 1), (90, 2)], None, id="no more"),
    ],
)
@pytest.mark.parametrize("restarts", [False, True])
def test_since_when_a_fleet_is_short_outlives_what_is_kept(looks: Any, since: float | None, restarts: bool) -> None:
    record, up = Record(), 2
    for half in range(2 * 100):  # hours, of which the last day is kept
        hours = half / 2
        up = next((u for h, u in reversed(looks) if h <= hours), up)
        if up is not None:
            record.saw(look(hours * 60, up), patience=timedelta(hours=1))
        if restarts and half % 7 == 0:
            record = Record.load(record.dump(), AT + timedelta(hours=hours))
    expected = None if since is None else AT + timedelta(hours=since)
    assert record.short_since("training") == expected
    assert record.spans("training")[0].since >= AT + timedelta(hours=75)


def test_a_clock_that_was_set_back_ends_what_is_known_of_before() -> None:
    record = Record()
    for hours in range(40):
        record.saw(look(hours * 60, 1), patience=timedelta(hours=1))
    assert record.short_since("training") == AT
    record.saw(look(-600, 1), patience=timedelta(hours=1))
    assert record.short_since("training") == AT - timedelta(minutes=600)


def test_when_a_fleet_was_seen_last_is_known_after_it_has_left_the_config() -> None:
    record = recorded(look(0), look(1))
    record.saw(
        a_report(fleets={}, observation={"at": AT + timedelta(minutes=9), "complete": True}), patience=PATIENCE
    )
    assert record.seen_last("training") == AT + timedelta(minutes=1)
    assert record.seen_last("other") is None


def test_where_nobody_looked_it_is_hatched() -> None:
    paths, caption = drawn(span(0, 15, 4), span(45, 50, 4), now=60)
    assert paths["blank"] == "M250.0 0H750.0V100H250.0ZM833.3 0H1000.0V100H833.3Z"
    assert caption.endswith("1 gap in which nobody looked, not seen for the last 10 min.")
    assert "blank" not in drawn(span(30, 60, 4), now=60)[0], "before a record begins nothing is claimed"


def test_what_befell_a_fleet_is_marked() -> None:
    at = AT + timedelta(minutes=30)
    marks = [(AT - timedelta(days=9), "freeze"), (at, "reload"), *((at, "outage") for _ in range(MOST_MARKS))]
    whole = chart((span(0, 60, 4),), AT + timedelta(minutes=60), RANGES[0], label="x", marks=marks)
    assert whole.count('class="mark-outage" d="M500.0 0V100"') == MOST_MARKS
    assert "mark-freeze" not in whole


def test_a_sparkline_says_in_words_what_it_draws() -> None:
    spans = [span(n, n + 1, n % 2 + 3) for n in range(0, 1200, 2)]
    whole = spark(spans, AT + timedelta(minutes=1440), timedelta(hours=24), label="<a>")
    assert 'aria-label="&lt;a&gt;: Last 24 h: 3 up throughout' in whole
    assert 'class="blank"' in whole
    assert len(whole) < 20_000


@pytest.mark.parametrize(("hours", "range_"), [(0.2, 1), (1, 1), (1.1, 6), (6.5, 24), (30, 24)])
def test_the_axis_is_as_long_as_the_record(hours: float, range_: int) -> None:
    assert reach(AT - timedelta(hours=hours), AT)[0] == timedelta(hours=range_)
    assert reach(None, AT)[0] == timedelta(hours=24)


@pytest.mark.parametrize(
    ("back", "labels"),
    [
        (RANGES[0], ["1 h", "45 min", "30 min", "15 min"]),
        (RANGES[1], ["6 h", "4 h", "2 h"]),
        (RANGES[2], ["24 h", "18 h", "12 h", "6 h"]),
    ],
)
def test_the_axis_is_labelled(back: Any, labels: list[str]) -> None:
    axis = re.findall(r"<span>([^<]*)</span>", chart((), AT, back, label="x"))
    assert axis == [*(f"\N{MINUS SIGN}{label}" for label in labels), "now"]


def test_a_busy_record_is_thinned_and_keeps_its_worst() -> None:
    spans = [span(n / 60, (n + 1) / 60, 0 if n == 777 else n % 2 + 3) for n in range(MOST_SPANS)]
    paths, caption = drawn(*spans, now=24 * 60, back=RANGES[2])
    assert sum(map(len, paths.values())) < 5000
    assert "V100.0" in paths["line"]
    assert caption.startswith("Last 24 h: 0 to 4 up")

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from fleetd.model.fleet import Window
from fleetd.planner.windows import Effective, effective, next_change, next_edge
from tests.support.build import fleet


def window(start: str, end: str, zone: str = "Europe/Berlin", name: str = "night", **fields) -> Window:
    def minutes(text: str) -> int:
        hours, rest = text.split(":")
        return int(hours) * 60 + int(rest)

    return Window(name, minutes(start), minutes(end), zone, **fields)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


NIGHT = window("20:00", "07:00", days=frozenset(range(5)), target=2)


@pytest.mark.parametrize(
    ("instant", "open_"),
    [
        ("2026-03-02T20:00+01:00", True),
        ("2026-03-02T19:59+01:00", False),
        ("2026-03-03T06:59+01:00", True),
        ("2026-03-03T07:00+01:00", False),
        ("2026-03-07T06:59+01:00", True),  # Friday's window, on Saturday morning
        ("2026-03-07T20:00+01:00", False),  # Saturday opens none
        ("2026-03-09T06:59+01:00", False),  # Sunday neither
    ],
)
def test_days_are_those_on_which_a_window_opens(instant, open_) -> None:
    assert (effective(fleet(windows=(NIGHT,)), at(instant)).window == "night") is open_


@pytest.mark.parametrize(
    ("instant", "open_"),
    [
        # 29 March 2026: 02:00 -> 03:00 in Berlin. 25 October 2026: 03:00 -> 02:00.
        pytest.param("2026-03-29T01:59:59+01:00", False, id="before the gap"),
        pytest.param("2026-03-29T03:00+02:00", True, id="a skipped start is the first instant after the gap"),
        pytest.param("2026-10-25T02:29+02:00", False, id="before the first 02:30"),
        pytest.param("2026-10-25T02:30+02:00", True, id="a repeated start is its first occurrence"),
        pytest.param("2026-10-25T02:10+01:00", True, id="and the window stays open when the clock goes back"),
    ],
)
def test_a_start_that_the_clock_change_skips_or_repeats(instant, open_) -> None:
    want = fleet(windows=(window("02:30", "06:00"),))
    assert (effective(want, at(instant)).window is not None) is open_


def test_a_window_inside_the_gap_is_not_open_that_day() -> None:
    want = fleet(windows=(window("02:10", "02:50"),))
    day = at("2026-03-29T00:00+01:00")
    assert not [m for m in range(24 * 60) if effective(want, day + timedelta(minutes=m)).window]


def test_the_later_window_in_the_file_wins_alone() -> None:
    first = window("20:00", "08:00", target=2, park_idle=True, name="night")
    second = window("22:00", "23:00", target=None, park_idle=True, name="late")
    want = fleet(target=8, windows=(first, second))
    early = effective(want, at("2026-03-02T21:00+01:00"))
    assert (early.window, early.target, early.floor) == ("night", 2, 2)
    late = effective(want, at("2026-03-02T22:30+01:00"))
    assert (late.window, late.target, late.floor) == ("late", 8, 0)
    assert late.closes_at == at("2026-03-02T23:00+01:00")


@pytest.mark.parametrize(
    ("instant", "holds"),
    [
        pytest.param("2026-03-02T12:00Z", Effective(8), id="none is open"),
        pytest.param(
            "2026-03-02T19:00Z",
            Effective(8, "evening", False, 0, at("2026-03-02T18:00Z"), at("2026-03-02T20:00Z")),
            id="one that changes nothing but its name",
        ),
        pytest.param(
            "2026-03-02T23:00Z",
            Effective(2, "night", True, 2, at("2026-03-02T22:00Z"), at("2026-03-03T06:00Z")),
            id="one with a target, which parks",
        ),
        pytest.param(
            "2026-03-03T05:59Z",
            Effective(2, "night", True, 2, at("2026-03-02T22:00Z"), at("2026-03-03T06:00Z")),
            id="it was opened the day before",
        ),
        pytest.param(
            "2026-03-03T06:30Z",
            Effective(0, "dawn", True, 0, at("2026-03-03T06:00Z"), at("2026-03-03T07:00Z")),
            id="one with a target of none",
        ),
    ],
)
def test_all_that_holds_at_an_instant(instant: str, holds: Effective) -> None:
    windows = (
        window("18:00", "20:00", "UTC", "evening"),
        window("22:00", "06:00", "UTC", target=2, park_idle=True),
        window("06:00", "07:00", "UTC", "dawn", target=0, park_idle=True),
    )
    found = effective(fleet(target=8, windows=windows), at(instant))
    assert found == holds
    assert (found.park_idle, found.floor) == ((False, 0) if found.target == 8 else (True, found.target))


@pytest.mark.parametrize(
    ("windows", "edge"),
    [
        pytest.param({"days": frozenset({0})}, "2026-03-09T20:00Z", id="weekly, just closed"),
        pytest.param({"days": frozenset(), "dates": (date(2026, 3, 12),)}, "2026-03-12T20:00Z", id="a day to come"),
        pytest.param(
            {"days": frozenset(), "dates": (date(2026, 3, 12), date(2026, 3, 5))}, "2026-03-05T20:00Z",
            id="the nearer of two days",
        ),
        pytest.param(
            {"days": frozenset(), "dates": (date(2026, 6, 1), date(2026, 5, 1))}, "2026-05-01T20:00Z",
            id="of two that are far",
        ),
        pytest.param(
            {"days": frozenset({0}), "except_dates": (date(2026, 3, 9),)}, "2026-03-16T20:00Z",
            id="the next one is left out",
        ),
        *(
            pytest.param(
                {"except_dates": tuple(date(2026, 3, 2) + timedelta(days=n) for n in range(days))},
                f"2026-03-{2 + days:02}T20:00Z", id=f"the next {days} are left out",
            )
            for days in (1, 8, 9, 10, 11, 12, 25)
        ),
        pytest.param(
            {"days": frozenset(), "dates": (date(2026, 3, 5),), "except_dates": (date(2026, 3, 5),)}, None,
            id="the only one is left out",
        ),
        pytest.param({"days": frozenset(), "dates": (date(2026, 3, 1),)}, None, id="the only one is over"),
    ],
)  # fmt: skip
def test_when_a_window_opens_next(windows, edge) -> None:
    want = fleet(windows=(window("20:00", "22:00", "UTC", target=0, **windows),))
    assert next_edge([want], at("2026-03-02T22:00Z")) == (None if edge is None else at(edge))


@pytest.mark.parametrize("left_out", [(), (date(2026, 3, 22),), (date(2026, 4, 5),)])
@pytest.mark.parametrize("now", ["2026-03-15T04:00+01:00", "2026-03-22T04:00+01:00", "2026-03-27T04:00+01:00"])
def test_a_weekly_window_whose_day_lies_in_the_gap_opens_a_week_later(now: str, left_out: tuple[date, ...]) -> None:
    """On 29 March 2026 Berlin has no time between 02:00 and 03:00, so that Sunday's window does not open."""
    weekly = window("02:10", "02:50", days=frozenset({6}), except_dates=left_out)
    sundays = ["2026-03-22T02:10+01:00", "2026-04-05T02:10+02:00", "2026-04-12T02:10+02:00"]
    opens = [s for s in map(at, sundays) if s > at(now) and s.date() not in left_out]
    assert next_edge([fleet(windows=(weekly,))], at(now)) == opens[0]


def test_dates_and_exceptions() -> None:
    want = fleet(
        windows=(
            window("08:00", "24:00", days=frozenset(), dates=(date(2026, 12, 24),), target=0, name="eve"),
            window("20:00", "07:00", except_dates=(date(2026, 12, 31),), target=1),
        )
    )
    assert effective(want, at("2026-12-24T12:00+01:00")).window == "eve"
    assert effective(want, at("2026-12-25T00:00+01:00")).window == "night"
    assert effective(want, at("2026-12-25T12:00+01:00")).window is None
    assert effective(want, at("2026-12-31T21:00+01:00")).window is None
    assert effective(want, at("2027-01-01T21:00+01:00")).window == "night"


def test_a_day_that_a_zone_skipped_opens_no_window_of_its_own() -> None:
    # Samoa had no 30 December 2011.
    noon = fleet(windows=(window("11:00", "13:00", "Pacific/Apia", days=frozenset({4})),))
    before = datetime(2011, 12, 29, tzinfo=UTC)
    assert not [h for h in range(72) if effective(noon, before + timedelta(hours=h)).window]


@pytest.mark.parametrize(
    ("now", "edge"),
    [
        ("2026-03-02T12:00+01:00", "2026-03-02T20:00+01:00"),
        ("2026-03-02T20:00+01:00", "2026-03-03T07:00+01:00"),
        ("2026-03-07T12:00+01:00", "2026-03-09T20:00+01:00"),
        ("2026-03-28T12:00+01:00", "2026-03-30T20:00+02:00"),
    ],
)
def test_the_next_edge(now, edge) -> None:
    assert next_edge([fleet(), fleet(windows=(NIGHT,))], at(now)) == at(edge)


def test_the_next_edge_may_be_far_away_or_nowhere() -> None:
    eve = window("08:00", "12:00", days=frozenset(), dates=(date(2027, 12, 24),), target=0)
    assert next_edge([fleet(windows=(eve,))], at("2026-03-02T12:00+01:00")) == at("2027-12-24T08:00+01:00")
    assert next_edge([fleet(windows=(eve,))], at("2028-03-02T12:00+01:00")) is None
    assert next_edge([fleet()], at("2026-03-02T12:00+01:00")) is None
    month = tuple(date(2026, 3, day) for day in range(1, 32))
    closed = window("20:00", "22:00", except_dates=month, target=0)
    assert next_edge([fleet(windows=(closed,))], at("2026-03-01T12:00+01:00")) == at("2026-04-01T20:00+02:00")


def test_the_next_change_is_one_that_changes_something() -> None:
    hidden = window("18:00", "19:00", "UTC", "hidden", target=9)
    night = window("17:00", "20:00", "UTC", target=1)
    want = fleet(target=3, windows=(hidden, night))  # the later one wins while both are open
    found = next_change(want, at("2026-03-02T12:00Z"))
    assert found is not None
    assert (found[0], found[1].target, found[1].window) == (at("2026-03-02T17:00Z"), 1, "night")
    found = next_change(want, found[0])
    assert found is not None
    assert (found[0], found[1].target, found[1].window) == (at("2026-03-02T20:00Z"), 3, None), "hidden edges are none"


@pytest.mark.parametrize("windows", [(), (window("00:00", "24:00", "UTC", target=3),)])
def test_nothing_ever_changes(windows) -> None:
    assert next_change(fleet(target=3, windows=windows), at("2026-03-02T12:00Z")) is None

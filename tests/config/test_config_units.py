"""Spellings of durations, shares, times, dates, money and addresses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetd.config.units import (
    format_duration,
    is_loopback,
    parse_date,
    parse_duration,
    parse_limit,
    parse_listen,
    parse_time,
    parse_url,
    shown,
)
from fleetd.model.fleet import Limit


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("90s", timedelta(seconds=90)),
        ("20m", timedelta(minutes=20)),
        ("1h30m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
    ],
)
def test_durations(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span
    assert parse_duration(format_duration(span)) == span


@given(st.integers(min_value=1, max_value=3650 * 86_400_000).map(lambda n: timedelta(milliseconds=n)))
def test_durations_come_back(span: timedelta) -> None:
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize("text", ["", "s", "30", "-5s", "1.5h", "5s1m", "1y", "٣s", "30S", " 30s", "99999999999999s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize("value", ["0s", 0])
def test_zero_is_a_duration_only_where_it_makes_sense(value: object) -> None:
    assert parse_duration(value, at_least=timedelta(0)) == timedelta(0)
    with pytest.raises(ValueError, match="expected"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (30, '"30s"'),
        (Decimal("1.5"), '"1s500ms"'),
        ("1.5h", '"1h30m"'),
        ("5 minutes", '"5m"'),
        ("30 Sec.", '"30s"'),
        ("2 weeks", '"7d"'),
    ],
)
def test_the_right_spelling_is_given(value: object, right: str) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        parse_duration(value)
    assert right in str(caught.value)


@pytest.mark.parametrize(
    ("value", "limit"),
    [(5, Limit(count=5)), (0, Limit(count=0)), ("25%", Limit(percent=25)), ("2.5%", Limit(percent=2.5))],
)
def test_limits(value: object, limit: Limit) -> None:
    assert parse_limit(value) == limit


@pytest.mark.parametrize(
    ("text", "ends", "minutes"),
    [("00:00", False, 0), ("07:05", False, 425), ("23:59", True, 1439), ("24:00", True, 1440)],
)
def test_times(text: str, ends: bool, minutes: int) -> None:
    assert parse_time(text, midnight_ends=ends) == minutes


@pytest.mark.parametrize("value", ["2026-12-24", date(2026, 12, 24)])
def test_dates(value: object) -> None:
    assert parse_date(value) == date(2026, 12, 24)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://api.paperspace.io", "https://api.paperspace.io"),
        ("https://api.paperspace.com/v1/", "https://api.paperspace.com/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_addresses_that_a_key_may_travel_to(url: str, clean: str) -> None:
    assert parse_url(url, clear_text=False) == clean


@pytest.mark.parametrize(
    "url",
    [
        "http://api.paperspace.io",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1@example.com",
        "https://user:hush@host",
        "ftp://127.0.0.1",
        "https://",
        "https://a b",
        "http://[::1",
        "https://host:port",
        "",
    ],
)
def test_addresses_that_a_key_may_not_travel_to(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|must not") as caught:
        parse_url(url, clear_text=False)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("value", ["", "127.0.0.1:8750", "0.0.0.0:0", "[::1]:8750", "gpu-host.example.com:80"])
def test_listen(value: str) -> None:
    assert parse_listen(value) == value


@pytest.mark.parametrize(
    "value", [8750, ":8750", "::1:8750", "[::1]", "host:", "host:-1", "host:65536", "a b:1", "[h]:1"]
)
def test_no_listen(value: object) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        parse_listen(value)


@pytest.mark.parametrize(
    ("host", "here"), [("localhost", True), ("127.8.9.1", True), ("::1", True), ("10.0.0.1", False), ("local", False)]
)
def test_loopback(host: str, here: bool) -> None:
    assert is_loopback(host) is here


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "'x'"),
        ("a\x1b[31m\u202eb\nc", r"'a\x1b[31m\u202eb\nc'"),
        ("y" * 100, "'" + "y" * 56 + "…"),
        (True, "true"),
        ({"a": 1}, "a table"),
        ([], "an empty list"),
        pytest.param(1 << 70_000, "a very large number", id="large"),
    ],
)
def test_values_in_messages_are_short_and_harmless(value: object, text: str) -> None:
    assert shown(value) == text


_PARSERS: list[Callable[[object], object]] = [parse_duration, parse_limit, parse_time, parse_date, parse_listen]


@pytest.mark.parametrize("parser", _PARSERS)
@given(st.one_of(st.text(), st.integers(), st.booleans(), st.decimals(), st.dates(), st.times(), st.datetimes()))
def test_anything_is_read_or_refused(parser: Callable[[object], object], value: object) -> None:
    try:
        parser(value)
    except ValueError as e:
        assert "expected" in str(e)  # noqa: PT017 - both outcomes are right, a bare refusal is not

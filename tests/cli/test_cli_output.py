"""What is written, and how values on the command line are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetd.cli.logs import LineStream, log_to
from fleetd.cli.options import duration, examples, moment, moment_ago
from fleetd.cli.output import MANY, json_text, shown

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 3, 2, 18, 30, tzinfo=UTC)
"""19:30 in Berlin."""


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_json_keeps_every_value_and_moves_no_cursor(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert all(c == "\n" or c.isprintable() or c.isspace() for c in text)
    assert json.loads(json_text(value, ascii_only=True)) == value
    assert json_text(value, ascii_only=True).isascii()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
@settings(deadline=None)  # the first one imports msgspec
@example(2**70)
@example("\ud800")
@example({"a": [], "b": {}})
def test_a_long_list_is_written_as_a_short_one_is(value: object) -> None:
    assert json.loads(json_text([value] * MANY)) == json.loads(json_text([value])) * MANY


@pytest.mark.parametrize("character", ["\x7f", "\x9b", "\u200f", "\u2028", "\ufeff", "\ud800", "\U000e0041"])
def test_json_escapes_what_a_terminal_would_obey(character: str) -> None:
    text = json_text({"name": f"a{character}b"})
    assert character not in text
    assert json.loads(text) == {"name": f"a{character}b"}


@pytest.mark.parametrize(
    ("value", "cell"),
    [(None, "-"), ("", "-"), (True, "yes"), (False, "no"), (7, "7"), (0.5, "0.5"), (["é"], '["é"]'), ("\n", "\\x0a")],
)
def test_cells(value: object, cell: str) -> None:
    assert shown(value) == cell


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("20:00", datetime(2026, 3, 2, 19, 0, tzinfo=UTC)),
        ("19:30", datetime(2026, 3, 3, 18, 30, tzinfo=UTC)),
        ("7:00", datetime(2026, 3, 3, 6, 0, tzinfo=UTC)),
        ("+2h", datetime(2026, 3, 2, 20, 30, tzinfo=UTC)),
        ("2026-03-29T12:00", datetime(2026, 3, 29, 10, 0, tzinfo=UTC)),
        ("2026-03-02T20:00Z", datetime(2026, 3, 2, 20, 0, tzinfo=UTC)),
        ("2026-03-02T20:00+05:00", datetime(2026, 3, 2, 15, 0, tzinfo=UTC)),
    ],
)
def test_a_time_to_come(text: str, at: datetime) -> None:
    assert moment(text, NOW, BERLIN) == at


def test_a_time_of_day_after_a_clock_change_is_that_of_the_wall() -> None:
    saturday = datetime(2026, 3, 28, 20, 0, tzinfo=UTC)  # 21:00; the clocks go forward in the night
    assert moment("20:00", saturday, BERLIN) == datetime(2026, 3, 29, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("24h", datetime(2026, 3, 1, 18, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 2, 23, 18, 30, tzinfo=UTC)),
        ("2026-03-02", datetime(2026, 3, 1, 23, 0, tzinfo=UTC)),
    ],
)
def test_a_time_gone_by(text: str, at: datetime) -> None:
    assert moment_ago(text, NOW, BERLIN) == at


@pytest.mark.parametrize("text", ["teatime", "25:00", "+x", "20:60", ""])
def test_no_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected"):
        moment(text, NOW, BERLIN)


def test_durations_are_spelt_as_in_the_config() -> None:
    assert duration("1h30m") == timedelta(minutes=90)
    assert duration(timedelta(seconds=5)) == timedelta(seconds=5)
    with pytest.raises(typer.BadParameter, match='write "10m"'):
        duration("10 min")


def test_examples_are_one_a_line_and_hold_no_markup_of_their_own() -> None:
    assert examples("fleetd plan [x]  # what [y]").splitlines() == [
        "[bold]Examples[/bold]",
        "[cyan]fleetd plan \\[x][/cyan]  [dim]# what \\[y][/dim]",
    ]


def test_a_line_stream_hands_over_whole_lines() -> None:
    lines: list[str] = []
    stream = LineStream(lines.append)
    for part in ("one\ntw", "o", "\n\nthr"):
        stream.write(part)
    assert lines == ["one", "two"]
    assert stream.writable()


def test_log_lines_can_be_handed_to_a_function() -> None:
    import structlog

    events: list[dict[str, object]] = []
    log_to(events.append)
    structlog.get_logger().info("fleet.converged", fleet="training")
    structlog.get_logger().debug("pass.finished")
    assert [(e["event"], e["fleet"]) for e in events] == [("fleet.converged", "training")]

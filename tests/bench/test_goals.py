"""The bench's table and its picture: every row is there, what is over is said, the same rows give the same bytes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from fleetd.cloud.dialects import DIALECTS
from tests.bench import listings, replay
from tests.bench.goals import GOALS, Figure, markdown, rows
from tests.bench.passes import no_change
from tests.bench.picture import SHORT, bars, drawn

FOUND = [
    Figure("pass", "1 fleet", 1.2, "1.2 s"),
    Figure("pass", "1,000 fleets", 1.8, "1.8 s"),
    Figure("v1", "", 4, "4 of 4", met=True),
]


def test_a_row_says_which_of_its_cases_are_over_the_goal() -> None:
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in markdown(rows(FOUND))}
    assert len(lines) == len(GOALS) + 2  # the head, and the line below it
    assert "1 fleet: 1.2 s; 1,000 fleets: 1.8 s **over: 1,000 fleets**" in lines[GOALS[5].what]
    assert "**" not in lines[GOALS[7].what]
    assert "not measured" in lines[GOALS[0].what]


def test_the_picture_has_a_bar_for_every_figure_with_a_number_for_its_goal() -> None:
    found = json.loads(json.dumps(rows(FOUND)))
    assert [(what, met) for what, _, met in bars(found)] == [
        ("no-change pass, 100 k: 1 fleet", True),
        ("no-change pass, 100 k: 1,000 fleets", False),
    ]
    picture = drawn(found)
    assert picture == drawn(rows(FOUND))
    assert [r.get("class") for r in ET.fromstring(picture).iter() if r.tag.endswith("rect")] == ["within", "over"]
    assert {g.key for g in GOALS if g.most is not None} == SHORT.keys()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("machines", [1, 119, 120, 2100])
def test_the_replayed_account_is_read_whole_by_both(dialect: str, machines: int) -> None:
    if dialect not in listings.NAMES:
        pytest.skip("not the provider's")
    with replay.served(dialect, machines) as url:
        took = listings.compare(url, dialect, machines, 1)  # raises where one of them lacks a machine
    assert all(len(times) == 1 for times in took.values())


@pytest.mark.parametrize(("machines", "fleets", "foreign"), [(20, 1, 0), (20, 4, 5), (0, 3, 10)])
def test_passes_that_are_timed_change_nothing(machines: int, fleets: int, foreign: int) -> None:
    assert len(no_change(machines, fleets, foreign, passes=2)) == 2

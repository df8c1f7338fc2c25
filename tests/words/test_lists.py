"""``a, b and 3 more``."""

from __future__ import annotations

import pytest

from fleetd.model.lists import more, some


@pytest.mark.parametrize(
    ("names", "most", "between", "said"),
    [
        ([], 2, ", ", ""),
        (["a"], 2, ", ", "a"),
        (["a", "b"], 2, ", ", "a, b"),
        (["a", "b", "c"], 2, "; ", "a; b and 1 more"),
        (["a"] * 2001, 1, ", ", "a and 2,000 more"),
    ],
)
def test_the_first_are_named_and_the_others_counted(names: list[str], most: int, between: str, said: str) -> None:
    assert some(names, most, between) == said


@pytest.mark.parametrize(("left", "said"), [(-1, ""), (0, ""), (1, "and 1 more"), (1000, "and 1,000 more")])
def test_nothing_is_said_where_nothing_is_left_out(left: int, said: str) -> None:
    assert more(left) == said

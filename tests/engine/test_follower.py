"""What followers take from a pass's look: what it does not believe says nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.follower import Follower
from fleetd.model.plan import Observation
from tests.support.build import NOW, machine


@pytest.mark.parametrize(
    ("fields", "followed", "told"),
    [
        pytest.param({}, True, ["ps1", "ps2", "ps3"], id="all of it"),
        pytest.param(
            {"unverified": {"ps1": "show failed"}}, True, ["ps2", "ps3"], id="one that show does not confirm"
        ),
        pytest.param({"leaving": frozenset({"ps2"})}, True, ["ps1", "ps3"], id="one that somebody destroys"),
        pytest.param(
            {"unverified": {"ps1": "show failed"}, "leaving": frozenset({"ps2"})}, True, ["ps3"], id="one of each"
        ),
        pytest.param({"unverified": {"ps3": "x"}, "leaving": frozenset({"ps3"})}, True, ["ps1", "ps2"], id="both"),
        pytest.param({"rejected": "it shrank"}, True, None, id="a listing that is not believed"),
        pytest.param({}, False, None, id="nobody is followed"),
    ],
)
def test_what_a_pass_has_seen_is_taken_as_far_as_it_is_believed(
    fields: dict[str, Any], followed: bool, told: list[str] | None
) -> None:
    taken: list[tuple[list[str], float]] = []
    poller: Any = SimpleNamespace(saw=lambda machines, asked_at: taken.append(([m.id for m in machines], asked_at)))
    nothing: Any = SimpleNamespace()
    follower = Follower(poller, nothing, nothing, nothing, nothing)
    if followed:
        follower._followed[1] = "training"
    follower.saw(Observation(NOW, tuple(machine(n) for n in (1, 2, 3)), **fields), 7.0)
    assert taken == ([] if told is None else [(told, 7.0)])


@pytest.mark.parametrize(
    ("followed", "others"),
    [
        pytest.param({}, False, id="nobody"),
        pytest.param({1: "training"}, False, id="itself"),
        pytest.param({1: "training", 2: "training"}, True, id="another of its fleet"),
        pytest.param({1: "training", 2: "other"}, False, id="another fleet's"),
    ],
)
def test_whether_others_of_its_fleet_are_followed(followed: dict[int, str], others: bool) -> None:
    nothing: Any = SimpleNamespace()
    follower = Follower(nothing, nothing, nothing, nothing, nothing)
    follower._followed.update(followed)
    one: Any = SimpleNamespace(id=1, fleet="training")
    assert follower.with_others(one) is others
    assert follower.open == len(followed)

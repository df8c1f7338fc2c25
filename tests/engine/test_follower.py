"""What followers take from a pass's look: what it does not believe says nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.follower import Follower
from fleetd.model.plan import Observation
from fleetd.model.reasons import Verb, kept
from tests.support.build import NOW, intent, machine


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


@pytest.mark.parametrize(
    ("fields", "attached", "followed", "given", "follows"),
    [
        pytest.param({}, True, [], False, True, id="one with a machine"),
        pytest.param({}, False, [], False, False, id="no daemon runs: the pass closes it"),
        pytest.param({"machine_id": None}, True, [], False, False, id="one without a machine"),
        pytest.param({}, True, [7], False, False, id="followed already"),
        pytest.param({}, True, [8], False, True, id="another is"),
        pytest.param({}, True, [], True, False, id="it has its verdict"),
        pytest.param({"verb": kept(Verb, "hibernate")}, True, [], False, False, id="another version's verb"),
    ],
)
def test_what_is_followed(
    fields: dict[str, Any], attached: bool, followed: list[int], given: bool, follows: bool
) -> None:
    begun: list[int] = []
    group: Any = SimpleNamespace(start_soon=lambda _run, intent, **_named: begun.append(intent.id))
    nothing: Any = SimpleNamespace()
    recall: Any = SimpleNamespace(verdicts=SimpleNamespace(given=lambda _id: given))
    follower = Follower(nothing, recall, nothing, nothing, nothing)
    if attached:
        follower.attach(group)
    follower._followed.update(dict.fromkeys(followed, "training"))
    one = replace(intent(Verb.STOP, 1, id=7), **fields)
    follower.follow(one)
    follower.follow(one)
    assert begun == [7] * follows
    assert follower.open == len({*followed, *begun})

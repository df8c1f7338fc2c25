"""Creates in batches of one, two, four: what is made, what is told of the rest, and that it goes on."""

from __future__ import annotations

import anyio
import pytest

from fleetd.engine.slowstart import SlowStart
from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb
from tests.support.build import fleet
from tests.support.virtual_time import virtual

P = pytest.param
CREATES = [Action(Verb.CREATE, "training", Reason.SHORT_OF_TARGET, name=str(n)) for n in range(9)]


def skip(reason: Reason, count: int = 1) -> Skip:
    return Skip("training", Verb.CREATE, reason, count=count)


@pytest.mark.parametrize(
    ("count", "fails", "begun", "progress", "told"),
    [
        P(0, {}, [], 0, [], id="none"),
        P(1, {}, [0], 1, [], id="one"),
        P(9, {}, [0, 1, 1, 3, 3, 3, 3, 7, 7], 4, [], id="1, 2, 4 and the rest"),
        P(
            9,
            {0: Reason.REFUSED_RECENTLY},
            [0],
            1,
            [skip(Reason.REFUSED_RECENTLY), skip(Reason.SLOW_START, 8)],
            id="the first fails",
        ),
        P(
            9,
            {2: Reason.CAPACITY_BACKOFF},
            [0, 1, 1],
            2,
            [skip(Reason.CAPACITY_BACKOFF), skip(Reason.SLOW_START, 6)],
            id="one of the second batch",
        ),
        P(
            9,
            {1: Reason.OBSERVATION_STALE},
            [0, 1, 1],
            2,
            [skip(Reason.OBSERVATION_STALE, 7)],
            id="what ends the pass is said of the rest as well",
        ),
        P(3, {2: Reason.CAPACITY_BACKOFF}, [0, 1, 1], 2, [skip(Reason.CAPACITY_BACKOFF)], id="no rest"),
    ],
)
@virtual
async def test_what_is_made_and_what_is_told(
    count: int, fails: dict[int, Reason], begun: list[int], progress: int, told: list[Skip]
) -> None:
    times: list[float] = []
    behind: list[int] = []
    went_on: list[float] = []

    async def create(action: Action, place: int) -> Skip | None:
        times.append(anyio.current_time())
        behind.append(place)
        await anyio.sleep(1)
        reason = fails.get(int(action.name))
        return None if reason is None else skip(reason)

    start = SlowStart(fleet(), CREATES[:count], create)
    began = anyio.current_time()
    assert await start.run(lambda: went_on.append(anyio.current_time())) == told
    batches = [round(at - began) for at in times]
    starts = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 2, 7: 3, 8: 3}
    assert batches == [starts[n] for n in range(len(begun))], "each batch when the one before it has succeeded"
    assert behind == list(range(len(begun)))
    assert [round(at - began) for at in went_on] == list(range(1, progress + 1)), "after each batch it is said"
    assert start.over() == [], "told once"


@virtual
async def test_a_pass_that_is_over_begins_no_batch_and_tells_what_is_left() -> None:
    made: list[str] = []

    async def create(action: Action, _place: int) -> None:
        made.append(action.name)
        await anyio.sleep(1)

    start = SlowStart(fleet(), CREATES, create)
    async with anyio.create_task_group() as group:
        group.start_soon(start.run, lambda: None)
        await anyio.sleep(1.5)
        assert start.over() == [skip(Reason.CREATE_UNANSWERED, 6)]
        assert start.over() == []
    assert made == ["0", "1", "2"]

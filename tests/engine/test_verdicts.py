"""A transition has one verdict, whoever asks for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine import verdicts
from fleetd.model.errors import Busy, RateLimited, Refused, RetryLater
from fleetd.model.reasons import Outcome, Verb
from tests.support.build import NOW, fleet, intent, token_name
from tests.support.rig import rig
from tests.support.virtual_time import virtual


@virtual
async def test_a_pass_that_follows_what_has_just_ended_brings_no_second_verdict() -> None:
    """It read the open intents before the verdict, and comes to follow them after it."""
    async with rig(fleet(target=0)) as world:
        world.cloud.add(token_name(1), machine_type="P4000")
        async with world.passes_by_hand() as reconciler:
            report = await reconciler.run_pass()
            (stale,) = report.intents
            await anyio.sleep(90)
            world.follower.follow(stale)
            await anyio.sleep(90)
            assert await world.history() == ["stop ps1 reached"]
            assert [s for s in world.meter.said if s[0] == "action"] == [("action", "training", "stop", "reached")]
            assert [s for s in world.meter.said if s[0] == "transition"] == [("transition", "stop")]


@virtual
async def test_an_intent_is_closed_once() -> None:
    async with rig(fleet(target=0)) as world:
        world.cloud.add(token_name(1), machine_type="P4000")
        async with world.passes_by_hand() as reconciler:
            (intent,) = (await reconciler.run_pass()).intents
            now = world.clock.now()
            assert await world.journal.close_intent(intent.id, at=now, outcome=Outcome.LOST)
            assert not await world.journal.close_intent(intent.id, at=now, outcome=Outcome.REACHED)
            await anyio.sleep(90)
            assert await world.history() == ["stop ps1 lost"], "the first verdict stands"
            assert not [s for s in world.meter.said if s[0] in {"action", "transition"}], "nothing counts it twice"


DECLINED = {
    "refused": (Refused("not allowed", operation="stop", status=403), Outcome.REFUSED),
    "busy": (Busy("it is updating", operation="stop", status=409), Outcome.NOT_SENT),
    "failing": (RetryLater("502", operation="stop", status=502), Outcome.NOT_SENT),
    "rate limited": (RateLimited("slow down", operation="stop", status=429), Outcome.NOT_SENT),
}
"""How a call is declined, and the verdict on its intent."""


@pytest.mark.parametrize("how", DECLINED)
@virtual
async def test_a_declined_call_is_not_followed_by_a_pass_that_began_before_its_answer(how: str) -> None:
    """Else what a person does to the machine then would be remembered as fleetd's own deed."""
    error, verdict = DECLINED[how]
    async with rig(fleet(target=0)) as world:
        world.cloud.add(token_name(1), machine_type="P4000")
        world.cloud.before = lambda op, _id: error if op == "stop" else None
        async with world.passes_by_hand() as reconciler:
            await reconciler.load()
            world.cloud.hangs = lambda op, _detail: 5.0 if op == "stop" else 0.0
            async with anyio.create_task_group() as group:
                group.start_soon(reconciler.run_pass)
                await anyio.sleep(3)
                (stale,) = await world.journal.open_intents()
                await anyio.sleep(5)
            world.follower.follow(stale)
            world.cloud.human("stop", "ps1")
            await anyio.sleep(90)
            assert world.reconciler.recall.facts["ps1"].stopped_by is None, "a person stopped it"
            assert await world.history() == [f"stop ps1 {verdict}"]


@pytest.mark.parametrize("how", DECLINED)
@virtual
async def test_what_has_its_verdict_is_not_counted_again_when_its_call_is_declined(how: str) -> None:
    error, _ = DECLINED[how]
    async with rig(fleet(target=0)) as world:
        world.cloud.add(token_name(1), machine_type="P4000")
        world.cloud.before = lambda op, _id: error if op == "stop" else None
        world.cloud.hangs = lambda op, _detail: 5.0 if op == "stop" else 0.0
        async with world.passes_by_hand() as reconciler, anyio.create_task_group() as group:
            group.start_soon(reconciler.run_pass)
            await anyio.sleep(3)
            (intent,) = await world.journal.open_intents()
            assert await world.journal.close_intent(intent.id, at=world.clock.now(), outcome=Outcome.LOST)
            await anyio.sleep(5)
        assert await world.history() == ["stop ps1 lost"], "the first verdict stands"
        assert not [s for s in world.meter.said if s[0] == "action"], "nothing counts it twice"


@pytest.mark.parametrize("count", [3, 4, 9])
@virtual
async def test_the_newest_verdicts_are_remembered(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(verdicts, "REMEMBERED", 3)
    closed: list[int] = []

    async def close_intent(number: int, **_how: object) -> bool:
        closed.append(number)
        return True

    nothing: Any = SimpleNamespace(close_intent=close_intent, action=lambda **_keys: None)
    given = verdicts.Verdicts(nothing, nothing)
    for number in range(1, count + 1):
        assert await given.give(intent(Verb.STOP, 1, id=number), Outcome.REACHED, None, NOW)
    assert [n for n in range(count + 2) if given.given(n)] == list(range(1, count + 1))[-3:]
    assert closed == list(range(1, count + 1))

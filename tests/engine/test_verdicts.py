"""A transition has one verdict, whoever asks for it."""

from __future__ import annotations

import anyio

from fleetd.model.reasons import Outcome
from tests.support.build import fleet, token_name
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

"""From a place in the queue to the intent: who is asked, how often, and what drops the call."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine.gate import Gate, Objection
from fleetd.engine.preflight import Preflight
from fleetd.model.errors import Unavailable
from fleetd.model.plan import Action
from fleetd.model.reasons import Reason, Verb
from tests.support.build import NOW, facts, fleet, hold, later, machine, token_name
from tests.support.virtual_time import virtual

P = pytest.param
MACHINE = machine(1)
FLEET = fleet()
STOP = Action(Verb.STOP, "training", Reason.OVER_TARGET, "ps1", token_name(1), expected_state="ready")
DIFFERS = Reason.FRESH_LOOK_DIFFERS


class Story:
    """A machine as ``show`` has it, idle sources that say ``word``, and vetoes that may come at any read."""

    def __init__(self, seen: Any = MACHINE, word: Reason | None = None, facts: Any = None) -> None:
        self.shown: list[str] = []
        self.asked: list[Any] = []
        self.reads = 0
        self.hold: Any = None
        self._seen, self._word = seen, word
        me: Any = self
        clock: Any = SimpleNamespace(now=lambda: NOW)
        self.gate = Gate(me, clock, in_force=lambda _name: FLEET)
        recall: Any = SimpleNamespace(facts=facts or {})
        self.preflight = Preflight(recall, me, self.gate, self._last_word)

    async def show(self, machine_id: str) -> Any:
        self.shown.append(machine_id)
        await anyio.sleep(0.1)
        if isinstance(self._seen, Exception):
            raise self._seen
        return self._seen

    async def _last_word(self, action: Action, seen: Any, cloud: Any) -> Reason | None:
        assert (seen, cloud) == (self._seen, self)
        self.asked.append(action)
        return self._word

    async def read(self) -> None:
        self.reads += 1

    def against(self, _verb: Verb, **_about: Any) -> Any:
        return self.hold

    async def ready(self, action: Action = STOP, times: int = 1) -> tuple[Objection | None, Any]:
        cloud: Any = self
        with self.gate.ticket(action.verb, FLEET, action.machine, action.name) as ticket:
            for _ in range(times):
                found = await self.preflight.ready(cloud, ticket, action)
            return found, ticket


DESTROY = replace(STOP, verb=Verb.DESTROY)


@pytest.mark.parametrize(
    ("story", "action", "objection"),
    [
        P(Story(), STOP, None, id="it is as the plan saw it"),
        P(Story(), replace(STOP, expected_state=None), None, id="whatever its state"),
        P(
            Story(replace(MACHINE, state="off")),
            STOP,
            Objection(DIFFERS, "it is off, the plan saw ready"),
            id="state",
        ),
        P(
            Story(replace(MACHINE, id="ps9")),
            STOP,
            Objection(DIFFERS, "asked for ps1, answered with ps9"),
            id="another machine",
        ),
        P(
            Story(replace(MACHINE, name="alice")),
            STOP,
            Objection(DIFFERS, "it is called alice now and is not ours"),
            id="not ours any more",
        ),
        P(
            Story(Unavailable("503", operation="show")),
            STOP,
            Objection(DIFFERS, "no fresh look: show: 503"),
            id="nobody can look",
        ),
        P(
            Story(word=Reason.BUSY),
            STOP,
            Objection(Reason.BUSY, "asked again right before the call"),
            id="it is in use by now",
        ),
        P(Story(facts={"ps1": facts(1)}), DESTROY, None, id="a destroy of what is ours"),
        P(
            Story(facts={"ps1": facts(1, unconfirmed=True)}),
            DESTROY,
            Objection(DIFFERS, "nobody has confirmed that it is ours"),
            id="a destroy of what nobody has confirmed",
        ),
        P(Story(facts={"ps1": facts(1, unconfirmed=True)}), STOP, None, id="a stop of what nobody has confirmed"),
    ],
)
@virtual
async def test_what_drops_a_call(story: Story, action: Action, objection: Objection | None) -> None:
    found, ticket = await story.ready(action)
    assert found == objection
    assert story.shown == ["ps1"]
    differs = objection is not None and objection.reason is DIFFERS
    assert story.asked == ([] if differs else [action]), "who is not what the plan saw is not asked about"
    assert ticket.looking
    if ticket.fresh is not None:
        assert (ticket.name, ticket.seen_at) == (ticket.fresh.name, anyio.current_time())


@virtual
async def test_each_call_looks_anew_and_asks_the_idle_sources_once() -> None:
    story = Story()
    found, _ = await story.ready(times=3)
    assert found is None
    assert (len(story.shown), len(story.asked), story.reads) == (3, 1, 3)


@virtual
async def test_what_is_forbidden_already_is_not_looked_at() -> None:
    story = Story()
    story.hold = hold(expires_at=later(hours=1))
    found, ticket = await story.ready()
    assert found is not None
    assert found.until == later(hours=1)
    assert (story.shown, story.asked, ticket.looking) == ([], [], False)


@virtual
async def test_a_veto_that_came_while_it_was_looked_at_counts() -> None:
    story = Story()

    async def read() -> None:
        story.hold = hold(None, "freeze", expires_at=later(hours=1))

    story.read = read  # type: ignore[method-assign]
    found, _ = await story.ready()
    assert found is not None
    assert found.until == later(hours=1)
    assert len(story.asked) == 1

"""A pass that only looks, with a look that notes what it is told: what it begins with, and what it tells."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from fleetd.engine import survey as module
from fleetd.engine.pace import Pace
from fleetd.engine.survey import survey
from fleetd.model.errors import Unavailable
from fleetd.model.in_mind import NOTHING, InMind
from fleetd.model.journal import Memory
from fleetd.model.reasons import Verb
from tests.support.build import NOW, ago, intent, later, machine, seen
from tests.support.rig import settings
from tests.support.virtual_time import virtual

P = pytest.param
OPEN = (intent(Verb.STOP, 1),)


class World:
    """What a survey is made of; ``fails``: what the look ends with."""

    def __init__(self, patched: pytest.MonkeyPatch, fails: Exception | None = None) -> None:
        self.told: list[Any] = []
        self.fails = fails
        self.settings = settings(interval=600)
        self.made: dict[str, Any] = {}
        self.cloud: Any = object()
        self.journal: Any = object()
        self.clock: Any = SimpleNamespace(now=lambda: NOW)
        self.idleness: Any = SimpleNamespace(aclose=self._closed)
        patched.setattr(module, "Look", self._make)

    def _make(
        self,
        cloud: Any,
        recall: Any,
        clock: Any,
        idleness: Any,
        faults: Any,
        pace: Any,
        *,
        agreement: Any,
        unanswered: Any,
    ) -> World:
        assert (cloud, recall.journal, clock, idleness) == (self.cloud, self.journal, self.clock, self.idleness)
        assert pace() == Pace.of(self.settings)
        faults.saw("look", ValueError("odd"))  # it is counted by nobody, and ends nothing
        self.made = {"agreement": agreement, "unanswered": unanswered()}
        return self

    async def load(self) -> None:
        await anyio.sleep(5)
        self.told.append("load")

    def assume(self, mind: InMind, idle: Any) -> None:
        self.told.append(("assume", mind, idle))

    async def look(self, wanted: Any, **fields: Any) -> Any:
        assert wanted is self.settings
        self.told.append(("look", fields))
        began = anyio.current_time()
        await anyio.sleep(2)
        if self.fails is not None:
            raise self.fails
        self.looked = SimpleNamespace(
            started_at=later(minutes=1), began=began, observation=seen(machine(1)), owned={"ps1": "owner"},
            plan=SimpleNamespace(skips=("skip",)), memory=Memory(intents=OPEN),
        )  # fmt: skip
        return self.looked

    async def _closed(self) -> None:
        self.told.append("closed")

    async def survey(self, **fields: Any) -> Any:
        return await survey(self.settings, self.cloud, self.journal, self.clock, self.idleness, **fields)


ELSE: dict[str, Any] = {"at": None, "failing": timedelta(0), "forecast": False}
GIVEN: dict[str, Any] = {"at": later(hours=9), "forecast": True}
MIND = InMind(unanswered=(3,), failing_since=ago(minutes=4))
IDLE: Any = {"ps1": "idle"}


@pytest.mark.parametrize(
    ("fields", "looks", "assumed", "made"),
    [
        P(
            {},
            ELSE,
            (NOTHING, None),
            {"agreement": None, "unanswered": ()},
            id="nobody runs: all is asked, and every check is due",
        ),
        P(
            GIVEN | {"mind": MIND, "idle": IDLE, "agreement": "ours"},
            GIVEN | {"failing": timedelta(minutes=4)},
            (MIND, IDLE),
            {"agreement": "ours", "unanswered": (3,)},
            id="as a running one knows it",
        ),
    ],
)
@virtual
async def test_what_a_survey_begins_with(
    fields: Any, looks: Any, assumed: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch)
    await world.survey(**fields)
    assert world.told == ["load", ("assume", *assumed), ("look", looks), "closed"]
    assert world.made == made


@virtual
async def test_what_a_survey_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    report = await world.survey()
    told = world.looked
    assert (report.pass_id, report.started_at, report.duration_s) == (0, told.started_at, 2.0)
    assert (report.observation, report.owned, report.plan) == (told.observation, told.owned, told.plan)
    assert (report.skips, report.intents, report.memory) == (told.plan.skips, OPEN, told.memory)


@virtual
async def test_the_sources_are_closed_however_a_survey_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Unavailable("no route"))
    with pytest.raises(Unavailable):
        await world.survey()
    assert world.told[-1] == "closed"

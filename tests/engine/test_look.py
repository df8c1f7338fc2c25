"""A look with parts that note what they are told: what it asks, what it keeps, and with what the plan is made."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine import look as module
from fleetd.engine.basis import Basis
from fleetd.engine.look import Look
from fleetd.model.fleet import Costs
from fleetd.model.journal import IdleReport
from fleetd.model.plan import NOTHING_DUE, Check
from fleetd.model.reasons import Verb
from fleetd.planner.guards import PROVIDER_DOUBT
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, memory, seen
from tests.support.rig import settings
from tests.support.virtual_time import virtual

P = pytest.param
D = Decimal
DUE = {"ps1": frozenset({Check.SNAPSHOT})}
IDLE = {"ps1": IdleReport("idle", ago(hours=1), "gpu 0 %", NOW)}
OURS, MOVING, OLD, STRANGER = machine(1), machine(2), machine(3, fleet="old"), machine(9, name="x")
COSTS = Costs(prices={"P4000": D(1)}, max_hourly_cost=D(7))


class Parts:
    """All that a look is made of; notes what it is told."""

    def __init__(self, observation: Any, patched: pytest.MonkeyPatch, *, due: Any = DUE) -> None:
        self.told: list[Any] = []
        self.seen, self.is_due = observation, due
        self.settings = settings(fleet(), costs=COSTS)
        self.planned: dict[str, Any] = {}
        me: Any = self
        self.facts = {"ps1": facts(1), "ps2": facts(2)}
        self.journal = SimpleNamespace()
        self.leases = SimpleNamespace()
        self.faults: Any = SimpleNamespace(saw=lambda *_: "odd")
        self.look = look = Look(me, me, me, me, self.faults, lambda: me)
        parts: Any = look
        parts.checks = SimpleNamespace(due=self.due, look=self.show, unjudged=frozenset({"ps1"}))
        parts.snapshots = SimpleNamespace(decide=self.decide)
        parts.tariffs = SimpleNamespace(load=self._later("tariffs"), save=self._later("save tariffs"))
        parts.prices = SimpleNamespace(
            load=self._later("prices"), learn=self.learn, known=lambda prices: {"known": prices}
        )
        parts.ledger = SimpleNamespace(
            load=self._later("ledger"), ask_all=self.ask_all, month=lambda at: ("bills", at),
            rates=lambda at: ("rates", at),
        )  # fmt: skip
        parts.agreement = SimpleNamespace(
            told_doubt=lambda: self.told.append("clocks"), latest=lambda: later(hours=2),
            earliest=lambda: ago(hours=2), doubt="ours is 7200 s ahead", apart_by=timedelta(hours=2),
        )  # fmt: skip
        parts._observer = SimpleNamespace(observe=self.observe)
        parts._settling = SimpleNamespace(
            load=self._later("settling"),
            doubt_unanswered=self.doubt_unanswered,
            settle=self.settle,
            learn=self.learnt,
        )
        patched.setattr(module, "plan", self.plan)

    def _later(self, word: str) -> Any:
        async def note() -> None:
            self.told.append(word)

        return note

    def now(self) -> datetime:
        return NOW

    # The recall and the idle sources
    async def load(self) -> None:
        self.told.append("load")

    async def respect_anew(self, at: datetime) -> None:
        self.told.append(("respect", at))

    async def memory(self, now: datetime, *, provider_failing: timedelta, reached: datetime) -> Any:
        self.told.append(("memory", now, provider_failing, reached))
        return memory(facts=self.facts.values(), provider_failing=provider_failing, intents=(intent(Verb.STOP, 2),))

    async def use(self, sources: Any) -> None:
        assert sources is self.settings.idle_sources
        self.told.append("use")

    async def refresh(self, fleets: Any, machines: Any, owned: Any, holds: Any, *, interval: timedelta) -> Any:
        assert (fleets, holds, interval) == (self.settings.fleets, (), timedelta(seconds=30))
        self.told.append(("idle?", [m.id for m in machines], sorted(owned)))
        return IDLE

    async def save(self) -> None:
        self.told.append("save idle")

    async def used(self, fleets: Any, machines: Any) -> Any:
        assert fleets is self.settings.fleets
        return {m.id: NOW for m in machines}

    # The rest
    def due(self, owned: Any, fleets: Any) -> Any:
        assert fleets is self.settings.fleets
        self.told.append(("due?", sorted(owned)))
        return self.is_due

    async def show(self, due: Any, fleets: Any, machines: Any, owned: Any, *, interval: timedelta) -> Any:
        assert (fleets, interval) == (self.settings.fleets, timedelta(seconds=30))
        self.told.append(("show", due, [m.id for m in machines], sorted(owned)))
        return {"ps1": OURS}

    async def decide(self, known: Any, plans: Any) -> Any:
        plans(known)
        return "decided", known

    async def learn(self, machines: Any, prices: Any, at: datetime, *, billed: Any) -> None:
        assert (prices, at, billed) == (COSTS.prices, NOW, ("rates", NOW))
        self.told.append(("prices of", [m.id for m in machines]))

    async def ask_all(self, machines: Any, listed: Any) -> None:
        self.told.append(("bills of", sorted(m.machine_id for m in machines), sorted(listed)))

    async def observe(self, expected: Any, turned: Any) -> Any:
        self.told.append(("observe", sorted(expected), sorted(turned(self.seen.machines))))
        return self.seen

    async def doubt_unanswered(self, at: datetime) -> Any:
        assert at == NOW
        return [intent(Verb.STOP, 2)]

    async def settle(self, intents: Any, observation: Any, fleets: Any) -> Any:
        assert (observation, fleets) == (self.seen, {"training": self.settings.fleets[0]})
        self.told.append(("settle", [i.verb for i in intents]))
        return [intent(Verb.START, 2)]

    async def learnt(self, observation: Any, intents: Any, fleets: Any) -> None:
        assert (observation, fleets) == (self.seen, self.settings.fleets)
        self.told.append(("learn", [i.verb for i in intents]))

    def plan(self, fleets: Any, observation: Any, known: Any, at: datetime, **fields: Any) -> Any:
        assert fleets is self.settings.fleets
        self.planned = {"observation": observation, "memory": known, "at": at} | fields
        return "planned"


ALL = (OURS, MOVING, OLD, STRANGER)
GOOD = seen(*ALL)
IDS = [m.id for m in ALL]
BEFORE = ["use", ("observe", ["ps1", "ps2"], [])]
SETTLED = [("settle", [Verb.STOP]), ("learn", [Verb.START])]
SHOWN = ("show", DUE, IDS, ["ps1", "ps2"])


def remembered(failing: timedelta = timedelta(0)) -> list[Any]:
    return ["clocks", ("respect", later(hours=2)), ("memory", NOW, failing, ago(hours=2))]


ASKED = [("idle?", IDS, ["ps1", "ps2"]), "save idle"]
PRICED = [("prices of", ["ps1", "ps3"]), "save tariffs"]
OWNED = ("due?", ["ps1", "ps2"])
SICK = PROVIDER_DOUBT + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("looks", "fields", "told", "idle"),
    [
        P(GOOD, {}, [*BEFORE, *SETTLED, *remembered(), OWNED, *ASKED, SHOWN, *PRICED], IDLE, id="good"),
        P(
            seen(*ALL, rejected="it shrank"), {},
            [*BEFORE, *remembered(), ("show", NOTHING_DUE, IDS, ["ps1", "ps2"])], {}, id="not believed",
        ),
        P(
            seen(*ALL, complete=False), {"forecast": True},
            [*BEFORE, *remembered(), ("show", NOTHING_DUE, IDS, ["ps1", "ps2"])], {}, id="not whole, for a forecast",
        ),
        P(
            GOOD, {"forecast": True},
            [
                *BEFORE, *SETTLED, *remembered(), OWNED, ("bills of", ["ps1", "ps2", "ps3"], sorted(IDS)), *ASKED,
                SHOWN, *PRICED,
            ],
            IDLE, id="a forecast",
        ),
        P(
            GOOD, {"failing": PROVIDER_DOUBT},
            [*BEFORE, *SETTLED, *remembered(PROVIDER_DOUBT), OWNED, *ASKED, SHOWN, *PRICED], IDLE,
            id="it failed for a while",
        ),
        P(
            GOOD, {"failing": SICK}, [*BEFORE, *SETTLED, *remembered(SICK), OWNED, SHOWN, *PRICED], {},
            id="the provider is in doubt",
        ),
        P(
            GOOD, {"again": Basis(GOOD, 7.0, stale_after=timedelta(seconds=60))},
            ["use", *remembered(), OWNED, *ASKED, SHOWN, *PRICED], IDLE, id="on the same listing",
        ),
    ],
)  # fmt: skip
@virtual
async def test_what_a_look_asks_and_knows(
    looks: Any, fields: Any, told: list[Any], idle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(looks, monkeypatch)
    looked = await parts.look.look(parts.settings, **fields)
    assert parts.told == told
    assert (looked.started_at, looked.plan, looked.observation) == (NOW, "decided", looks)
    assert looked.basis == fields.get("again", looked.basis)
    assert looked.basis.observation is looks
    assert looked.basis.stale_after == timedelta(seconds=60)
    assert {m: o.fleet for m, o in looked.owned.items()} == {"ps1": "training", "ps2": "training"}
    known = parts.planned["memory"]
    assert looked.due == (DUE if looks.sane else NOTHING_DUE)
    assert (known.idle, known.bills, known.shown, known.unjudged) == (
        idle, ("bills", NOW), {"ps1": OURS}, frozenset({"ps1"}),
    )  # fmt: skip
    assert known.leased == dict.fromkeys(IDS, NOW)
    assert (known.clocks_apart, known.clock_ahead) == ("ours is 7200 s ahead", timedelta(hours=2))
    assert {k: parts.planned[k] for k in ("at", "due", "forecast", "stale_after")} == {
        "at": NOW, "due": looked.due, "forecast": fields.get("forecast", False), "stale_after": timedelta(seconds=60),
    }  # fmt: skip
    assert parts.planned["observation"] == looks
    assert parts.planned["owned"] is looked.owned
    costs = parts.planned["costs"]
    assert (costs.prices, costs.max_hourly_cost) == ({"known": COSTS.prices}, D(7))
    assert parts.planned["on_fault"] == parts.faults.saw


@virtual
async def test_nothing_due_asks_for_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(GOOD, monkeypatch, due=NOTHING_DUE)
    await parts.look.look(parts.settings)
    assert parts.told[-1] == ("show", NOTHING_DUE, IDS, ["ps1", "ps2"])


@virtual
async def test_a_plan_for_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(GOOD, monkeypatch)
    await parts.look.look(parts.settings, at=later(days=1))
    assert parts.planned["at"] == parts.planned["observation"].at == later(days=1)
    assert parts.planned["observation"].machines == ALL


@virtual
async def test_all_that_an_earlier_process_left_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(GOOD, monkeypatch)
    await parts.look.load()
    assert parts.told == ["load", "settling", "load", "tariffs", "prices", "ledger"]

"""What a machine type costs: asked of a few machines in turn, the higher of all that is told, and kept."""

from __future__ import annotations

import json
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.observed_prices import ObservedPrices
from fleetd.engine.prices import ASKED_OF_A_TYPE, Prices
from fleetd.model.bounds import MOST_MONEY
from fleetd.model.errors import NotFound, Unavailable
from tests.support.build import NOW, machine
from tests.support.virtual_time import virtual

P = pytest.param
D = Decimal


class Account:
    """Answers ``utilization`` by machine id; a journal of notes."""

    def __init__(self, rates: dict[str, Any] | None = None, *, tells: bool = True, computed: bool = False) -> None:
        self.rates = rates or {}
        self.asked: list[str] = []
        self.notes: dict[str, str] = {}
        self.capabilities = SimpleNamespace(utilization=tells, utilization_computed=computed)

    async def utilization(self, machine_id: str, month: str) -> Any:
        assert month == f"{NOW:%Y-%m}"
        self.asked.append(machine_id)
        rate = self.rates.get(machine_id)
        if isinstance(rate, Exception):
            raise rate
        return SimpleNamespace(hourly_rate=rate)

    async def get_note(self, key: str) -> str | None:
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        self.notes[key] = value

    def prices(self) -> Prices:
        me: Any = self
        self.observed = ObservedPrices(me)
        return Prices(me, me, self.observed)


def boxes(count: int, **fields: Any) -> list[Any]:
    return [machine(n, **fields) for n in range(1, count + 1)]


def ids(*numbers: int) -> list[str]:
    return [f"ps{n}" for n in numbers]


@pytest.mark.parametrize(
    ("count", "rates", "asked"),
    [
        P(1, {}, [ids(1)] * 3, id="one machine"),
        P(2, {}, [ids(1, 2), ids(2, 1), ids(1, 2)], id="two: another begins"),
        P(5, {}, [ids(1, 2, 3), ids(2, 3, 4), ids(3, 4, 5), ids(4, 5, 1), ids(5, 1, 2), ids(1, 2, 3)], id="in turn"),
        P(5, {"ps2": D("0.5")}, [ids(1, 2), ids(2), ids(3, 4, 5)], id="until one tells"),
        P(5, {"ps1": D(0), "ps2": D("0.5")}, [ids(1, 2)], id="0 tells nothing"),
        P(
            5,
            {"ps1": NotFound("gone"), "ps2": Unavailable("503"), "ps3": D(1)},
            [ids(1, 2, 3), ids(2, 3), ids(3)],
            id="one that cannot be asked is passed over",
        ),
    ],
)
@virtual
async def test_which_machines_are_asked(count: int, rates: dict[str, Any], asked: list[list[str]]) -> None:
    account = Account(rates)
    prices = account.prices()
    for expected in asked:
        account.asked.clear()
        await prices.learn(boxes(count), {}, NOW)
        assert account.asked == expected
        assert len(account.asked) <= ASKED_OF_A_TYPE


@pytest.mark.parametrize(
    ("account", "machines", "billed", "known"),
    [
        P(Account({"ps1": D("0.5")}), boxes(1), None, {"P4000": D("0.5")}, id="asked"),
        P(Account({"ps1": D("0.5")}, tells=False), boxes(1), None, {}, id="does not tell"),
        P(Account({"ps1": D("0.5")}, computed=True), boxes(1), None, {}, id="worked out by us"),
        P(Account({"ps1": D("9")}), boxes(1, hourly_rate=D("0.5")), None, {"P4000": D("0.5")}, id="the machine says"),
        P(
            Account(),
            [machine(1, hourly_rate=D("0.5")), machine(2, hourly_rate=D("0.7"))],
            None,
            {"P4000": D("0.7")},
            id="two rates: the higher",
        ),
        P(Account({"ps1": D("0.5")}), boxes(1), {"ps1": D("0.9")}, {"P4000": D("0.9")}, id="its bill is higher"),
        P(Account({"ps1": D("0.5")}), boxes(1), {"ps1": D("0.1")}, {"P4000": D("0.5")}, id="its bill is lower"),
        P(Account(), boxes(1), {"ps1": D("0.1")}, {"P4000": D("0.1")}, id="its bill alone"),
        P(Account({"ps1": D("0.5")}), boxes(1, machine_type=None), None, {}, id="of no type"),
        P(
            Account({"ps1": D("0.5"), "ps2": D("2")}),
            [machine(1), machine(2, machine_type="V100")],
            None,
            {"P4000": D("0.5"), "V100": D("2")},
            id="each type",
        ),
    ],
)
@virtual
async def test_what_is_learnt(account: Account, machines: Any, billed: Any, known: dict[str, Decimal]) -> None:
    prices = account.prices()
    await prices.learn(machines, {}, NOW, billed=billed)
    assert prices.known({}) == known
    told = {m.hourly_rate for m in machines} | {account.rates.get(m) for m in account.asked}
    seen = {span.price for spans in account.observed.history.values() for span in spans}
    assert seen == {price for price in told if price}, "a bill's rate is no price of now"
    again = account.prices()
    await again.load()
    assert again.known({}) == known, "over a restart"


@pytest.mark.parametrize("told", [None, D(0), Unavailable("503")])
@virtual
async def test_who_tells_no_price_takes_none_back(told: Any) -> None:
    account = Account({"ps1": D("0.5")})
    prices = account.prices()
    await prices.learn(boxes(1), {}, NOW)
    account.rates["ps1"] = told
    with capture_logs() as logs:
        await prices.learn(boxes(1), {}, NOW)
    assert prices.known({}) == {"P4000": D("0.5")}
    assert json.loads(account.notes["prices"]) == {"P4000": "0.5"}
    failed = {"event": "check.look_failed", "log_level": "debug", "machine": "ps1", "error": "503"}
    assert logs == ([failed] if isinstance(told, Unavailable) else [])


@virtual
async def test_a_look_for_a_plan_writes_and_says_nothing() -> None:
    account = Account({"ps1": D("0.5")})
    prices = account.prices()
    with capture_logs() as logs:
        await prices.learn(boxes(1), {"P4000": D("9")}, NOW, keep=False)
    assert prices.known({}) == {"P4000": D("0.5")}
    assert (account.notes, logs) == ({}, [])


@virtual
async def test_what_is_new_is_said_and_written_once() -> None:
    account = Account({"ps1": D("0.5")})
    prices = account.prices()
    with capture_logs() as logs:
        for _ in range(3):
            await prices.learn(boxes(1), {"P4000": D("1.0"), "V100": D(3)}, NOW)
        account.rates["ps1"] = D("0.6")
        await prices.learn(boxes(1), {"P4000": D("0.6")}, NOW)
        account.rates["ps1"] = D("0.5")
        await prices.learn(boxes(1), {"P4000": D("1.0")}, NOW)
    keys = ("event", "machine_type", "hourly", "before", "configured", "used")
    said = [tuple(line[k] for k in keys if k in line) for line in logs if line["log_level"] != "debug"]
    assert said == [
        ("price.learnt", "P4000", "0.5", None),
        ("price.differed", "P4000", "0.5", "1.0", "1.0"),
        ("price.learnt", "P4000", "0.6", "0.5"),
        ("price.learnt", "P4000", "0.5", "0.6"),
        ("price.differed", "P4000", "0.5", "1.0", "1.0"),
    ]
    assert json.loads(account.notes["prices"]) == {"P4000": "0.5"}


@pytest.mark.parametrize(
    ("learnt", "configured", "known"),
    [
        ({}, {}, {}),
        ({"P4000": "0.5"}, {"P4000": D("0.6")}, {"P4000": D("0.6")}),
        ({"P4000": "0.5"}, {"P4000": D("0.4")}, {"P4000": D("0.5")}),
        ({"P4000": "0.5"}, {"P4000": D(0), "V100": D(0)}, {"P4000": D("0.5")}),
        ({"P4000": "0", "V100": "-1", "A100": "NaN", "A4000": str(MOST_MONEY + 1)}, {}, {}),
        ({"P4000": str(MOST_MONEY)}, {}, {"P4000": D(MOST_MONEY)}),
        ({"P4000": "0.5", "A100": "NaN"}, {}, {"P4000": D("0.5")}),
    ],
)
@virtual
async def test_the_higher_of_what_is_kept_and_what_is_configured(
    learnt: dict[str, str], configured: dict[str, Decimal], known: dict[str, Decimal]
) -> None:
    account = Account()
    account.notes["prices"] = json.dumps(learnt)
    prices = account.prices()
    await prices.load()
    assert prices.known(configured) == known

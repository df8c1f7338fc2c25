"""Money: orphans, caps, prices and budgets, as tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from fleetd.model.fleet import Costs, Guards, Limit, ScaleIn, Window
from fleetd.model.journal import BilledMonth
from fleetd.model.plan import Plan
from fleetd.model.reasons import Reason, Verb
from fleetd.planner.budgets import segments
from fleetd.planner.plan import plan
from fleetd.planner.rates import differ, hourly_rate
from tests.support.build import NOW, ago, facts, fleet, machine, machines, memory, seen, token_name

RATE = Decimal("0.50")
PRICES = {"P4000": RATE, "V100": Decimal("2.30")}
LOOSE = Guards(max_stops_per_pass=Limit(percent=100), max_destroys_per_pass=10)
MONTH_END = datetime(2026, 4, 1, tzinfo=UTC)
HOURS_LEFT = Decimal((MONTH_END - NOW) / timedelta(hours=1))
"""708: from 2 March, 12:00, to the end of March."""


def decide(*fleets, listed=(), recalled=None, now=NOW, hourly="0", monthly="0", prices=PRICES) -> Plan:
    costs = Costs(prices, Decimal(hourly), Decimal(monthly))
    return plan(fleets, seen(*listed, at=now), recalled or memory(), now, costs=costs)


def made(decided: Plan) -> int:
    return sum(a.verb is Verb.CREATE for a in decided.actions)


def details(decided: Plan, reason: Reason) -> list[str]:
    return [s.detail for s in decided.skips if s.reason is reason]


# Orphans


@pytest.mark.parametrize(
    ("listed", "known", "names", "hourly"),
    [
        pytest.param([machine(1, fleet="old")], [], [token_name(1, "old")], "0.50", id="by its name"),
        pytest.param(
            [machine(1, fleet="old")], [facts(1, fleet="old")], [token_name(1, "old")], "0.50", id="by the journal"
        ),
        pytest.param([machine(1, name="mine now")], [facts(1, fleet="old")], ["mine now"], "0.50", id="renamed"),
        pytest.param([machine(1, "off", fleet="old")], [], [token_name(1, "old")], "0", id="off: storage only"),
        pytest.param([machine(1, fleet="old", machine_type="A9")], [], [token_name(1, "old")], None, id="no price"),
        pytest.param([machine(1, name="alice")], [], None, "0", id="foreign"),
        pytest.param([machine(1)], [], None, "0", id="owned"),
        pytest.param([machine(1, name="alice")], [facts(1, fleet="old", adopted=True)], None, "0", id="was adopted"),
    ],
)
def test_machines_whose_fleet_left_the_config_are_in_the_sum(listed, known, names, hourly) -> None:
    decided = decide(
        fleet(target=sum(m.name == token_name(1) for m in listed)), listed=listed, recalled=memory(facts=known)
    )
    own = RATE if names is None and listed[0].name == token_name(1) else Decimal(0)
    if names is None:
        assert decided.orphans == ()
    else:
        assert [(o.fleet, list(o.machines)) for o in decided.orphans] == [("old", names)]
        assert decided.orphans[0].hourly == (None if hourly is None else Decimal(hourly))
    assert decided.hourly_before == (None if hourly is None else own + Decimal(hourly))


@pytest.mark.parametrize(
    ("cap", "does"),
    [
        pytest.param("1.50", 0, id="what the old name runs fills the cap"),
        pytest.param("2.00", 1, id="room for one"),
        pytest.param("0", 3, id="no cap"),
    ],
)
def test_a_rename_cannot_double_what_a_cap_allows(cap, does) -> None:
    left = [machine(n, fleet="before") for n in (1, 2, 3)]
    decided = decide(fleet("after", 3), listed=left, hourly=cap)
    assert made(decided) == does
    assert decided.hourly_before == 3 * RATE
    assert decided.hourly_after == 3 * RATE + does * RATE


def test_a_cap_that_is_passed_already_is_in_the_plan() -> None:
    capped = fleet(guards=Guards(max_hourly_cost=Decimal(1)))
    decided = decide(capped, listed=machines("ready ready ready"), hourly="1.20")
    assert [(o.fleet, o.hourly, o.cap) for o in decided.over_caps] == [
        (None, Decimal("1.50"), Decimal("1.20")),
        ("training", Decimal("1.50"), Decimal(1)),
    ]
    assert decided.actions == ()


@pytest.mark.parametrize(
    ("listed", "culprit"),
    [
        pytest.param([machine(1, fleet="batch", machine_type="A9")], "batch", id="another fleet's machine"),
        pytest.param([machine(1, fleet="old", machine_type="A9")], "old (not in the config)", id="an orphan"),
    ],
)
def test_a_machine_without_a_price_names_its_own_fleet(listed, culprit) -> None:
    decided = decide(fleet("training", 1), fleet("batch", 1), listed=listed, hourly="5")
    (detail,) = {s.detail for s in decided.skips if s.reason is Reason.PRICE_UNKNOWN and s.fleet == "training"}
    assert detail.endswith(f"no price for a machine of {culprit}")


# Prices


@pytest.mark.parametrize(
    ("told", "listed", "rate"),
    [
        pytest.param("0.51", None, "0.51", id="the machine's own"),
        pytest.param(None, "0.40", "0.40", id="the type's"),
        pytest.param("0.51", "0.40", "0.51", id="the higher: its own"),
        pytest.param("0.51", "0.60", "0.60", id="the higher: the type's"),
        pytest.param("0", "0.40", "0.40", id="0 is no price"),
        pytest.param("0", None, None, id="0 alone is unknown"),
        pytest.param(None, "0", None, id="a configured 0 is unknown"),
        pytest.param("-1", "0.40", "0.40", id="nobody pays us"),
        pytest.param("NaN", "0.40", "0.40", id="no number"),
        pytest.param("Infinity", None, None, id="no end"),
        pytest.param(None, None, None, id="neither"),
    ],
)
def test_the_higher_price_counts_and_none_is_zero(told, listed, rate) -> None:
    one = machine(1, hourly_rate=None if told is None else Decimal(told))
    prices = {} if listed is None else {"P4000": Decimal(listed)}
    assert hourly_rate(one, prices) == (None if rate is None else Decimal(rate))


@pytest.mark.parametrize(
    ("configured", "learnt", "apart"),
    [
        ("1.00", "1.00", False),
        ("1.00", "0.91", False),
        ("1.00", "0.90", False),
        ("1.00", "0.89", True),
        ("0.50", "0.60", True),
        ("1.00", "0.905", False),
    ],
)
def test_prices_are_apart_beyond_a_tenth_of_the_higher(configured, learnt, apart) -> None:
    assert differ(Decimal(configured), Decimal(learnt)) is apart
    assert differ(Decimal(learnt), Decimal(configured)) is apart


# Budgets


def bill(n: int, hours: float, **fields) -> BilledMonth:
    fields.setdefault("as_of", NOW)
    fields.setdefault("fleet", "training")
    return BilledMonth(
        month="2026-03",
        machine_id=f"ps{n}",
        name=token_name(n, fields["fleet"]),
        seconds_used=hours * 3600,
        hourly_rate=RATE,
        storage_seconds_used=0.0,
        storage_monthly_rate=None,
        **fields,
    )


def budgeted(amount, target=3, **fields):
    return fleet(target=target, guards=Guards(max_monthly_cost=Decimal(amount)), **fields)


ONE = RATE * HOURS_LEFT
"""What one machine costs from now to the end of the month: $354."""


@pytest.mark.parametrize(
    ("amount", "listed", "bills", "does"),
    [
        pytest.param(0, "", [], 3, id="no budget"),
        pytest.param(3 * ONE, "", [], 3, id="room for all"),
        pytest.param(3 * ONE - 1, "", [], 2, id="a dollar short of three"),
        pytest.param(ONE - 1, "", [], 0, id="not even for one"),
        pytest.param(3 * ONE, "ready", [bill(1, 0)], 2, id="what runs is committed"),
        pytest.param(3 * ONE, "ready", [bill(1, 2)], 1, id="and so is what was billed"),
        pytest.param(3 * ONE, "", [bill(9, 2, gone=True)], 2, id="also of one that went"),
        pytest.param(3 * ONE, "", [bill(9, 2, gone=True, fleet="other")], 3, id="of another fleet: not in this one"),
    ],
)
def test_a_budget_refuses_what_would_pass_it_by_the_end_of_the_month(amount, listed, bills, does) -> None:
    known = [facts(n, up_since=ago(hours=1)) for n in range(1, len(listed.split()) + 1)]
    recalled = memory(bills=tuple(bills), facts=known)
    decided = decide(budgeted(amount), listed=machines(listed), recalled=recalled)
    assert made(decided) == does
    refused = [s for s in decided.skips if s.reason is Reason.GUARD_BUDGET]
    assert bool(refused) is (does + len(listed.split()) < 3)
    assert {s.until for s in refused} <= {MONTH_END}


def test_the_overall_budget_counts_orphans_and_what_was_billed_for_them() -> None:
    orphan = machine(7, fleet="old")
    recalled = memory(bills=(bill(7, 2, fleet="old"),), facts=[facts(7, fleet="old", up_since=ago(hours=1))])
    for budget, does in ((3 * ONE + 2, 2), (3 * ONE + Decimal("0.5"), 1)):
        decided = decide(fleet(target=2), listed=[orphan], recalled=recalled, monthly=str(budget))
        assert made(decided) == does
        assert decided.budgets[0].spent == Decimal("1.00")


@pytest.mark.parametrize(
    ("state", "recalled", "spent"),
    [
        pytest.param("ready", {"bills": (bill(1, 4, as_of=ago(hours=2)),)}, "3.00", id="since its last bill"),
        pytest.param("off", {"bills": (bill(1, 4, as_of=ago(hours=2)),)}, "3.00", id="off: nobody has asked since"),
        pytest.param(
            "off",
            {"bills": (bill(1, 4, as_of=ago(hours=2), off=True),), "facts": [facts(1, last_state="off")]},
            "2.00",
            id="off since its last bill: nothing since",
        ),
        pytest.param(
            "off",
            {
                "bills": (bill(1, 4, as_of=ago(hours=2), off=True, more_seconds=3600.0),),
                "facts": [facts(1, last_state="off")],
            },
            "2.50",
            id="was up for an hour since its last bill",
        ),
    ],
)
def test_what_was_spent_since_the_last_bill_is_reckoned(state, recalled, spent) -> None:
    decided = decide(budgeted(10_000, target=1), listed=[machine(1, state)], recalled=memory(**recalled))
    (view,) = decided.budgets
    assert view.spent == Decimal(spent)
    assert view.at_most is (spent != "2.00")
    assert view.unbilled == ()


@pytest.mark.parametrize(
    ("fields", "price", "spent", "named"),
    [
        pytest.param({}, RATE, "18.00", True, id="older than the month: all of it, 36 h"),
        pytest.param({"created_at": ago(hours=3)}, RATE, "1.50", True, id="since it was made"),
        pytest.param({"created_at": None}, RATE, "18.00", True, id="nobody knows since when"),
        pytest.param({"created_at": NOW}, RATE, "0.00", False, id="new: nothing to be asked about yet"),
        pytest.param({"state": "off"}, RATE, "18.00", True, id="off, and it may have run"),
        pytest.param({}, None, None, True, id="no price either"),
    ],
)
def test_a_machine_without_a_bill_has_cost_what_it_can_have_cost_and_is_named(fields, price, spent, named) -> None:
    """A bill that cannot be read is no bill of $0."""
    listed = [machine(1, **{"state": "ready"} | fields)]
    known = memory(facts=[facts(1, up_since=ago(minutes=1))])
    prices = {} if price is None else PRICES
    decided = decide(budgeted(10_000, target=1), listed=listed, recalled=known, prices=prices)
    (view,) = decided.budgets
    assert view.spent == (None if spent is None else Decimal(spent))
    assert view.unbilled == ((token_name(1),) if named else ())


def test_a_budget_says_when_it_will_be_used_up() -> None:
    decided = decide(budgeted(3 * ONE / 2), recalled=memory())
    (view,) = decided.budgets
    assert view.wanted == (3 * ONE).quantize(Decimal("0.01"))
    assert view.used_up_at is not None
    assert abs(view.used_up_at - (NOW + (MONTH_END - NOW) / 2)) < timedelta(seconds=1)


def test_an_unknown_price_fits_no_budget() -> None:
    decided = decide(budgeted(10_000), prices={})
    assert made(decided) == 0
    assert details(decided, Reason.PRICE_UNKNOWN) == [
        "budget $10000 a month of fleet training; no price for a new machine of training"
    ]
    assert decided.budgets[0].wanted is None


NIGHT = Window("night", start=20 * 60, end=8 * 60, timezone="UTC", target=1)
PARKED = Window("night", start=20 * 60, end=8 * 60, timezone="UTC", park_idle=True)


def test_windows_to_come_are_in_the_forecast() -> None:
    # 2 March 12:00 to 1 April: 30 days of 12 hours by day less the 4 hours gone of today's, 29.33 nights.
    found = segments(fleet(target=3, windows=(NIGHT,)), NOW, MONTH_END)
    assert found[0].machines == 3
    assert {s.machines for s in found} == {1, 3}
    assert sum(s.hours for s in found) == HOURS_LEFT
    assert found[-1].ends == MONTH_END


@pytest.mark.parametrize("window", [NIGHT, PARKED], ids=["target", "parked"])
def test_machines_that_a_window_will_stop_are_not_committed_to_the_month_end(window) -> None:
    want = budgeted(10_000, windows=(window,))
    decided = decide(
        want,
        listed=machines("ready ready ready"),
        recalled=memory(
            facts=[facts(n, up_since=NOW) for n in (1, 2, 3)], bills=tuple(bill(n, 0) for n in (1, 2, 3))
        ),
    )
    (view,) = decided.budgets
    days = Decimal(8 + 29 * 12)
    nights = HOURS_LEFT - days
    kept = 1 if window is NIGHT else 0
    assert view.committed == (RATE * (3 * days + kept * nights)).quantize(Decimal("0.01"))


# Addresses


@pytest.mark.parametrize(
    ("parameters", "own", "adopted", "releases"),
    [
        pytest.param({"assignPublicIp": True}, True, False, True, id="assigned by our create"),
        pytest.param({"assignPublicIp": True}, False, False, False, id="the key keeps it"),
        pytest.param({"assignPublicIp": False}, True, False, False, id="none was assigned"),
        pytest.param({}, True, False, False, id="not asked for"),
        pytest.param({"assignPublicIp": True}, True, True, False, id="an adopted machine's is a person's"),
    ],
)
def test_a_destroy_releases_the_address_that_the_create_assigned(parameters, own, adopted, releases) -> None:
    base = {"region": "East Coast (NY2)", "machineType": "P4000"}
    name = "gpu-old" if adopted else token_name(1)
    want = fleet(
        target=0,
        scale_in=ScaleIn.DESTROY,
        allow_destroy=True,
        guards=LOOSE,
        parameters=base | parameters,
        release_public_ip=own,
        adopt=("ps1",) if adopted else (),
    )
    known = memory(facts=[facts(1, name=name, adopted=adopted, first_seen=ago(days=2))])
    decided = decide(want, listed=[machine(1, name=name)], recalled=known)
    (action,) = decided.actions
    assert action.verb is Verb.DESTROY
    assert dict(action.changes) == ({"release_public_ip": True} if releases else {})


@pytest.mark.parametrize("says", [True, False], ids=["the config assigns one now", "the config assigns none now"])
@pytest.mark.parametrize(
    ("assigned", "has", "releases"),
    [
        pytest.param("172.0.0.1", "172.0.0.1", True, id="the one that the create assigned"),
        pytest.param("172.0.0.1", "172.7.7.7", False, id="another, which a person gave it"),
        pytest.param("172.0.0.1", None, False, id="none any more"),
        pytest.param("", "172.7.7.7", False, id="a person's, and the create assigned none"),
        pytest.param(None, None, True, id="one that nobody has seen yet"),
    ],
)
def test_what_is_released_is_what_the_create_assigned_whatever_the_config_says_now(
    says, assigned, has, releases
) -> None:
    parameters = {"region": "East Coast (NY2)", "machineType": "P4000", "assignPublicIp": says}
    want = fleet(target=0, scale_in=ScaleIn.DESTROY, allow_destroy=True, guards=LOOSE, parameters=parameters)
    known = memory(facts=[facts(1, first_seen=ago(days=2))], addresses={"ps1": assigned})
    (action,) = decide(want, listed=[machine(1, public_ip=has)], recalled=known).actions
    assert dict(action.changes) == ({"release_public_ip": True} if releases else {})


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("monthly", ["0", "0.01", "100000"])
def test_a_budget_keeps_nothing_from_being_stopped_destroyed_or_changed(target: int, monthly: str) -> None:
    guards = replace(LOOSE, max_monthly_cost=Decimal(monthly))
    one = fleet(target=target, guards=guards)
    listed = [machine(n) for n in (1, 2, 3)]
    known = memory(facts=[facts(n) for n in (1, 2, 3)])
    for overall in ("0", monthly):
        decided = decide(one, listed=listed, recalled=known, monthly=overall)
        assert [a.verb for a in decided.actions] == [Verb.STOP] * (3 - target)

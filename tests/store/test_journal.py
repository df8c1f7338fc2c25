"""The contract of the journal's port, on every store."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import anyio
import pytest

from fleetd.model.errors import StateUnusable
from fleetd.model.journal import Backoff, BilledMonth, HistoryEntry, Hold, Intent, KeptLease, MachineFacts
from fleetd.model.reasons import Outcome, Reason, Verb
from tests.store.stores import FileStore, ServerStore, Store, stand_in
from tests.support.build import NOW, ago, later

INTENT = Intent(
    id=0,
    fleet="training",
    verb=Verb.CREATE,
    reason=Reason.SHORT_OF_TARGET,
    name="training-abc",
    created_at=NOW,
    deadline_at=later(minutes=20),
    parameters={"region": "NY2", "size": 50, "tags": ["a", None, 1.5]},
    actor="anna",
    evidence="idle since noon",
)
FACTS = MachineFacts("ps1", "training", "training-abc", first_seen=NOW, last_seen=NOW, last_state="ready")
ENTRY = HistoryEntry(NOW, "training", "ps1", "training-abc", "outside", "manual_start", "observed")


@pytest.fixture(params=["sqlite", "stand-in", pytest.param("postgres", marks=pytest.mark.peer("postgres"))])
async def store(request, tmp_path):
    made: Store
    with ExitStack() as stack:
        match request.param:
            case "sqlite":
                made = FileStore(tmp_path / "journal.db")
            case "stand-in":
                pytest.importorskip("psycopg")
                made = await ServerStore.make(stack.enter_context(stand_in())[0])
            case _:
                made = await ServerStore.make(request.getfixturevalue("postgres").create())
        yield made
        await made.aclose()


@pytest.fixture
async def journal(store):
    journal = await store.open()
    yield journal
    await journal.aclose()


async def test_an_intent_lives_and_ends_in_history(journal):
    meant = replace(INTENT, baseline_event="e7")
    intent = await journal.write_intent(meant)
    assert intent == replace(meant, id=intent.id)
    assert await journal.open_intents() == [intent]

    await journal.update_intent(intent.id, machine_id="ps1", accepted_at=later(seconds=2))
    await journal.update_intent(intent.id, ambiguous_since=later(seconds=1))
    await journal.update_intent(intent.id)
    followed = replace(
        intent,
        machine_id="ps1",
        accepted_at=later(seconds=2),
        ambiguous_since=later(seconds=1),
    )
    assert await journal.open_intents() == [followed]

    at = later(seconds=90.5)
    await journal.close_intent(intent.id, at=at, outcome=Outcome.FAILED_TO_START, error="no capacity")
    assert await journal.open_intents() == []
    entry = HistoryEntry(
        ts=at,
        fleet="training",
        machine="ps1",
        name="training-abc",
        verb="create",
        reason="short_of_target",
        outcome="failed_to_start",
        intent=intent.id,
        duration_s=90.5,
        error="no capacity",
        actor="anna",
        evidence="idle since noon",
    )
    assert await journal.history() == [(1, entry)]


@pytest.mark.parametrize(
    ("verb", "machine", "outcome", "found"),
    [
        pytest.param(Verb.CREATE, "ps1", None, {"ps1"}, id="it has its id"),
        pytest.param(Verb.CREATE, "ps1", Outcome.REACHED, {"ps1"}, id="and is done"),
        pytest.param(Verb.CREATE, "ps1", Outcome.TIMED_OUT, {"ps1"}, id="or was late"),
        pytest.param(Verb.CREATE, None, None, {"ps2"}, id="it waits for its answer: whoever has its name"),
        pytest.param(Verb.CREATE, None, Outcome.LOST, {"ps2"}, id="it never heard of its machine"),
        pytest.param(Verb.CREATE, "ps9", Outcome.LOST, {"ps2"}, id="its machine was never seen under its id"),
        pytest.param(Verb.CREATE, "ps1", Outcome.LOST, {"ps2"}, id="also where another has that id"),
        pytest.param(Verb.CREATE, "ps9", Outcome.REACHED, set(), id="another one"),
        pytest.param(Verb.START, "ps1", Outcome.REACHED, set(), id="a start makes none"),
    ],
)
async def test_which_machines_a_create_made_or_may_have_made(journal, verb, machine, outcome, found):
    intent = await journal.write_intent(replace(INTENT, verb=verb))
    if machine is not None:
        await journal.update_intent(intent.id, machine_id=machine)
    if outcome is not None:
        await journal.close_intent(intent.id, at=later(seconds=90), outcome=outcome)
    seen = {"ps1": "renamed", "ps2": INTENT.name, "ps3": "training-xyz"}
    assert await journal.made(seen) == found
    assert await journal.made({}) == frozenset()


async def test_closing_twice_changes_nothing(journal):
    intent = await journal.write_intent(INTENT)
    assert await journal.close_intent(intent.id, at=later(seconds=1), outcome=Outcome.REACHED) is True
    before = await journal.history()
    assert await journal.close_intent(intent.id, at=later(seconds=2), outcome=Outcome.LOST, error="no") is False
    await journal.update_intent(intent.id, machine_id="ps9")
    assert await journal.close_intent(4711, at=NOW, outcome=Outcome.LOST) is False
    assert await journal.history() == before
    assert await journal.open_intents() == []


async def test_a_clock_set_back_makes_no_negative_duration(journal):
    intent = await journal.write_intent(INTENT)
    await journal.close_intent(intent.id, at=ago(hours=1), outcome=Outcome.REACHED)
    assert [entry.duration_s for _, entry in await journal.history()] == [0.0]


async def test_open_intents_come_oldest_first_and_numbers_are_never_given_twice(journal):
    for name in "abc":
        await journal.write_intent(replace(INTENT, name=name))
    assert [intent.name for intent in await journal.open_intents()] == ["a", "b", "c"]
    for intent in await journal.open_intents():
        await journal.close_intent(intent.id, at=NOW, outcome=Outcome.REACHED)
    assert await journal.prune(before=later(days=1), max_rows=100) == 6
    assert (await journal.write_intent(INTENT)).id == 4


HISTORY = [
    replace(ENTRY, ts=ago(hours=3)),
    replace(ENTRY, ts=ago(hours=2), fleet="render"),
    replace(ENTRY, ts=ago(hours=4), machine="ps2", name="training-def"),  # the clock was set back
    replace(ENTRY, ts=ago(hours=1), machine=None),
    replace(ENTRY, ts=NOW, machine="ps3", name="ps2"),
]


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"since": ago(hours=2)}, [2, 4, 5]),
        ({"since": later(seconds=1)}, []),
        ({"fleet": "render"}, [2]),
        ({"machine": "ps2"}, [3, 5]),
        ({"machine": "training-abc"}, [1, 2, 4]),
        ({"machine": "%"}, []),
        ({"after_id": 3}, [4, 5]),
        ({"limit": 2}, [4, 5]),
        ({"limit": 9}, [1, 2, 3, 4, 5]),
        ({"limit": 0}, []),
        ({"fleet": "training", "machine": "training-abc", "since": ago(hours=3), "limit": 1}, [4]),
    ],
    ids=str,
)
async def test_history_is_filtered(journal, filters, numbers):
    for entry in HISTORY:
        await journal.append_history(entry)
    found = await journal.history(**filters)
    assert [number for number, _ in found] == numbers
    assert [entry for _, entry in found] == [HISTORY[number - 1] for number in numbers]


async def test_facts_are_replaced_and_forgotten(journal):
    second = replace(FACTS, machine_id="ps2", destroyed=True, failure=Outcome.GONE)
    await journal.put_facts([second, FACTS])
    assert await journal.facts() == [FACTS, second]
    await journal.put_facts(fact for fact in [replace(FACTS, last_state="off", stopped_by="fleetd", stopped_at=NOW)])
    assert (await journal.facts())[0].stopped_at == NOW
    await journal.forget_facts(["ps1", "ps7"])
    assert await journal.facts() == [second]
    await journal.put_facts([])
    await journal.forget_facts([])
    assert await journal.facts() == [second]


async def test_the_last_of_several_facts_of_one_machine_counts(journal):
    await journal.put_facts([FACTS, replace(FACTS, last_state="off")])
    assert [fact.last_state for fact in await journal.facts()] == ["off"]


async def test_facts_are_put_all_or_none(journal):
    with pytest.raises(ValueError, match="time zone"):
        await journal.put_facts([FACTS, replace(FACTS, machine_id="ps2", last_seen=NOW.replace(tzinfo=None))])
    assert await journal.facts() == []


async def test_what_has_reached_its_goal_is_told_in_the_order_of_its_end(journal):
    ends = {"a": 50, "b": 30, "c": 40, "destroyed": 45, "lost": 46, "open": None, "same": 40}
    for name, seconds in ends.items():
        verb = Verb.DESTROY if name == "destroyed" else Verb.CREATE
        intent = await journal.write_intent(replace(INTENT, name=name, verb=verb))
        if seconds is not None:
            outcome = Outcome.LOST if name == "lost" else Outcome.REACHED
            await journal.close_intent(intent.id, at=later(seconds=seconds), outcome=outcome)
    assert [intent.name for intent in await journal.reached(9)] == ["b", "c", "same", "a"]
    assert [intent.name for intent in await journal.reached(2)] == ["c", "same"], "of the newest, by their numbers"
    assert [intent.closed_at for intent in await journal.reached(2)] == [later(seconds=40)] * 2


BILL = BilledMonth("2026-03", "ps2", "training", "training-abc", NOW, 3600.0, Decimal("0.51"), 7200.0, Decimal(5))


async def test_bills_are_kept_by_month_and_machine_for_two_years_more_than_the_history(journal):
    other = replace(BILL, machine_id="ps1", seconds_used=None, gone=True, gone_at=NOW, spent_most=Decimal("1.10"))
    await journal.put_bills([BILL, other, replace(BILL, month="2026-02")])
    await journal.put_bills([])
    assert await journal.bills(month="2026-03") == [other, BILL]
    assert await journal.bills(month="2026-04") == []
    grown = replace(BILL, as_of=later(hours=1), seconds_used=7200.0, more_seconds=60.0, off=True)
    await journal.put_bills(bill for bill in [replace(BILL, name="renamed"), grown])
    assert await journal.bills(month="2026-03") == [other, grown], "the last of several counts"
    before = datetime(2028, 3, 31, tzinfo=UTC)
    assert await journal.prune(before=before, max_rows=100) == 1
    assert await journal.bills(month="2026-02") == []
    assert await journal.bills(month="2026-03") == [other, grown]
    assert await journal.prune(before=datetime(2, 4, 1, tzinfo=UTC), max_rows=100) == 0, "there is no year before 1"
    assert await journal.prune(before=before + timedelta(days=1), max_rows=100) == 2


async def test_backoffs_are_kept_by_region_and_type(journal):
    backoff = Backoff("NY2", "P4000", 1, later(minutes=1), "out of capacity")
    other = replace(backoff, machine_type="A100")
    await journal.put_backoff(backoff)
    await journal.put_backoff(other)
    grown = replace(backoff, attempt=2, until=later(minutes=2))
    await journal.put_backoff(grown)
    assert await journal.backoffs() == [other, grown]
    await journal.clear_backoff("NY2", "A100")
    await journal.clear_backoff("CA1", "A100")
    assert await journal.backoffs() == [grown]


LEASE = KeptLease("ps1", "job", NOW, later(hours=1), "ada")


async def test_leases_are_kept_by_machine_and_source(journal):
    assert await journal.leases() == []
    other, another = replace(LEASE, source="login"), replace(LEASE, machine="ps0", until=NOW)
    await journal.put_leases([LEASE, other, another])
    assert await journal.leases() == [another, LEASE, other]
    renewed = replace(LEASE, began=later(minutes=9), until=later(hours=2), actor="bob")
    await journal.put_leases([renewed], drop=[("ps1", "login"), ("ps0", "login"), ("ps9", "job")])
    assert await journal.leases() == [another, renewed], "by both, and one that is not there is no error"
    await journal.put_leases([])
    await journal.put_leases([], drop=[("ps0", "job")])
    assert await journal.leases() == [renewed]
    await journal.prune(before=later(days=999), max_rows=0)
    assert await journal.leases() == [renewed], "whoever gave one says for how long its end is remembered"


async def test_many_leases_come_and_go_at_once(journal):
    """More than one statement of the server's has room for."""
    many = [replace(LEASE, machine=f"ps{n:04}") for n in range(1201)]
    await journal.put_leases(many)
    assert await journal.leases() == many
    odd = replace(LEASE, machine="half \ud800 a pair", source="\0")
    await journal.put_leases([odd], drop=((lease.machine, lease.source) for lease in many[1:]))
    assert sorted(await journal.leases(), key=lambda lease: lease.machine) == [odd, many[0]]
    await journal.put_leases([], drop=[(odd.machine, odd.source)])
    assert await journal.leases() == [many[0]]


async def test_holds_expire_and_are_removed_by_subject(journal):
    async def add(kind, subject, **lasting):
        return await journal.add_hold(
            Hold(
                id=0,
                kind=kind,
                subject=subject,
                verbs=frozenset({Verb.STOP, Verb.DESTROY}),
                reason="demo",
                actor="anna",
                created_at=NOW,
                expires_at=later(**lasting),
                machine="ps1" if kind == "hold" else None,
            )
        )

    machine = await add("hold", "training-abc", hours=4)
    fleet = await add("freeze", "training", hours=1)
    assert (machine.machine, fleet.machine) == ("ps1", None)
    everything = await add("freeze", None, hours=2)
    assert machine.id < fleet.id < everything.id
    assert machine.verbs == {Verb.STOP, Verb.DESTROY}
    assert await journal.holds(now=NOW) == [machine, fleet, everything]
    assert await journal.holds(now=later(hours=1)) == [machine, everything]
    assert await journal.remove_holds(kind="hold", subject="training") == 0
    assert await journal.remove_holds(kind="freeze", subject=None) == 1
    assert await journal.remove_holds(kind="hold", subject="training-abc") == 1
    assert await journal.holds(now=NOW) == [fleet]


async def test_notes_are_kept(journal):
    assert await journal.get_note("prices") is None
    await journal.put_note("prices", "{}")
    await journal.put_note("prices", "half \ud800 a pair\0")
    assert await journal.get_note("prices") == "half \ud800 a pair\0"


async def test_what_was_about_everything_belongs_to_every_fleets_history(journal):
    await journal.append_history(replace(ENTRY, fleet="", machine=None, name="everything", verb="freeze"))
    await journal.append_history(replace(ENTRY, fleet="inference"))
    await journal.append_history(replace(ENTRY, fleet="", machine="psforeign"))
    await journal.append_history(replace(ENTRY, fleet="", machine=None, name="no-machine-yet", verb="hold"))
    verbs = [(entry.verb, entry.fleet) for _, entry in await journal.history(fleet="inference")]
    assert verbs == [("freeze", ""), (ENTRY.verb, "inference")]


async def test_one_veto_goes_and_others_on_the_same_subject_stay(journal):
    made = [
        await journal.add_hold(
            Hold(
                id=0,
                kind="hold",
                subject="ps1",
                verbs=frozenset(Verb),
                reason=who,
                actor=who,
                created_at=NOW,
                expires_at=later(hours=1),
            )
        )
        for who in ("ada", "bob")
    ]
    await journal.remove_hold(made[0].id)
    await journal.remove_hold(made[0].id)
    assert [hold.actor for hold in await journal.holds(now=NOW)] == ["bob"]


async def test_prune_keeps_the_newest_and_all_that_is_open(journal):
    for number in range(10):
        intent = await journal.write_intent(replace(INTENT, name=str(number), created_at=ago(days=20)))
        if number % 5:
            await journal.close_intent(intent.id, at=ago(days=10 - number), outcome=Outcome.REACHED)
    await journal.append_history(ENTRY)
    for expires_at in (ago(days=9), ago(days=1)):
        await journal.add_hold(
            Hold(
                id=0,
                kind="freeze",
                subject=None,
                verbs=frozenset(Verb),
                reason="",
                actor="",
                created_at=ago(days=30),
                expires_at=expires_at,
            )
        )

    assert await journal.prune(before=ago(days=8), max_rows=100) == 2 + 1  # one intent, its entry, one hold
    assert await journal.prune(before=ago(days=8), max_rows=3) == (9 - 1 - 3) + (8 - 1 - 3)
    assert await journal.prune(before=ago(days=8), max_rows=3) == 0
    assert [entry.name for _, entry in await journal.history()] == ["8", "9", "training-abc"]
    assert [intent.name for intent in await journal.open_intents()] == ["0", "5"]
    assert len(await journal.holds(now=ago(days=2))) == 1
    assert await journal.prune(before=later(days=1), max_rows=0) == 3 + 3 + 1
    assert [intent.name for intent in await journal.open_intents()] == ["0", "5"]


async def test_everything_is_there_after_reopening(store):
    first = await store.open()
    intent = await first.write_intent(INTENT)
    await first.put_facts([FACTS])
    await first.append_history(ENTRY)
    await first.put_note("a", "b")
    await first.aclose()
    second = await store.open()
    assert await second.open_intents() == [intent]
    assert await second.facts() == [FACTS]
    assert await second.history() == [(1, ENTRY)]
    assert await second.get_note("a") == "b"
    await second.aclose()


async def test_a_closed_journal_says_so(store):
    journal = await store.open()
    await journal.aclose()
    await journal.aclose()
    with pytest.raises(StateUnusable, match="closed"):
        await journal.get_note("a")
    with pytest.raises(StateUnusable, match="closed"):
        await journal.put_note("a", "b")


async def test_thousands_of_machines_are_put_in_one_transaction(journal):
    facts = [replace(FACTS, machine_id=f"ps{n:04}", last_seen=NOW + timedelta(microseconds=n)) for n in range(2500)]
    await journal.put_facts(facts)
    found = await journal.facts()
    assert found == facts
    assert all(a.last_seen < b.last_seen for a, b in pairwise(found))


async def test_many_writers_at_once_do_not_disturb_each_other(store):
    """Found by creating 200 machines: a cursor that died on the loop's thread reset a statement under way."""
    journal = await store.open(threaded=True)

    async def write(number: int) -> None:
        for _ in range(10):
            intent = await journal.write_intent(INTENT)
            await journal.put_facts([replace(FACTS, machine_id=f"ps{number}")])
            await journal.open_intents()
            await journal.close_intent(intent.id, at=NOW, outcome=Outcome.REACHED)

    try:
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(write, number)
    finally:
        await journal.aclose()

"""A commit whose answer was lost, before it was made or after: what it was to write is there once, and told so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("psycopg")

from fleetd.model.errors import StateAway, VetoStands
from fleetd.model.journal import Backoff, Hold, Intent
from fleetd.model.reasons import Outcome, Verb
from fleetd.store.postgres.journal import PostgresJournal
from fleetd.store.postgres.lease import fenced
from tests.store.stage import Stage, staged
from tests.store.test_journal import BILL, ENTRY, FACTS, INTENT, LEASE
from tests.support.build import NOW, hold, later
from tests.support.virtual_time import virtual

LOST = pytest.mark.parametrize("when", ["before", "after"])
BACKOFF = Backoff("NY2", "A100", attempt=1, until=NOW, reason="no capacity")


@asynccontextmanager
async def written() -> AsyncIterator[tuple[Stage, PostgresJournal]]:
    """A journal of the lease's holder, with something of everything in it."""
    async with staged() as stage:
        journal = PostgresJournal(fenced(await stage.taken()))
        await journal.write_intent(INTENT)
        await journal.append_history(ENTRY)
        await journal.put_facts([FACTS])
        await journal.put_backoff(BACKOFF)
        await journal.put_bills([BILL])
        await journal.put_leases([LEASE])
        await _veto(journal)
        yield stage, journal
        await journal.aclose()


async def _veto(journal: PostgresJournal) -> Hold:
    return await journal.add_hold(
        hold(
            "ps7",
            verbs=frozenset({Verb.STOP}),
            reason="",
            actor="ada",
            created_at=NOW,
            expires_at=later(hours=1),
            machine="ps7",
        )
    )


async def _everything(journal: PostgresJournal) -> list[object]:
    return [
        *(await journal.open_intents(), await journal.reached(9), await journal.history(), await journal.facts()),
        *(await journal.backoffs(), await journal.bills(month=BILL.month), await journal.holds(now=NOW)),
        await journal.get_note("a"),
        await journal.leases(),
    ]


WRITES: dict[str, Callable[[PostgresJournal], Awaitable[object]]] = {
    "an intent": lambda j: j.write_intent(replace(INTENT, name="training-def")),
    "what is learnt of it": lambda j: j.update_intent(1, machine_id="ps1", accepted_at=NOW),
    "its end": lambda j: j.close_intent(1, at=later(seconds=9), outcome=Outcome.REACHED),
    "history": lambda j: j.append_history(replace(ENTRY, name="another")),
    "facts": lambda j: j.put_facts([FACTS, replace(FACTS, machine_id="ps2")]),
    "facts forgotten": lambda j: j.forget_facts(["ps1"]),
    "a backoff": lambda j: j.put_backoff(replace(BACKOFF, attempt=2)),
    "a backoff cleared": lambda j: j.clear_backoff("NY2", "A100"),
    "bills": lambda j: j.put_bills([replace(BILL, seconds_used=90.0)]),
    "leases": lambda j: j.put_leases([replace(LEASE, source="login")], drop=[("ps1", "job")]),
    "a veto": _veto,
    "a veto removed": lambda j: j.remove_hold(1),
    "a note": lambda j: j.put_note("a", "b"),
}


@LOST
@pytest.mark.parametrize("write", WRITES)
@virtual
async def test_a_write_whose_answer_was_lost_is_made_once_and_answered_as_any(write: str, when: str) -> None:
    async with written() as (_, journal):
        plain = await WRITES[write](journal)
        wanted = await _everything(journal)
    async with written() as (stage, journal):
        stage.way.losing_next = when
        answered = await WRITES[write](journal)
        assert stage.way.lost == 1
        found = await _everything(journal)
    assert _unnumbered(answered) == _unnumbered(plain)
    assert _unnumbered(found) == _unnumbered(wanted)
    if isinstance(answered, Intent | Hold):
        assert answered in [one for rows in found if isinstance(rows, list) for one in rows]


def _unnumbered(value: object) -> object:
    """Of a row that is made again the first try's number is used up."""
    match value:
        case list():
            return [_unnumbered(one) for one in value]
        case (int(), entry):
            return entry
        case Intent() | Hold():
            return replace(value, id=0)
    return value


@LOST
@virtual
async def test_how_many_vetoes_were_removed_is_not_made_up(when: str) -> None:
    """Asked again there may be none left, and somebody be told that there were none."""
    async with written() as (stage, journal):
        stage.way.losing_next = when
        with pytest.raises(StateAway):
            await journal.remove_holds(kind="hold", subject="ps7")
        left = when == "before"
        assert len(await journal.holds(now=NOW)) == left
        assert await journal.remove_holds(kind="hold", subject="ps7") == left


HOUR = later(hours=1)


@pytest.mark.parametrize(
    ("kind", "subject", "machine", "intent", "refused"),
    [
        pytest.param("hold", "ps7", "ps7", {"machine_id": "ps7"}, True, id="the machine"),
        pytest.param("hold", "old-name", "ps7", {"machine_id": "ps7"}, True, id="whatever it is called by now"),
        pytest.param("hold", "ps7", "ps7", {"machine_id": "ps8"}, False, id="another machine"),
        pytest.param("hold", "training-abc", None, {"machine_id": "ps8"}, True, id="the name"),
        pytest.param("freeze", None, None, {"machine_id": "ps8"}, True, id="everything"),
        pytest.param("freeze", "training", None, {"machine_id": "ps8"}, True, id="the fleet"),
        pytest.param("freeze", "inference", None, {"machine_id": "ps8"}, False, id="another fleet"),
        pytest.param("hold", "ps7", "ps7", {"machine_id": "ps7", "verb": Verb.START}, False, id="another verb"),
        pytest.param("hold", "ps7", "ps7", {"machine_id": "ps7", "created_at": HOUR}, False, id="it is over"),
    ],
)
@virtual
async def test_an_intent_is_refused_while_a_veto_in_the_database_forbids_it(
    kind: str, subject: str | None, machine: str | None, intent: dict[str, Any], refused: bool
) -> None:
    """Of those that were given while nobody acted the holder may have read none."""
    async with staged() as stage:
        journal = PostgresJournal(fenced(await stage.taken()))
        veto = hold(
            subject,
            kind,
            reason="",
            actor="ada",
            created_at=NOW,
            expires_at=HOUR,
            verbs=frozenset({Verb.STOP, Verb.DESTROY}),
            machine=machine,
        )
        await journal.add_hold(veto)
        wanted = replace(INTENT, **{"verb": Verb.STOP, **intent})
        if refused:
            with pytest.raises(VetoStands, match=f"training-abc: no stop, {kind} by ada: "):
                await journal.write_intent(wanted)
        else:
            await journal.write_intent(wanted)
        assert len(await journal.open_intents()) == (not refused)
        await journal.aclose()

"""Until when and on what a veto is, what ends it, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from fleetd.engine import stop_holds
from fleetd.engine.vetoes import Vetoes, hold_of, names_of, order_entry, refuse_nobody
from fleetd.model.journal import Hold, VetoOrder
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.model.vetoes import veto_evidence
from tests.support.build import NOW, later, machine, token_name
from tests.support.journals import a_journal
from tests.support.virtual_time import run_virtual

ONE, TWO = (machine(1), "training"), (machine(2), "other")
P = pytest.param
HOUR, MOMENT = timedelta(hours=1), timedelta(seconds=1)
NAME = token_name(1)
STARTS = frozenset({Verb.START})


@pytest.mark.parametrize(
    ("verb", "subject", "found", "fleet", "who", "name"),
    [
        P("hold", "ps1", [ONE], "training", "ps1", token_name(1), id="a machine"),
        P("release", "ps1", [], "", None, "ps1", id="of one that is not there"),
        P("hold", "twins", [ONE, TWO], "", None, "twins", id="on two that are called so"),
        P("adopt", "ps2", [TWO], "other", "ps2", token_name(2), id="another fleet's"),
        P("freeze", "training", [], "training", None, "training", id="a fleet"),
        P("unfreeze", "training", [], "training", None, "training", id="and over"),
        P("freeze", None, [], "", None, "everything", id="everything"),
        P("unfreeze", None, [], "", None, "everything", id="and all over"),
    ],
)
def test_what_history_says_of_an_order(
    verb: str, subject: str | None, found: list[Any], fleet: str, who: str | None, name: str
) -> None:
    entry = order_entry(verb, subject, found, "ada", NOW, "incident")
    assert (entry.fleet, entry.machine, entry.name, entry.verb) == (fleet, who, name, verb)
    assert (entry.ts, entry.actor, entry.evidence) == (NOW, "ada", "incident")
    assert (entry.reason, entry.outcome) == (Reason.OPERATOR_REQUEST, Outcome.OBSERVED)


def test_the_words_of_a_veto() -> None:
    one = Hold(1, "ps1", "hold", "moving data", "ada", NOW, later(hours=1))
    assert veto_evidence(one) == "moving data; until 2026-03-02 13:00:00 UTC"
    part = replace(one, verbs=frozenset({Verb.STOP, Verb.DESTROY}))
    assert veto_evidence(part) == "moving data; destroy and stop only; until 2026-03-02 13:00:00 UTC"


@pytest.mark.parametrize(
    ("subject", "says", "not_said"),
    [
        ("training", "is a fleet", "patterns"),
        ("train*", "takes no patterns", "is a fleet"),
        ("a?", "takes no patterns", "is a fleet"),
        ("[ab]", "takes no patterns", "is a fleet"),
        ("ps9", "no machine of ours is called ps9; nothing is held", "patterns"),
        ("another", "no machine of ours is called another; nothing is held", "patterns"),
    ],
)
def test_why_nothing_is_held(subject: str, says: str, not_said: str) -> None:
    doubted = subject in {"ps9", "another"}
    for sure in (True, False):
        if doubted and not sure:
            refuse_nobody(subject, ["training"], sure=sure)  # nobody could tell: the hold is on whatever is called so
            continue
        with pytest.raises(LookupError) as caught:
            refuse_nobody(subject, ["training"], sure=sure)
        assert says in str(caught.value)
        assert not_said not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "subject", "found", "on"),
    [
        P("hold", token_name(1), [ONE], "ps1", id="a machine that is called so"),
        P("hold", "new", [(replace(machine(1, name="new"), id=""), "training")], None, id="one that has no id yet"),
        P("hold", "ps9", [], None, id="what nobody knows"),
        P("freeze", "training", [], None, id="a fleet"),
        P("freeze", None, [], None, id="everything"),
    ],
)
def test_the_veto_that_was_asked_for(kind: str, subject: str | None, found: list[Any], on: str | None) -> None:
    order = VetoOrder(kind, subject, STARTS, "a run", 3 * HOUR)
    made = hold_of(order, "ada", found, at=NOW, until=later(hours=3))
    assert made == Hold(0, subject, kind, "a run", "ada", NOW, later(hours=3), verbs=STARTS, machine=on)


def test_all_names_that_a_veto_may_have_been_made_with() -> None:
    assert names_of("ps1", [ONE]) == sorted(["ps1", token_name(1)])
    assert names_of(None, []) == [None]
    assert set(names_of(None, [ONE])) == {None, "ps1", token_name(1)}


class Clocks:
    """Ours, and the time that has certainly come."""

    def __init__(self, ahead: timedelta = timedelta(0)) -> None:
        self.at, self.ahead = NOW, ahead

    def now(self) -> datetime:
        return self.at

    def reached(self) -> datetime:
        return self.at - self.ahead


def vetoes_of(journal: Any, clocks: Clocks) -> Vetoes:
    return Vetoes(journal, clocks, clocks.reached)


async def held(vetoes: Vetoes, subject: str | None = "ps1", kind: str = "hold", **fields: Any) -> Hold:
    given: dict[str, Any] = {
        "verbs": frozenset(Verb),
        "reason": "a run",
        "actor": "ada",
        "created_at": NOW,
        "expires_at": NOW + HOUR,
    }
    return await vetoes.add(Hold(id=0, kind=kind, subject=subject, **given | fields))


def against(vetoes: Vetoes, n: int = 1, verb: Verb = Verb.STOP, name: str | None = None) -> Hold | None:
    return vetoes.against(verb, fleet="training", machine_id=f"ps{n}", name=name or token_name(n))


@pytest.mark.parametrize(
    ("ahead", "over", "told"),
    [
        P(timedelta(0), HOUR, HOUR, id="the clocks agree"),
        P(HOUR, 2 * HOUR, 2 * HOUR, id="ours is an hour ahead: it ends when both say so"),
        P(-HOUR, timedelta(0), HOUR, id="ours is behind: it is told as it was given"),
    ],
)
def test_until_when_a_veto_is_in_force(ahead: timedelta, over: timedelta, told: timedelta) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            clocks = Clocks(ahead)
            vetoes = vetoes_of(journal, clocks)
            clocks.at = NOW + over - HOUR
            assert (await held(vetoes)).expires_at == NOW + told
            for at, lasts in ((over - MOMENT, True), (over, False)):
                clocks.at = NOW + at
                assert [h.expires_at for h in vetoes.in_force] == [NOW + told] * lasts
                found = against(vetoes)
                assert (None if found is None else found.expires_at) == (NOW + told if lasts else None)

    run_virtual(story)


def test_a_veto_is_told_by_our_clock_alone_where_no_other_counts() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            clocks = Clocks()
            vetoes = Vetoes(journal, clocks)
            await held(vetoes)
            assert against(vetoes) is not None
            clocks.at = NOW + HOUR
            assert against(vetoes) is None

    run_virtual(story)


def test_which_calls_are_forbidden() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            vetoes = vetoes_of(journal, Clocks())
            assert against(vetoes) is None
            await held(vetoes, "ps2", verbs=STARTS, machine="ps2")
            one = await held(vetoes, "ps1", reason="mine")
            assert against(vetoes) == one, "each counts, not the first alone"
            assert against(vetoes, 2) is None
            assert against(vetoes, 2, Verb.START) is not None
            assert against(vetoes, 3) is None
            frozen = await held(vetoes, "training", "freeze")
            assert against(vetoes, 3) == frozen

    run_virtual(story)


def test_what_another_process_has_ordered_counts_when_it_is_read() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            clocks = Clocks()
            other, vetoes = vetoes_of(journal, clocks), vetoes_of(journal, clocks)
            one = await held(other, machine="ps1")
            assert list(vetoes.in_force) == []
            await vetoes.read()
            assert list(vetoes.in_force) == [one]
            assert (one.created_at, one.machine, one.reason, one.actor) == (NOW, "ps1", "a run", "ada")
            await other.lift("hold", "ps1", [(machine(1), "training")])
            assert list(vetoes.in_force) == [one]
            await vetoes.read()
            assert list(vetoes.in_force) == []

    run_virtual(story)


def test_a_veto_is_acknowledged_when_what_was_let_go_has_left() -> None:
    """A call that was let go before it is on the wire a turn or two of the loop later; then the answer comes."""

    async def story() -> None:
        async with a_journal() as journal:
            vetoes = vetoes_of(journal, Clocks())
            seen: list[str] = []

            async def lets_go() -> None:
                assert against(vetoes) is None
                seen.append("let go")
                while against(vetoes) is None:
                    await anyio.lowlevel.checkpoint()
                seen.append("forbidden")

            async with anyio.create_task_group() as group:
                group.start_soon(lets_go)
                await anyio.lowlevel.checkpoint()
                await held(vetoes)
                seen.append("acknowledged")
            assert seen == ["let go", "forbidden", "acknowledged"]

    run_virtual(story)


ME, OTHER = (machine(1), "training"), (machine(2), "training")


@pytest.mark.parametrize(
    ("given", "kind", "subject", "found", "removed"),
    [
        P([("ps1", "ps1")], "hold", "ps1", [ME], 1, id="by its id"),
        P([("ps1", "ps1")], "hold", NAME, [ME], 1, id="by its name"),
        P([("before", "ps1")], "hold", NAME, [ME], 1, id="by what it is called now, whatever it was called"),
        P([("before", "ps1")], "hold", "before", [], 1, id="as it was typed, where nothing is called so"),
        P([("before", "ps1"), ("other", "ps2")], "hold", "before", [], 1, id="and no other with it"),
        P([(NAME, "ps2")], "hold", NAME, [ME], 0, id="not what is another machine's name by now"),
        P([("ps1", "ps1")], "hold", "ps1", [], 1, id="by the id of one that is not there"),
        P([("ps2", "ps2")], "hold", "ps1", [ME], 0, id="another's"),
        P([("ps1", None), (NAME, None)], "hold", NAME, [ME], 2, id="on no machine: by its id and its name"),
        P([("x", None)], "hold", "x", [], 1, id="on no machine: as it was typed"),
        P([("ps2", None)], "hold", NAME, [ME], 0, id="on no machine: another's"),
        P([("ps1", "ps1"), ("ps1", "ps1")], "hold", "ps1", [ME], 2, id="all of them"),
        P([("training", None)], "hold", "training", [], 1, id="a hold of that name, and no freeze"),
        P([], "freeze", "training", [], 1, id="a freeze of a fleet"),
        P([], "freeze", None, [], 1, id="the freeze of everything"),
        P([], "freeze", "other", [], 0, id="of another fleet there is none"),
    ],
)
def test_which_vetoes_are_lifted(given: Any, kind: str, subject: str | None, found: Any, removed: int) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            vetoes = vetoes_of(journal, Clocks())
            for typed, on in given:
                await held(vetoes, typed, machine=on)
            for frozen in ("training", None):
                await held(vetoes, frozen, "freeze")
            assert await vetoes.lift(kind, subject, found) == removed
            left = await journal.holds(now=NOW)
            assert list(vetoes.in_force) == list(left)
            assert len(left) == len(given) + 2 - removed
            assert [h.kind for h in left].count("freeze") == (2 if kind == "hold" else 2 - removed)

    run_virtual(story)


def test_a_hold_that_is_over_is_not_counted_as_lifted() -> None:
    async def story() -> None:
        async with a_journal() as journal:
            clocks = Clocks()
            vetoes = vetoes_of(journal, clocks)
            await held(vetoes)
            clocks.at = NOW + HOUR
            assert await vetoes.lift("hold", "ps1", [ME]) == 0

    run_virtual(story)


@pytest.mark.parametrize(
    ("on", "verbs", "by_stop", "lifted"),
    [
        P(ME, STARTS, True, True, id="a stop left it"),
        P(ME, STARTS, False, False, id="a person ordered it"),
        P(ME, frozenset(Verb), True, False, id="it is of more than starts"),
        P(OTHER, STARTS, True, False, id="on another machine"),
    ],
)
def test_a_start_lifts_what_a_stop_left_and_nothing_else(on: Any, verbs: Any, by_stop: bool, lifted: bool) -> None:
    async def story() -> None:
        async with a_journal() as journal:
            vetoes = vetoes_of(journal, Clocks())
            one = await held(vetoes, on[0].id, verbs=verbs, machine=on[0].id)
            if by_stop:
                await stop_holds.remember(journal, one, NOW)
            assert list(await vetoes.lift_keep_off(*ME)) == [one] * lifted
            assert list(vetoes.in_force) == [one] * (not lifted)

    run_virtual(story)

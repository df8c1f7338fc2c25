"""What a pass settles and learns before it decides, each rule without a pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.recall import Recall
from fleetd.engine.settling import FOREIGN_INTENT, Settling
from fleetd.model.fleet import Fleet, Guards
from fleetd.model.journal import Intent, MachineFacts
from fleetd.model.machine import Machine
from fleetd.model.reasons import Outcome, Reason, Verb
from fleetd.planner.facts import OutsideChange
from fleetd.planner.ownership import UNSEEN
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import NOW, ago, facts, fleet, intent, later, machine, seen, token_name
from tests.support.journals import a_journal
from tests.support.rig import RecordingMeter
from tests.support.virtual_time import VirtualClock, run_virtual, virtual_clock

P = pytest.param
SETTLE = 120.0
FLEET = fleet(guards=Guards(settle=timedelta(seconds=SETTLE)))
FOREIGN: Any = Verb("explode")
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Reports:
    """Stands in for who tells of changes from outside."""

    def __init__(self) -> None:
        self.loads, self.heard = 0, list[tuple[OutsideChange, datetime]]()

    async def load(self) -> None:
        self.loads += 1

    async def report(self, change: OutsideChange, at: datetime) -> None:
        self.heard.append((change, at))


@dataclass
class World:
    journal: SqliteJournal
    clock: VirtualClock
    recall: Recall
    settling: Settling
    meter: RecordingMeter
    outside: Reports
    waited: set[int] = field(default_factory=set)
    """Intents whose call is still waited for."""

    async def written(self, one: Intent, **set_later: Any) -> Intent:
        """An intent as the journal has it after a while."""
        stored = await self.journal.write_intent(one)
        if set_later:
            await self.journal.update_intent(stored.id, **set_later)
        return next(i for i in await self.journal.open_intents() if i.id == stored.id)

    async def one_pass(self, *listed: Machine, fleets: tuple[Fleet, ...] = (FLEET,), **fields: Any) -> list[Intent]:
        """What is open when a pass has looked for what was lost."""
        now = self.clock.now()
        intents = await self.settling.doubt_unanswered(now)
        return await self.settling.settle(intents, seen(*listed, at=now, **fields), {f.name: f for f in fleets})

    async def endings(self) -> list[tuple[str, str | None]]:
        return [(entry.outcome, entry.error) for _, entry in await self.journal.history()]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with a_journal() as journal:
        meter, outside, clock = RecordingMeter(), Reports(), virtual_clock()
        recall = Recall(journal, meter)
        waited: set[int] = set()
        settling = Settling(recall, outside, clock, unanswered=lambda: waited)  # type: ignore[arg-type]
        yield World(journal, clock, recall, settling, meter, outside, waited)


def told(logs: list[Any], event: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "event"} for line in logs if line["event"] == event]


def test_a_start_reads_who_changed_what_before() -> None:
    async def story() -> None:
        async with world() as w:
            await w.settling.load()
            assert w.outside.loads == 1

    run_virtual(story, start=NOW)


NOT_KNOWN = "whether it arrived is not known"
ANOTHER_VERSION = "another version of fleetd began it: explode is not known here"


@pytest.mark.parametrize(
    ("verb", "fields", "since", "waited", "expected"),
    [
        P(Verb.STOP, {}, None, True, None, id="its answer is waited for"),
        P(Verb.STOP, {}, None, False, NOW, id="nobody waits for its answer: lost with a process, from now on"),
        P(Verb.CREATE, {}, None, False, NOW, id="likewise a create"),
        P(Verb.STOP, {"accepted_at": ago(minutes=1)}, None, False, None, id="it was answered"),
        P(Verb.CREATE, {}, ago(hours=1), False, ago(hours=1), id="lost an hour ago: that stands"),
        P(Verb.CREATE, {}, NOW, False, NOW, id="lost just now"),
        P(Verb.CREATE, {}, later(seconds=1), False, NOW, id="lost in what is the future since a step of the clock"),
        P(Verb.CREATE, {"accepted_at": ago(minutes=1)}, later(hours=1), False, NOW, id="likewise one with an answer"),
        P(Verb.CREATE, {}, later(hours=1), True, later(hours=1), id="likewise while its answer is waited for"),
        P(Verb.UPDATE, {}, None, False, NOT_KNOWN, id="an update is begun anew, not followed"),
        P(Verb.UPDATE, {}, None, True, None, id="an update whose answer is waited for"),
        P(Verb.UPDATE, {"accepted_at": ago(minutes=1)}, None, False, None, id="an update that was answered"),
        P(FOREIGN, {"deadline_at": later(seconds=1)}, None, False, None, id="of another version"),
        P(FOREIGN, {"deadline_at": NOW}, None, False, ANOTHER_VERSION, id="of another version, its deadline reached"),
        P(
            FOREIGN,
            {"created_at": ago(days=1), "deadline_at": later(days=9)},
            None,
            False,
            ANOTHER_VERSION,
            id="of another version, a day old whatever its deadline",
        ),
        P(
            FOREIGN,
            {"created_at": NOW - FOREIGN_INTENT + timedelta(seconds=1), "deadline_at": later(days=9)},
            None,
            False,
            None,
            id="of another version, not yet a day old",
        ),
        P(
            FOREIGN,
            {"created_at": later(seconds=1), "deadline_at": later(days=9)},
            None,
            False,
            ANOTHER_VERSION,
            id="of another version, begun in what is the future",
        ),
        P(FOREIGN, {"created_at": NOW}, None, False, None, id="of another version, begun just now"),
    ],
)
def test_what_an_open_intent_is_to_a_pass(
    verb: Verb, fields: dict[str, Any], since: datetime | None, waited: bool, expected: datetime | str | None
) -> None:
    """``expected``: since when its answer is lost, as the pass and the journal have it, or why it is given up."""

    async def story() -> None:
        async with world() as w:
            one = await w.written(intent(verb, None if verb is Verb.CREATE else 1, **fields))
            if since is not None:
                await w.journal.update_intent(one.id, ambiguous_since=since)
            if waited:
                w.waited.add(one.id)
            behind = await w.written(intent(Verb.STOP, 2))
            with capture_logs() as logs:
                found = await w.settling.doubt_unanswered(NOW)
            assert list(found) == list(await w.journal.open_intents())
            *found, last = found
            assert last == replace(behind, ambiguous_since=NOW), "whatever stands before it"
            if isinstance(expected, str):
                assert not found
                assert await w.endings() == [(Outcome.LOST, expected)]
                assert told(logs, "intent.lost") == [
                    {
                        "fleet": "training",
                        "name": one.name,
                        "intent": one.id,
                        "error": expected,
                        "log_level": "warning",
                    }
                ]
                assert not w.recall.setbacks.known(NOW), "it made no machine that nobody can find"
            else:
                assert [i.ambiguous_since for i in found] == [expected]
                assert not logs

    run_virtual(story, start=NOW)


LOST = intent(Verb.CREATE, created_at=ago(minutes=5), deadline_at=later(hours=1))
NO_MACHINE = "the answer was lost and no such machine appeared"
NAME = LOST.name


def there(n: int = 5, **fields: Any) -> Machine:
    return machine(n, **{"name": NAME, **fields})


@pytest.mark.parametrize(
    ("listed", "remembered", "found"),
    [
        P([], [], None, id="nothing"),
        P([there()], [], "ps5", id="it is there"),
        P([machine(1), there()], [], "ps5", id="it is there among others"),
        P([machine(1)], [], None, id="another"),
        P([there()], ["ps5"], None, id="one of its name that is another's already"),
        P([there(4, created_at=ago(days=2)), there()], ["ps4"], "ps5", id="another one than that"),
        P(
            [there(5, created_at=ago(minutes=2)), there(6, created_at=ago(minutes=3))],
            [],
            "ps6",
            id="the older of two",
        ),
        P([there(5, created_at=None), there(6, created_at=ago(minutes=3))], [], "ps6", id="the one with a date"),
    ],
)
def test_the_machine_of_a_lost_create(listed: list[Machine], remembered: list[str], found: str | None) -> None:
    async def story() -> None:
        async with world() as w:
            one = await w.written(LOST)
            w.recall.facts = {m: facts(int(m[2:])) for m in remembered}
            await anyio.sleep(2)
            with capture_logs() as logs:
                (left,) = await w.one_pass(*listed)
            (stored,) = await w.journal.open_intents()
            assert left == stored
            assert (left.id, left.machine_id) == (one.id, found)
            assert left.accepted_at == (None if found is None else later(seconds=2))
            if found is None:
                assert not logs
                assert set(w.recall.facts) == set(remembered)
                return
            assert w.recall.facts[found] == MachineFacts(
                found, "training", NAME, later(seconds=2), later(seconds=2), last_state=UNSEEN
            ), "from now on a listing that lacks it is doubted"
            assert w.recall.addresses.known() == {found: ""}
            assert told(logs, "intent.settled") == [
                {"fleet": "training", "machine": found, "name": NAME, "intent": one.id, "log_level": "info"}
            ]

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("other", "answered"),
    [
        P(replace(LOST, machine_id="ps5", accepted_at=ago(minutes=4)), True, id="of a create that was answered"),
        P(LOST, False, id="of another lost create"),
    ],
)
def test_one_machine_is_the_answer_to_one_create(other: Intent, answered: bool) -> None:
    async def story() -> None:
        async with world() as w:
            await w.written(other)
            await w.written(LOST)
            assert [i.machine_id for i in await w.one_pass(there())] == ["ps5", None]

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("one", "waited"),
    [
        P(LOST, True, id="a create whose answer is waited for"),
        P(replace(LOST, machine_id="ps7", accepted_at=ago(minutes=4)), False, id="a create that has its machine"),
        P(intent(Verb.STOP, 7, name=NAME, deadline_at=later(hours=1)), False, id="another verb"),
        P(intent(FOREIGN, None, name=NAME, deadline_at=later(hours=1)), False, id="another verb, and no machine"),
    ],
)
def test_nothing_else_is_looked_for(one: Intent, waited: bool) -> None:
    async def story() -> None:
        async with world() as w:
            stored = await w.written(one)
            if waited:
                w.waited.add(stored.id)
            for _ in range(3):
                (left,) = await w.one_pass(there())
                assert left.machine_id == one.machine_id
                await anyio.sleep(SETTLE)
            assert not await w.endings()

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("lost", "passes", "steps", "given_up"),
    [
        P(None, [0, 60, 119, 120], {}, 120, id="lost with an earlier process: from this one's first pass on"),
        P(-3600, [0, 60, 119, 120], {}, 120, id="given up on by an earlier process's clock alone it is not"),
        P(-60, [10, 129, 130], {}, 130, id="nor by the rest of what that one had left"),
        P(10, [0, 30, 129, 130], {}, 130, id="lost between two passes: from when it was lost"),
        P(10, [0, 10, 30, 129, 130], {}, 130, id="lost in a pass: from then on as well"),
        P(10, [0, 20, 40, 129, 130], {}, 130, id="looked for from the first pass that has it"),
        P(10, [0, 30, 100, 129, 130], {90: +7200}, 130, id="a clock set ahead does not end it"),
        P(
            10,
            [5, 30, 115, 124, 125],
            {20: +7200},
            125,
            id="set ahead at once: from the pass before it, at the earliest",
        ),
        P(10, [0, 30, 120, 150], {20: -5}, 150, id="set back a little: whole as the clock tells it, as well"),
        P(10, [0, 30, 129, 149, 150], {20: -7200}, 150, id="set back: it begins anew with the pass that sees it"),
        P(10, [0, 30, 129, 130, 248, 249], {90: -7200}, 249, id="set back later on: likewise"),
    ],
)
def test_a_lost_create_is_looked_for_through_the_settle_time(
    lost: float | None, passes: list[float], steps: dict[float, float], given_up: float
) -> None:
    """By the wall clock and by this process's own, whatever is done to the first. All in seconds."""

    async def story() -> None:
        async with world() as w:
            one = await w.written(LOST)
            if lost is not None and lost > 0:
                w.waited.add(one.id)
            elif lost is not None:
                await w.journal.update_intent(one.id, ambiguous_since=NOW + timedelta(seconds=lost))
            ended = None
            agenda = sorted(
                [(t, 2, "pass") for t in passes] + [(t, 1, "step") for t in steps] + [(lost or 0, 0, "lost")]
            )
            for at, _, what in agenda:
                await anyio.sleep(max(0.0, at - anyio.current_time()))
                if what == "step":
                    w.clock.step(steps[at])
                elif what == "lost" and one.id in w.waited:
                    w.waited.clear()
                    await w.journal.update_intent(one.id, ambiguous_since=w.clock.now())
                elif what == "pass" and not await w.one_pass():
                    ended = at
                    break
            assert ended == given_up
            assert await w.endings() == [(Outcome.LOST, NO_MACHINE)]

    run_virtual(story, start=NOW)


def test_one_whose_answer_is_lost_while_a_pass_looks_is_the_next_ones() -> None:
    async def story() -> None:
        async with world() as w:
            one = await w.written(LOST)
            w.waited.add(one.id)
            await w.one_pass()
            (known,) = await w.settling.doubt_unanswered(NOW)
            w.waited.clear()
            await anyio.sleep(SETTLE)
            assert await w.settling.settle([known], seen(at=w.clock.now()), {"training": FLEET}) == [known]
            assert [i.ambiguous_since for i in await w.one_pass()] == [w.clock.now()]

    run_virtual(story, start=NOW)


def test_each_of_several_is_given_up() -> None:
    async def story() -> None:
        async with world() as w:
            for n in (1, 2, 3):
                await w.written(replace(LOST, name=token_name(n)))
            assert len(await w.one_pass()) == 3
            await anyio.sleep(SETTLE)
            (left,) = await w.one_pass(machine(2))
            assert left.machine_id == "ps2"
            assert await w.endings() == [(Outcome.LOST, NO_MACHINE)] * 2

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("fleets", "seconds"),
    [
        P((FLEET,), SETTLE, id="its own"),
        P((), Guards().settle.total_seconds(), id="the default where its fleet has left the config"),
        P((replace(FLEET, name="batch"),), Guards().settle.total_seconds(), id="another fleet's is another's"),
    ],
)
def test_whose_settle_time_it_is(fleets: tuple[Fleet, ...], seconds: float) -> None:
    async def story() -> None:
        async with world() as w:
            await w.written(LOST)
            await w.one_pass(fleets=fleets)
            await anyio.sleep(seconds - 1)
            assert len(await w.one_pass(fleets=fleets)) == 1
            await anyio.sleep(1)
            assert not await w.one_pass(fleets=fleets)

    assert Guards().settle.total_seconds() != SETTLE
    run_virtual(story, start=NOW)


NAMELESS = machine(8, name="", unreadable="no name")


@pytest.mark.parametrize(
    ("listed", "fields", "remembered"),
    [
        P([NAMELESS], {}, [], id="one without a readable name"),
        P([], {"unidentified": 1}, [], id="one without a readable id"),
    ],
)
def test_a_lost_create_whose_machine_may_be_hidden_is_looked_for_until_its_deadline(
    listed: list[Machine], fields: dict[str, Any], remembered: list[str]
) -> None:
    async def story() -> None:
        async with world() as w:
            await w.written(LOST)
            for seconds in (0, SETTLE, 3600 - SETTLE - 1):
                await anyio.sleep(seconds)
                assert len(await w.one_pass(*listed, **fields)) == 1
            await anyio.sleep(1)
            assert not await w.one_pass(*listed, **fields)

    run_virtual(story, start=NOW)


def test_creates_that_are_given_up_are_repeated_once_and_then_ever_more_rarely() -> None:
    async def story() -> None:
        async with world() as w:
            await w.one_pass()
            for n in range(3):
                await w.written(replace(LOST, created_at=w.clock.now()))
                with capture_logs() as logs:
                    assert await w.one_pass()
                    await anyio.sleep(SETTLE)
                    assert not await w.one_pass()
                words = f"{NO_MACHINE}; a person should look whether one of another name is billed"
                assert [line["error"] for line in told(logs, "intent.lost")] == [NO_MACHINE]
                assert [(line["attempt"], line["error"]) for line in told(logs, "action.backed_off")] == (
                    [(n, words)] if n else []
                )
                ((key, back),) = w.recall.setbacks.known(w.clock.now()).items()
                assert (key, back.attempt, back.words) == ("create:training", n, words)
            assert w.meter.said == [("action", "training", "create", "lost")] * 3

    run_virtual(story, start=NOW)


def test_what_has_its_verdict_already_is_given_no_second_one() -> None:
    async def story() -> None:
        async with world() as w:
            one = await w.written(LOST)
            intents = await w.settling.doubt_unanswered(NOW)
            await w.settling.settle(intents, seen(at=NOW), {"training": FLEET})
            await w.journal.close_intent(one.id, at=NOW, outcome=Outcome.NOT_SENT)
            await anyio.sleep(SETTLE)
            with capture_logs() as logs:
                assert not await w.settling.settle(intents, seen(at=w.clock.now()), {"training": FLEET})
            assert not logs
            assert not w.meter.said
            assert not w.recall.setbacks.known(w.clock.now())

    run_virtual(story, start=NOW)


@pytest.mark.parametrize(
    ("adopt", "name", "made", "line", "unconfirmed"),
    [
        P((), token_name(1), True, "machine.adopted", None, id="ours by name, and by a create that had its id"),
        P((), token_name(1), False, "machine.was_recovered", None, id="ours by its name alone"),
        P(("old-*",), "old-1", False, "machine.adopted", True, id="by a pattern of adopt"),
        P(("old-1",), "old-1", False, "machine.adopted", None, id="written out in adopt"),
        P((), "old-1", False, None, None, id="somebody else's"),
    ],
)
def test_how_a_machine_of_ours_is_met_first(
    adopt: tuple[str, ...], name: str, made: bool, line: str | None, unconfirmed: bool | None
) -> None:
    async def story() -> None:
        async with world() as w:
            if made:
                one = await w.written(intent(Verb.CREATE, 1))
                await w.journal.close_intent(one.id, at=NOW, outcome=Outcome.REACHED)
            with capture_logs() as logs:
                await w.settling.learn(seen(machine(1, name=name)), [], [replace(FLEET, adopt=adopt)])
            expected: dict[str, Any] = {"fleet": "training", "machine": "ps1", "name": name, "state": "ready"}
            if line == "machine.adopted":
                expected |= {"unconfirmed": unconfirmed, "log_level": "info"}
            elif line is not None:
                expected |= {"log_level": "warning"}
            assert logs == ([] if line is None else [{"event": line, **expected}])
            assert set(w.recall.facts) == (set() if line is None else {"ps1"})
            assert list(await w.journal.facts()) == list(w.recall.facts.values())
            assert not w.outside.heard

    run_virtual(story, start=NOW)


def test_of_an_open_create_its_machine_is_ours_and_not_recovered() -> None:
    async def story() -> None:
        async with world() as w:
            one = await w.written(replace(LOST, machine_id="ps1"))
            with capture_logs() as logs:
                await w.settling.learn(seen(machine(1, name=NAME)), [one], [FLEET])
            assert [line["event"] for line in logs] == ["machine.adopted"]

    run_virtual(story, start=NOW)


GONE: dict[str, Any] = {"gone": frozenset({"ps1"})}
LEFT = "172.0.0.1"


@pytest.mark.parametrize(
    ("departing", "listed", "fields", "ours", "became"),
    [
        P(None, [machine(1, "off")], {}, False, "off", id="turned"),
        P(None, [], GONE, False, "gone", id="went"),
        P((Verb.DESTROY, False), [], GONE, True, "gone", id="went after a destroy of ours that is late"),
        P((Verb.DESTROY, True), [], GONE, False, "gone", id="went after a destroy that was declined"),
        P((Verb.STOP, False), [], GONE, False, "gone", id="went after a stop of ours"),
        P(None, [machine(1)], {}, None, None, id="is as it was"),
    ],
)
@pytest.mark.parametrize("address", [LEFT, "", None])
def test_what_changed_is_reported_and_an_address_that_nobody_gives_back_any_more(
    departing: tuple[Verb, bool] | None,
    listed: list[Machine],
    fields: dict[str, Any],
    ours: bool | None,
    became: str | None,
    address: str | None,
) -> None:
    async def story() -> None:
        async with world() as w:
            w.recall.facts = {
                "ps1": facts(1, last_seen=ago(minutes=1), up_since=ago(hours=2), first_ready_at=ago(days=1))
            }
            if address is not None:
                await w.recall.addresses.expect(replace(LOST, parameters={"assignPublicIp": address == LEFT}), "ps1")
                await w.recall.addresses.see([machine(1, public_ip=address)])
            if departing is not None:
                await w.recall.departures.add(
                    intent(departing[0], 1, reason=Reason.OVER_TARGET), ago(minutes=1), declined=departing[1]
                )
            before = w.recall.facts["ps1"]
            with capture_logs() as logs:
                await w.settling.learn(seen(*listed, **fields), [], [FLEET])
            heard = [(change.facts, change.became, change.ours, at) for change, at in w.outside.heard]
            assert heard == ([] if became is None else [(before, became, ours, NOW)])
            left = bool(address) and became == "gone" and not ours
            line = {"fleet": "training", "machine": "ps1", "name": token_name(1), "address": LEFT}
            assert told(logs, "address.was_left") == ([{**line, "log_level": "warning"}] if left else [])

    run_virtual(story, start=NOW)


def test_the_address_that_a_create_asked_for_is_learnt_with_the_machine() -> None:
    async def story() -> None:
        async with world() as w:
            await w.recall.addresses.expect(replace(LOST, parameters={"assignPublicIp": True}), "ps1")
            await w.settling.learn(seen(machine(1, public_ip=LEFT)), [], [FLEET])
            assert w.recall.addresses.known() == {"ps1": LEFT}

    run_virtual(story, start=NOW)

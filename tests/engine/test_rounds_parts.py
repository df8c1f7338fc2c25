"""One round over sources that are a table: who is asked in which order, and what no answer is taken for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.engine.rounds import PROMPTLY, Rounds, shared_names
from fleetd.model.fleet import IdleRule
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from fleetd.planner.idle import Reading
from tests.support.build import NOW, machine
from tests.support.virtual_time import virtual

P = pytest.param
RULE = IdleRule(("gpu",), after=timedelta(minutes=5))
EACH = IdleSource("gpu", "http", url="http://{private_ip}:9100/idle", at_once=2)
CLOCK: Any = SimpleNamespace(now=lambda: NOW)
ONE, TWO, THREE = (machine(n, private_ip=f"10.0.0.{n}") for n in (1, 2, 3))


class Source:
    """Answers after so many seconds a machine; ``says``: by machine, nothing for one that is not there."""

    def __init__(self, name: str = "gpu", *, takes: Mapping[str, float] | None = None, **fields: Any) -> None:
        self.name, self.question = name, fields.get("question", "how busy?")
        self.takes, self.says, self.fails = takes or {}, fields.get("says"), fields.get("fails")
        self.asked: list[Any] = []
        self.began: list[Any] = []
        self.closed = 0
        self.knows: dict[str, int] = {}
        self.kept: Any = None

    async def read(self, machines: Any, *, window: timedelta, now: Any) -> dict[str, Reading]:
        assert (window, now) == (RULE.after, NOW)
        self.asked.append([m.id for m in machines])
        self.began.append(round(anyio.current_time(), 3))
        for m in machines:
            await anyio.sleep(self.takes.get(m.id, 0))
        if self.fails is not None:
            raise self.fails
        return {m.id: busy(self.name) for m in machines if self.says is None or m.id in self.says}

    async def aclose(self) -> None:
        self.closed += 1

    def learnt(self) -> dict[str, int]:
        return self.knows

    def remind(self, learnt: Mapping[str, int]) -> None:
        self.knows = dict(learnt)

    def forget_others(self, machines: Any) -> None:
        self.kept = machines


def busy(name: str = "gpu") -> Reading:
    return Reading(name, Activity.ACTIVE, NOW, "gpu 90 %")


def unknown(words: str, name: str = "gpu") -> Reading:
    return Reading(name, Activity.UNKNOWN, NOW, words)


async def rounds(*sources: Source, table: IdleSource | None = None) -> Rounds:
    made = Rounds(lambda _settings: {s.name: s for s in sources}, CLOCK)  # type: ignore[misc]
    await made.use({} if table is None else {"gpu": table})
    return made


SILENT = unknown("no answer within 10 s")
PATIENCE = timedelta(seconds=10)
LATE = 10 * PROMPTLY + 0.1


@pytest.mark.parametrize(
    ("source", "table", "patience", "asked", "found"),
    [
        P(Source(), None, PATIENCE, [["ps1", "ps2", "ps3"]], [busy()] * 3, id="all at once"),
        P(Source(), EACH, PATIENCE, [["ps1"], ["ps2"], ["ps3"]], [busy()] * 3, id="one by one"),
        P(Source(), EACH, None, [["ps1", "ps2", "ps3"]], [busy()] * 3, id="one question"),
        P(
            Source(), IdleSource("gpu", "lease"), PATIENCE, [["ps1", "ps2", "ps3"]], [busy()] * 3,
            id="it knows of itself, and asks nobody",
        ),
        P(
            Source(takes={"ps1": 11}), IdleSource("gpu", "uptime"), PATIENCE, [["ps1", "ps2", "ps3"]], [SILENT] * 3,
            id="and that in the same time",
        ),
        P(Source(says={"ps1"}), None, PATIENCE, [["ps1", "ps2", "ps3"]],
          [busy(), unknown("gpu does not answer"), unknown("gpu does not answer")], id="it tells of one"),
        P(Source(takes={"ps2": 11}), None, PATIENCE, [["ps1", "ps2", "ps3"]], [SILENT] * 3, id="too slow"),
        P(Source(takes={"ps2": 1e3}), None, None, [["ps1", "ps2", "ps3"]], [busy()] * 3, id="as long as it likes"),
        P(
            Source(takes={"ps2": 11}), EACH, PATIENCE, [["ps1"], ["ps2"], ["ps3"]], [busy(), SILENT, busy()],
            id="one is silent",
        ),
        P(
            Source(takes={"ps1": 11, "ps2": LATE, "ps3": 11}), EACH, PATIENCE, [["ps1"], ["ps2"], ["ps3"]],
            [SILENT, busy(), None], id="asked too late to tell",
        ),
        P(
            Source(takes={"ps1": 11, "ps2": 1.0, "ps3": 11}), EACH, PATIENCE, [["ps1"], ["ps2"], ["ps3"]],
            [SILENT, busy(), SILENT], id="asked just in time",
        ),
        P(
            Source(takes={"ps1": 11, "ps2": 11}), EACH, PATIENCE, [["ps1"], ["ps2"]], [SILENT, SILENT, None],
            id="not asked",
        ),
    ],
)  # fmt: skip
@virtual
async def test_what_a_round_finds(source: Source, table: Any, patience: Any, asked: Any, found: list[Any]) -> None:
    some = await rounds(source, table=table)
    machines = [ONE, TWO, THREE]
    answers = await some.ask(RULE, machines, machines, patience=patience)
    assert source.asked == asked
    assert answers == {m.id: ({} if r is None else {"gpu": r}) for m, r in zip(machines, found, strict=True)}


@virtual
async def test_the_next_round_begins_with_those_that_were_asked_longest_ago() -> None:
    source = Source(takes={"ps1": 6, "ps2": 6, "ps3": 6})
    some = await rounds(source, table=replace(EACH, at_once=1))
    for _ in range(4):
        await some.ask(RULE, [ONE, TWO, THREE], [], patience=PATIENCE)
    assert source.asked == [["ps1"], ["ps2"], ["ps2"], ["ps3"], ["ps3"], ["ps1"], ["ps1"], ["ps2"]]


@virtual
async def test_one_that_was_silent_is_not_asked_first_again() -> None:
    source = Source(takes={"ps1": 11})
    some = await rounds(source, table=replace(EACH, at_once=1))
    for _ in range(2):
        await some.ask(RULE, [ONE, TWO], [], patience=PATIENCE)
    assert source.asked == [["ps1"], ["ps2"], ["ps1"]]


@virtual
async def test_what_is_asked_just_in_time_is_counted_from_the_begin_of_its_round() -> None:
    """However long the process has run: a round knows nothing of the time before it."""
    await anyio.sleep(1000)
    source = Source(takes={"ps1": 11, "ps2": 1.0, "ps3": 11})
    some = await rounds(source, table=EACH)
    answers = await some.ask(RULE, [ONE, TWO, THREE], [], patience=PATIENCE)
    assert answers == {"ps1": {"gpu": SILENT}, "ps2": {"gpu": busy()}, "ps3": {"gpu": SILENT}}


@virtual
async def test_sources_of_a_rule_are_asked_side_by_side_and_one_that_is_not_there_is_unknown() -> None:
    slow, quick = Source("gpu", takes={"ps1": 3}), Source("ssh")
    some = await rounds(slow, quick)
    began = anyio.current_time()
    answers = await some.ask(
        replace(RULE, sources=("gpu", "ssh", "none")), [ONE], [ONE], patience=timedelta(seconds=10)
    )
    assert answers == {
        "ps1": {"gpu": busy("gpu"), "ssh": busy("ssh"), "none": unknown("none does not answer", "none")}
    }
    assert anyio.current_time() - began == pytest.approx(3)
    assert slow.began == quick.began


@virtual
async def test_a_fault_in_a_source_is_its_answer_and_said_once() -> None:
    source = Source(fails=ExceptionGroup("x", [ValueError("odd " + "x" * 400)]))
    some = await rounds(source)
    words = ("a fault in the source: ValueError odd " + "x" * 400)[:300]
    with capture_logs() as logs:
        for _ in range(2):
            found = await some.ask(RULE, [ONE], [ONE], patience=None)
            assert found == {"ps1": {"gpu": unknown(words)}}
    (line,) = logs
    assert (line["event"], line["source"], line["error"]) == ("idle_source.crashed", "gpu", words)


@virtual
async def test_whose_address_two_machines_have_is_not_asked_about() -> None:
    source = Source()
    some = await rounds(source, table=EACH)
    twin = replace(THREE, private_ip="10.0.0.1")
    for patience in (PATIENCE, None):
        found = await some.ask(RULE, [ONE, TWO], [ONE, TWO, twin], patience=patience)
        assert found["ps1"]["gpu"] == unknown("its private_ip 10.0.0.1 is also that of ps3: it is nobody's")
        assert found["ps2"]["gpu"] == busy()
    assert source.asked == [["ps2"], ["ps2"]]


@virtual
async def test_what_sources_have_learnt_is_kept_as_long_as_they_are_asked() -> None:
    first, second = Source(), Source(question="who is there?")
    opened = [{"gpu": first}, {"gpu": second}, {"gpu": first}]
    some = Rounds(lambda _settings: opened.pop(0), CLOCK)  # type: ignore[arg-type,return-value]
    some.remind({"gpu: how busy?": {"ps1": 1}, "gone: x": {"ps1": 9}})
    assert some.memory == {"gpu: how busy?": {"ps1": 1}, "gone: x": {"ps1": 9}}
    await some.use({"gpu": EACH})
    assert (first.knows, some.memory) == ({"ps1": 1}, {"gpu: how busy?": {"ps1": 1}})
    first.knows = {"ps1": 2}
    assert some.memory == {"gpu: how busy?": {"ps1": 2}}
    some.forget_others({"ps1"})
    assert first.kept == {"ps1"}
    await some.use({"gpu": EACH})
    assert (len(opened), first.closed) == (2, 0), "the same sources are not opened again"
    await some.use({"gpu": replace(EACH, at_once=5)})
    assert (first.closed, second.knows) == (1, {}), "another question"
    await some.aclose()
    await some.aclose()
    assert (second.closed, some.memory) == (1, {"gpu: who is there?": {}})
    await some.use({"gpu": replace(EACH, at_once=5)})
    assert opened == [], "opened again"


@virtual
async def test_what_a_source_has_learnt_until_it_is_closed_is_told_to_the_next_that_asks_the_same() -> None:
    before, after = Source(), Source()
    opened = [{"gpu": before}, {"gpu": after}]
    some = Rounds(lambda _settings: opened.pop(0), CLOCK)  # type: ignore[arg-type,return-value]
    await some.use({"gpu": EACH})
    before.knows = {"ps1": 7}
    await some.use({"gpu": replace(EACH, at_once=5)})
    assert (before.closed, after.knows) == (1, {"ps1": 7})


TEXT = "http://{private_ip}/"


@pytest.mark.parametrize(
    ("text", "mine", "other", "doubt"),
    [
        P(TEXT, {"private_ip": "10.0.0.1"}, {"private_ip": "10.0.0.2"}, None, id="its own"),
        P(
            TEXT,
            {"private_ip": "10.0.0.1"},
            {"private_ip": " ::ffff:10.0.0.1 "},
            "also",
            id="the same in other words",
        ),
        P("http://x/", {"private_ip": "10.0.0.1"}, {"private_ip": "10.0.0.1"}, None, id="nobody asks by it"),
        P(TEXT, {"private_ip": None}, {"private_ip": None}, None, id="none"),
        P(TEXT, {"private_ip": ""}, {"private_ip": " "}, None, id="an empty one"),
        P(TEXT, {"private_ip": "0.0.0.0"}, {}, "no machine's own", id="every machine's"),
        P(TEXT, {"private_ip": "127.0.0.1"}, {}, "no machine's own", id="ours"),
        P(TEXT, {"private_ip": "224.0.0.1"}, {}, "no machine's own", id="many machines'"),
        P(TEXT, {"private_ip": "255.255.255.255"}, {}, "no machine's own", id="all machines'"),
        P(TEXT, {"private_ip": "10.0.0.01"}, {}, "no machine's own", id="no address as such"),
        P("http://{name}/", {"name": "Box"}, {"name": "boX"}, "also", id="a name in another case"),
        P("http://{name}/", {"name": "localhost"}, {"name": "b"}, None, id="a name is no address"),
        P("http://{name}/", {"name": ""}, {"name": ""}, None, id="no names"),
    ],
)
def test_what_two_machines_have_is_nobodys(text: str, mine: Any, other: Any, doubt: str | None) -> None:
    table = replace(EACH, url=text)
    one, two = machine(1, **mine), machine(2, **other)
    found = shared_names(table, [one], [two, one])
    assert set(found) == ({"ps1"} if doubt else set())
    assert doubt is None or doubt in found["ps1"]
    assert shared_names(None, [one], [two, one]) == {}
    assert set(shared_names(table, [one, two], [])) >= set(found), "both of them"


@pytest.mark.parametrize("of", ["private_ip", "name"])
def test_long_ones_are_cut_in_the_words(of: str) -> None:
    boxes = [machine(n, **{of: "x" * 80}) for n in (1, 2)]
    words = shared_names(replace(EACH, url=f"http://{{{of}}}/"), boxes, boxes)
    assert words == {
        f"ps{a}": f"its {of} {'x' * 60} is also that of ps{b}: it is nobody's" for a, b in ((1, 2), (2, 1))
    }

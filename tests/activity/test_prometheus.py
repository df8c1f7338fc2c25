"""What Prometheus is asked, whose clock is believed, and what is remembered of its series and of time itself."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import anyio
import pytest

from fleetd.activity.asking import Unusable
from fleetd.activity.http import HttpSource, judge_age
from fleetd.activity.port import Remembering
from fleetd.activity.prometheus import NEWEST, TWICE, PrometheusSource, judge_date
from fleetd.activity.series import Asked
from fleetd.model.machine import Machine
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from tests.support.build import machine
from tests.support.scripted_server import HANG, RESET, answer, scripted
from tests.support.virtual_time import virtual

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
STEP, WINDOW = timedelta(seconds=30), timedelta(minutes=10)
BOX = machine(1, private_ip="10.64.1.99")
TABLE = IdleSource("gpu", "prometheus", url="http://prom.test:9090/", query='up{i="{id}"}[{window}]', below=0.5)


def at(**ahead: float) -> str:
    return format_datetime(NOW + timedelta(**ahead), usegmt=True)


@pytest.mark.parametrize(
    ("date", "why"),
    [
        (at(), None),
        (at(seconds=61), None),
        (at(seconds=-61), None),
        (at(seconds=62), "its clock is 62 s ahead of ours"),
        (at(seconds=-62), "its clock is 62 s behind ours"),
        (at(hours=-2), "its clock is 7200 s behind ours"),
        ("", "the answer has no Date: nobody can tell whether its clock and ours agree"),
        ("soon", "the answer has no Date: nobody can tell whether its clock and ours agree"),
    ],
)
def test_clocks_agree_within_two_steps_and_a_second(date: str, why: str | None) -> None:
    if why is None:
        judge_date(date, NOW, STEP)
        return
    with pytest.raises(Unusable) as caught:
        judge_date(date, NOW, STEP)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, None),
        ({"Date": at()}, None),
        ({"Date": at(seconds=60)}, None),
        ({"Date": at(seconds=-60), "Age": " 60 "}, None),
        ({"Age": "61"}, "a cache had it already: Age '61'"),
        ({"Age": "-1"}, "a cache had it already: Age '-1'"),
        ({"Age": ""}, "a cache had it already: Age ''"),
        ({"Age": "9" * 5000}, "a cache had it already: Age '" + "9" * 20 + "'"),
        ({"Date": "x" * 99}, "nobody can tell when it was made: Date '" + "x" * 40 + "'"),
        ({"Date": at(seconds=61)}, "the answer is of 2026-03-02T12:01:01Z, and it is 2026-03-02T12:00:00Z"),
        ({"Date": at(seconds=-61)}, "the answer is of 2026-03-02T11:58:59Z, and it is 2026-03-02T12:00:00Z"),
    ],
)
def test_an_answer_is_of_this_minute(headers: dict[str, str], why: str | None) -> None:
    if why is None:
        judge_age(headers, NOW)
        return
    with pytest.raises(Unusable) as caught:
        judge_age(headers, NOW)
    assert str(caught.value) == why


class Told(PrometheusSource):
    """Answers by itself: so many whole series at a value, with a Date."""

    def __init__(self, table: IdleSource = TABLE) -> None:
        super().__init__(table)
        self.queries: list[tuple[str, Asked]] = []
        self.series, self.value, self.late = 1, "0", timedelta(0)
        self.now, self.slow = NOW, 0.0

    async def _ask(self, query: str, asked: Asked) -> tuple[bytes, str]:
        self.queries.append((query, asked))
        await anyio.sleep(self.slow)
        times = [asked.start + n * asked.step for n in range(asked.expected)]
        result = [{"metric": {"n": str(n)}, "values": [(t, self.value) for t in times]} for n in range(self.series)]
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()
        return body, format_datetime(self.now + self.late, usegmt=True)

    async def verdict(self, now: datetime = NOW, *, window: timedelta = WINDOW, of: Machine = BOX) -> Any:
        self.now = now
        reading = (await self.read([of], window=window, now=now))[of.id]
        assert (reading.source, reading.at) == ("gpu", now)
        return reading.verdict, reading.evidence


@pytest.mark.parametrize(("window", "seconds"), [(600, 600), (90, 90), (30, 90), (0, 90)])
async def test_the_question_is_about_three_steps_at_least(window: int, seconds: int) -> None:
    source = Told()
    await source.verdict(window=timedelta(seconds=window))
    end = NOW.timestamp()
    assert source.queries == [('up{i="ps1"}[30s]', Asked(end - seconds + 30, end, 30.0))]


async def test_what_is_not_set_is_as_good_as_nothing() -> None:
    bare = PrometheusSource(IdleSource("gpu", "prometheus"))
    assert (bare._url, bare.question, bare._below) == ("/api/v1/query_range", "", 0.0)
    other = replace(TABLE, url="http://prom.test/", timeout=timedelta(seconds=3), at_once=5)
    assert PrometheusSource(other)._url == "http://prom.test/api/v1/query_range"
    assert (PrometheusSource(other)._timeout, PrometheusSource(other)._at_once) == (timedelta(seconds=3), 5)
    assert Told()._url == "http://prom.test:9090/api/v1/query_range"
    assert Told().question == TABLE.query
    assert isinstance(Told(), Remembering)


async def test_a_series_that_was_there_is_missed_until_it_is_forgotten() -> None:
    source = Told()
    source.series = 2
    assert (await source.verdict())[0] is Activity.IDLE
    source.series = 1
    assert await source.verdict() == (Activity.UNKNOWN, "1 series, it had 2: what became of the others?")
    assert source.learnt()["ps1"] == 2
    source.value = "1"
    assert (await source.verdict())[0] is Activity.ACTIVE, "use is use"
    source.value, source.series = "0", 3
    assert (await source.verdict())[0] is Activity.IDLE
    assert source.learnt()["ps1"] == 3
    source.forget_others({"ps1", "ps7"})
    assert source.learnt()["ps1"] == 3
    source.forget_others({"ps7"})
    assert "ps1" not in source.learnt()
    source.series = 1
    assert (await source.verdict())[0] is Activity.IDLE


async def test_what_was_learnt_outlives_the_process() -> None:
    source, later = Told(), Told()
    source.series = 2
    await source.verdict()
    assert source.learnt() == {"ps1": 2, NEWEST: int(NOW.timestamp()), TWICE: 0}
    later.remind(source.learnt())
    assert later.learnt() == source.learnt()
    assert (await later.verdict())[0] is Activity.UNKNOWN
    fresh = Told()
    fresh.remind({})
    assert fresh.learnt() == {NEWEST: 0, TWICE: 0}


@pytest.mark.parametrize(("back", "known"), [(0.0, True), (1.0, True), (1.5, False), (600.0, False)])
async def test_a_clock_that_goes_back_makes_the_time_until_then_unknown(back: float, known: bool) -> None:
    source = Told()
    await source.verdict()
    verdict, evidence = await source.verdict(NOW - timedelta(seconds=back))
    assert verdict is (Activity.IDLE if known else Activity.UNKNOWN)
    if not known:
        assert evidence == ("the clock was set back: samples until 2026-03-02 12:00:00 UTC may be of the time before")
        assert source.learnt()[TWICE] == int(NOW.timestamp())
        assert source.learnt()[NEWEST] == int((NOW - timedelta(seconds=back)).timestamp())


@pytest.mark.parametrize(("later", "verdict"), [(599.0, Activity.UNKNOWN), (600.0, Activity.IDLE)])
async def test_it_is_known_again_when_the_window_is_past_it(later: float, verdict: Activity) -> None:
    source = Told()
    await source.verdict()
    await source.verdict(NOW - timedelta(seconds=60))
    assert (await source.verdict(NOW + timedelta(seconds=later)))[0] is verdict


async def test_a_second_step_back_leaves_the_first_until_as_it_is() -> None:
    source = Told()
    for seconds in (0, -60, -300):
        await source.verdict(NOW + timedelta(seconds=seconds))
    assert source.learnt()[TWICE] == int(NOW.timestamp())
    source.value = "3"
    assert (await source.verdict(NOW - timedelta(seconds=300)))[0] is Activity.ACTIVE


async def test_an_answer_by_another_clock_teaches_nothing() -> None:
    source = Told()
    source.late = timedelta(hours=1)
    verdict, evidence = await source.verdict()
    assert (verdict, evidence) == (Activity.UNKNOWN, "its clock is 3600 s ahead of ours")
    assert source.learnt() == {NEWEST: 0, TWICE: 0}


async def test_a_machine_that_lacks_what_is_asked_for_is_not_asked_about() -> None:
    source = Told(replace(TABLE, query='up{i="{private_ip}"}'))
    assert await source.verdict(of=machine(2)) == (Activity.UNKNOWN, "the machine has no private_ip yet")
    assert source.queries == []


@virtual
async def test_the_time_that_an_answer_takes_is_no_difference_between_the_clocks() -> None:
    source = Told()
    source.slow, source.late = 100.0, timedelta(seconds=100)
    assert (await source.verdict())[0] is Activity.IDLE
    source.late = timedelta(seconds=30)
    assert await source.verdict() == (Activity.UNKNOWN, "its clock is 70 s behind ours")


DATED = {"Date": at()}
NOTHING = {"status": "success", "data": {"resultType": "matrix", "result": []}}


@virtual
async def test_what_is_posted_and_that_no_answer_is_unknown() -> None:
    said = [
        answer(200, NOTHING, headers=DATED),
        answer(503, body=b"x" * 300, headers=DATED),
        answer(302, headers={**DATED, "Location": "/elsewhere"}),
        RESET,
        HANG,
    ]
    async with scripted(*said) as server:
        source = PrometheusSource(replace(TABLE, url=server.url, timeout=timedelta(seconds=3)))
        began = anyio.current_time()
        told = [(await source.read([BOX], window=WINDOW, now=NOW))["ps1"].evidence for _ in said]
        assert anyio.current_time() - began == pytest.approx(3.0)
        session = source._session
        await source.aclose()
        await source.aclose()
    assert session is not None
    assert (session.closed, source._session) == (True, None)
    assert told[:3] == ["no series", "HTTP 503: " + "x" * 200, "HTTP 302: "]
    assert told[3].startswith("no answer: Server")
    assert told[4].startswith("no answer: ")
    end = NOW.timestamp()
    for heard in server.requests:
        assert (heard.method, heard.path) == ("POST", "/api/v1/query_range")
        assert dict(parse_qsl(heard.raw.decode())) == {
            "query": 'up{i="ps1"}[30s]',
            "start": f"{end - 570:.3f}",
            "end": f"{end:.3f}",
            "step": "30",
            "nocache": "1",
        }


@virtual
async def test_a_web_service_is_asked_for_what_is_so_now() -> None:
    idle = {"idle": True, "evidence": "no job"}
    late = {"Date": at(seconds=100)}
    said = [
        answer(200, idle, headers=DATED),
        answer(404, idle, headers=DATED),
        answer(302, idle, headers={**DATED, "Location": "/elsewhere"}),
        HANG,
        answer(200, idle, headers=late),
    ]
    async with scripted(*said) as server:
        source = HttpSource(
            IdleSource("web", "http", url=server.url + "/{id}?w={window}", timeout=timedelta(seconds=3))
        )
        began = anyio.current_time()
        told = [(await source.read([BOX], window=WINDOW, now=NOW))["ps1"].evidence for _ in said]
        assert anyio.current_time() - began == pytest.approx(3.0)
        session = source._session
        await source.aclose()
        await source.aclose()
    assert session is not None
    assert (session.closed, source._session) == (True, None)
    assert told[:3] == ["no job", "HTTP 404", "HTTP 302"]
    assert told[3].startswith("no answer: ")
    assert told[4] == "the answer is of 2026-03-02T12:01:40Z, and it is 2026-03-02T12:00:00Z"
    for heard in server.requests:
        assert (heard.method, heard.target) == ("GET", "/ps1?w=600s")
        assert {name.lower(): value for name, value in heard.headers.items()}["cache-control"] == "no-cache"


@virtual
async def test_the_time_that_a_web_service_takes_is_its_answers() -> None:
    idle = answer(200, {"idle": True, "evidence": "no job"}, headers={"Date": at(seconds=100)})
    async with scripted(idle, latency=100.0) as server:
        source = HttpSource(IdleSource("web", "http", url=server.url, timeout=timedelta(seconds=300)))
        assert (await source.read([BOX], window=WINDOW, now=NOW))["ps1"].verdict is Activity.IDLE
        await source.aclose()

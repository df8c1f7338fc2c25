"""The page and its events, over real TCP on loopback."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import anyio
import pytest
from structlog.testing import capture_logs

from fleetd.model.errors import StateUnusable
from fleetd.model.journal import HistoryEntry
from fleetd.ops.http import serve_http
from fleetd.ops.metrics import Metrics
from fleetd.ops.page import feed as feed_module
from fleetd.ops.page import service
from fleetd.ops.page.render import content_security_policy
from fleetd.ops.page.service import NOTE, Page
from tests.support.fakeseat import AT, FakeSeat, a_fleet, a_machine, a_report
from tests.support.virtual_time import virtual


@dataclass
class FakeMemory:
    entries: list[HistoryEntry] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    writes: int = 0

    async def history(self, *, limit: int | None = None) -> Sequence[tuple[int, HistoryEntry]]:
        self._check()
        assert limit is not None
        return list(enumerate(self.entries))[-limit:]

    async def get_note(self, key: str) -> str | None:
        self._check()
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        self._check()
        self.writes += 1
        self.notes[key] = value

    def _check(self) -> None:
        if self.broken:
            raise StateUnusable("the disk is full")


@dataclass
class Rig:
    seat: FakeSeat
    memory: FakeMemory
    page: Page
    url: str = ""

    def passes(self, **fields: Any) -> None:
        self.seat.answer = a_report(**fields)
        self.page.passed(self.seat.answer)


def make(memory: FakeMemory | None = None) -> Rig:
    seat, memory = FakeSeat(), memory or FakeMemory()
    page = Page(lambda: seat.answer, memory, lambda: AT, interval=lambda: timedelta(seconds=30), version="1.2.3")
    return Rig(seat, memory, page)


@asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[Rig]:
    async with (
        serve_http(rig.seat, Metrics(version="1"), "127.0.0.1:0", now=lambda: AT, pages=rig.page.routes()) as url,
        rig.page.open(),
    ):
        assert url is not None
        rig.url = url
        yield rig


async def until(what: Callable[[], bool]) -> None:
    for _ in range(500):
        if what():
            return
        await anyio.sleep(0.01)
    raise AssertionError("it never came")


@asynccontextmanager
async def listening(rig: Rig, **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.get(f"{rig.url}/events", headers=headers) as answer:
        yield answer


async def said(answer: aiohttp.ClientResponse) -> str:
    """The data of the next message; "" when the stream has ended."""
    with anyio.fail_after(5):
        while line := (await answer.content.readline()).decode():
            if line.startswith("data: "):
                return line.removeprefix("data: ").strip()
    return ""


async def get(url: str, method: str = "GET", **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, await answer.text(), answer


async def test_the_page_and_what_it_may_do() -> None:
    async with served(make()) as rig:
        rig.passes(machines=[a_machine('<b>"')])
        status, text, answer = await get(f"{rig.url}/")
        assert status == 200
        assert answer.content_type == "text/html"
        assert "&lt;b&gt;&quot;" in text
        assert answer.headers["Content-Security-Policy"] == content_security_policy()
        for name in ("Cache-Control", "X-Content-Type-Options", "X-Frame-Options", "Cross-Origin-Resource-Policy"):
            assert name in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Content-Encoding"] in {"gzip", "deflate"}
        assert (await get(f"{rig.url}/", "HEAD"))[:2] == (200, "")


@pytest.mark.parametrize("path", ["/", "/events"])
async def test_only_for_this_machine_and_only_to_read(path: str) -> None:
    async with served(make()) as rig:
        assert (await get(rig.url + path, Host="evil.example"))[0] == 421
        for method in ("POST", "PUT", "DELETE"):
            assert (await get(rig.url + path, method))[0] == 405
        assert rig.seat.asked == []


@pytest.mark.parametrize("viewers", [1, 20])
async def test_however_many_look_a_page_is_rendered_and_packed_once(
    viewers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            done[name] += 1
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(service, "render", counted("render", service.render))
    monkeypatch.setattr(service.gzip, "compress", counted("pack", service.gzip.compress))
    async with served(make()) as rig:
        rig.passes()
        texts = {(await get(rig.url))[1] for _ in range(viewers)}
        assert len(texts) == 1
        assert done == {"render": 1, "pack": 1}
        rig.passes()
        await get(rig.url)
        assert done == {"render": 2, "pack": 2}


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("gzip;q=0.000", None)],
)
async def test_the_page_is_packed_for_who_can_unpack_it(accepted: str, encoding: str | None) -> None:
    async with served(make()) as rig:
        rig.passes()
        answer = (await get(rig.url, **{"Accept-Encoding": accepted}))[2]
        assert answer.headers.get("Content-Encoding") == encoding


async def test_a_pass_is_told_and_the_page_is_new() -> None:
    async with served(make()) as rig:
        rig.passes()
        async with listening(rig) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/event-stream"
            assert answer.headers["Cache-Control"] == "no-store"
            first = await said(answer)
            assert "1 of 2 up" not in (await get(rig.url))[1]
            rig.passes(fleets={"training": a_fleet(up=1, converged=False)})
            assert int(await said(answer)) == int(first) + 1
            assert "training 1 of 2 up" in (await get(rig.url))[1]


async def test_passes_that_come_together_are_one_message() -> None:
    async with served(make()) as rig, listening(rig) as answer:
        assert await said(answer) == "0"
        for _ in range(500):
            rig.passes()
        assert await said(answer) == "500"


async def test_events_are_not_for_other_sites() -> None:
    async with served(make()) as rig:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            async with listening(rig, **{"Sec-Fetch-Site": site}) as answer:
                assert answer.status == status
        async with aiohttp.ClientSession() as session, session.head(f"{rig.url}/events") as answer:
            assert answer.status == 405


async def test_there_are_only_so_many_streams_and_leaving_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(make()) as rig:
        monkeypatch.setattr(feed_module, "MOST_CLIENTS", 2)
        monkeypatch.setattr(feed_module, "HEARTBEAT", 0.05)
        async with listening(rig) as one:
            await said(one)
            async with listening(rig) as two:
                await said(two)
                async with listening(rig) as three:
                    assert three.status == 503
                    assert (await three.json())["error"]["message"] == "2 pages are open already"
                assert (await get(rig.url))[0] == 200
            await until(lambda: rig.page.feed.clients == 1)
            async with listening(rig) as again:
                assert again.status == 200


async def test_silence_is_broken_so_that_the_gone_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(make()) as rig:
        monkeypatch.setattr(feed_module, "HEARTBEAT", 0.05)
        async with listening(rig) as answer:
            await said(answer)
            with anyio.fail_after(5):
                while not (await answer.content.readline()).startswith(b": still here"):
                    pass


async def test_one_that_does_not_read_is_cut_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(make()) as rig:
        monkeypatch.setattr(feed_module, "SLOWEST", 0.3)
        monkeypatch.setattr(feed_module, "HEARTBEAT", 0.001)
        host, port = rig.url.removeprefix("http://").split(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.connect((host, int(port)))
            deaf.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: rig.page.feed.clients == 1)
            monkeypatch.setattr(aiohttp.web.StreamResponse, "write", _never)
            began = anyio.current_time()
            rig.passes()
            assert anyio.current_time() - began < 0.1
            await until(lambda: rig.page.feed.clients == 0)


async def _never(_response: object, _data: bytes) -> None:
    await anyio.sleep_forever()


async def test_open_streams_do_not_hold_up_a_stop() -> None:
    rig = make()
    async with aiohttp.ClientSession() as session:
        with anyio.fail_after(0.9):
            async with served(rig):
                answer = await session.get(f"{rig.url}/events")
                await said(answer)
        assert await said(answer) == ""
        answer.close()
    assert rig.page.feed.clients == 0


async def test_the_journal_is_asked_once_for_all_who_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(make()) as rig:
        rig.memory.entries = [entry("training-1")]
        assert "training-1" in (await get(rig.url))[1]
        rig.memory.entries = [entry("training-2")]
        assert "training-2" not in (await get(rig.url))[1]
        rig.passes()
        assert "training-2" in (await get(rig.url))[1]
        rig.memory.entries = [entry("training-3")]
        monkeypatch.setattr(service, "FRESH", 0)
        assert "training-3" in (await get(rig.url))[1]


async def test_a_broken_journal_is_said_and_the_rest_is_shown() -> None:
    with capture_logs() as logs:
        async with served(make(FakeMemory(broken=True))) as rig:
            rig.passes()
            status, text, _ = await get(rig.url)
    assert status == 200
    assert "The journal cannot be read at the moment." in text
    assert "of 2 up" in text
    assert [(x["event"], x["error"]) for x in logs if x["log_level"] == "error"] == [
        ("journal.failed", "the disk is full")
    ] * 3


async def test_the_record_goes_on_after_a_restart() -> None:
    memory = FakeMemory()
    async with served(make(memory)) as rig:
        rig.passes()
    assert memory.writes == 1
    async with served(make(memory)) as rig:
        assert rig.page.record.begins() == a_report().sight.at
        assert "2 up throughout" in (await get(rig.url))[1]


@virtual
async def test_the_record_is_saved_when_something_is_new_and_now_and_then() -> None:
    rig = make()
    async with rig.page.open():
        await anyio.sleep(3600)
        assert rig.memory.writes == 0
        rig.passes()
        await anyio.sleep(service.SAVE_EVERY)
        assert rig.memory.writes == 1
        for _ in range(20):
            rig.passes()
            await anyio.sleep(1)
        assert rig.memory.writes == 1
        await anyio.sleep(2 * service.SAVE_LATEST)
        assert rig.memory.writes == 3
        assert '"training"' in rig.memory.notes[NOTE]
    assert rig.memory.writes == 4


def entry(name: str) -> HistoryEntry:
    return HistoryEntry(AT, "training", "ps1", name, "start", "short_of_target", "reached", 1, 60.0)

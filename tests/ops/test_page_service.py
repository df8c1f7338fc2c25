"""The page and its events, over real TCP on loopback."""

from __future__ import annotations

import json
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import aiohttp
import anyio
import pytest
from structlog.testing import capture_logs
from yarl import URL

from fleetd.model.errors import StateUnusable
from fleetd.model.journal import HistoryEntry
from fleetd.model.naming import machine_name, make_token
from fleetd.ops.http import serve_http
from fleetd.ops.metrics import Metrics
from fleetd.ops.page import feed as feed_module
from fleetd.ops.page import service, serving
from fleetd.ops.page.frame import content_security_policy
from fleetd.ops.page.service import NOTE, Page
from tests.support.fake_handle import AT, FakeHandle, a_fleet, a_machine, a_report
from tests.support.virtual_time import virtual


@dataclass
class FakeMemory:
    entries: list[HistoryEntry] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    broken: bool = False
    writes: int = 0

    async def history(
        self,
        *,
        since: datetime | None = None,
        fleet: str | None = None,
        machine: str | None = None,
        limit: int | None = None,
    ) -> Sequence[tuple[int, HistoryEntry]]:
        self._check()
        assert limit is not None
        rows = [
            (n, e)
            for n, e in enumerate(self.entries)
            if (since is None or e.ts >= since)
            and (fleet in {None, e.fleet} or (not e.fleet and e.verb == "freeze"))
            and (machine is None or machine in {e.machine, e.name})
        ]
        return rows[-limit:]

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
    handle: FakeHandle
    memory: FakeMemory
    page: Page
    url: str = ""

    def passes(self, **fields: Any) -> None:
        self.handle.answer = a_report(**fields)
        self.page.passed(self.handle.answer)


def make(memory: FakeMemory | None = None) -> Rig:
    handle, memory = FakeHandle(), memory or FakeMemory()
    page = Page(lambda: handle.answer, memory, lambda: AT, interval=lambda: timedelta(seconds=30), version="1.2.3")
    return Rig(handle, memory, page)


@asynccontextmanager
async def served(rig: Rig) -> AsyncIterator[Rig]:
    async with (
        serve_http(rig.handle, Metrics(version="1"), "127.0.0.1:0", now=lambda: AT, pages=rig.page.routes()) as url,
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


async def get(url: str | URL, method: str = "GET", **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
        return answer.status, await answer.text(), answer


async def test_the_page_and_what_it_may_do() -> None:
    async with served(make()) as rig:
        rig.passes(fleets={'<b>"': a_fleet()})
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


@pytest.mark.parametrize("path", ["/", "/events", "/fleet/training", "/machine/ps1", "/history", "/summary"])
async def test_only_for_this_machine_and_only_to_read(path: str) -> None:
    async with served(make()) as rig:
        assert (await get(rig.url + path, Host="evil.example"))[0] == 421
        for method in ("POST", "PUT", "DELETE"):
            assert (await get(rig.url + path, method))[0] == 405
        assert rig.handle.asked == []


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

    monkeypatch.setattr(service, "home", counted("render", service.home))
    monkeypatch.setattr(serving.gzip, "compress", counted("pack", serving.gzip.compress))
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
        monkeypatch.setattr(serving, "FRESH", 0)
        assert "training-3" in (await get(rig.url))[1]


async def test_a_broken_journal_is_said_and_the_rest_is_shown() -> None:
    with capture_logs() as logs:
        async with served(make(FakeMemory(broken=True))) as rig:
            rig.passes()
            status, text, _ = await get(rig.url)
    assert status == 200
    assert "The journal cannot be read at the moment." in text
    assert "</b> of 2<" in text
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


ROUTES = ("/", "/?q=n", "/fleet/training", "/machine/ps-training-1", "/history", "/history?since=24h", "/summary")


@pytest.mark.parametrize("path", ROUTES)
async def test_every_page_has_a_tag_and_is_sent_once(path: str) -> None:
    async with served(make()) as rig:
        rig.passes(machines=[a_machine("training-1"), a_machine("training-2")])
        status, text, answer = await get(rig.url + path)
        assert status == 200
        assert text
        tag = answer.headers["ETag"]
        assert tag.startswith('W/"')
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert answer.headers["Content-Security-Policy"] == content_security_policy()
        for asked in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
            status, text, answer = await get(rig.url + path, **{"If-None-Match": asked})
            assert (status, text, answer.headers["ETag"]) == (304, "", tag)
        for asked in ('"x"', "x", 'W/"', ""):
            assert (await get(rig.url + path, **{"If-None-Match": asked}))[0] == 200
        assert (await get(rig.url + path, "HEAD"))[:2] == (200, "")
        rig.passes(fleets={"training": a_fleet(up=1, converged=False)}, machines=[a_machine("training-1")])
        assert (await get(rig.url + "/", **{"If-None-Match": tag}))[0] == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/fleet/batch", "There is no fleet batch"),
        ("/machine/ps-9", "There is no machine ps-9"),
        ("/machine/%3Cb%3E%22%0d%0aSet-Cookie:a", "There is no machine &lt;b&gt;&quot;\\x0d\\x0aSet-Cookie:a"),
        ("/fleet/%00%ff", "There is no fleet"),
        ("/fleet/~0123", "There is no fleet ~0123"),
    ],
)
async def test_what_is_not_there_is_said_with_a_way_to_look_for_it(path: str, words: str) -> None:
    async with served(make()) as rig:
        rig.passes()
        status, text, answer = await get(URL(rig.url + path, encoded=True))
        assert status == 404
        assert answer.content_type == "text/html"
        assert words in text
        assert '<form role="search" method="get" action="../">' in text
        assert answer.headers["Content-Security-Policy"] == content_security_policy()
        assert (await get(f"{rig.url}/nothing"))[0] == 404


async def test_what_befell_everything_is_on_every_fleets_chart() -> None:
    async with served(make()) as rig:
        told = replace(entry("x"), fleet="", machine=None, outcome="observed", duration_s=None)
        rig.memory.entries = [
            replace(told, ts=AT - timedelta(minutes=50), name="daemon", verb="daemon", reason="started"),
            replace(told, ts=AT - timedelta(minutes=40), name="everything", verb="freeze", reason="operator_request"),
            replace(told, ts=AT - timedelta(minutes=30), name="provider", verb="provider", reason="unavailable"),
            replace(told, ts=AT - timedelta(days=2), name="provider", verb="provider", reason="key_refused"),
            replace(entry("batch-1"), fleet="batch"),
            entry("training-1"),
        ]
        rig.passes()
        _, text, _ = await get(f"{rig.url}/fleet/training")
        assert [text.count(f'class="mark-{kind}"') for kind in ("reload", "freeze", "outage")] == [1, 1, 1]
        assert "provider</strong> unavailable" in text
        assert "key refused" not in text
        assert "batch-1" not in text
        rig.memory.broken = True
        rig.passes()
        assert "The journal cannot be read at the moment." in (await get(f"{rig.url}/fleet/training"))[1]


async def test_a_machine_that_is_gone_has_its_history() -> None:
    async with served(make()) as rig:
        rig.memory.entries = [entry("training-1"), replace(entry("training-2"), machine="ps2")]
        rig.passes()
        status, text, _ = await get(f"{rig.url}/machine/training-1")
        assert status == 404
        assert "What the history knows of it" in text
        assert "training-1" in text
        assert "training-2" not in text


NAMES = (
    "<img src=x onerror=alert(1)>", "a/b", "a%2Fb", "..", ".", "a?b#c&d=e", "a b", "\u202egnp", "\x00\x1b[2J",
    "\ud800", "~x", "x" * 5000, "\u00e4" * 300, "javascript:alert(1)", '"\'`', "\\",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_whatever_a_machine_is_called_its_page_is_a_tap_away(name: str) -> None:
    async with served(make()) as rig:
        machines = [a_machine("training-1"), a_machine("x", id=name), a_machine(name, id=None)]
        rig.passes(machines=machines, fleets={"training": a_fleet(), name: a_fleet(target=7)})
        for page, path in (("/fleet/training", "machine"), ("/", "fleet")):
            _, text, _ = await get(rig.url + page)
            links = {unescape(link) for link in re.findall(r'href="(?:\.\./)?(' + path + r'/[^"]+)"', text)}
            assert len(links) >= 2, "the ids' and the names' are the same here"
            for link in links:
                status, body, _ = await get(URL(f"{rig.url}/{link}", encoded=True))
                assert status == 200, link
                assert "There is no" not in body
                assert "<img" not in body


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("training-1", "machine/ps-training-1"),
        ("PS-TRAINING-2", "machine/ps-training-2"),
        ("ning-1", "machine/ps-training-1"),
        ("former", "machine/ps-training-2"),
        ("bat", "fleet/batch"),
        (" batch ", "fleet/batch"),
        ("10.0.0.7", "machine/ps-training-1"),
        ("203.0.113", "machine/ps-training-2"),
    ],
)
async def test_the_only_one_that_is_called_so_is_shown_at_once(asked: str, path: str) -> None:
    async with served(make()) as rig, aiohttp.ClientSession() as session:
        machines = [
            a_machine("training-1", private_ip="10.0.0.7"),
            a_machine("training-2", former_name="former", public_ip="203.0.113.9"),
        ]
        rig.passes(machines=machines, fleets={"training": a_fleet(), "batch": a_fleet()})
        async with session.get(rig.url, params={"q": asked}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, path)


async def test_hits_are_listed_and_bounded() -> None:
    async with served(make()) as rig, aiohttp.ClientSession() as session:
        rig.passes(machines=[a_machine(f"training-{n:03d}") for n in range(500)])

        async def look(words: str) -> str:
            async with session.get(rig.url, params={"q": words}) as answer:
                assert answer.status == 200
                return await answer.text()

        text = await look("training")
        assert "501 hits for training" in text
        assert text.count('href="machine/') == 59
        assert "and 441 more: say more of the name" in text
        assert "Nothing is called &lt;b&gt;" in await look("<b>")
        assert 'value="&lt;b&gt;"' in await look("<b>")
        assert "Needs" not in await look("training")
        assert len(await look("x" * 4000)) < 60_000
        assert "Fleets" in await look(" ")


async def test_a_name_of_two_machines_is_nobodys() -> None:
    async with served(make()) as rig:
        rig.passes(machines=[a_machine("training-1"), a_machine("training-1", id="ps2", owned=False)])
        status, text, _ = await get(f"{rig.url}/machine/training-1")
        assert status == 200
        assert "2 machines called training-1" in text
        assert '"../machine/ps2"' in text
        assert "not owned: never touched" in (await get(f"{rig.url}/machine/ps2"))[1]


@pytest.mark.parametrize(
    ("asked", "there", "missing"),
    [
        ({}, ["training-1", "batch-1"], []),
        ({"fleet": "batch"}, ["batch-1"], ["training-1"]),
        ({"machine": "training-1"}, ["training-1"], ["batch-1"]),
        ({"machine": "batch-1"}, ["batch-1", "earlier-name"], ["training-1"]),
        ({"since": "1h"}, ["training-1"], ["batch-1"]),
        ({"since": "2026-03-01T13:00"}, ["training-1"], ["batch-1"]),
        ({"since": "0001-01-01"}, ["training-1", "batch-1"], []),
        ({"fleet": "", "machine": " ", "since": ""}, ["training-1", "batch-1"], []),
    ],
)
async def test_the_history_by_its_filters(asked: dict[str, str], there: list[str], missing: list[str]) -> None:
    async with served(make()) as rig:
        old = replace(entry("batch-1"), fleet="batch", machine="psb", ts=AT - timedelta(days=1))
        rig.memory.entries = [old, replace(old, name="earlier-name"), entry("training-1")]
        rig.passes(machines=[a_machine("batch-1", id="psb", fleet="batch")])
        status, text, _ = await get(str(URL(f"{rig.url}/history").with_query(asked)))
        assert status == 200
        listed = text.partition("<ul class=")[2]
        assert all(f">{name}<" in text for name in there)
        assert not any(f">{name}<" in listed for name in missing)


@pytest.mark.parametrize("since", ["yesterday", "-1h", "99999999d", "<b>", "24", "9999-12-31T23:59:59-14:00 x"])
async def test_a_filter_that_cannot_be_read_is_said(since: str) -> None:
    async with served(make()) as rig:
        status, text, _ = await get(str(URL(f"{rig.url}/history").with_query(since=since)))
        assert status == 400
        assert "since: expected how long ago" in text
        assert "<b>" not in text


@pytest.mark.parametrize("query", ["", "?machine=", "?fleet=training", "?since=1h"])
async def test_a_machine_without_a_name_is_not_what_no_filter_means(query: str) -> None:
    async with served(make()) as rig:
        rig.memory.entries = [entry("training-1")]
        rig.passes(machines=[a_machine("", id="ps7", owned=False), a_machine("training-1", id="ps1")])
        assert "training-1</a>" in (await get(f"{rig.url}/history{query}"))[1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("machin=training-1", "machin: there is no such filter; there are fleet, machine, since"),
        ("fleet=training&limit=5", "limit: there is no such filter"),
        ("fleet=training&fleet=batch", "fleet: given more than once"),
        (f"machine={'x' * 201}", "machine: longer than 200 characters"),
        ("%3Cb%3E=1", "&lt;b&gt;: there is no such filter"),
    ],
)
async def test_a_filter_that_would_be_ignored_is_refused(query: str, words: str) -> None:
    async with served(make()) as rig:
        rig.memory.entries = [entry("training-1")]
        status, text, _ = await get(URL(f"{rig.url}/history?{query}", encoded=True))
        assert status == 400
        assert words in text
        assert "training-1</a>" not in text


async def test_a_name_is_found_as_it_is_shown_and_however_it_is_typed() -> None:
    async with served(make()) as rig, aiohttp.ClientSession() as session:
        rig.passes(
            machines=[a_machine(name, id=f"ps{n}") for n, name in enumerate(("a\x1b[31m", "\u202egnp", "Caf\xe9"))]
        )
        for asked, path in (
            ("a\\x1b[31m", "ps0"),
            ("\\u202egnp", "ps1"),
            ("\u202egnp", "ps1"),
            ("cafe\u0301", "ps2"),
        ):
            async with session.get(rig.url, params={"q": asked}, allow_redirects=False) as answer:
                assert (answer.status, answer.headers.get("Location")) == (302, f"machine/{path}"), asked


async def test_a_machine_has_no_share_in_what_another_did_that_is_called_by_its_id() -> None:
    async with served(make()) as rig:
        rig.passes(machines=[a_machine("training-1", id="ps1"), a_machine("ps1", id="ps2")])
        own, others = entry("training-1"), entry("ps1")
        rig.memory.entries = [replace(own, machine="ps1"), replace(others, machine="ps2", verb="destroy")]
        text = (await get(f"{rig.url}/machine/ps1"))[1].partition("Time line")[2]
        assert " start:" in text
        assert " destroy:" not in text
        assert " destroy:" in (await get(f"{rig.url}/machine/ps2"))[1].partition("Time line")[2]


async def test_what_a_fleet_has_left_behind_is_where_its_page_was() -> None:
    async with served(make()) as rig:
        names = [machine_name("web", make_token("web", [n, 2, 3, 4, 5])) for n in (1, 2)]
        rig.passes(machines=[a_machine(name, owned=False, fleet=None) for name in (*names, "web-site")])
        home = (await get(rig.url))[1]
        assert 'href="fleet/web"' in home
        status, text, _ = await get(f"{rig.url}/fleet/web")
        assert status == 404
        assert "Made for it, and without a fleet now" in text
        assert text.count('href="../machine/') == 2


async def test_a_few_renderings_are_kept_and_a_report_is_made_once() -> None:
    rig = make()
    asked = 0

    def status() -> Any:
        nonlocal asked
        asked += 1
        return a_report(machines=[a_machine(f"training-{n}") for n in range(100)])

    rig.page._status = status
    async with served(rig):
        for n in range(100):
            assert (await get(f"{rig.url}/machine/ps-training-{n}"))[0] == 200
        assert len(rig.page._renderings) == serving.MOST_KEPT
        assert asked < 20


@pytest.mark.parametrize("seed", range(4))
async def test_no_address_that_a_stranger_makes_up_is_a_fault(seed: int) -> None:
    rng = random.Random(seed)
    with capture_logs() as logs:
        async with served(make()) as rig, aiohttp.ClientSession() as session:
            rig.passes(machines=[a_machine("training-1"), a_machine("\x00\ud800", id="~")])
            rig.memory.entries = [entry("training-1")]
            for _ in range(60):
                word = "".join(f"%{byte:02X}" for byte in rng.randbytes(rng.choice((1, 2, 5, 40, 700))))
                path = rng.choice(
                    ("fleet/{}", "machine/{}", "?q={}", "history?fleet={0}&machine={0}&since={0}", "{}")
                )
                tag = rng.randbytes(9).hex() + rng.choice(('"', "", ",", '"*"', "W/"))
                address = URL(f"{rig.url}/{path.format(word)}", encoded=True)
                async with session.get(address, headers={"If-None-Match": tag}, allow_redirects=False) as answer:
                    assert answer.status in {200, 302, 304, 400, 404}, address
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_the_summary_is_small() -> None:
    async with served(make()) as rig:
        rig.passes()
        _, text, answer = await get(f"{rig.url}/summary")
        assert answer.content_type == "application/json"
        assert json.loads(text) == {
            "title": "2/2 up \u00b7 fleetd",
            "mood": "ok",
            "looked": "2026-03-02T11:59:50+00:00",
        }
        assert len(text) < 200


def entry(name: str) -> HistoryEntry:
    return HistoryEntry(AT, "training", "ps1", name, "start", "short_of_target", "reached", 1, 60.0)

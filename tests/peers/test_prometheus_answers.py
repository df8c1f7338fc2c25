"""What a real Prometheus answers when a GPU vanishes, an exporter starves, or somebody stands in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from fleetd.activity.prometheus import PrometheusSource
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from tests.support.build import machine
from tests.support.exporter import Exporter, prometheus

BOX = machine(1, name="box")
WINDOW = timedelta(seconds=6)
BUSY, QUIET = 'box",gpu="1', 'box",gpu="0'
"""Two GPUs of one machine, in the place of the exporter's label ``host``."""
QUERY = 'max_over_time(gpu_active{host="{name}"}[{window}])'


@asynccontextmanager
async def source(url: str, query: str = QUERY) -> AsyncIterator[PrometheusSource]:
    step = timedelta(seconds=1)
    asked = PrometheusSource(IdleSource("gpu", "prometheus", url=url, query=query, below=0.02, step=step))
    try:
        yield asked
    finally:
        await asked.aclose()


async def ask(asked: PrometheusSource, window: timedelta = WINDOW) -> tuple[Activity, str]:
    reading = (await asked.read([BOX], window=window, now=datetime.now(UTC)))["ps1"]
    return reading.verdict, reading.evidence


async def until(asked: PrometheusSource, verdict: Activity, *, within: float = 20) -> str:
    """Its evidence, once the source says so."""
    with anyio.fail_after(within):
        while True:
            said, evidence = await ask(asked)
            if said is verdict:
                return evidence
            await anyio.sleep(0.25)


async def throughout(asked: PrometheusSource, verdict: Activity, seconds: float) -> None:
    with anyio.move_on_after(seconds):
        while True:
            said, evidence = await ask(asked)
            assert said is verdict, evidence
            await anyio.sleep(0.25)


@pytest.mark.peer("prometheus")
async def test_one_gpu_does_not_speak_for_the_other(tmp_path: Path) -> None:
    exporter = Exporter()
    exporter.values |= {QUIET: 0.0, BUSY: 0.0}
    exporter.start()
    try:
        with prometheus(tmp_path, [exporter.port]) as url:
            async with source(url) as asked:
                assert "each of 2 series" in await until(asked, Activity.IDLE)
                del exporter.values[BUSY]
                await until(asked, Activity.UNKNOWN)
                await throughout(asked, Activity.UNKNOWN, 2 * WINDOW.total_seconds())
                exporter.values[BUSY] = float("nan")
                await throughout(asked, Activity.UNKNOWN, 2)
                exporter.values[BUSY] = 0.9
                await until(asked, Activity.ACTIVE)
                exporter.values[BUSY] = 0.0
                await until(asked, Activity.IDLE)
    finally:
        exporter.stop()


@pytest.mark.peer("prometheus")
async def test_an_exporter_that_starves_while_the_machine_works_is_not_idle(tmp_path: Path) -> None:
    exporter = Exporter()
    exporter.values[QUIET] = 0.0
    exporter.start()
    try:
        with prometheus(tmp_path, [exporter.port]) as url:
            async with source(url) as asked:
                await until(asked, Activity.IDLE)
                exporter.stop()
                await anyio.sleep(3.5)
                exporter.start()
                await until(asked, Activity.UNKNOWN, within=2)
                await throughout(asked, Activity.UNKNOWN, 2.5)
                assert "idle" not in await until(asked, Activity.IDLE), "once the gap has left the window"
    finally:
        exporter.stop()


@asynccontextmanager
async def in_between(url: str) -> AsyncIterator[str]:
    """Sends everybody on to the server, without their questions."""

    async def on(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{url}/api/v1/query_range?query=vector(0)&start=0&end=1&step=1")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", on)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.peer("prometheus")
async def test_what_a_real_server_says_to_odd_questions_is_unknown(tmp_path: Path) -> None:
    exporter = Exporter()
    exporter.values[QUIET] = 0.0
    exporter.start()
    try:
        with prometheus(tmp_path, [exporter.port]) as url:
            async with source(url) as asked:
                await until(asked, Activity.IDLE)
                verdict, evidence = await ask(asked, timedelta(hours=4))
                assert verdict is Activity.UNKNOWN
                assert "exceeded maximum resolution of 11,000 points" in evidence
            async with in_between(url) as door, source(door) as asked:
                assert await ask(asked) == (Activity.UNKNOWN, "HTTP 302: 302: Found")
            for query, words in [
                ('gpu_active{host="{name}"', "parse error"),
                ('gpu_active{host="{name}"} - 1', "measures nothing"),
                ('gpu_active{host="{name}"} / 0', "not a number"),
                ('gpu_active{host="somebody"}', "no series"),
            ]:
                async with source(url, query) as asked:
                    verdict, evidence = await ask(asked)
                assert (verdict, words in evidence) == (Activity.UNKNOWN, True), evidence
    finally:
        exporter.stop()

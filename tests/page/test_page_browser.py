"""The page in a real browser: ``fleetd run`` on the simulator, seen by headless Chromium."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import pytest
from msgspec.structs import replace

from fleetd.ops.page.serving import FRESH
from tests.page.__main__ import paths, shown
from tests.page.chrome import chromium
from tests.page.crowd import crowd
from tests.page.test_page_scenes import converged
from tests.support.fake_handle import a_fleet
from tests.support.ports import free_port
from tests.support.processes import SimulatorProcess, fleetd, simulator, started, until, write_config

pytestmark = pytest.mark.peer("chromium")

HOSTILE = '<img src=x onerror="window.owned = 1">\x1b[2J\u202e\n\'&quot;' + "x" * 120


@dataclass
class Service:
    """A simulator, and a daemon that can be stopped and started again."""

    sim: SimulatorProcess
    config: Path
    log: Path
    url: str
    daemon: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.daemon.enter_context(started("run", "-c", str(self.config), log=self.log))
        until(lambda: "endpoint.opened" in self.log.read_text(), saying=self.log.read_text)

    def stop(self) -> None:
        self.daemon.close()

    def human(self, machine: str, action: str) -> None:
        self.sim.ask(f"/_sim/machines/{machine}", {"action": action})


@contextmanager
def service(tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    with simulator(tmp_path, speed=240) as sim, ExitStack() as stack:
        sim.add(name=HOSTILE, id="pshostile", state="ready")
        sim.add(name=f"2 {HOSTILE}", id="psforeign", state="off")
        config = write_config(tmp_path, sim.url, target=3, fleet='adopt = ["pshostile"]')
        whole = config.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"')
        opens, closes = (datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(hours=n) for n in (3, 5))
        times = f'start = "{opens:%H:%M}"\nend = "{closes:%H:%M}"\ntimezone = "Asia/Tokyo"'
        window = f'name = "busy"\n{times}\ntarget = 4\n'
        config.write_text(f"{whole}\n[[fleets.training.windows]]\n{window}")
        made = Service(sim, config, tmp_path / "daemon.log", f"http://127.0.0.1:{port}/")
        stack.callback(made.stop)
        made.start()
        yield made


def text(selector: str) -> str:
    """An element's text; "" while the page has not come so far."""
    return f"(document.querySelector('{selector}')?.textContent ?? '')"


async def test_a_change_reaches_the_page_without_a_reload(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        async with chromium() as tab:
            await tab.open(running.url)
            await tab.until(f"{text('#link')} === 'Live'")
            await tab.until(f"{text('#headline')} === 'The fleet is at target.'", seconds=60)
            await tab.run("window.before = document.querySelector('main'), document.querySelector('#q').focus()")
            await tab.ask("Input.insertText", text="half a na")

            (ours, *_) = [m for m in running.sim.machines() if m["name"].startswith("training-")]
            running.human(ours["id"], "stop")
            await tab.until(f"{text('#headline')}.startsWith('Not at target')")
            await tab.until(f"{text('#changed')}.includes('{ours['name']} changed outside')")
            assert await tab.run(f"{text('#headline')}.includes('training 2 of 3 up.')")
            assert await tab.run("document.title") == "2/3 up · fleetd"
            assert re.search(r"4 at \d\d:\d\d Tokyo", await tab.run(text(".fleets tbody"))), "the config's own zone"

            assert tab.navigations == 1
            assert await tab.run("window.before === document.querySelector('main')")
            assert await tab.run("document.activeElement.id") == "q"
            assert await tab.run("document.activeElement.value") == "half a na"
            assert tab.complaints == []


async def test_from_any_trouble_the_reason_is_a_tap_away_and_hostile_names_stay_text(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        async with chromium() as tab:
            await tab.open(running.url)
            await tab.until(f"{text('#headline')} === 'The fleet is at target.'", seconds=60)
            await tab.follow("document.querySelector('.fleets a').click()")
            await tab.until("location.pathname === '/fleet/training' && document.readyState === 'complete'")
            (ours, *_) = [m for m in running.sim.machines() if m["name"].startswith("training-")]
            running.human(ours["id"], "stop")
            cell = f'[data-key="machine {ours["id"]}"]'
            await tab.until(f"document.querySelector('{cell} .state')?.textContent === 'off'")
            await tab.until(f"{text('#blocked')}.includes('a person stopped it')")
            told = fleetd("hold", ours["name"], "-c", str(running.config), "--for", "2h", "--reason", "<b>mine</b>")
            assert told.returncode == 0, told.stderr
            await tab.until(f"document.querySelector('{cell}')?.textContent?.includes('held')")
            assert "<b>mine</b>" in await tab.run("document.querySelector('.vetoes').innerText")
            title = await tab.run("document.querySelector('[data-key=\"machine pshostile\"]').title")
            assert '<img src=x onerror="window.owned = 1">\\x1b[2J\\u202e\\x0a\'&quot;xxx' in title

            await tab.follow(f"document.querySelector('{cell} a').click()")
            await tab.until(f"location.pathname === '/machine/{ours['id']}' && document.readyState === 'complete'")
            assert "Somebody stopped it" in await tab.run("document.querySelector('#why').innerText")
            await tab.follow(
                "document.querySelector('#q').value = 'hostile', document.querySelector('button').click()"
            )
            await tab.until("location.pathname === '/machine/pshostile' && document.readyState === 'complete'")
            await tab.follow("document.querySelector('#q').value = '<img', document.forms[0].requestSubmit()")
            await tab.until("location.search.startsWith('?q=') && document.querySelectorAll('#hits li').length === 2")
            assert await tab.run("window.owned === undefined")
            assert await tab.run("document.querySelectorAll('img, main script, b b').length") == 0
            await tab.follow("document.querySelector('#hits a[href=\"machine/psforeign\"]').click()")
            await tab.until(f"location.pathname.startsWith('/machine/') && {text('#why')}.includes('never touched')")
            await tab.open(f"{running.url}history?fleet=training&since=1h")
            assert ours["name"] in await tab.run("document.querySelector('.events').innerText")
            assert tab.complaints == []


MUTATIONS = """
new MutationObserver((all) => {
  for (const one of all) window.moved += one.addedNodes.length + one.removedNodes.length;
}).observe(document, { childList: true, subtree: true })
"""


@pytest.mark.parametrize("page", ["home", "fleet", "machine", "history"])
async def test_an_update_that_changes_nothing_moves_no_element(page: str) -> None:
    passed = [timedelta(0)]
    scene = crowd(400)
    async with shown(scene, lambda: passed[0]) as url, chromium() as tab:
        await tab.open(f"{url}/{paths(scene)[page]}")
        await tab.until(f"{text('#link')} === 'Live'")
        await tab.run(f"window.moved = 0, {MUTATIONS}")
        for n in (1, 2):
            passed[0] = timedelta(minutes=n)
            await anyio.sleep(FRESH + 0.1)
            await tab.run("document.dispatchEvent(new Event('visibilitychange'))")
            await tab.until(
                f"{text('#asof')}.includes('{10 + 60 * n} s ago') || {text('#asof')}.includes('2 min ago')"
            )
        assert await tab.run("window.moved") == 0
        assert tab.complaints == []


async def test_a_tab_that_nobody_sees_goes_on_saying_how_it_stands() -> None:
    scene = crowd(8)
    well = [replace(scene.report, blocked=(), fleets={n: a_fleet() for n in scene.report.fleets})]
    async with shown(scene, report=lambda: well[0]) as url, chromium() as tab:
        await tab.open(f"{url}/fleet/fleet-000")
        await tab.until(f"{text('#link')} === 'Live'")
        assert await tab.run("document.title") == "fleet-000 · 8/8 up · fleetd"
        icon = await tab.run("document.querySelector('link[rel=icon]').href")
        await tab.run("Object.defineProperty(document, 'hidden', { get: () => true })")
        well[0] = scene.report
        await anyio.sleep(FRESH + 0.1)
        before = await tab.run(text("main"))
        await tab.run("document.dispatchEvent(new Event('visibilitychange'))")
        await tab.until("document.title === 'fleet-000 · ! 7/8 up · fleetd'")
        assert await tab.run("document.querySelector('link[rel=icon]').href") != icon
        assert await tab.run(text("main")) == before
        assert tab.complaints == []


async def test_a_lost_connection_is_said_and_mends_itself(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        async with chromium() as tab:
            await tab.open(running.url)
            await tab.until(f"{text('#link')} === 'Live'")
            assert tab.complaints == []
            running.stop()
            await tab.until(f"{text('#link')}.startsWith('Connection lost')")
            assert await tab.run("document.documentElement.classList.contains('lost')")
            icon = "document.querySelector('link[rel=icon]')"
            assert (await tab.run("document.title")).startswith("? ")
            assert await tab.run(f"{icon}.href === {icon}.dataset.blind"), (
                "a tab in another window must not look well"
            )
            running.start()
            await tab.until(f"{text('#link')} === 'Live'", seconds=40)
            assert not await tab.run("document.documentElement.classList.contains('lost')")
            await tab.until(f"!document.title.startsWith('?') && {icon}.href !== {icon}.dataset.blind", seconds=40)
            assert tab.navigations == 1


async def test_the_policy_of_the_page_holds(tmp_path: Path) -> None:
    async with shown(converged()) as url, chromium() as tab:
        await tab.open(f"{url}/")
        await tab.until(f"{text('#link')} === 'Live'")
        assert tab.complaints == []
        inline = "document.body.append(Object.assign(document.createElement('script'), {text: 'window.owned = 1'}))"
        await tab.run(inline)
        assert await tab.run("window.owned === undefined")
        assert await tab.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
        assert any("Content Security Policy" in c for c in tab.complaints)


async def test_without_javascript_the_page_is_whole_and_comes_again(tmp_path: Path) -> None:
    async with shown(converged()) as url, chromium() as tab:
        await tab.ask("Emulation.setScriptExecutionDisabled", value=True)
        await tab.ask("Page.navigate", url=f"{url}/")
        await tab.heard("Page.loadEventFired")
        scheduled = await tab.heard("Page.frameScheduledNavigation")
        assert (scheduled["reason"], scheduled["delay"]) == ("metaTagRefresh", 30)
        root = (await tab.ask("DOM.getDocument"))["root"]["nodeId"]
        main = await tab.ask("DOM.querySelector", nodeId=root, selector="main")
        assert 'href="fleet/training"' in (await tab.ask("DOM.getOuterHTML", **main))["outerHTML"]
        link = await tab.ask("DOM.querySelector", nodeId=root, selector="#link")
        assert (await tab.ask("DOM.getOuterHTML", **link))["outerHTML"] == '<span id="link" hidden=""></span>'


async def test_a_screen_reader_finds_its_way() -> None:
    async with shown(converged()) as url, chromium() as tab:
        await tab.open(f"{url}/")
        await tab.run("document.querySelectorAll('details').forEach((part) => part.open = true)")
        nodes = (await tab.ask("Accessibility.getFullAXTree"))["nodes"]
    seen = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    roles = [role for role, _ in seen]
    assert [roles.count(r) for r in ("main", "banner", "contentinfo", "status", "table", "search")] == [1] * 6
    headings = {name for role, name in seen if role == "heading"}
    assert {"fleetd", "Fleets", "What changed"} <= headings
    assert ("searchbox", "Find a fleet or machine by name or id") in seen
    assert ("image", "training: No record yet: it begins with the next pass.") in seen
    assert ("table", "Fleets, those with trouble first") in seen
    assert roles.count("columnheader") == 6
    assert not [name for _, name in seen if name in {"●", "◐", "✓", "·"}]


@pytest.mark.parametrize("width", [320, 390, 768, 1440, 2560])
async def test_nothing_runs_off_the_side(width: int) -> None:
    scene = converged(HOSTILE)
    async with shown(scene) as url, chromium() as tab:
        await tab.look(dark=False, width=width, phone=width < 500)
        for path in (*paths(scene).values(), "?q=%3Cimg", "fleet/none"):
            await tab.ask("Page.navigate", url=f"{url}/{path}")
            await tab.until("document.querySelector('#link')?.textContent === 'Live'")
            await tab.run("document.querySelectorAll('details').forEach((part) => part.open = true)")
            assert await tab.run(_OVERFLOW) == [], path


def axe() -> str:
    """axe-core (deque.com/axe), which looks for what keeps people from using a page; ``.ci/run`` installs it."""
    modules = os.environ.get("FLEETD_NODE_MODULES")
    found = None if modules is None else Path(modules) / "axe-core" / "axe.min.js"
    if found is None or not found.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("axe-core is not installed", pytrace=False)
        pytest.skip("no axe-core in FLEETD_NODE_MODULES; .ci/run installs it")
    return found.read_text()


VIOLATIONS = """
axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
    .then((told) => told.violations.map((one) => [one.id, one.nodes[0].html, one.nodes[0].failureSummary]))
"""


@pytest.mark.parametrize("dark", [False, True])
async def test_axe_finds_nothing_that_keeps_people_out(dark: bool) -> None:
    script = axe()
    scene = crowd(400)
    async with shown(scene) as url, chromium() as tab:
        await tab.ask("Page.setBypassCSP", enabled=True)
        for width in (390, 1440):
            await tab.look(dark=dark, width=width, phone=width < 500)
            for path in (*paths(scene).values(), "?q=fleet", "fleet/none", "history?since=then"):
                await tab.ask("Page.navigate", url=f"{url}/{path}")
                await tab.until("document.querySelector('#link')?.textContent === 'Live'")
                await tab.run(f"{script}; 0")
                assert await tab.run(VIOLATIONS) == [], path


_OVERFLOW = """
[...document.querySelectorAll('main *, header *, footer *')]
    .filter((e) => !e.closest('.unseen, .cell, svg, thead') && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map((e) => e.outerHTML.slice(0, 80))
"""

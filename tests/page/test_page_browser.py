"""The page in a real browser: ``fleetd run`` on the simulator, seen by headless Chromium."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.page.__main__ import shown
from tests.page.chrome import chromium
from tests.page.test_page_scenes import converged
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with simulator(tmp_path, speed=240) as sim, ExitStack() as stack:
        sim.add(name=HOSTILE, id="pshostile", state="ready")
        sim.add(name=f"2 {HOSTILE}", id="psforeign", state="off")
        config = write_config(tmp_path, sim.url, target=3, fleet='adopt = ["pshostile"]')
        config.write_text(config.read_text().replace('listen = ""', f'listen = "127.0.0.1:{port}"'))
        made = Service(sim, config, tmp_path / "daemon.log", f"http://127.0.0.1:{port}/")
        stack.callback(made.stop)
        made.start()
        yield made


def text(selector: str) -> str:
    return f"document.querySelector('{selector}').textContent"


async def test_a_change_reaches_the_page_without_a_reload_and_hostile_names_stay_text(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        async with chromium() as tab:
            await tab.open(running.url)
            await tab.until(f"{text('#link')} === 'Live'")
            await tab.until(f"{text('#headline')} === 'The fleet is at target.'", seconds=60)
            await tab.run("window.before = document.querySelector('main'), document.querySelector('summary').click()")
            await tab.run("document.querySelector('summary').focus()")

            (ours, *_) = [m for m in running.sim.machines() if m["name"].startswith("training-")]
            running.human(ours["id"], "stop")
            cell = f'[data-key="machine {ours["id"]}"]'
            await tab.until(f"document.querySelector('{cell} .state').textContent === 'off'")
            await tab.until(f"{text('#blocked')}.includes('a person stopped it')")
            assert await tab.run(f"{text('#headline')}") == "Not at target: training 2 of 3 up."
            assert await tab.run("document.title") == "2/3 up · fleetd"
            assert f"{ours['name']} changed outside" in await tab.run("document.querySelector('#events').innerText")

            assert tab.navigations == 1
            assert await tab.run("window.before === document.querySelector('main')")
            assert await tab.run("document.activeElement.nodeName") == "SUMMARY"
            assert await tab.run("document.querySelector('details').open")

            told = fleetd("hold", ours["name"], "-c", str(running.config), "--for", "2h", "--reason", "<b>mine</b>")
            assert told.returncode == 0, told.stderr
            await tab.until(f"document.querySelector('{cell}').textContent.includes('held')")
            assert "<b>mine</b>" in await tab.run("document.querySelector('.vetoes').innerText")

            assert await tab.run("window.owned === undefined")
            assert await tab.run("document.querySelectorAll('img, main script, b b').length") == 0
            title = await tab.run("document.querySelector('[data-key=\"machine pshostile\"]').title")
            assert '<img src=x onerror="window.owned = 1">\\x1b[2J\\u202e\\x0a\'&quot;xxx' in title
            assert "<img src=x" in await tab.run("document.querySelector('.names').textContent")
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
            running.start()
            await tab.until(f"{text('#link')} === 'Live'", seconds=40)
            assert not await tab.run("document.documentElement.classList.contains('lost')")
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
        assert "training-7k3mqggq" in (await tab.ask("DOM.getOuterHTML", **main))["outerHTML"]
        link = await tab.ask("DOM.querySelector", nodeId=root, selector="#link")
        assert (await tab.ask("DOM.getOuterHTML", **link))["outerHTML"] == '<span id="link" hidden=""></span>'


async def test_a_screen_reader_finds_its_way() -> None:
    async with shown(converged()) as url, chromium() as tab:
        await tab.open(f"{url}/")
        await tab.run("document.querySelectorAll('details').forEach((part) => part.open = true)")
        nodes = (await tab.ask("Accessibility.getFullAXTree"))["nodes"]
    seen = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    roles = [role for role, _ in seen]
    assert [roles.count(r) for r in ("main", "banner", "contentinfo", "status", "table")] == [1, 1, 1, 1, 1]
    headings = {name for role, name in seen if role == "heading"}
    assert {"fleetd", "Fleets", "training", "Not being done, and why", "Under way", "Last events"} <= headings
    assert ("image", "training: machines up against target over time; the caption says it in words") in seen
    assert ("table", "All machines of fleetd's") in seen
    assert roles.count("columnheader") == 7
    assert not [name for _, name in seen if name in {"●", "◐", "✓", "·"}]


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2560])
async def test_nothing_runs_off_the_side(width: int) -> None:
    scene = converged(HOSTILE)
    async with shown(scene) as url, chromium() as tab:
        await tab.look(dark=False, width=width, phone=width < 500)
        await tab.open(f"{url}/")
        await tab.run("document.querySelectorAll('details').forEach((part) => part.open = true)")
        wide = await tab.run(_OVERFLOW)
        assert wide == []


_OVERFLOW = """
[...document.querySelectorAll('main *, header *, footer *')]
    .filter((e) => !e.closest('.unseen, .cell, svg, thead') && e.getBoundingClientRect().right > innerWidth + 0.5)
    .map((e) => e.outerHTML.slice(0, 80))
"""

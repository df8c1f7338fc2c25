"""Real situations to ask about: daemons on the simulator, and a night that the engine has lived through."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from structlog.testing import capture_logs

from fleetd.engine.handle import EngineHandle
from fleetd.engine.leases import Leases
from fleetd.model.answers import LeaseTaken
from fleetd.model.fleet import Guards, IdleRule, Limit, Window
from fleetd.model.journal import MachineOrder
from fleetd.model.reasons import Activity, Verb
from fleetd.ops.control_client import ControlClient
from tests.support.build import fleet, token_name
from tests.support.parsed import parsed
from tests.support.processes import fleetd, simulator, started, until, write_config
from tests.support.rig import rig
from tests.support.scripted_source import ScriptedSource
from tests.support.virtual_time import run_virtual

FLEETS = """
[[fleets.training.windows]]
name = "night"
start = "{opens}"
end = "{closes}"
timezone = "UTC"
target = 2
[fleets.training.guards]
max_stops_per_pass = "100%"

[fleets.inference]
target = 2
[fleets.inference.machine]
region = "East Coast (NY2)"
machineType = "P4000"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
[fleets.inference.guards]
max_stops_per_pass = "100%"
[fleets.inference.idle]
after = "30m"
min_uptime = "10m"
sources = ["job"]
[[fleets.inference.windows]]
name = "evening"
start = "{opens}"
end = "{closes}"
timezone = "UTC"
park_idle = true
[idle_sources.job]
kind = "lease"

[fleets.render]
target = 1
[fleets.render.machine]
region = "East Coast (NY2)"
machineType = "C5"
size = 50
billingType = "hourly"
templateId = "tbu200wi"

[fleets.spare]
target = 3
[fleets.spare.guards]
max_hourly_cost = 0.6
[fleets.spare.machine]
region = "East Coast (NY2)"
machineType = "P4000"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
"""


@dataclass
class Situation:
    """A config to ask with, and the names to ask about."""

    config: Path
    names: dict[str, str] = field(default_factory=dict)
    page: str = ""
    """Where its pages are, without the slash."""

    def look(self, path: str) -> str:
        """What a page says to who reads it, in one line."""
        address = urllib.request.Request(self.page + path.format_map(self.names))
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                whole = answer.read().decode()
        except urllib.error.HTTPError as missing:
            whole = missing.read().decode()
        return parsed(whole).words

    def ask(self, command: str) -> str:
        """What a command says, in one piece; it must end well."""
        words = [word.format_map(self.names) for word in command.split()]
        done = fleetd(words[0], *words[1:], "-c", str(self.config), COLUMNS="250")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.ask("status --json")))

    def order(self, *words: str) -> None:
        done = fleetd(words[0], *words[1:], "-c", str(self.config))
        assert done.returncode == 0, done.stderr


@contextmanager
def afternoon(tmp_path: Path) -> Iterator[Situation]:
    """Eight machines of which people have stopped some, a window to come, no capacity, a cap, a hold, a freeze."""
    opens = datetime.now(UTC) + timedelta(hours=5)
    closes = opens + timedelta(hours=8)
    with simulator(tmp_path, speed=240) as sim:
        sim.ask("/_sim/faults", {"faults": [{"kind": "capacity", "machine_type": "C5"}]})
        foreign = sim.add(name="grace-desktop", state="ready")
        rest = FLEETS.format(opens=f"{opens:%H:%M}", closes=f"{closes:%H:%M}")
        config = write_config(tmp_path, sim.url, target=8, listen="127.0.0.1:0")
        config.write_text(config.read_text() + rest)
        log = tmp_path / "daemon.log"
        with started("run", "-c", str(config), log=log):
            names = {"window": f"{opens:%Y-%m-%dT%H:%M}", "desk": foreign["name"]}
            here = Situation(config, names, _page(log))
            until(
                lambda: _up(here) == {"training": 8, "inference": 2, "render": 0, "spare": 1}, seconds=60, every=0.5
            )
            _people(here, sim)
            yield here


def _page(log: Path) -> str:
    opened = re.compile(r'"url": ?"(http://[^"]+)"')
    return str(until(lambda: opened.search(log.read_text()), saying=log.read_text).group(1))


def _people(here: Situation, sim: Any) -> None:
    machines = here.document()["machines"]
    training = sorted(m["name"] for m in machines if m["fleet"] == "training")
    used, free = sorted(m["name"] for m in machines if m["fleet"] == "inference")
    here.names |= dict(zip(("off", "loud", "lost", "held"), training, strict=False)) | {"used": used, "free": free}
    ids = {m["name"]: m["id"] for m in machines}
    sim.ask(f"/_sim/machines/{ids[here.names['off']]}", {"action": "stop"})
    until(lambda: _seen_off(here, here.names["off"]), every=0.3)
    here.order("stop", here.names["loud"], "--reason", "its fan is loud", "--for", "4h")
    here.order("hold", here.names["held"], "--for", "3h", "--reason", "a run that must not be lost")
    here.order("freeze", "inference", "--verb", "create", "--for", "2h", "--reason", "moving data")
    asyncio.run(_take_lease(here, ids[used]))
    here.config.write_text(here.config.read_text().replace("P4000 = 0.51", "P4000 = 0.52"))
    here.order("reload")
    until(lambda: _seen_off(here, here.names["loud"]), every=0.3)
    sim.ask(f"/_sim/machines/{ids[here.names['lost']]}", {"action": "destroy"})
    until(lambda: _replaced(here), seconds=60, every=0.3)


async def _take_lease(here: Situation, machine: str) -> None:
    client = ControlClient(here.config.parent / "state" / "control.sock")
    await client.ask(LeaseTaken, "PUT", "/lease", machine=machine, source="slurm", seconds=7200)


def _up(here: Situation) -> dict[str, int]:
    return {name: view["up"] for name, view in here.document()["fleets"].items()}


def _seen_off(here: Situation, name: str) -> bool:
    (row,) = [m for m in here.document()["machines"] if m["name"] == name]
    return row["phase"] == "down" and row["transition"] is None


def _replaced(here: Situation) -> bool:
    document = here.document()
    return all(m["name"] != here.names["lost"] for m in document["machines"]) and _up(here)["training"] == 6


@contextmanager
def outage(tmp_path: Path) -> Iterator[Situation]:
    """A provider that is gone, and a config that somebody broke and reloaded."""
    with simulator(tmp_path, speed=240) as sim:
        config = write_config(tmp_path, sim.url, target=1, listen="127.0.0.1:0")
        log = tmp_path / "daemon.log"
        with started("run", "-c", str(config), log=log):
            until(lambda: "fleet.converged" in log.read_text())
            config.write_text(config.read_text().replace("target = 1", 'target = "one"'))
            assert fleetd("reload", "-c", str(config)).returncode != 0
            sim.ask("/_sim/faults", {"faults": [{"kind": "error", "status": 500}]})
            until(lambda: "provider.unavailable" in log.read_text(), seconds=60)
            time.sleep(0.2)
            yield Situation(config, page=_page(log))


def last_night(tmp_path: Path) -> Situation:
    """The engine lived through it on virtual time: one machine was in use all night, one was parked, one stopped."""
    config = write_config(tmp_path, "http://127.0.0.1:9", target=3)
    (tmp_path / "state").mkdir()
    start = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    with capture_logs():
        run_virtual(_night, tmp_path / "state", start=start)
    names = dict(zip(("busy", "idle", "stopped"), (token_name(n) for n in (1, 2, 3)), strict=True))
    return Situation(config, names)


async def _night(state: Path) -> None:
    window = Window("night", 20 * 60, 7 * 60, "UTC", park_idle=True)
    rule = IdleRule(("gpu",), after=timedelta(minutes=30), min_uptime=timedelta(minutes=10))
    wanted = fleet(target=3, windows=(window,), idle=rule, guards=Guards(max_stops_per_pass=Limit(percent=100)))
    source = ScriptedSource(says=lambda m: Activity.ACTIVE if m.id == "ps1" else Activity.IDLE)
    async with rig(wanted, state=state, sources={"gpu": source}) as world:
        for n in (1, 2, 3):
            world.cloud.add(token_name(n), machine_type="P4000")
        async with world.daemon_running():
            await anyio.sleep(7 * 3600)
            handle = EngineHandle(world.daemon, Leases(world.journal), world.clock)
            order = MachineOrder(Verb.STOP, "ps3", "smells of smoke", even_if_busy=True, keep_off=timedelta(hours=20))
            await handle.request(order, "ada (uid 1000)")
            await anyio.sleep(13 * 3600)

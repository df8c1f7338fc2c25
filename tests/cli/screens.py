"""What commands draw at three sizes of terminal, from reports that the engine made: ``python -m tests.cli.screens``.

That writes ``tests/cli/golden/screens`` anew; the tests hold what is drawn to it.
"""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from msgspec import structs
from rich.console import Console, Group, RenderableType
from rich.text import Text
from structlog.testing import capture_logs

from fleetd.cli.explain import sentences_about, styles_of
from fleetd.cli.layout import GAP, Hanging
from fleetd.cli.render_demo import Scene, fitting_demo
from fleetd.cli.render_history import history_line, history_view
from fleetd.cli.render_plan import plan_view
from fleetd.cli.render_status import fitting, status_view
from fleetd.cloud.calls import HttpLimits
from fleetd.config import load, parse
from fleetd.model.errors import ConfigError
from fleetd.model.journal import HistoryEntry, MachineOrder, VetoOrder
from fleetd.model.plan import Plan
from fleetd.model.reasons import Verb
from fleetd.model.report import Report
from fleetd.model.settings import Settings
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.faults import Capacity, UnknownState
from fleetd.simulator.server import SimServer, serve
from fleetd.simulator.world import World
from fleetd.store.sqlite import SqliteJournal
from fleetd.wiring import Engine, assemble
from tests.support.clients import open_core_cloud
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter, RecordingNotifier
from tests.support.virtual_alarms import VirtualAlarms
from tests.support.virtual_time import run_virtual, virtual_clock, virtual_loop

SIZES = ((80, 24), (120, 40), (200, 50))
GOLDEN = Path(__file__).parent / "golden" / "screens"
TEN_FAULTS = Path(__file__).parents[1] / "config" / "ten-faults.toml"
START = datetime(2026, 3, 23, 12, 30, tzinfo=UTC)
MACHINE = """region = "East Coast (NY2)"
machineType = "{type}"
size = 50
billingType = "hourly"
templateId = "tbu200wi"
"""
CONFIG = f"""version = 1
[provider]
kind = "paperspace-core"
api_key = {{ env = "PAPERSPACE_API_KEY" }}
[daemon]
interval = "60s"
[guards]
max_hourly_cost = 20
[prices]
P4000 = 0.51
C5 = 0.08
[fleets.training]
target = TRAINING
[fleets.training.machine]
{MACHINE.format(type="P4000")}
[[fleets.training.windows]]
name = "night"
start = "20:00"
end = "07:00"
timezone = "Europe/Berlin"
target = 2
[fleets.a-fleet-with-quite-a-long-name]
target = 3
[fleets.a-fleet-with-quite-a-long-name.machine]
{MACHINE.format(type="C5")}
"""


@dataclass(frozen=True)
class Moment:
    report: Report
    plan: Plan
    history: list[HistoryEntry]
    now: datetime


def make_moments() -> dict[str, Moment]:
    """``quiet`` and ``troubled``, by name."""
    with tempfile.TemporaryDirectory(prefix="fleetd-screens-") as state, capture_logs():
        return run_virtual(_story, Path(state), start=START)


def drawn(view: RenderableType, width: int, height: int = 1000) -> str:
    """As text; blanks at the ends of lines are nothing."""
    console = Console(
        file=io.StringIO(),
        width=width,
        height=height,
        markup=False,
        highlight=False,
        emoji=False,
        force_terminal=False,
    )
    with console.capture() as captured:
        console.print(view)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()) + "\n"


def views(moment: Moment) -> Iterator[tuple[str, RenderableType]]:
    """What each command draws of a moment."""
    report, now = moment.report, moment.now
    yield "status", status_view(report, now)
    yield "plan", plan_view(moment.plan, report.vetoes, now=now)
    yield "history", history_view(moment.history)
    yield "history-lines", Group(*(Hanging(history_line(entry), then=GAP) for entry in moment.history))
    subjects = [*report.fleets, *[m.name for m in report.machines if m.owned and m.hold is not None][:1]]
    for number, subject in enumerate(subjects):
        lines = sentences_about(report, subject, (), now)
        styles = styles_of(report, lines, now)
        told = [Hanging(Text(line, style=style), then=GAP) for line, style in zip(lines, styles, strict=True)]
        yield f"explain-{number}", Group(*told)
    yield "demo", demo_scene(moment)


def demo_scene(moment: Moment) -> RenderableType:
    """The demo's screen, which is drawn for the terminal's height."""
    steps = ("Go on in another terminal; Ctrl-C here ends the demo:", "  fleetd status     how things stand")
    events = tuple(f"training-{n} is up after 3 s" for n in range(9))
    return _OfItsTerminal(Scene(60, moment.report, events, 3.0, steps))


def watched(moment: Moment, width: int, height: int) -> str:
    """``status --watch`` at that size."""
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, highlight=False, emoji=False)
    return drawn(fitting(moment.report, moment.now, console, height), width, height)


def faults() -> RenderableType:
    """``check`` of a file with ten faults."""
    try:
        load(TEN_FAULTS)
    except ConfigError as error:
        said = str(error).replace(str(TEN_FAULTS), "/etc/fleetd/fleetd.toml").splitlines()
        blanks = [len(line) - len(line.lstrip()) for line in said]
        lines = [Hanging(Text(line.lstrip()), first=b, then=b + GAP) for line, b in zip(said, blanks, strict=True)]
        return Group(*lines)
    raise AssertionError("no fault was found")


def pictures(moments: dict[str, Moment]) -> Iterator[tuple[str, str]]:
    """Everything, by the names of its files."""
    for width, height in SIZES:
        yield f"check-{width}", drawn(faults(), width)
        for name, moment in moments.items():
            yield f"{name}-watch-{width}", watched(moment, width, height)
            for what, view in views(moment):
                yield f"{name}-{what}-{width}", drawn(view, width, height)


@dataclass(frozen=True)
class _OfItsTerminal:
    scene: Scene

    def __rich_console__(self, console: Console, _options: object) -> Iterator[RenderableType]:
        yield fitting_demo(self.scene, console)


async def _story(state: Path) -> dict[str, Moment]:
    clock = virtual_clock()
    world = World(seed=7, clock=WorldClock(epoch=START, now_seconds=virtual_loop().time))
    world.add_machine("grace-desktop", "off")
    text = [CONFIG.replace("TRAINING", "6")]

    def read() -> Settings:
        return parse(text[0], "/etc/fleetd/fleetd.toml")

    async with serve(world, key="key", keep_reads=0) as server:
        limits = HttpLimits(max_requests_per_second=1000)
        cloud = open_core_cloud(server.url, lambda: "key", rng=random.Random(1), limits=limits)
        journal = await SqliteJournal.open(state / "journal.db", executor=InlineExecutor())
        engine = assemble(
            read(), cloud, journal, clock=clock, meter=RecordingMeter(), notifier=RecordingNotifier(),
            alarms=VirtualAlarms(clock), rng=random.Random(1), load=read, on_pass=lambda _result: None,
        )  # fmt: skip

        async def shoot() -> Moment:
            report = engine.handle.status()
            report = structs.replace(report, daemon=structs.replace(report.daemon, pid=4711))
            plan = engine.daemon.reconciler.last.plan
            history = [entry for _, entry in await journal.history(limit=25)]
            return Moment(report, plan, history, clock.now())

        moments = {}
        async with anyio.create_task_group() as group:
            group.start_soon(engine.daemon.run)
            await anyio.sleep(3600 + 11)
            moments["quiet"] = await shoot()
            await _trouble(engine, server, text)
            moments["troubled"] = await shoot()
            engine.daemon.stop()
        await journal.aclose()
        await cloud.aclose()
    return moments


async def _trouble(engine: Engine, server: SimServer, text: list[str]) -> None:
    """Capacity runs out, a state is unheard of; people stop, hold, freeze and misspell."""
    handle = engine.handle
    machines = [m for m in handle.status().machines if m.fleet == "training"]
    server.set_faults([Capacity(machine_type="P4000"), UnknownState(machine=machines[3].name, state="hibernating")])
    text[:] = [CONFIG.replace("TRAINING", "8")]
    engine.daemon.reload()
    server.world.human_stop(machines[1].id)
    hold = VetoOrder("hold", machines[2].name, frozenset(Verb), "a run that must not be lost", timedelta(hours=4))
    await handle.veto(hold, "ada (uid 1000)")
    await anyio.sleep(260)
    verbs = frozenset({Verb.CREATE, Verb.DESTROY})
    long_name = "a-fleet-with-quite-a-long-name"
    await handle.veto(VetoOrder("freeze", long_name, verbs, "moving data", timedelta(hours=1)), "ada (uid 1000)")
    other = next(m for m in handle.status().machines if m.fleet == long_name)
    await handle.request(MachineOrder(Verb.RESTART, other.id, "its disk is full"), "ada (uid 1000)")
    await anyio.sleep(400)
    text[:] = [CONFIG.replace("TRAINING", '"eight"')]
    try:
        engine.daemon.reload()
    except ConfigError:
        await anyio.sleep(20)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    for name, picture in pictures(make_moments()):
        (GOLDEN / f"{name}.txt").write_text(picture, encoding="utf-8")
    print(f"drawn: {GOLDEN}")

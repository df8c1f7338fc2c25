"""``fleetd demo``: the daemon on the embedded simulator, with a screen that a newcomer understands."""

from __future__ import annotations

import importlib.resources
import json
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.live import Live
from rich.text import Text

from fleetd import wiring
from fleetd.cli.failures import UsageError, leaf
from fleetd.cli.logs import log_to, log_to_stderr
from fleetd.cli.options import duration, examples
from fleetd.cli.output import no_echo_of_keys, out, show
from fleetd.cli.render_demo import EVENTS_SHOWN, Scene, ending, fitting_demo, title_lines
from fleetd.cli.render_status import fleet_words
from fleetd.cli.words import event_words
from fleetd.model.errors import ListenFailed, StateUnusable
from fleetd.model.report import Report

PACKAGED = "demo.toml"
LISTEN = "127.0.0.1:8750"
"""Where a daemon's read-only endpoints are unless the config says otherwise."""
ANYWHERE = "127.0.0.1:0"
"""A port that is free."""
ON_WITH_IT = (
    "Next: copy config/example.toml, then fleetd check, fleetd plan and fleetd apply with -c.",
    "fleetd simulator serves such a provider for as long as you like.",
)


def demo(
    exit_when_converged: Annotated[
        bool,
        typer.Option(
            "--exit-when-converged",
            metavar="",
            help="End when every fleet is at its target. So it does anyway where there is no terminal.",
            show_default=False,
        ),
    ] = False,
    keep_running: Annotated[
        bool,
        typer.Option("--keep-running", metavar="", help="Do not end even there, until Ctrl-C.", show_default=False),
    ] = False,
    timeout: Annotated[
        timedelta,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="DURATION",
            help="Where it ends by itself: give up after so long. Default: 2m.",
            show_default=False,
        ),
    ] = timedelta(minutes=2),
) -> None:
    """Watch fleetd bring two small fleets to their targets on a simulated provider.

    Needs no account, no key and no config, costs nothing, and leaves nothing behind.
    """
    if exit_when_converged and keep_running:
        raise UsageError("--exit-when-converged and --keep-running contradict each other")
    ends = exit_when_converged or not (keep_running or out().is_terminal)
    with _stage() as place:
        config = place / PACKAGED
        _set(place, LISTEN if _free(LISTEN) else ANYWHERE)
        settings = wiring.load_settings(config)
        speed = float(str(settings.provider.simulator.get("speed", 1)))
        audience = _Screen(speed, config) if out().is_terminal else _Lines(speed)

        async def play() -> tuple[Report, float] | None:
            began = anyio.current_time()
            log_to(audience.event)

            def passed(report: Report) -> None:
                audience.passed(report, anyio.current_time() - began)

            with audience:
                if not ends:
                    await _run(place, passed)
                    return None
                report = await wiring.converge(settings, timeout=timeout.total_seconds(), on_status=passed)
                return report, anyio.current_time() - began

        try:
            ended = wiring.run_awake(play)
        finally:
            log_to_stderr()
    if ended is not None:
        for line in (*ending(*ended), "", *ON_WITH_IT):
            show(Text(line))


DEMO_EXAMPLES = examples("fleetd demo", "fleetd demo --exit-when-converged  # ends by itself in under a minute")


class _Lines:
    """What happens as plain lines: for a pipe, a file, a pipeline."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._last = ""

    def __enter__(self) -> None:
        for line in (*title_lines(self._speed), ""):
            show(Text(line))

    def __exit__(self, *_raised: object) -> None:
        show(Text(""))

    def event(self, event: Mapping[str, object]) -> None:
        """Say what happened."""
        words = event_words(event)
        if words is not None:
            show(Text(f"  {words}"))

    def passed(self, report: Report, _seconds: float) -> None:
        """Say how the fleets stand, when that has changed."""
        now = "; ".join(fleet_words(name, fleet) for name, fleet in report.fleets.items())
        if now != self._last:
            self._last = now
            show(Text(f"[{now}]"))


class _Screen:
    """The live table."""

    def __init__(self, speed: float, config: Path) -> None:
        self._speed = speed
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._report: Report | None = None
        self._converged_after: float | None = None
        self._next = (
            "Go on in another terminal; Ctrl-C here ends the demo:",
            f"  export FLEETD_CONFIG={config}",
            "  fleetd status     how things stand",
            "  fleetd history    what was done, and why",
            "  fleetd reload     once you have changed a target in that file",
        )
        self._console = out()
        self._stack = ExitStack()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> None:
        self._stack.enter_context(no_echo_of_keys())
        self._stack.enter_context(self._live)
        self._draw()

    def __exit__(self, *_raised: object) -> None:
        self._stack.close()

    def event(self, event: Mapping[str, object]) -> None:
        """Add what happened to the list."""
        words = event_words(event)
        if words is not None and words not in list(self._events)[-1:]:
            self._events.append(words)
            self._draw()

    def passed(self, report: Report, seconds: float) -> None:
        """Draw how things stand after a pass."""
        self._report = report
        converged = report.fleets and all(fleet.converged for fleet in report.fleets.values())
        if converged and self._converged_after is None:
            self._converged_after = seconds
        self._draw()

    def _draw(self) -> None:
        scene = Scene(
            self._speed,
            self._report,
            tuple(self._events),
            self._converged_after,
            self._next,
        )
        self._live.update(fitting_demo(scene, self._console), refresh=True)


async def _run(place: Path, passed: Callable[[Report], None]) -> None:
    """Until Ctrl-C; at another address where somebody, another demo say, has taken that one a moment ago."""
    config = place / PACKAGED

    async def once() -> None:
        await wiring.run_daemon(
            wiring.load_settings(config),
            lambda: wiring.load_settings(config),
            observer=passed,
            hangup_reloads=False,
        )

    try:
        await once()
    except Exception as error:
        if not isinstance(leaf(error), ListenFailed):
            raise
        _set(place, ANYWHERE)
        await once()


@contextmanager
def _stage() -> Iterator[Path]:
    """A directory for the demo, gone afterwards."""
    try:
        directory = tempfile.TemporaryDirectory(prefix="fleetd-demo-")
    except OSError as error:
        raise StateUnusable(f"no temporary directory for the demo: {error.strerror or error}") from error
    with directory as name:
        yield Path(name)


def _set(place: Path, listen: str) -> None:
    """Write the demo's config, which other commands can be pointed at."""
    (place / PACKAGED).write_text(staged(_packaged(), place / "state", listen), encoding="utf-8")


def staged(text: str, state: Path, listen: str) -> str:
    """The demo's config with its own state directory and address in it."""
    own = f"[daemon]\nstate_dir = {json.dumps(str(state))}\nlisten = {json.dumps(listen)}\n"
    return text.replace("[daemon]\n", own, 1)


def _free(address: str) -> bool:
    """Whether nobody listens there: a daemon that runs already must not keep the demo from starting."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def _packaged() -> str:
    """The demo's config: part of the wheel, and in ``config/`` of a checkout."""
    packaged = importlib.resources.files("fleetd.cli") / PACKAGED
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "config" / PACKAGED).read_text(encoding="utf-8")

"""Commands that act on fleets: run, apply, reload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any

import anyio
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fleetd import wiring
from fleetd.cli.logs import log_above, log_to_stderr
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, duration, examples
from fleetd.cli.output import err, no_echo_of_keys, say, show, show_json
from fleetd.cli.render_apply import Bar, bars, summary
from fleetd.model.report import Report
from fleetd.ops.escape import printable


def run(config: ConfigOption = None) -> None:
    """Keep every fleet at its target, in the foreground, until SIGTERM or Ctrl-C.

    Log lines go to stderr: JSON off a terminal, coloured on one. SIGHUP, or fleetd reload, reads the config again.
    """
    path = wiring.find_config(config)
    settings = wiring.load_settings(path)
    log_to_stderr("info")

    async def keep() -> None:
        await wiring.run_daemon(settings, lambda: wiring.reload_settings(path))

    anyio.run(keep)


def apply(
    config: ConfigOption = None,
    timeout: Annotated[
        timedelta,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="DURATION",
            help="Give up after so long. Default: 30m.",
            show_default=False,
        ),
    ] = timedelta(minutes=30),
) -> None:
    """Bring every fleet to its target, wait until it is there, and exit.

    Ends with 75 when that takes too long, or while a freeze stands in the way; running it again goes on where it
    ended.
    """
    settings = wiring.load_settings(wiring.find_config(config))

    async def converge() -> tuple[Report, float]:
        began = anyio.current_time()
        with _progress() as on_status:
            report = await wiring.converge(settings, timeout=timeout.total_seconds(), on_status=on_status)
        return report, anyio.current_time() - began

    report, seconds = anyio.run(converge)
    show(summary(report, seconds))


def reload(config: ConfigOption = None, state_dir: StateDirOption = None) -> None:
    """Have the running daemon read its config again: swapped whole, or not at all when it has a fault."""
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    read = anyio.run(wiring.reload, settings).config or settings.source
    say(f"the daemon has read {printable(read)} again")


def step_down(config: ConfigOption = None, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Have the replica that acts hand over to one that stands by; it stands by itself then.

    It lets the calls under way end, gives the lease back, and ends; its unit starts it again. Ends with 75 where no
    replica stands by, or where the journal is in a file, which one daemon alone can act on.
    """
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    before, now = anyio.run(wiring.step_down, settings)
    if as_json:
        show_json({"stepped_down": before, "holder": now})
        return
    if now is None:
        say(f"{printable(before)} steps down; fleetd status says who acts then")
        return
    say(f"{printable(before)} has stepped down: {printable(now)} acts")


RUN_EXAMPLES = examples("fleetd run -c fleetd.toml", "systemctl start fleetd  # the same, by deploy/fleetd.service")
APPLY_EXAMPLES = examples("fleetd apply -c fleetd.toml", "fleetd apply --timeout 5m || echo 'not there yet'")
STEP_DOWN_EXAMPLES = examples("fleetd step-down", "fleetd step-down && sudo apt upgrade  # on the host that acted")
RELOAD_EXAMPLES = examples("fleetd reload -c fleetd.toml", "systemctl reload fleetd  # the same")


@contextmanager
def _progress() -> Iterator[Callable[[Report], None]]:
    """A bar for each fleet on a terminal; elsewhere the log lines say it all."""
    console = err()
    if not console.is_terminal:
        log_to_stderr("info")
        yield lambda _report: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeElapsedColumn(),
    )
    with no_echo_of_keys(), Progress(*columns, console=console) as progress:
        log_above(console)
        tasks = {}

        def update(report: Report) -> None:
            known = bars(report)
            # What is taller than the terminal would be drawn again below itself at the end.
            drawn = {bar.fleet for bar in sorted(known, key=lambda bar: bar.done == bar.total)[: console.height - 1]}
            for bar in known:
                if bar.fleet not in tasks:
                    tasks[bar.fleet] = progress.add_task(bar.fleet, total=bar.total, text="")
                _set(progress, tasks[bar.fleet], bar, visible=bar.fleet in drawn)

        yield update
        log_to_stderr()


def _set(progress: Progress, task: Any, bar: Bar, *, visible: bool) -> None:
    progress.update(task, total=bar.total, completed=bar.done, text=bar.text, visible=visible)

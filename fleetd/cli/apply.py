"""``fleetd apply``: every fleet brought to its target, with a bar for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import anyio
import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fleetd import wiring
from fleetd.cli.logs import log_above, log_to_stderr
from fleetd.cli.options import ConfigOption, duration, examples
from fleetd.cli.output import err, no_echo_of_keys, show
from fleetd.cli.render_apply import Bar, bars, summary
from fleetd.model.report import Report


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

    report, seconds = wiring.run_awake(converge)
    show(summary(report, seconds))


APPLY_EXAMPLES = examples("fleetd apply -c fleetd.toml", "fleetd apply --timeout 5m || echo 'not there yet'")


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


def _set(progress: Progress, task: TaskID, bar: Bar, *, visible: bool) -> None:
    progress.update(task, total=bar.total, completed=bar.done, text=bar.text, visible=visible)

"""``fleetd explain``: why a machine or a fleet is as it is, and why something is not being done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import anyio
import typer
from rich.text import Text

from fleetd import wiring
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.output import show, show_json, show_line
from fleetd.cli.render_history import history_document, history_line
from fleetd.cli.render_status import silent_words
from fleetd.model.errors import FleetdError
from fleetd.model.journal import HistoryEntry
from fleetd.model.report import Report
from fleetd.model.settings import Settings
from fleetd.ops.escape import whole_ends
from fleetd.planner.lookup import meant, named
from fleetd.words.explaining import doubts, explain_fleet, explain_machine
from fleetd.words.fleets import change_sentence, unlike_sentence
from fleetd.words.reasons import sentence
from fleetd.words.use import unheard
from fleetd.words.vetoes import veto_sentence

EXPLAIN_EXAMPLES = examples("fleetd explain training", "fleetd explain training-7k3mqggq")

LATEST = 5
"""Entries of the history that an explanation ends with."""


class UnknownSubject(FleetdError):
    """Neither a fleet nor a machine has that name."""


def explain(
    subject: Annotated[
        str, typer.Argument(metavar="MACHINE-or-FLEET", help="A fleet's name, or a machine's id or name.")
    ],
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say in sentences why it is as it is, why what is not being done is not, and when that changes.

    For a machine, what the journal has of it last, too.
    """
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    sentences, styles, entries = anyio.run(_look, settings, subject)
    if as_json:
        past = [history_document(e) for e in entries]
        show_json({"format": 1, "subject": subject, "sentences": sentences, "history": past})
        return
    for line, style in zip(sentences, styles, strict=True):
        show_line(Text(whole_ends(line, limit=1000), style=style))
    if entries:
        show(Text("\nLast in the journal:", style="bold"))
    for entry in entries:
        show_line(history_line(entry))


def sentences_about(report: Report, subject: str, past: Sequence[HistoryEntry], now: datetime) -> list[str]:
    """The sentences, from a report and what the journal has of a machine of that name.

    Raises:
        UnknownSubject: nothing has that name, and nothing ever had.
    """
    if subject in report.fleets:
        return explain_fleet(report, subject, now)
    called = {(n.id, n.name) for n in meant(subject, named(report.machines))}
    found = [m for m in report.machines if (m.id or "", m.name) in called]
    if found:
        return [line for machine in found for line in explain_machine(report, machine, now)]
    if not report.fleets and report.sight.believed_at is None and report.sight.doubted_since is None:
        return ["The first look at the provider has not ended: nothing is known of fleets and machines yet."]
    if past:
        return [f"No machine is called {subject} now; the journal remembers one."]
    if report.sight.doubted_since is not None and report.sight.believed_at is None:
        return doubts(report, now)
    fleets = ", ".join(report.fleets) or "none"
    raise UnknownSubject(f"no fleet and no machine is called {subject}; fleets: {fleets}")


def styles_of(report: Report, sentences: Sequence[str], now: datetime) -> list[str]:
    """A style for each sentence, as ``plan`` has them: the picture's doubts, what is not done, what comes next."""
    known = dict.fromkeys(doubts(report, now), "red")
    for fleet in report.fleets.values():
        known |= dict.fromkeys(map(unlike_sentence, fleet.unlike), "yellow")
        known |= {change_sentence(fleet.next, now): "dim"} if fleet.next is not None else {}
    known |= dict.fromkeys((one.sentence for one in unheard(report)), "yellow")
    known |= {sentence(b, now): "yellow" for b in report.blocked} | {
        veto_sentence(v, now): "yellow" for v in report.vetoes
    }
    head = next((line for line in sentences if line not in known), None)
    return ["bold" if line == head else known.get(line, "") for line in sentences]


async def _look(settings: Settings, subject: str) -> tuple[list[str], list[str], list[HistoryEntry]]:
    report, now = await wiring.current_status(settings), datetime.now(UTC)
    past: list[HistoryEntry] = []
    if subject not in report.fleets:
        rows = await wiring.read_history(settings, machine=subject, limit=LATEST)
        past = [entry for _, entry in reversed(rows)]
    sentences = sentences_about(report, subject, past, now)
    styles = styles_of(report, sentences, now)
    if report.daemon.answers is False:
        sentences.insert(0, f"{silent_words(report.daemon.pid, report.daemon.why)}.")
        styles.insert(0, "red")
    return sentences, styles, past

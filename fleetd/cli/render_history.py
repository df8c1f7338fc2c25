"""``fleetd history``: the journal's entries as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.text import Text

from fleetd.cli.layout import Column, Sheet
from fleetd.cli.words import SYMBOLS
from fleetd.model.journal import HistoryEntry
from fleetd.model.reasons import Outcome
from fleetd.model.report import document
from fleetd.ops.escape import printable, whole_ends

GOOD = frozenset({"reached", "observed"})


def history_document(entry: HistoryEntry) -> dict[str, object]:
    """One line of ``history --json``."""
    return {
        "ts": document(entry.ts),
        "fleet": entry.fleet,
        "machine": entry.machine,
        "name": entry.name,
        "verb": entry.verb,
        "reason": entry.reason,
        "outcome": entry.outcome,
        "intent": entry.intent,
        "duration_s": entry.duration_s,
        "error": entry.error,
        "actor": entry.actor,
        "evidence": entry.evidence,
    }


def history_view(entries: Iterable[HistoryEntry]) -> RenderableType:
    """One line an entry, oldest first."""
    titles = ("when (UTC)", "fleet", "machine", "what", "why", "how it ended", "took")
    columns = [Column(title, number=title == "took", spare=title == "fleet") for title in titles]
    rows = [_row(entry) for entry in entries]
    return Sheet([*columns, Column("remarks", note="")], rows)


def history_line(entry: HistoryEntry) -> Text:
    """One entry as a line of its own, for ``history --follow``."""
    sign, style = SYMBOLS.get(entry.verb, ("*", "cyan"))
    outcome = "" if entry.outcome == Outcome.OBSERVED else f" {printable(entry.outcome)}"
    took = "" if entry.duration_s is None else f" after {entry.duration_s:.1f} s"
    remarks = _remarks(entry)
    return Text.assemble(
        (f"{entry.ts:%Y-%m-%d %H:%M:%S} ", "dim"),
        (f"{sign} {printable(entry.verb)} ", style),
        printable(entry.name or entry.machine or entry.fleet or "everything"),
        (f":{outcome}{took}" if outcome else "", "green" if entry.outcome in GOOD else "yellow"),
        f", {printable(entry.reason)}",
        (f" ({remarks})" if remarks else "", "dim"),
    )


def _row(entry: HistoryEntry) -> list[Text]:
    sign, style = SYMBOLS.get(entry.verb, ("*", "cyan"))
    return [
        Text(f"{entry.ts:%Y-%m-%d %H:%M:%S}", style="dim"),
        Text(printable(entry.fleet)),
        Text(printable(entry.name or entry.machine or "-")),
        Text(f"{sign} {printable(entry.verb)}", style=style),
        Text(printable(entry.reason)),
        Text(printable(entry.outcome), style="green" if entry.outcome in GOOD else "yellow"),
        Text("-" if entry.duration_s is None else f"{entry.duration_s:.1f} s"),
        Text(_remarks(entry)),
    ]


def _remarks(entry: HistoryEntry) -> str:
    by = f"by {entry.actor}" if entry.actor != "fleetd" else ""
    return "; ".join(whole_ends(part) for part in (entry.error, entry.evidence, by) if part)

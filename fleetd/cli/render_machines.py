"""``fleetd machines`` for people: the provider's own JSON as tables. Every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from fleetd.cli.layout import GAP, Column, Sheet
from fleetd.cli.output import shown
from fleetd.cli.words import state_text
from fleetd.model.machine import PHASES, Phase

Json = Mapping[str, object]
Columns = Sequence[tuple[Sequence[str], str]]

COLUMNS = (
    (("id",), "id"),
    (("name",), "name"),
    (("state",), "state"),
    (("machineType",), "type"),
    (("region",), "region"),
    (("privateIpAddress", "privateIp"), "private address"),
    (("publicIpAddress", "publicIp"), "public address"),
    (("dtCreated",), "created"),
)
"""The fields of a listing's table, on Core and on v1, and their headings."""
LEFT_OUT = ("created", "public address", "private address", "region")
"""What a narrow terminal goes without, this first; ``machines show`` has it."""
TEMPLATE_COLUMNS = (
    (("id",), "id"),
    (("label", "name"), "name"),
    (("os", "operatingSystemLabel"), "os"),
    (("region",), "only in"),
)
NETWORK_COLUMNS = (
    (("id",), "id"),
    (("name",), "name"),
    (("region",), "region"),
    (("network",), "network"),
    (("netmask",), "netmask"),
    (("dtCreated",), "created"),
)
EVENT_FIELDS = (("name",), ("state",), ("errorMsg", "error"), ("dtCreated",), ("dtFinished",))


def machines_view(machines: Sequence[Json]) -> RenderableType:
    """A listing."""
    if not machines:
        return Text("no machines")
    return _Listing(machines, COLUMNS, LEFT_OUT, "machine")


def templates_view(templates: Sequence[Json]) -> RenderableType:
    """What a config's ``templateId`` may be."""
    if not templates:
        return Text("no templates")
    return _Listing(templates, TEMPLATE_COLUMNS, ("only in", "os"), "template")


def networks_view(networks: Sequence[Json]) -> RenderableType:
    """What a config's ``networkId`` may be."""
    if not networks:
        return Text("no private networks: machines are made without one, and networkId is left out of the config")
    return _Listing(networks, NETWORK_COLUMNS, ("created", "netmask", "network"), "network")


def machine_view(machine: Json) -> RenderableType:
    """Everything that the provider says of one machine, its events last."""
    fields = Table.grid(padding=(0, 2))
    fields.add_column(no_wrap=True, style="dim")
    fields.add_column(overflow="fold")
    for field in machine:
        if field != "events":
            fields.add_row(Text(shown(field)), _cell(machine, field))
    events = machine.get("events")
    if not isinstance(events, list) or not events:
        return fields
    titles = (Column("event"), Column("state"), Column("reason", note=""), Column("began"), Column("ended"))
    rows = []
    for event in events:
        about = event if isinstance(event, Mapping) else {}
        rows.append([Text(shown(about.get(_present(about, fields)))) for fields in EVENT_FIELDS])
    return Group(fields, Text(""), Sheet(titles, rows))


def object_view(content: Json) -> RenderableType:
    """An object of the provider, objects within it spread out: ``utilization.hourlyRate``."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for path, value in _flat(content):
        table.add_row(Text(shown(path)), Text(shown(value)))
    return table


@dataclass(frozen=True, slots=True)
class _Listing:
    """As many columns as fit without a break in a word, and a line that says which did not."""

    rows: Sequence[Json]
    columns: Columns
    may_go: tuple[str, ...]
    """What a narrow terminal goes without, this first."""
    noun: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        cells = [[_cell(row, _present(row, fields)) for fields, _ in self.columns] for row in self.rows]
        widths = [
            max(cell_len(title), *(_width(row[n].plain) for row in cells))
            for n, (_, title) in enumerate(self.columns)
        ]
        left_out: tuple[str, ...] = ()
        for count in range(len(self.may_go) + 1):
            gone = self.may_go[:count]
            kept = [n for n, (_, title) in enumerate(self.columns) if title not in gone]
            if sum(widths[n] for n in kept) + GAP * (len(kept) - 1) <= options.max_width:
                left_out = gone
                yield from self._lines(console, cells, widths, kept)
                break
        else:
            yield self._table(cells)  # a name that fits nowhere costs nobody their columns
        text = f"{len(self.rows)} {self.noun}{'' if len(self.rows) == 1 else 's'}"
        if left_out:
            text += f"; without {', '.join(left_out)}, for lack of room"
        yield Text(text, style="dim")

    def _lines(
        self, console: Console, cells: Sequence[Sequence[Text]], widths: Sequence[int], kept: Sequence[int]
    ) -> Iterator[Segment]:
        """The lines as they are: where nothing is folded, rich's table would be five times as long about it."""
        titles = [Text(title, style="dim") for _, title in self.columns]
        for row in [titles, *cells]:
            for n in kept:
                text = row[n].plain
                yield Segment(text, console.get_style(row[n].style) if row[n].style else None)
                yield Segment(" " * (widths[n] - _width(text) + (0 if n == kept[-1] else GAP)))
            yield Segment.line()

    def _table(self, cells: Sequence[Sequence[Text]]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
        for _, title in self.columns:
            table.add_column(title, overflow="fold")
        for row in cells:
            table.add_row(*row)
        return table


def _present(content: Json, fields: Sequence[str]) -> str:
    return next((field for field in fields if field in content), fields[0])


def _cell(machine: Json, field: str) -> Text:
    value = machine.get(field)
    if field == "state" and isinstance(value, str):
        return state_text(value, PHASES.get(value, Phase.UNKNOWN))
    return Text(shown(value))


def _flat(content: Json, prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _width(text: str) -> int:
    """Columns that it takes."""
    return len(text) if text.isascii() else cell_len(text)

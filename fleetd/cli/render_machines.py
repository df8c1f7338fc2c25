"""``fleetd machines`` for people: the provider's own JSON as tables. Every text in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleetd.cli.layout import Column, Sheet
from fleetd.cli.output import shown
from fleetd.cli.render_status import state_text
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
ANY_WIDTH = 10_000
"""Columns: more than any terminal has."""
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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        room = options.update(max_width=ANY_WIDTH)
        choices = [self.may_go[:count] for count in range(len(self.may_go) + 1)]
        fitting = (c for c in choices if console.measure(self._table(c), options=room).maximum <= options.max_width)
        left_out = next(fitting, ())  # a name that fits nowhere costs nobody their columns
        yield self._table(left_out)
        text = f"{len(self.rows)} {self.noun}{'' if len(self.rows) == 1 else 's'}"
        if left_out:
            text += f"; without {', '.join(left_out)}, for lack of room"
        yield Text(text, style="dim")

    def _table(self, left_out: Iterable[str]) -> Table:
        columns = [(fields, title) for fields, title in self.columns if title not in left_out]
        table = _table(title for _, title in columns)
        for row in self.rows:
            table.add_row(*(_cell(row, _present(row, fields)) for fields, _ in columns))
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


def _table(titles: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table

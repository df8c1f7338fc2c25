"""Tables and sentences that fit their terminal: no word is broken, and nothing of an id is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

GAP = 2
"""Blanks between two columns, and before what goes on below a line."""


_NOTHING = frozenset({"", "-"})


@dataclass(frozen=True, slots=True)
class Column:
    """What is known of a column before there is room for it."""

    title: str
    number: bool = False
    note: str | None = None
    """Set where its text may stand below the row, after this lead ("" for none); else it stands in the row."""
    spare: bool = False
    """Left out where there is no room at all: something else tells it as well."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows under their titles. Notes for which there is no room as columns go below their rows, over whole lines."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Text]]
    indent: int = 0
    """Blanks before every row."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        widths = [
            max([len(column.title), *(row[i].cell_len for row in self.rows)]) for i, column in enumerate(self.columns)
        ]
        room, left, deeper = options.max_width - self.indent, self.indent, self.indent + GAP
        kept, below = self._layout(widths, room)
        alone = _needs(kept, widths) > room and len(kept) > 1
        heads = [Text(column.title, style="dim") for column in self.columns]
        for row in (heads, *self.rows) if any(heads) else self.rows:
            if alone:  # no columns then: blanks would only take room
                first, *others = [row[i] for i in kept]
                yield Hanging(first, first=left, then=deeper)
                yield Hanging(_joined(cell for cell in others if cell), first=deeper, then=deeper)
            else:
                yield Hanging(_joined(self._padded(row[i], i, widths[i]) for i in kept), first=left, then=left)
            notes = [Text.assemble(self.columns[i].note or "", row[i]) for i in below if row[i].plain not in _NOTHING]
            if notes and row is not heads:
                yield Hanging(Text("; ").join(notes), first=deeper, then=deeper)

    def _layout(self, widths: Sequence[int], room: int) -> tuple[list[int], list[int]]:
        """Which columns stand in the row, and which below it; as few of these as will do."""
        places = range(len(self.columns))
        notes = [i for i in places if self.columns[i].note is not None]
        for moved in range(len(notes) + 1):
            below = notes[len(notes) - moved :]
            kept = [i for i in places if i not in below]
            if _needs(kept, widths) <= room:
                return kept, below
        kept = [i for i in places if i not in notes]
        for i in [i for i in kept if self.columns[i].spare]:
            if _needs(kept, widths) > room:
                kept.remove(i)
        return kept, notes

    def _padded(self, cell: Text, i: int, width: int) -> Text:
        blanks = " " * (width - cell.cell_len)
        return Text.assemble(blanks, cell) if self.columns[i].number else Text.assemble(cell, blanks)


@dataclass(frozen=True, slots=True)
class Hanging:
    """A text that breaks between words, and goes on below its own beginning."""

    text: Text
    first: int = 0
    """Blanks before its first line."""
    then: int = 0
    """Blanks before the others."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        room = max(1, options.max_width - max(self.first, self.then))
        for number, line in enumerate(self.text.wrap(console, room)):
            line.rstrip()
            yield Text.assemble(" " * (self.then if number else self.first), line)


def _needs(kept: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[i] for i in kept) + GAP * (len(kept) - 1)


def _joined(cells: Iterable[Text]) -> Text:
    text = Text(" " * GAP).join(cells)
    text.rstrip()
    return text

"""The raw tables of a config file, read without stumbling over what is wrong in them.

The rules between keys must run although some keys are faulty, so that all faults come out in one go. They read the
file through this view: a value that its own check refused is not there to ``get``, but ``has`` still sees the key,
so that nothing is called missing that is merely wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fleetd.config.faults import Finding, Loc


class TableView:
    """One table and where it stands."""

    def __init__(self, raw: Mapping[str, Any], faulty: frozenset[Loc], loc: Loc = ()) -> None:
        self._raw = raw
        self._faulty = faulty
        self.loc = loc

    def has(self, key: str) -> bool:
        """Whether the key stands in the file, right or wrong."""
        return key in self._raw

    def get(self, key: str) -> Any:
        """The value as TOML gave it; None when it is absent or was refused."""
        return None if (*self.loc, key) in self._faulty else self._raw.get(key)

    def __iter__(self) -> Iterator[str]:
        """The table's keys in the file's order."""
        return iter(self._raw)

    def texts(self, key: str) -> list[tuple[int, str]]:
        """The sound texts of a list, each with its place."""
        values = self.get(key)
        if not isinstance(values, list):
            return []
        sound = enumerate(values)
        return [(i, v) for i, v in sound if isinstance(v, str) and (*self.loc, key, i) not in self._faulty]

    def table(self, key: str) -> TableView:
        """A table within; an empty one where there is none."""
        value = self._raw.get(key)
        return TableView(value if isinstance(value, dict) else {}, self._faulty, (*self.loc, key))

    def listed(self, key: str) -> list[TableView]:
        """The tables of a list of tables, ``[[key]]``."""
        value = self._raw.get(key)
        return self._within(key, enumerate(value) if isinstance(value, list) else ())

    def named(self, key: str) -> list[TableView]:
        """The tables within a table, ``[key.NAME]``."""
        value = self._raw.get(key)
        return self._within(key, value.items() if isinstance(value, dict) else ())

    def fault(self, problem: str, *within: str | int) -> Finding:
        """A fault at this table, or at a key within it."""
        return (*self.loc, *within), problem

    def _within(self, key: str, entries: Iterable[tuple[str | int, Any]]) -> list[TableView]:
        return [TableView(v, self._faulty, (*self.loc, key, k)) for k, v in entries if isinstance(v, dict)]

"""On which line of a config each key stands: tomllib gives values without places."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass

from fleetd.config.faults import Loc, dotted

_BLANK = re.compile(r"[ \t\r\n]*(?:#[^\n]*\n?[ \t\r\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}' r"|'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)
_QUOTED_LINE = re.compile(r'"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'")
_OTHER = re.compile(r"[^,\]}#\n]+")
_FLEETS_GUARD = re.compile(r"^fleets\.[^.]+\.guards\.")
_PARTS = re.compile(r"[.\[]")


@dataclass(frozen=True, slots=True)
class Statement:
    """A key with its value, or the head of a table."""

    loc: Loc
    line: int
    column: int


class Positions:
    """The lines of a text's keys, tables and entries of lists, each where it is first named.

    Of a text that is not valid TOML: as far as it can be made out.
    """

    def __init__(self, text: str) -> None:
        scan = _Scan(text)
        with suppress(_Lost, RecursionError):  # what stands before it is known
            scan.run()
        self.statements = scan.statements
        """In the text's order."""
        self._lines = {dotted(loc): line for loc, line in scan.lines.items()}

    def line_of(self, path: str) -> int | None:
        """The line of a dotted path, or of the table or list that lacks it; None where none of it stands.

        A guard that a fleet does not set is the one of ``[guards]``, where that has it.

        Args:
            path: as ``faults.dotted`` writes it.
        """
        shared = _FLEETS_GUARD.sub("guards.", path)
        if path not in self._lines and shared in self._lines:
            return self._lines[shared]
        ends = [len(path), *(match.start() for match in reversed(list(_PARTS.finditer(path))))]
        return next((self._lines[path[:end]] for end in ends if path[:end] in self._lines), None)

    def statement_at(self, line: int, column: int) -> Statement | None:
        """The last statement that begins at or before a place; lines and columns count from 1."""
        before = [s for s in self.statements if (s.line, s.column) <= (line, column)]
        return before[-1] if before else None


class _Lost(Exception):
    """The text is not valid TOML from here on."""


class _Scan:
    """One walk over a text, which tomllib has read, or has refused."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Loc, int] = {}
        self.statements: list[Statement] = []
        self._text = text
        self._at = 0
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._entries: dict[Loc, int] = {}
        """How many tables each ``[[list]]`` has so far."""

    def run(self) -> None:
        table: Loc = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            start = self._at
            if self._text[start] == "[":
                table = self._head()
            else:
                loc = (*table, *self._key())
                self._note(loc, start, whole=len(table))
                self._state(loc, start)
                self._take("=")
                self._value(loc)
            self._skip(_BLANK)

    def _head(self) -> Loc:
        start, listed = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if listed else 1
        *parents, last = self._key()
        loc: Loc = ()
        for part in parents:
            loc = self._latest((*loc, part))
        loc = (*loc, last)
        self._note(loc, start)
        self._state(loc, start)
        if listed:
            place = self._entries.get(loc, 0)
            self._entries[loc] = place + 1
            loc = (*loc, place)
            self._note(loc, start)
        self._take("]]" if listed else "]")
        return loc

    def _latest(self, loc: Loc) -> Loc:
        return (*loc, self._entries[loc] - 1) if loc in self._entries else loc

    def _key(self) -> Loc:
        parts = [self._part()]
        while self._skip(_SPACE) and self._text.startswith(".", self._at):
            self._at += 1
            parts.append(self._part())
        return tuple(parts)

    def _part(self) -> str:
        self._skip(_SPACE)
        bare = _BARE.match(self._text, self._at)
        found = bare or _QUOTED_LINE.match(self._text, self._at)
        if found is None:
            raise _Lost
        self._at = found.end()
        if bare:
            return bare[0]
        try:
            return str(tomllib.loads(f"key = {found[0]}")["key"])
        except tomllib.TOMLDecodeError:
            raise _Lost from None

    def _value(self, loc: Loc) -> None:
        self._skip(_SPACE)
        match self._text[self._at : self._at + 1]:
            case "[":
                self._list(loc)
            case "{":
                self._inline(loc)
            case '"' | "'":
                quoted = _QUOTED if self._text[self._at : self._at + 3] in {'"""', "'''"} else _QUOTED_LINE
                self._match(quoted)
            case _:
                self._match(_OTHER)

    def _list(self, loc: Loc) -> None:
        self._at += 1
        place = 0
        while self._skip(_BLANK) and not self._text.startswith("]", self._at):
            self._note((*loc, place), self._at)
            self._value((*loc, place))
            place += 1
            self._skip(_BLANK)
            if not self._text.startswith("]", self._at):
                self._take(",")
        self._take("]")

    def _inline(self, loc: Loc) -> None:
        self._at += 1
        while self._skip(_BLANK) and not self._text.startswith("}", self._at):
            start = self._at
            inner = (*loc, *self._key())
            self._note(inner, start, whole=len(loc))
            self._take("=")
            self._value(inner)
            self._skip(_BLANK)
            if not self._text.startswith("}", self._at):
                self._take(",")
        self._take("}")

    def _note(self, loc: Loc, at: int, *, whole: int = 0) -> None:
        """Each table on the way is named here as well; the first ``whole`` parts have been noted."""
        line = bisect_right(self._starts, at)
        for length in range(whole + 1, len(loc) + 1):
            self.lines.setdefault(loc[:length], line)

    def _state(self, loc: Loc, at: int) -> None:
        line = bisect_right(self._starts, at)
        self.statements.append(Statement(loc, line, at - self._starts[line - 1] + 1))

    def _skip(self, what: re.Pattern[str]) -> bool:
        found = what.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return True

    def _match(self, what: re.Pattern[str]) -> None:
        found = what.match(self._text, self._at)
        if found is None:
            raise _Lost
        self._at = found.end()

    def _take(self, sign: str) -> None:
        self._skip(_SPACE)
        if not self._text.startswith(sign, self._at):
            raise _Lost
        self._at += len(sign)

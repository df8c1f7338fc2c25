"""Why a text is not valid TOML, and on which line: tomllib's words, and what it does not say."""

from __future__ import annotations

import re

from fleetd.config.faults import dotted
from fleetd.config.positions import Positions, Statement
from fleetd.model.errors import Fault

_POSITION = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot (declare|overwrite|mutate|redefine)")
_WORDS = (
    (re.compile(r"Illegal character '\\n'"), "the closing quote is missing on this line"),
    (re.compile(r"Unclosed array"), "a comma or a closing ] is missing before this"),
)
"""What tomllib says of the commonest slips, and plainer words."""


def syntax_fault(message: str, text: str) -> Fault:
    """What tomllib said of a text, with the line on which a person has to look.

    That is tomllib's own, but for what is there twice and for what has no end: it names the end of it.

    Args:
        message: of its error.
        text: which it refused.
    """
    position = _POSITION.search(message)
    said = message[: position.start()] if position else message
    positions = Positions(text)
    if position is None:
        return Fault("file", f"is not valid TOML: {said}")
    if position["line"] is None:
        last = positions.statements[-1:]
        begins = f": what begins here goes on to the end of the file ({said})" if last else f": {said}"
        return Fault("", f"is not valid TOML{begins}", last[0].line if last else 1)
    line, column = int(position["line"]), int(position["column"])
    statement = positions.statement_at(line, column)
    if _TWICE.match(said) and statement is not None:
        return Fault("", f"is not valid TOML: {_twice(statement, positions, said)}", statement.line)
    plain = next((words for pattern, words in _WORDS if pattern.search(said)), said)
    return Fault("", f"is not valid TOML: {plain}", line, column)


def _twice(statement: Statement, positions: Positions, said: str) -> str:
    """Which key stands there twice: the statement's, or a part of it that was given a value before."""
    for length in range(len(statement.loc), 0, -1):
        path = dotted(statement.loc[:length])
        first = positions.line_of(path)
        if first is not None and first < statement.line:
            return f"{path} stands there already, on line {first}"
    return said

"""Where commands write: answers to stdout, everything about them to stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from fleetd.ops.escape import printable

PIPE_WIDTH = 200
"""Columns of a table that nobody's terminal limits; COLUMNS overrides it."""

MANY = 100
"""Entries of a list from which on it is worth another library."""
_RISKY = re.compile(r"[^\x20-\x7e\n]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class PlainConsole(Console):
    """A rich console that takes text as it is (no markup, no guesses), and leaves a broken pipe to its caller."""

    def on_broken_pipe(self) -> None:
        """Raise it again: one place decides what becomes of it."""
        raise  # noqa: PLE0704 - rich calls this while it handles the BrokenPipeError


def out() -> Console:
    """A console on stdout."""
    return _console(stderr=False)


def err() -> Console:
    """A console on stderr."""
    return _console(stderr=True)


def show(renderable: RenderableType, *, wrap: bool = True) -> None:
    """Write a table, or text, to stdout; off a terminal without the blanks that fill up a table's lines.

    Without ``wrap`` a line of text stays one line, however long it is.
    """
    console = out()
    if console.is_terminal:
        console.print(renderable, soft_wrap=not wrap)
        return
    with console.capture() as captured:
        console.print(renderable, soft_wrap=not wrap)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """Write a line about what goes on to stderr."""
    err().print(Text(text, style=style))


def show_json(value: Any, *, indent: int | None = 2) -> None:
    """Write a JSON document to stdout: for programs, and safe on a terminal."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    sys.stdout.write(json_text(value, indent=indent, ascii_only=encoding != "utf8") + "\n")
    sys.stdout.flush()


def json_text(value: Any, *, indent: int | None = 2, ascii_only: bool = False) -> str:
    """``value`` as JSON; what JSON lets through and a terminal would obey is escaped, which changes no value."""
    text = None if ascii_only or indent is None else _long_list(value, indent)
    if text is None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return _RISKY.sub(_escape, text)


def _long_list(value: Any, indent: int) -> str | None:
    """A list of many entries as JSON, in an eighth of the time; None of what msgspec cannot write."""
    if not isinstance(value, list) or len(value) < MANY:
        return None
    import msgspec  # noqa: PLC0415 - who prints a list has it; others need not wait for it

    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()
    except (msgspec.MsgspecError, ValueError, OverflowError, TypeError):
        return None


def shown(value: object) -> str:
    """A value of the provider's JSON, fit for a table."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return printable(value)
        case dict() | list():
            return printable(json.dumps(value, ensure_ascii=False))
        case _:
            return printable(str(value))


def prepare_streams() -> None:
    """Let no character that a stream cannot encode end a command, and no stream that was closed before it began.

    What takes a closed one's place takes its descriptor as well, which the journal's file might get otherwise.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it stays
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) not in _HIDDEN:
        return character
    # JSON knows UTF-16 units only: beyond U+FFFF there are two of them.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

"""Where commands write: answers to stdout, everything about them to stderr."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import re
import sys
import termios
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from fleetd.cli.layout import GAP, Hanging
from fleetd.ops.escape import printable

PIPE_WIDTH = 200
"""Columns of a table that nobody's terminal limits; COLUMNS overrides it."""

MANY = 100
"""Entries of a list from which on it is worth another library."""
_IN_ASCII = "fleetd.in-ascii"
_LIKE = {
    "●": "*", "◐": "/", "◑": "\\", "○": "o", "…": "~", "━": "=", "╸": "=", "╺": "=", "·": ".",
}  # fmt: skip
"""Our signs, and one of ASCII for each, as wide as they are."""
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


def show(renderable: RenderableType) -> None:
    """Write a table, or text, to stdout; off a terminal without the blanks that fill up a table's lines."""
    console = out()
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as captured:
        console.print(renderable)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()


def show_line(text: Text) -> None:
    """Write a line to stdout: between words over several on a terminal; elsewhere one, however long it is."""
    _line(out(), text)


def say(text: str | Text, style: str = "") -> None:
    """Write a line about what goes on to stderr, as ``show_line`` does."""
    _line(err(), Text(text, style=style) if isinstance(text, str) else text)


def show_json(value: object, *, indent: int | None = 2) -> None:
    """Write a JSON document to stdout: for programs, and safe on a terminal."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    sys.stdout.write(json_text(value, indent=indent, ascii_only=encoding != "utf8") + "\n")
    sys.stdout.flush()


def json_text(value: object, *, indent: int | None = 2, ascii_only: bool = False) -> str:
    """``value`` as JSON; what JSON lets through and a terminal would obey is escaped, which changes no value."""
    text = None if ascii_only or indent is None else _long_list(value, indent)
    if text is None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    return _RISKY.sub(_escape, text)


def _long_list(value: object, indent: int) -> str | None:
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


def ascii_only(environ: Mapping[str, str]) -> bool:
    """Whether the locale is C or POSIX, which Python takes for UTF-8; one that is not set says nothing."""
    if environ.get("PYTHONUTF8") or environ.get("PYTHONIOENCODING"):
        return False
    named = (environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return next(filter(None, named), "") in {"C", "POSIX"}


@contextmanager
def no_echo_of_keys() -> Iterator[None]:
    """Keep ``^C`` off a terminal that is drawn on: it moves the cursor, and the next drawing begins a line too low.

    A process in the background leaves the terminal as it is: to change it would stop the process.
    """
    try:
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
    except (termios.error, OSError, ValueError, AttributeError):  # there is none
        yield
        return
    quiet = [*before]
    quiet[3] &= ~termios.ECHOCTL
    _set_terminal(terminal, quiet)
    try:
        yield
    finally:
        _set_terminal(terminal, before)


def _set_terminal(terminal: int, attributes: list[Any]) -> None:
    with contextlib.suppress(termios.error, OSError):
        if os.tcgetpgrp(terminal) == os.getpgrp():
            termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)


def prepare_streams() -> None:
    """Let no character that a stream cannot encode end a command, and no stream that was closed before it began.

    What takes a closed one's place takes its descriptor as well, which the journal's file might get otherwise. On a
    terminal that knows ASCII only, our own signs are drawn with that: * for a machine that is up, ~ for what is cut.
    """
    codecs.register_error(_IN_ASCII, _in_ascii)
    encoding = "ascii" if ascii_only(_begun_with()) else None
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _Closed(Path(os.devnull).open("wb"), encoding="utf-8"))  # noqa: SIM115 - it stays
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(encoding=encoding, errors=_IN_ASCII)


class OutputClosed(Exception):
    """Stdout was closed before the command began, and there was something to tell."""


def mind_the_closed() -> None:
    """What nobody could be told is no success.

    Raises:
        OutputClosed: so it is; the command has done its work.
    """
    if isinstance(sys.stdout, _Closed) and sys.stdout.lost:
        raise OutputClosed


class _Closed(io.TextIOWrapper):
    """In the place of a stream that was closed: knows whether anything was lost in it."""

    lost = False

    def write(self, text: str, /) -> int:
        """Lose it."""
        self.lost = self.lost or bool(text)
        return len(text)


def _begun_with() -> dict[str, str]:
    """The environment as this process was given it: Python writes a locale of its own into it where that is C."""
    try:
        given = Path("/proc/self/environ").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return dict(os.environ)
    return dict(entry.split("=", 1) for entry in given if "=" in entry)


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that a stream cannot encode: a sign like it, or an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_LIKE.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return PlainConsole(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def _line(console: Console, text: Text) -> None:
    if console.is_terminal:
        indent = len(text.plain) - len(text.plain.lstrip(" "))
        console.print(Hanging(text[indent:] if indent else text, first=indent, then=indent + GAP))
    else:
        console.print(text, soft_wrap=True)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) not in _HIDDEN:
        return character
    # JSON knows UTF-16 units only: beyond U+FFFF there are two of them.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

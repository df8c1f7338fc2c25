"""Where a command's log lines go."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal, TextIO, cast

from rich.console import Console
from rich.text import Text

from fleetd import wiring


def debugging() -> bool:
    """Whether the person wants to see everything: FLEETD_DEBUG=1."""
    return os.environ.get("FLEETD_DEBUG", "") not in {"", "0"}


def log_to_stderr(level: str = "warning") -> None:
    """Every line of that level or above; all of them when debugging."""
    _configure(sys.stderr, level, "auto")


def log_above(console: Console, level: str = "warning") -> None:
    """The same as coloured lines above a progress display."""
    _configure(LineStream(lambda line: console.print(Text.from_ansi(line))), level, "console")


def log_to(receive: Callable[[Mapping[str, object]], None]) -> None:
    """Hand every line from info on to a function instead."""

    def parse(line: str) -> None:
        event = json.loads(line)
        if isinstance(event, dict):
            receive(event)

    _configure(LineStream(parse), "info", "json")


class LineStream(io.TextIOBase):
    """A stream that hands over whole lines, without their ends."""

    def __init__(self, receive: Callable[[str], None]) -> None:
        self._receive = receive
        self._begun = ""

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def write(self, text: str) -> int:
        """Take text; what follows its last line end waits for more."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, lines):
            self._receive(line)
        return len(text)


def _configure(stream: io.TextIOBase | TextIO, level: str, fmt: Literal["auto", "json", "console"]) -> None:
    # Help, version and completion log nothing, and structlog takes its time.
    from fleetd.engine.ports import SystemClock  # noqa: PLC0415
    from fleetd.ops import logs  # noqa: PLC0415

    logs.configure(
        cast("TextIO", stream),
        now=SystemClock().now,
        secrets=wiring.SECRETS,
        level="debug" if debugging() else level,
        fmt=fmt,
    )

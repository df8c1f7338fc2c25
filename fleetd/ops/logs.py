"""Log lines: JSON off a terminal, coloured on one. Their names and keys are an interface (docs/events.md)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fleetd.ops.escape import printable

Format = Literal["auto", "json", "console"]

FIRST_KEYS = ("ts", "level", "event", "fleet", "machine", "name", "action", "reason", "intent", "pass_id")
"""The order in which a line begins; other keys follow as they were given."""
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog(3) priorities, for the journal."""
MASK = "***"


class Secrets:
    """Values that never appear in a line, wherever they come from."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def add(self, value: str) -> None:
        """Mask ``value`` from now on."""
        if value:
            self._values.add(value)

    def mask(self, value: Any) -> Any:
        """``value`` with every secret in it masked, at any depth."""
        if isinstance(value, str):
            for secret in self._values:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, Mapping):
            return {self.mask(k): self.mask(v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.mask(v) for v in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.mask(str(value))


def configure(
    stream: TextIO,
    *,
    now: Callable[[], datetime],
    secrets: Secrets,
    level: str = "info",
    fmt: Format = "auto",
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send every log line of the process to ``stream``, the libraries' warnings included.

    Args:
        stream: usually stderr.
        now: wall time, from the Clock port.
        secrets: masked in every value and traceback.
        level: the least level that is written.
        fmt: "auto" is coloured on a terminal and JSON elsewhere.
        environ: JOURNAL_STREAM in it says that the stream ends in systemd's journal.
    """
    on_terminal = fmt == "console" or (fmt == "auto" and stream.isatty())

    def stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["ts"] = now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event

    def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        masked: EventDict = secrets.mask(event)
        return masked

    tail: list[Processor] = (
        [_escape, structlog.dev.ConsoleRenderer(colors=fmt == "console" or stream.isatty(), timestamp_key="ts")]
        if on_terminal
        else [_json_line(prefix=_ends_in_journal(stream, environ))]
    )
    least = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            stamp,
            mask,
            _in_order,
            *tail,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog(level=logging.WARNING)]
    root.setLevel(logging.WARNING)


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    kept = {k: v for k, v in event.items() if v is not None}
    return {k: kept[k] for k in (*FIRST_KEYS, *(k for k in kept if k not in FIRST_KEYS)) if k in kept}


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {k: printable(v, limit=2000) if isinstance(v, str) and k != "exception" else v for k, v in event.items()}


def _json_line(*, prefix: bool) -> Processor:
    def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        line = json.dumps(event, default=str)
        return f"<{PRIORITIES.get(str(event.get('level')), 6)}>{line}" if prefix else line

    return render


def _ends_in_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd reads the stream (systemd.exec(5), $JOURNAL_STREAM: device and inode)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _ToStructlog(logging.Handler):
    """The libraries' own log records, as lines like every other."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say("library.warned", logger=record.name, error=record.getMessage(), exc_info=record.exc_info)

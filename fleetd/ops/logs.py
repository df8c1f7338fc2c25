"""Log lines: JSON off a terminal, coloured on one. Their names and keys are an interface (docs/events.md)."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from fleetd.model.errors import FleetdError
from fleetd.ops.escape import printable
from fleetd.ops.secrets import Secrets, text_of

__all__ = ["Format", "Secrets", "configure"]

Format = Literal["auto", "json", "console"]

FIRST_KEYS = (
    *("ts", "level", "event", "fleet", "machine", "name", "action", "reason"),
    *("intent", "pass_id", "attempt", "duration_s"),
)
"""The order in which a line begins; other keys follow as they were given."""

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog(3) priorities, for the journal (sd-daemon(3))."""

QUIET_FOR = timedelta(minutes=1)
"""For so long a library that says the same again is counted, not written."""

LONGEST = 2000
"""Characters of one value that are written: systemd's journal cuts a line at 48 KB (journald.conf(5), LineMax=), and
a machine's name can be longer."""

LONGEST_TRACE = 16_000
"""Of a traceback, whose end says most."""


def configure(
    stream: TextIO,
    *,
    now: Callable[[], datetime],
    secrets: Secrets,
    level: str = "info",
    fmt: Format = "auto",
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Send every log line of the process to ``stream``, the libraries' and Python's own warnings included.

    Args:
        stream: usually stderr.
        now: wall time, from the Clock port.
        secrets: masked in every value and traceback.
        level: the least level that is written; "debug" adds tracebacks to errors that are understood.
        fmt: "auto" is coloured on a terminal and JSON elsewhere.
        environ: JOURNAL_STREAM in it says that the stream ends in systemd's journal; NO_COLOR that colours are
            not wanted (https://no-color.org).
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(stream)
    on_terminal = stream.isatty()
    render: list[Processor] = (
        [_escape, _console(colors=on_terminal and not environ.get("NO_COLOR"))]
        if fmt == "console" or (fmt == "auto" and on_terminal)
        else [_bound, _json_line(prefix=_ends_in_journal(stream, environ))]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _unless_silenced(keep_all=least <= logging.DEBUG),
            _flat_errors(tracebacks=least <= logging.DEBUG),
            _stamp(now),
            lines.own_up,
            _mask(secrets),
            _in_order,
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog(now)]
    root.setLevel(logging.WARNING)


_silenced: ContextVar[bool] = ContextVar("silenced", default=False)


@contextmanager
def silenced() -> Iterator[None]:
    """Within it only errors are logged: for code of the daemon's that a command runs to look, and not to report."""
    token = _silenced.set(True)
    try:
        yield
    finally:
        _silenced.reset(token)


def _unless_silenced(*, keep_all: bool) -> Processor:
    def drop(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if _silenced.get() and not keep_all and event.get("level") not in {"error", "critical"}:
            raise structlog.DropEvent
        return event

    return drop


def _flat_errors(*, tracebacks: bool) -> Processor:
    """Turn exceptions into text.

    An error of our own tree says in one line what there is to know; a traceback belongs to what nobody expected.
    """

    def flatten(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        raised = _raised(event.pop("exc_info", None))
        if raised is not None:
            event.setdefault("error", raised)
            unexpected = not isinstance(raised, FleetdError)
        else:
            raised = event.get("error")
            unexpected = False
        if isinstance(raised, BaseException) and (tracebacks or unexpected):
            event["exception"] = "".join(traceback.format_exception(raised)).rstrip()
        return event

    return flatten


def _raised(exc_info: object) -> BaseException | None:
    """The exception that an ``exc_info`` of any shape is about."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if exc_info else None


def _stamp(now: Callable[[], datetime]) -> Processor:
    def stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["ts"] = now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event

    return stamp


def _mask(secrets: Secrets) -> Processor:
    def mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {key: secrets.mask(value) for key, value in event.items()}

    return mask


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    kept = {k: v for k, v in event.items() if v is not None}
    return {k: kept[k] for k in (*FIRST_KEYS, *(k for k in kept if k not in FIRST_KEYS)) if k in kept}


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make text safe for a terminal; the renderer shows other values by ``repr``, which is safe already."""
    shown: EventDict = {k: printable(v, LONGEST) if isinstance(v, str) else v for k, v in event.items()}
    if "exception" in event:
        shown["exception"] = "\n".join(printable(line, LONGEST) for line in str(event["exception"]).split("\n"))
    return shown


def _bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    cut: EventDict = {
        k: f"{v[: LONGEST - 1]}…" if isinstance(v, str) and len(v) > LONGEST else v for k, v in event.items()
    }
    if "exception" in event:
        cut["exception"] = str(event["exception"])[-LONGEST_TRACE:]
    return cut


def _console(*, colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, timestamp_key="ts", sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )


def _json_line(*, prefix: bool) -> Processor:
    def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        line = json.dumps(event)
        return f"<{PRIORITIES.get(str(event.get('level')), 6)}>{line}" if prefix else line

    return render


def _ends_in_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd reads the stream (systemd.exec(5), $JOURNAL_STREAM: device and inode)."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


_REMEMBERED = 200
"""Different messages; a library that says something else every time is not helped by remembering."""


class _Lines:
    """Writes finished lines. A stream that fails (a full disk, a reader that left) must not stop the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._failed = 0

    def own_up(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Say in the next line how many before it could not be written."""
        if self._failed:
            event["lines_lost"] = self._failed
        return event

    def msg(self, line: str) -> None:
        """Write one line."""
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._failed += 1
            else:
                self._failed = 0

    debug = info = warning = error = critical = msg


class _ToStructlog(logging.Handler):
    """The libraries' own log records, as lines like every other.

    What one repeats is counted for a while: asyncio has a line for every connection that it lacks a descriptor for,
    hundreds in a second, and would fill the disk with them.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(level=logging.WARNING)
        self._now = now
        self._said: dict[tuple[str, str], datetime] = {}
        self._repeated: dict[tuple[str, str], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit their format
            message = f"{text_of(record.msg)} {text_of(record.args)}"
        repeated = self._repeats(record.name, message)
        if repeated is None:
            return
        log = structlog.get_logger(record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say(
            "library.warned",
            logger=record.name,
            error=message,
            repeated=repeated or None,
            exc_info=record.exc_info,
        )

    def _repeats(self, logger: str, message: str) -> int | None:
        """How often this was left out since it was written last; None when it is left out now as well."""
        key, now = (logger, message), self._now()
        said = self._said.get(key)
        if said is not None and abs(now - said) < QUIET_FOR:  # the wall clock may have been set
            self._repeated[key] = self._repeated.get(key, 0) + 1
            return None
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
            self._repeated.clear()
        self._said[key] = now
        return self._repeated.pop(key, 0)

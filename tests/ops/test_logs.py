from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog

from fleetd.cloud.text import mask
from fleetd.model.errors import Unavailable
from fleetd.model.reasons import Verb
from fleetd.ops import logs
from fleetd.ops.logs import Secrets, configure

KEY = 'k3y/with+odd"chars\\0123'
AT = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Lines:
    """A configured pipeline into memory."""

    def __init__(self, stream: io.StringIO | None = None, **settings: Any) -> None:
        self.stream = stream or io.StringIO()
        self.secrets = Secrets()
        self.secrets.add(KEY)
        settings.setdefault("environ", {})
        settings.setdefault("now", lambda: AT)
        configure(self.stream, secrets=self.secrets, **settings)
        self.log = structlog.get_logger("test")

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.all[-1]


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root, show = logging.getLogger(), warnings.showwarning
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_off_a_terminal_a_line_is_one_json_object_with_its_keys_in_order() -> None:
    lines = Lines()
    lines.log.info(
        "machine.start_requested", pass_id=7, reason="short_of_target", intent=3, extra="x", name="training-1",
        machine="ps1", action="start", fleet="training", actor=None,
    )  # fmt: skip
    assert list(lines.last.items()) == [
        ("ts", "2026-03-02T12:00:00.123Z"),
        ("level", "info"),
        ("event", "machine.start_requested"),
        ("fleet", "training"),
        ("machine", "ps1"),
        ("name", "training-1"),
        ("action", "start"),
        ("reason", "short_of_target"),
        ("intent", 3),
        ("pass_id", 7),
        ("extra", "x"),
    ]


def test_time_comes_from_the_clock_and_is_written_in_utc() -> None:
    lines = Lines(now=lambda: AT.astimezone(timezone(timedelta(hours=5))))
    lines.log.info("daemon.started")
    assert lines.last["ts"] == "2026-03-02T12:00:00.123Z"


@pytest.mark.parametrize(
    ("level", "written"),
    [("debug", ["debug", "info", "warning", "error"]), ("info", ["info", "warning", "error"]), ("error", ["error"])],
)
def test_levels(level: str, written: list[str]) -> None:
    lines = Lines(level=level)
    for name in ("debug", "info", "warning", "error"):
        getattr(lines.log, name)("a.b")
    assert [line["level"] for line in lines.all] == written


def test_on_a_terminal_it_is_coloured_and_off_it_or_with_no_color_it_is_not() -> None:
    coloured, plain, piped = Lines(Terminal()), None, None
    coloured.log.info("fleet.converged", fleet="training")
    plain = Lines(Terminal(), environ={"NO_COLOR": "1"})
    plain.log.info("fleet.converged", fleet="training")
    piped = Lines(fmt="console")
    piped.log.info("fleet.converged", fleet="training")
    assert "\x1b[" in coloured.text
    assert plain.text == piped.text
    assert "fleet.converged" in plain.text
    assert "fleet=training" in plain.text
    assert "\x1b" not in plain.text


@pytest.mark.parametrize(
    "evil",
    [
        pytest.param("\x1b]0;owned\x07\x1b[2J", id="escape sequences"),
        pytest.param("a\nts=forged event=fleet.converged", id="a line of its own"),
        pytest.param("abc\u202egnp.exe", id="bidi"),
        pytest.param("a\u200bb\u2066", id="zero width"),
        pytest.param("\x9b31m", id="C1"),
        pytest.param("\udcff", id="a lone surrogate"),
    ],
)
def test_what_comes_from_the_api_cannot_move_a_terminals_cursor(evil: str) -> None:
    for stream in (io.StringIO(), Terminal()):
        lines = Lines(stream, fmt="console", environ={"NO_COLOR": "1"})
        lines.log.warning("machine.changed_outside", name=evil, more=[evil], nested={evil: evil})
        assert lines.text.count("\n") == 1
        assert lines.text.rstrip("\n").isprintable()
    as_json = Lines()
    as_json.log.warning("machine.changed_outside", name=evil)
    assert as_json.text.isascii()
    assert as_json.last["name"] == evil


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The error as it is when it has been raised, with its traceback."""
    try:
        raise error from cause
    except type(error) as caught:
        return caught


class Hidden:
    def __str__(self) -> str:
        return f"<session key={KEY}>"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_the_key_is_masked_wherever_it_would_appear() -> None:
    lines = Lines(level="debug")
    cycle: list[Any] = [KEY]
    cycle.append(cycle)
    error = raised(ValueError(f"sent {KEY}"))
    lines.log.error(
        "request.failed", error=error, text=f"x-api-key: {KEY}", deep=[{"a": ({KEY}, {KEY: KEY})}], thing=Hidden(),
        raw=KEY.encode(), url="https://h/?key=k3y%2Fwith%2Bodd%22chars%5C0123", repred=repr([KEY]), cycle=cycle,
        quoted=json.dumps({"k": KEY}), exc_info=error,
    )  # fmt: skip
    assert "k3y" not in lines.text
    line = lines.last
    assert line["error"] == "ValueError: sent ***"
    assert line["exception"].endswith("ValueError: sent ***")
    assert line["text"] == "x-api-key: ***"
    assert line["deep"] == [{"a": [["***"], {"***": "***"}]}]
    assert line["thing"] == "<session key=***>"
    assert line["url"] == "https://h/?key=***"


def test_a_key_that_begins_with_another_leaves_no_tail() -> None:
    secrets = Secrets()
    secrets.add("abc")
    secrets.add("abcdef")
    assert secrets.mask("abcdef abc") == "*** ***"


def test_the_key_is_masked_in_tracebacks_of_chained_errors_and_in_the_libraries_lines() -> None:
    lines = Lines()

    error = raised(RuntimeError("it broke"), raised(OSError(f"connect with {KEY}")))
    lines.log.error("daemon.crashed", exc_info=error)
    logging.getLogger("aiohttp.server").error("Error handling %s", KEY, exc_info=error)
    assert "it broke" in lines.all[0]["exception"]
    assert "connect with ***" in lines.all[0]["exception"]
    assert lines.all[1]["error"] == "Error handling ***"
    assert "k3y" not in lines.text


def test_an_error_of_ours_is_one_line_and_an_unexpected_one_has_its_traceback() -> None:
    for level, expected in (("info", False), ("debug", True)):
        lines = Lines(level=level)
        lines.log.error("provider.unavailable", exc_info=raised(Unavailable("connection refused", operation="list")))
        assert lines.last["error"] == "Unavailable: list: connection refused"
        assert ("exception" in lines.last) is expected
    try:
        {}["x"]
    except KeyError:
        lines.log.exception("daemon.crashed")
    assert lines.last["error"] == "KeyError: 'x'"
    assert "test_logs.py" in lines.last["exception"]


def test_values_of_every_kind_are_plain_json() -> None:
    lines = Lines()
    lines.log.info(
        "a.b", verb=Verb.START, at=AT, money=Decimal("0.51"), path=Path("/x"), nan=float("nan"), inf=float("inf"),
        yes=True, none=[None], pair=(1, 2.5), named=frozenset({"b", "a"}), broken=Broken(), took=timedelta(seconds=3),
    )  # fmt: skip
    assert "NaN" not in lines.text
    assert {k: v for k, v in lines.last.items() if k not in {"ts", "level", "event"}} == {
        "verb": "start", "at": "2026-03-02T12:00:00.123456Z", "money": "0.51", "path": "/x", "nan": "nan",
        "inf": "inf", "yes": True, "none": [None], "pair": [1, 2.5], "named": ["a", "b"], "took": "0:00:03",
        "broken": "<Broken whose text cannot be had: RuntimeError>",
    }  # fmt: skip


def test_a_line_has_an_end_whatever_the_names_in_it() -> None:
    """The journal cuts a longer one in two, and then neither half is JSON."""
    lines = Lines()
    error = raised(ValueError("x" * 100_000 + " the end"))
    lines.log.error("a.b", name="\N{GRINNING FACE}" * 1_000_000, exc_info=error)
    assert len(lines.text) < 48 * 1024
    assert lines.last["name"] == "\N{GRINNING FACE}" * (logs.LONGEST - 1) + "…"
    assert lines.last["exception"].endswith(" the end")


def test_the_libraries_speak_at_warning_and_above_only() -> None:
    lines = Lines(level="debug")
    library = logging.getLogger("apscheduler.scheduler")
    library.info("Added job")
    library.warning("Run time of job %s was missed", "check")
    library.error("It %s", "failed")
    library.critical("bad %d arguments", "no number")
    assert [(x["event"], x["level"], x["logger"]) for x in lines.all] == [
        ("library.warned", "warning", "apscheduler.scheduler"),
        ("library.warned", "error", "apscheduler.scheduler"),
        ("library.warned", "error", "apscheduler.scheduler"),
    ]
    assert lines.all[0]["error"] == "Run time of job check was missed"
    assert lines.all[2]["error"] == "bad %d arguments ('no number',)"


def test_a_library_that_repeats_itself_is_counted_not_written() -> None:
    """asyncio: one line for every connection that it lacks a descriptor for."""
    times = [AT]
    lines = Lines(now=lambda: times[-1])
    library = logging.getLogger("asyncio")
    for _ in range(1000):
        library.error("socket.accept() out of system resource")
    library.error("something else")
    times.append(AT + logs.QUIET_FOR)
    library.error("socket.accept() out of system resource")
    library.error("something else")
    times.append(AT - timedelta(hours=1))
    library.error("something else")
    assert [(x["error"].split()[0], x.get("repeated")) for x in lines.all] == [
        ("socket.accept()", None),
        ("something", None),
        ("socket.accept()", 999),
        ("something", None),
        ("something", None),
    ]


def test_what_libraries_say_is_not_remembered_without_end() -> None:
    lines = Lines()
    library = logging.getLogger("chatty")
    for number in range(3000):
        library.warning("number %d", number)
    assert len(lines.all) == 3000
    (handler,) = logging.getLogger().handlers
    assert len(handler._said) <= 200


def test_pythons_own_warnings_become_lines() -> None:
    lines = Lines()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn(f"old way, {KEY}", DeprecationWarning, stacklevel=1)
    assert lines.last["logger"] == "py.warnings"
    assert "old way, ***" in lines.last["error"]


async def test_a_task_that_dies_unheard_is_a_line() -> None:
    lines = Lines()

    async def dies() -> None:
        raise ValueError(f"nobody listens {KEY}")

    task = asyncio.create_task(dies())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    assert lines.last["logger"] == "asyncio"
    assert "nobody listens ***" in lines.last["exception"]


@pytest.mark.parametrize(
    ("level", "prefix"),
    [("debug", "<7>"), ("info", "<6>"), ("warning", "<4>"), ("error", "<3>"), ("critical", "<2>")],
)
def test_in_the_journal_a_line_carries_its_priority(tmp_path: Path, level: str, prefix: str) -> None:
    path = tmp_path / "stderr"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        configure(stream, now=lambda: AT, secrets=Secrets(), level="debug", environ=environ)
        getattr(structlog.get_logger(), level)("a.b")
    line = path.read_text()
    assert line[:3] == prefix
    assert json.loads(line[3:])["event"] == "a.b"


def test_a_stream_that_is_not_the_journals_has_no_prefix(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        configure(stream, now=lambda: AT, secrets=Secrets(), environ={"JOURNAL_STREAM": "8:12345"})
        structlog.get_logger().info("a.b")
    assert (tmp_path / "stderr").read_text().startswith("{")


def test_a_stream_that_fails_stops_nothing_and_is_owned_up_to() -> None:
    full = True

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    lines = Lines(Full())
    lines.log.info("a.b")
    lines.log.info("a.b")
    full = False
    lines.log.info("c.d")
    lines.log.info("e.f")
    assert [(x["event"], x.get("lines_lost")) for x in lines.all] == [("c.d", 2), ("e.f", None)]
    lines.stream.close()
    lines.log.info("g.h")


def test_a_traceback_on_a_terminal_keeps_its_lines_and_nothing_else() -> None:
    lines = Lines(Terminal(), environ={"NO_COLOR": "1"})
    error = raised(ValueError("red \x1b[31m text"))
    lines.log.error("daemon.crashed", exc_info=error)
    expected = len("".join(traceback.format_exception(error)).splitlines())
    assert "\x1b" not in lines.text
    assert len(lines.text.splitlines()) >= expected
    assert "red \\x1b[31m text" in lines.text


def test_the_priorities_cover_every_level() -> None:
    assert set(logs.PRIORITIES) == {"debug", "info", "warning", "error", "critical"}


@pytest.mark.parametrize("secret", ["p/a s+s", 'q"u\\o', "é/ü", "plain"])
@pytest.mark.parametrize("spelt", [str, quote, quote_plus, lambda s: quote(s, safe=""), json.dumps, repr])
def test_a_secret_is_masked_however_it_is_spelt(secret: str, spelt: Callable[[str], str]) -> None:
    secrets = Secrets()
    secrets.add(secret)
    shown = spelt(secret).strip("\"'")
    assert secrets.mask_text(f"at {shown}!") == mask(f"at {shown}!", [secret]) == "at ***!"

"""Advice on idle sources: queries that hide use, rounds that take too long, machines that nobody is asked about."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import timedelta

from fleetd.config.faults import dotted
from fleetd.config.units import format_duration, shown
from fleetd.model.errors import Fault
from fleetd.model.fleet import Fleet
from fleetd.model.settings import PROMQL_MATCHER, IdleSource, Settings

MOST_POINTS = 11_000
"""Samples of one series that a Prometheus gives at once; it refuses a query for more."""
LONGEST_ROUND = timedelta(seconds=60)
"""A round over a source ends after an interval, and after this (``engine.idleness``)."""
NAMES_NO_MACHINE = "names no machine ({id}, {name} or {private_ip}): it answers the same for all"

_LITERAL = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)""")
_RATIO = re.compile(r"\b(DCGM_FI_PROF_\w+_(?:ACTIVE|OCCUPANCY)|\w+_ratio)\b|/\s*100\b")
_SMOOTH = re.compile(
    r"\b((?:avg|min|quantile|stddev|stdvar|last|count|present)_over_time)\s*\("
    r"|\b(avg|min|quantile|stddev|stdvar|bottomk|count|group|limitk)\b\s*(?:(?:by|without)\s*\([^)]*\)\s*)?\("
)
_MERGE = re.compile(r"\b(max|sum|topk)\b\s*(?:(?:by|without)\s*\([^)]*\)\s*)?\(")
_FILLS = re.compile(r"\b(vector)\s*\(|\bor\b[^\n]*(\*\s*0(?:\.0*)?\b|\b0(?:\.0*)?\s*\*)|\b(default)\s+[\d.]+")
_ELSEWHEN = re.compile(r"\b(offset)\b|@\s*(?:\d|start|end)")
_OPEN_END = re.compile(r"\(*(?:\?:)?(?:\.|\[|\\\\?[dwDWS]|[*+?{])")
_OPEN_START = re.compile(r"(?:\.|\]|[*+?}]|\\\\?[dwDWS])\)*$")


def names_no_machine(text: str) -> bool:
    """Whether a source that asks by this text asks the same of every machine."""
    return not any(f"{{{p}}}" in text for p in ("id", "name", "private_ip"))


def advise_idle(fleet: Fleet, settings: Settings) -> Iterator[Fault]:
    """What is suspicious about how a fleet's machines are found idle."""
    where = dotted(("fleets", fleet.name))
    timeout = fleet.shutdown_timeout
    if fleet.idle is None:
        if timeout is not None and timeout.enforce:
            yield Fault(
                f"{where}.shutdown_timeout.enforce",
                f"without [{where}.idle] nobody is asked whether a machine is in use: one that has outlived its "
                f"{timeout.hours} h is stopped whoever works on it (leases and holds are obeyed)",
            )
        return
    for name in fleet.idle.sources:
        source = settings.idle_sources[name]
        points = math.ceil(max(fleet.idle.after, 3 * source.step) / source.step)
        if source.kind == "prometheus" and points > MOST_POINTS:
            fits = format_duration(timedelta(seconds=math.ceil(fleet.idle.after.total_seconds() / MOST_POINTS)))
            spans = f"{format_duration(fleet.idle.after)} in steps of {format_duration(source.step)}"
            yield Fault(
                f"{where}.idle.after",
                f"{spans} are {points} samples, and Prometheus gives {MOST_POINTS} at most: nothing is ever idle; "
                f"idle_sources.{name}.step must be {fits} or more",
            )


def advise_source(source: IdleSource, settings: Settings) -> Iterator[Fault]:
    """What is suspicious about one source: of a query the gravest alone."""
    if source.kind == "prometheus":
        problem = next(_query(source), None)
        if problem is not None:
            yield Fault(dotted(("idle_sources", source.name, problem[0])), problem[1])
    yield from _round(source, settings)


def open_ended(query: str, placeholder: str) -> bool:
    """Whether a regular expression in the query goes on freely before or after what is filled in for a placeholder.

    ``{private_ip}.*`` matches 10.0.0.51:9400 as well as 10.0.0.5:9400.
    """
    for operator, _, literal in PROMQL_MATCHER.findall(query):
        if operator != "=~":
            continue
        for part in literal[1:-1].split("|"):
            before, found, after = part.partition(f"{{{placeholder}}}")
            if found and (_OPEN_END.match(after) or _OPEN_START.search(before)):
                return True
    return False


def _query(source: IdleSource) -> Iterator[tuple[str, str]]:
    query, below = source.query or "", source.below or 0.0
    if names_no_machine(query):
        yield "query", NAMES_NO_MACHINE
    code = _LITERAL.sub('""', query)
    ratio = _RATIO.search(code)
    if ratio is not None and below >= 1:
        what = ratio[1] or "what is divided by 100"
        problem = f"{below:g} is never reached: {what} is a ratio from 0 to 1, so all is idle, in use or not"
        yield "below", f"{problem}; 0.02 are two percent"
    filled = _FILLS.search(code)
    if filled is not None:
        yield (
            "query",
            "gives a value where nothing was measured: a dead exporter would look idle; leave that part out",
        )
    if _ELSEWHEN.search(code):
        yield "query", "asks about another time (offset, @): what was idle then may be in use now"
    smooth = _SMOOTH.search(code)
    if smooth is not None:
        yield (
            "query",
            f"{smooth[1] or smooth[2]}() hides use: of one busy GPU, or of one busy step; use max_over_time",
        )
    for placeholder in ("name", "id"):
        if open_ended(query, placeholder):
            problem = f"{{{placeholder}}} has no end in its regular expression: it also matches"
            yield "query", f"{problem} machines whose {placeholder} only begins or ends so"
    if "{window}" not in query:
        yield "query", "does not cover [{window}]: only the instant of the question is looked at"
    merged = _MERGE.search(code)
    if merged is not None:
        problem = f"{merged[1]}() makes one series of several: when the busy GPU's vanishes, the others speak for it"
        yield "query", f"{problem}; each series is judged alone, so leave it out"


def _round(source: IdleSource, settings: Settings) -> Iterator[Fault]:
    if not source.asks_each:
        return
    asking = [f for f in settings.fleets if f.idle is not None and source.name in f.idle.sources]
    machines = sum(max([f.target, *(w.target or 0 for w in f.windows)]) for f in asking)
    patience = min(settings.daemon.interval, LONGEST_ROUND)
    takes = math.ceil(machines / source.at_once) * source.timeout
    if takes <= patience:
        return
    if source.timeout > patience:
        yield Fault(
            dotted(("idle_sources", source.name, "timeout")),
            f"{shown(format_duration(source.timeout))} is longer than a round, which ends after "
            f"{format_duration(patience)}: an answer that takes longer than that counts for nothing",
        )
        return
    yield Fault(
        dotted(("idle_sources", source.name, "at_once")),
        f"{machines} machines, {source.at_once} at a time and up to {format_duration(source.timeout)} each, may take "
        f"{format_duration(takes)}, and a round ends after {format_duration(patience)}: the others are asked in the "
        "next; raise it, or lower timeout",
    )

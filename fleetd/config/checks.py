"""What must hold between the keys of a config. Each rule says what is wrong and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from fleetd.config.faults import Finding, suggestion
from fleetd.config.idle_advice import open_ended
from fleetd.config.machine_table import check_machine
from fleetd.config.schema_extra import FLEET_NAME_PATTERN, SOURCE_NAME_PATTERN
from fleetd.config.units import Misspelt, format_duration, is_loopback, parse_duration, shown
from fleetd.config.values import KEY_SPELLING
from fleetd.config.view import TableView
from fleetd.config.zones import zone_hint, zones
from fleetd.model.fleet import Guards
from fleetd.model.settings import PLACEHOLDERS, PROMQL_MATCHER

LEASE = timedelta(seconds=15)
"""What a replica's lease lasts (``store.postgres.lease``)."""
_SETTLE = Guards().settle
"""guards.settle where the file does not say."""
_KEY_PLACES = ("env", "file", "credential")
_SOURCE_KEYS = {
    "prometheus": (("url", "query", "below"), ("step", "timeout", "at_once")),
    "exec": (("argv",), ("timeout", "at_once")),
    "http": (("url",), ("timeout", "at_once")),
    "lease": ((), ()),
    "uptime": ((), ()),
}
"""By kind of idle source: the keys that it needs, and those it may have."""
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)


def check(config: TableView) -> Iterator[Finding]:
    """Every fault between the keys of the file."""
    provider = config.table("provider")
    yield from _check_provider(provider)
    yield from _check_replicas(config)
    for fleet in config.named("fleets"):
        yield from _check_fleet(fleet, config)
    yield from _check_adoption(config)
    for source in config.named("idle_sources"):
        yield from _check_source(source)


def dialect_of(provider: TableView) -> str | None:
    """The dialect that the provider's machines are described in; None while its kind is not known."""
    kind = provider.get("kind")
    if kind == "simulator":
        simulator = provider.table("simulator")
        dialect = simulator.get("dialect") if simulator.has("dialect") else "paperspace-core"
        return str(dialect) if dialect is not None else None
    return str(kind) if kind is not None else None


def _check_provider(provider: TableView) -> Iterator[Finding]:
    kind = provider.get("kind")
    if kind not in {None, "simulator"}:
        if not provider.has("api_key"):
            yield provider.fault(f"is missing; say where the key is read from: {KEY_SPELLING}", "api_key")
        if provider.has("simulator"):
            yield provider.fault('only with kind = "simulator"; leave this table out', "simulator")
    url = provider.get("base_url")
    if kind == "simulator" and url is not None and not is_loopback(urlsplit(url).hostname or ""):
        yield provider.fault(
            "the embedded simulator listens on this machine only: leave base_url out, or give a loopback address",
            "base_url",
        )
    if kind == "simulator" and provider.has("proxy"):
        yield provider.fault("the embedded simulator is on this machine: leave this out", "proxy")
    yield from _check_place(provider, "api_key")


def _check_place(table: TableView, key: str) -> Iterator[Finding]:
    """Where a secret is read from."""
    source = table.get(key)
    if isinstance(source, dict):
        given = [place for place in _KEY_PLACES if place in source]
        if len(given) > 1 or not source:
            found = f"found {' and '.join(given)}" if given else "found none"
            yield table.fault(f"expected exactly one of env, file or credential, {found}", key)


def _check_replicas(config: TableView) -> Iterator[Finding]:
    """A call of the replica before may be on its way for so long: what it made must be looked for until then."""
    daemon = config.table("daemon")
    if daemon.has("state_password") and not daemon.has("state"):
        yield daemon.fault("only with state: it is the database's password", "state_password")
    yield from _check_place(daemon, "state_password")
    if not daemon.get("state"):
        return
    timeout = _span(config.table("provider"), "request_timeout", timedelta(seconds=30))
    if timeout is None:
        return
    least = timeout + LEASE
    for guards in (config.table("guards"), *(f.table("guards") for f in config.named("fleets"))):
        settle = _span(guards, "settle", None)
        if settle is not None and settle < least:
            yield guards.fault(
                f"with daemon.state at least {format_duration(least)} are needed: provider.request_timeout and "
                f"the {format_duration(LEASE)} of a lease, for a call of the replica before may still be on its way",
                "settle",
            )
    if not config.table("guards").has("settle") and least > _SETTLE:
        yield config.table("provider").fault(
            f"with daemon.state a create is looked for until {format_duration(least)} are over: "
            f'say guards.settle = "{format_duration(least)}" at least, or shorten this',
            "request_timeout",
        )


def _span(table: TableView, key: str, default: timedelta | None) -> timedelta | None:
    value = table.get(key)
    if not isinstance(value, str):
        return None if table.has(key) else default
    try:
        return parse_duration(value)
    except Misspelt:
        return None


def _check_fleet(fleet: TableView, config: TableView) -> Iterator[Finding]:
    name = str(fleet.loc[-1])
    if not re.fullmatch(FLEET_NAME_PATTERN, name, re.ASCII):
        yield fleet.fault(
            "a fleet's name becomes part of its machines' names: expected at most 31 characters a-z, 0-9 and -, "
            "beginning with a letter and not ending with -"
        )
    dialect = dialect_of(config.table("provider"))
    if isinstance(fleet.get("machine"), dict):
        yield from check_machine(fleet.table("machine"), dialect, fleet)
    if dialect == "paperspace-core" and fleet.has("destroy_requires_snapshot"):
        yield fleet.fault(
            "the Core API cannot show snapshots, so this could never be satisfied: leave it out, "
            'or move to kind = "paperspace"',
            "destroy_requires_snapshot",
        )
    yield from _check_windows(fleet)
    yield from _check_idle(fleet, config)


def _check_windows(fleet: TableView) -> Iterator[Finding]:
    names: dict[str, int] = {}
    for place, window in enumerate(fleet.listed("windows")):
        name = window.get("name")
        if isinstance(name, str) and names.setdefault(name, place) != place:
            yield window.fault(f"windows[{names[name]}] of this fleet has this name already", "name")
        if not window.has("target") and not (window.has("park_idle") and window.get("park_idle") is not False):
            yield window.fault("does nothing: give it target, or park_idle = true, or both")
        if window.get("park_idle") is True and not fleet.has("idle"):
            yield window.fault(
                f"nothing can be found idle without [fleets.{fleet.loc[-1]}.idle]: add it, or leave park_idle out",
                "park_idle",
            )
        if window.get("days") == [] and not window.has("dates"):
            yield window.fault("it would never open: name a day, leave days out for every day, or add dates", "days")
        if window.get("dates") == [] and not window.has("days"):
            yield window.fault("is empty: name a day, or leave dates out", "dates")
        zone = window.get("timezone")
        if isinstance(zone, str) and zone not in zones():
            yield window.fault(f"unknown time zone {shown(zone)}{zone_hint(zone)}", "timezone")


def _check_idle(fleet: TableView, config: TableView) -> Iterator[Finding]:
    known = list(config.table("idle_sources"))
    for place, source in fleet.table("idle").texts("sources"):
        if source in known:
            continue
        meant = suggestion(source, known)
        hint = f"; did you mean {meant}?" if meant else f"; add [idle_sources.{source}]"
        yield fleet.fault(f"there is no idle source {shown(source)}{hint}", "idle", "sources", place)


def _check_adoption(config: TableView) -> Iterator[Finding]:
    adopters: dict[str, str] = {}
    for fleet in config.named("fleets"):
        name = str(fleet.loc[-1])
        for place, entry in fleet.texts("adopt"):
            first = adopters.setdefault(entry, name)
            if first != name:
                yield fleet.fault(
                    f"fleet {first} adopts {shown(entry)} already: a machine belongs to one fleet", "adopt", place
                )


def _check_source(source: TableView) -> Iterator[Finding]:
    if not re.fullmatch(SOURCE_NAME_PATTERN, str(source.loc[-1]), re.ASCII):
        yield source.fault("expected a name of at most 31 characters a-z, A-Z, 0-9, _ and -, beginning with a letter")
    for key in ("url", "query"):
        yield from _check_placeholders(source, source.get(key), key)
    for place, argument in source.texts("argv"):
        yield from _check_placeholders(source, argument, "argv", place)
    kind = source.get("kind")
    if not isinstance(kind, str):
        return
    if kind == "prometheus":
        yield from _check_query(source)
    needed, allowed = _SOURCE_KEYS[kind]
    for key in needed:
        if not source.has(key):
            yield source.fault(f"is missing: kind = {_q(kind)} needs it", key)
    for key in ("url", "query", "below", "step", "argv", "timeout", "at_once"):
        if source.has(key) and key not in (*needed, *allowed):
            users = [_q(k) for k, (n, a) in _SOURCE_KEYS.items() if key in (*n, *a)]
            yield source.fault(f"kind = {_q(kind)} does not use it (it belongs to {', '.join(users)})", key)


def _check_query(source: TableView) -> Iterator[Finding]:
    query = source.get("query")
    if not isinstance(query, str):
        return
    elsewhere = PROMQL_MATCHER.sub("", query)
    for word in ("id", "name", "private_ip"):
        if f"{{{word}}}" in elsewhere:
            yield source.fault(
                f'{{{word}}} is filled in within a quoted label matcher only, as in instance="{{{word}}}:9400": '
                "not in backticks, and not outside of quotes",
                "query",
            )
    if open_ended(query, "private_ip"):
        yield source.fault(
            "{private_ip} has no end in its regular expression: 10.0.0.5 would take the samples of 10.0.0.51; "
            'write instance="{private_ip}:9400", or instance=~"{private_ip}:.*"',
            "query",
        )


def _check_placeholders(source: TableView, text: object, *within: str | int) -> Iterator[Finding]:
    if not isinstance(text, str):
        return
    for word in _PLACEHOLDER.findall(text):
        if word not in PLACEHOLDERS:
            meant = suggestion(word, PLACEHOLDERS)
            known = f"did you mean {{{meant}}}?" if meant else f"known: {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}"
            yield source.fault(f"unknown placeholder {{{word}}}; {known}", *within)


def _q(text: str) -> str:
    return f'"{text}"'

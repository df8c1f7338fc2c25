"""What is legal in a config, and still probably not meant: shown by ``fleetd check``, stops nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from fnmatch import fnmatchcase

from fleetd.config.faults import dotted, suggestion
from fleetd.config.idle_advice import NAMES_NO_MACHINE, advise_idle, advise_source, names_no_machine
from fleetd.config.machine_table import advise_machine
from fleetd.config.overlaps import overlaps
from fleetd.config.units import format_duration, is_loopback, shown
from fleetd.config.zones import zone_warning
from fleetd.model.errors import Fault
from fleetd.model.fleet import Fleet, Guards, ScaleIn, Window
from fleetd.model.settings import IdleSource, Settings
from fleetd.model.vendor import CORE_MACHINE_TYPES

_PATIENT_SETTLE = timedelta(seconds=30)
"""A create that is looked for less long than this on the real API may turn up after its replacement was made."""


def warnings(settings: Settings) -> tuple[Fault, ...]:
    """Everything suspicious in a valid config, in the file's order."""
    return tuple(_all(settings))


def command_warnings(sources: Iterable[IdleSource], environ: Mapping[str, str]) -> tuple[Fault, ...]:
    """Commands of idle sources that are not here: nobody would be idle. The daemon's own PATH may be another."""
    return tuple(
        Fault(dotted(("idle_sources", source.name, "argv")), f"{shown(source.argv[0])} is no program that can be run")
        for source in sources
        if source.argv and "{" not in source.argv[0] and not shutil.which(source.argv[0], path=environ.get("PATH"))
    )


def _all(settings: Settings) -> Iterator[Fault]:
    yield from _daemon(settings)
    yield from _costs(settings)
    if not settings.fleets:
        yield Fault("fleets", "no fleet is configured: nothing will be done")
    for fleet in settings.fleets:
        yield from advise_machine(fleet, settings.provider.dialect)
        yield from _scaling(fleet)
        yield from _addresses(fleet, settings.provider.dialect)
        yield from _adoption(fleet, settings.fleets)
        yield from _guards(fleet, settings)
        yield from _windows(fleet)
        yield from _idleness(fleet, settings)
        yield from advise_idle(fleet, settings)
        yield from _policies(fleet)
    yield from _sources(settings)


def _daemon(settings: Settings) -> Iterator[Fault]:
    daemon = settings.daemon
    host = daemon.listen.rpartition(":")[0].strip("[]")
    if daemon.listen and not is_loopback(host):
        yield Fault(
            "daemon.listen", f"{daemon.listen} can be reached from outside, and anyone there may read the status page"
        )
    if daemon.poll > daemon.interval:
        yield Fault(
            "daemon.poll",
            f"{format_duration(daemon.poll)} is longer than the interval {format_duration(daemon.interval)}: "
            "passes see the end of a transition before the poller does",
        )


def _costs(settings: Settings) -> Iterator[Fault]:
    used = {fleet.machine_type for fleet in settings.fleets}
    for machine_type in settings.costs.prices:
        if machine_type not in used and machine_type not in CORE_MACHINE_TYPES:
            meant = suggestion(machine_type, {*used, *CORE_MACHINE_TYPES})
            hint = f"; did you mean {meant}?" if meant else ""
            yield Fault(dotted(("prices", machine_type)), f"no fleet uses this machine type{hint}")
    for machine_type, price in settings.costs.prices.items():
        if price == 0:
            yield Fault(dotted(("prices", machine_type)), "0 is no price: it counts as not known")
    costs = [_cost(fleet, settings) for fleet in settings.fleets]
    if settings.costs.max_hourly_cost and None not in costs:
        total = sum((c for c in costs if c is not None), Decimal(0))
        if total > settings.costs.max_hourly_cost:
            yield Fault(
                "guards.max_hourly_cost",
                f"{settings.costs.max_hourly_cost} $/h is below what all targets cost, {total} $/h: "
                "the fleets cannot all reach their target",
            )


def _scaling(fleet: Fleet) -> Iterator[Fault]:
    if fleet.scale_in is ScaleIn.DESTROY and not fleet.allow_destroy:
        yield _at(
            fleet,
            "scale_in",
            'nothing is destroyed while allow_destroy is false; set it to true, or scale_in = "stop"',
        )
    if fleet.scale_in is ScaleIn.STOP and fleet.standby:
        yield _at(fleet, "standby", 'has no effect with scale_in = "stop": every surplus machine is kept, stopped')
    if fleet.destroy_requires_snapshot is not None:
        snapshots = fleet.auto_snapshot
        if not fleet.allow_destroy:
            yield _at(fleet, "destroy_requires_snapshot", "has no effect while allow_destroy is false")
        elif snapshots is None or snapshots.frequency == "none":
            yield _at(
                fleet,
                "destroy_requires_snapshot",
                "nothing takes snapshots of this fleet's machines: none is destroyed until somebody takes one; "
                f"[{dotted(('fleets', fleet.name))}.auto_snapshot] would",
            )


def _addresses(fleet: Fleet, dialect: str) -> Iterator[Fault]:
    if not fleet.allow_destroy:
        return
    if fleet.parameters.get("assignPublicIp") is True and not fleet.release_public_ip:
        yield _at(
            fleet,
            "release_public_ip",
            "false: every destroy leaves the static public address that its create assigned, which is billed on",
        )
    if dialect == "paperspace" and fleet.parameters.get("publicIpType") == "static":
        yield _at(
            fleet,
            "machine.publicIpType",
            "the v1 API has no parameter to release a static address with its machine: look at the account's public "
            "addresses after destroys",
        )


def _adoption(fleet: Fleet, fleets: tuple[Fleet, ...]) -> Iterator[Fault]:
    for place, entry in enumerate(fleet.adopt):
        where = f"adopt[{place}]"
        if not re.sub(r"[*?]", "", entry):
            yield _at(
                fleet, where, f"{shown(entry)} takes over every machine of the account, those of people included"
            )
            continue
        if _is_glob(entry) and fleet.allow_destroy:
            yield _at(
                fleet,
                where,
                f"nothing that the pattern {shown(entry)} takes is destroyed before `fleetd adopt` confirms it, and "
                "it takes no name that a fleetd drew: write ids or whole names for those",
            )
        for other in fleets:
            rival = next(
                (e for e in other.adopt if other is not fleet and _is_glob(e) and fnmatchcase(entry, e)), None
            )
            if rival is not None:
                yield _at(
                    fleet,
                    where,
                    f"{shown(entry)} also matches {shown(rival)} of fleet {other.name}; "
                    "an id wins over a name, then the fleet that comes first in the file",
                )


def _guards(fleet: Fleet, settings: Settings) -> Iterator[Fault]:
    guards = fleet.guards
    if guards.max_creates_per_pass == 0 and fleet.target:
        yield _at(fleet, "guards.max_creates_per_pass", "0: no machine of this fleet is ever created")
    if guards.max_stops_per_pass.count == 0:
        yield _at(fleet, "guards.max_stops_per_pass", "0: no machine of this fleet is ever stopped")
    if guards.max_stops_per_pass.percent == 0:
        yield _at(fleet, "guards.max_stops_per_pass", "a share always allows 1 stop a pass; for none at all write 0")
    if guards.max_destroys_per_pass == 0 and fleet.allow_destroy:
        yield _at(fleet, "guards.max_destroys_per_pass", "0: no machine of this fleet is ever destroyed")
    if guards.settle < _PATIENT_SETTLE and settings.provider.kind != "simulator":
        yield _at(
            fleet,
            "guards.settle",
            f"{format_duration(guards.settle)} is short: a machine that the API shows later than that exists twice",
        )
    if guards.deadlines.create <= guards.settle:
        yield _at(
            fleet,
            "guards.create_deadline",
            f"{format_duration(guards.deadlines.create)} is not longer than settle, "
            f"{format_duration(guards.settle)}: a create would time out while it is still looked for",
        )
    yield from _fleet_cap(fleet, guards, settings)


def _fleet_cap(fleet: Fleet, guards: Guards, settings: Settings) -> Iterator[Fault]:
    capped = guards.max_hourly_cost or settings.costs.max_hourly_cost
    cost = _cost(fleet, settings)
    if capped and cost is None:
        yield _at(
            fleet,
            "machine.machineType",
            f"[prices] has none for {fleet.machine_type}: what a start or create would add to the hourly cost "
            "is not known before the API says so",
        )
    month = None if cost is None else cost * 730
    if guards.max_monthly_cost and month is not None and month > guards.max_monthly_cost:
        yield _at(
            fleet,
            "guards.max_monthly_cost",
            f"${guards.max_monthly_cost} a month is below what the target costs without windows, ${month:.0f} in "
            "730 h: starts and creates are refused once that is committed; see fleetd cost --forecast",
        )
    if guards.max_hourly_cost and cost is not None and cost > guards.max_hourly_cost:
        yield _at(
            fleet,
            "guards.max_hourly_cost",
            f"{guards.max_hourly_cost} $/h is below what the target costs, {cost} $/h: it cannot be reached",
        )


def _windows(fleet: Fleet) -> Iterator[Fault]:
    for place, window in enumerate(fleet.windows):
        where = f"windows[{place}]"
        trap = zone_warning(window.timezone)
        if trap is not None:
            yield _at(fleet, f"{where}.timezone", trap)
        if window.start == window.end:
            yield _at(fleet, f"{where}.end", "is the same as start: the window stays open for 24 hours")
        useless = sorted(set(window.except_dates) - set(window.dates))
        never = [d for d in useless if d.weekday() not in window.days]
        if never:
            yield _at(fleet, f"{where}.except_dates", f"it would not open on {never[0]} anyway")
        both = sorted(set(window.except_dates) & set(window.dates))
        if both:
            yield _at(fleet, f"{where}.except_dates", f"{both[0]} stands in dates as well; it does not open then")
        yield from _vendor_timer(fleet, window, where)
    for earlier, later, day in overlaps(fleet.windows):
        yield _at(
            fleet,
            f"windows[{later}]",
            f"overlaps windows[{earlier}] ({fleet.windows[earlier].name}), e.g. when opening on {day}; "
            f"while both are open {fleet.windows[later].name} applies, being the later in the file",
        )


def _vendor_timer(fleet: Fleet, window: Window, where: str) -> Iterator[Fault]:
    timeout = fleet.shutdown_timeout
    minutes = window.end - window.start + (1440 if window.end <= window.start else 0)
    if timeout is not None and window.target and timeout.hours * 60 < minutes:
        yield _at(
            fleet,
            f"{where}.target",
            f"the window is open for {format_duration(timedelta(minutes=minutes))}, but shutdown_timeout stops "
            f"machines after {timeout.hours} h: they will be stopped and started again while it is open",
        )


def _idleness(fleet: Fleet, settings: Settings) -> Iterator[Fault]:
    idle = fleet.idle
    if idle is None:
        return
    if not any(window.park_idle for window in fleet.windows):
        yield _at(fleet, "idle", "no window of this fleet has park_idle = true: nothing is ever parked for idleness")
    if idle.after < settings.daemon.interval * 2:
        yield _at(
            fleet,
            "idle.after",
            f"{format_duration(idle.after)} is less than two passes: a short pause already counts as idle",
        )
    timeout = fleet.shutdown_timeout
    if timeout is not None and timedelta(hours=timeout.hours) <= idle.after:
        yield _at(
            fleet,
            "idle.after",
            f"{format_duration(idle.after)} is never reached: shutdown_timeout comes first, after {timeout.hours} h",
        )
    if all(settings.idle_sources[name].kind == "uptime" for name in idle.sources):
        yield _at(
            fleet, "idle.sources", "uptime alone does not say whether a machine is busy: add a source that does"
        )


def _policies(fleet: Fleet) -> Iterator[Fault]:
    snapshot = fleet.auto_snapshot
    if snapshot is not None and snapshot.frequency == "none" and snapshot.keep is not None:
        yield _at(fleet, "auto_snapshot.keep", 'has no meaning with frequency = "none"')


def _sources(settings: Settings) -> Iterator[Fault]:
    asked = {name for fleet in settings.fleets if fleet.idle is not None for name in fleet.idle.sources}
    for source in settings.idle_sources.values():
        if source.name not in asked:
            yield Fault(dotted(("idle_sources", source.name)), "no fleet asks this source")
        yield from _same_for_all(source)
        yield from advise_source(source, settings)


def _same_for_all(source: IdleSource) -> Iterator[Fault]:
    key, text = {
        "exec": ("argv", " ".join(source.argv)),
        "http": ("url", source.url or ""),
    }.get(source.kind, ("kind", "{id}"))
    where = dotted(("idle_sources", source.name, key))
    if names_no_machine(text):
        yield Fault(where, NAMES_NO_MACHINE)


def _cost(fleet: Fleet, settings: Settings) -> Decimal | None:
    price = settings.costs.prices.get(fleet.machine_type)
    return None if not price else price * fleet.target


def _is_glob(entry: str) -> bool:
    return re.search(r"[*?\[]", entry) is not None


def _at(fleet: Fleet, key: str, problem: str) -> Fault:
    return Fault(f"{dotted(('fleets', fleet.name))}.{key}", problem)

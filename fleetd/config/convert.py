"""From the file's tables to the model's values. Nothing is judged here: what arrives is without fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fleetd.config.schema import (
    ApiKeyTable,
    ConfigFile,
    DaemonTable,
    FleetTable,
    GuardsTable,
    IdleSourceTable,
    PasswordTable,
    ProviderTable,
    SimulatorTable,
    WindowTable,
)
from fleetd.model.fleet import (
    AutoSnapshot,
    Costs,
    Deadlines,
    Fleet,
    Guards,
    IdleRule,
    Scalar,
    ScaleIn,
    ShutdownTimeout,
    Window,
)
from fleetd.model.regions import normal_region
from fleetd.model.settings import DaemonSettings, IdleSource, KeySource, ProviderSettings, Schedules, Settings
from fleetd.model.vendor_v1 import V1_SNAPSHOT_FREQUENCIES

BASE_URLS: Mapping[str, str] = MappingProxyType(
    {
        "paperspace-core": "https://api.paperspace.io",
        "paperspace": "https://api.paperspace.com/v1",
        "simulator": "",
    }
)
"""Where each kind is reached unless the file says otherwise; the simulator's is known once it listens."""

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DEADLINES = ("create", "start", "stop", "restart", "destroy")


def to_settings(config: ConfigFile, source: str) -> Settings:
    """The whole file as one value.

    Args:
        config: the validated file.
        source: where it came from; relative paths are relative to its directory.
    """
    base = Path(source).parent
    provider = _provider(config.provider, base)
    return Settings(
        source=source,
        provider=provider,
        fleets=tuple(_fleet(name, table, config.guards, provider.dialect) for name, table in config.fleets.items()),
        daemon=_daemon(config.daemon, base),
        costs=Costs(
            prices=MappingProxyType(dict(config.prices)),
            max_hourly_cost=config.guards.max_hourly_cost,
            max_monthly_cost=config.guards.max_monthly_cost,
        ),
        idle_sources=MappingProxyType({n: _idle_source(n, t) for n, t in config.idle_sources.items()}),
        schedules=Schedules(**dict(config.schedules)),
    )


def _provider(table: ProviderTable, base: Path) -> ProviderSettings:
    simulated = table.simulator
    if simulated is None and table.kind == "simulator":
        simulated = SimulatorTable()
    return ProviderSettings(
        kind=table.kind,
        base_url=table.base_url if table.base_url is not None else BASE_URLS[table.kind],
        proxy=table.proxy,
        api_key=_key_source(table.api_key, base) if table.api_key is not None else None,
        max_requests_per_second=table.max_requests_per_second,
        max_concurrency=table.max_concurrency,
        request_timeout=table.request_timeout,
        simulator=MappingProxyType(_simulator(simulated, base) if simulated is not None else {}),
    )


def _key_source(table: ApiKeyTable | PasswordTable, base: Path) -> KeySource:
    return KeySource(env=table.env, file=_path(table.file, base), credential=table.credential)


def _simulator(table: SimulatorTable, base: Path) -> dict[str, object]:
    machines = tuple(MappingProxyType(m.model_dump(exclude_none=True)) for m in table.machines)
    return dict(table) | {"faults": _path(table.faults, base), "machines": machines}


def _daemon(table: DaemonTable, base: Path) -> DaemonSettings:
    return DaemonSettings(
        interval=table.interval,
        poll=table.poll,
        state_dir=_path(table.state_dir, base),
        state=table.state,
        state_password=_key_source(table.state_password, base) if table.state_password is not None else None,
        listen=table.listen,
    )


def _fleet(name: str, table: FleetTable, general: GuardsTable, dialect: str) -> Fleet:
    parameters = _created_with(table, dialect)
    idle, timeout, snapshot = table.idle, table.shutdown_timeout, table.auto_snapshot
    return Fleet(
        name=name,
        target=table.target,
        machine_type=str(parameters["machineType"]),
        region=normal_region(str(parameters["region"])),
        parameters=MappingProxyType(parameters),
        scale_in=ScaleIn(table.scale_in),
        allow_destroy=table.allow_destroy,
        standby=table.standby,
        adopt=tuple(table.adopt),
        guards=_guards(general, table.guards),
        windows=tuple(_window(w) for w in table.windows),
        idle=IdleRule(tuple(idle.sources), idle.after, idle.min_uptime) if idle is not None else None,
        shutdown_timeout=(
            ShutdownTimeout(timeout.hours, timeout.force, timeout.enforce) if timeout is not None else None
        ),
        auto_snapshot=AutoSnapshot(snapshot.frequency, snapshot.keep) if snapshot is not None else None,
        respect_manual=table.respect_manual,
        release_public_ip=table.release_public_ip,
        destroy_requires_snapshot=table.destroy_requires_snapshot,
    )


def _guards(general: GuardsTable, own: GuardsTable | None) -> Guards:
    """The general guards, with what the fleet says itself laid over them key by key.

    The two caps on money are not inherited: at the top they cap all fleets together, on a fleet that fleet alone.
    """
    values: dict[str, Any] = {name: getattr(general, name) for name in GuardsTable.model_fields}
    values["max_hourly_cost"] = values["max_monthly_cost"] = Decimal(0)
    if own is not None:
        values.update({name: getattr(own, name) for name in own.model_fields_set})
    deadlines = Deadlines(**{verb: values.pop(f"{verb}_deadline") for verb in _DEADLINES})
    return Guards(**values, deadlines=deadlines)


def _window(table: WindowTable) -> Window:
    unsaid: Sequence[str] = () if table.dates else _WEEK
    days = unsaid if table.days is None else table.days
    return Window(
        name=table.name,
        start=table.start,
        end=table.end or 1440,  # "00:00" as an end is the midnight after, like "24:00"
        timezone=table.timezone,
        days=frozenset(_WEEK.index(day) for day in days),
        dates=tuple(sorted(set(table.dates))),
        except_dates=tuple(sorted(set(table.except_dates))),
        target=table.target,
        park_idle=table.park_idle,
    )


def _idle_source(name: str, table: IdleSourceTable) -> IdleSource:
    return IdleSource(name, **dict(table) | {"argv": tuple(table.argv or ())})


def _path(name: str | None, base: Path) -> Path | None:
    return None if name is None else base / Path(name).expanduser()


def _created_with(table: FleetTable, dialect: str) -> dict[str, Scalar]:
    """The create call's parameters: the ``machine`` table, and the policies where the call can carry them.

    v1 sets policies up in the create alone, by its vendor's pages; on machines that exist an update may be ignored.
    Core's create has no such parameters. The two never say the same thing twice: ``check`` refuses that.

    Args:
        table: the fleet's table.
        dialect: paperspace-core or paperspace.
    """
    parameters: dict[str, Scalar] = dict(table.machine)
    if dialect != "paperspace":
        return parameters
    timeout, snapshot = table.shutdown_timeout, table.auto_snapshot
    if timeout is not None:
        parameters["autoShutdownEnabled"] = True
        parameters["autoShutdownTimeout"] = timeout.hours
        parameters["autoShutdownForce"] = timeout.force
    if snapshot is not None:
        parameters["autoSnapshotEnabled"] = snapshot.frequency != "none"
        if snapshot.frequency != "none":
            theirs = {ours: v1 for v1, ours in V1_SNAPSHOT_FREQUENCIES.items()}
            parameters["autoSnapshotFrequency"] = theirs.get(snapshot.frequency, snapshot.frequency)
            if snapshot.keep is not None:
                parameters["autoSnapshotSaveCount"] = snapshot.keep
    return parameters

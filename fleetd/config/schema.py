"""The shape of the config file: one pydantic class a table, each key with its kind, its default and its meaning.

Only shape stands here. What holds between keys is in ``checks``, and the create parameters in ``machine_table``.
``fleetd schema`` prints this as JSON Schema, so every field has a description.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from fleetd.config.kinds import (
    CallTimeout,
    Closing,
    Count,
    CredentialName,
    DatabaseUrl,
    Day,
    EnvName,
    FileName,
    Interval,
    KeyedUrl,
    Listen,
    Money,
    Opening,
    Poll,
    Positive,
    ProxyUrl,
    Schedule,
    Share,
    Span,
    SpanOrZero,
    Text,
    Threshold,
    Url,
    Version,
)
from fleetd.config.schema_extra import (
    API_KEY_RULE,
    FLEET_NAMES_RULE,
    IDLE_SOURCE_RULE,
    MACHINE_JSON,
    PROVIDER_RULE,
)
from fleetd.config.values import no_inline_password, no_span_of_days, not_inline


def optional(default: Any, description: str) -> Any:
    """A key that may be left out. The default is written as the file would, and read like it."""
    return Field(default, description=description)


class Table(BaseModel):
    """What all tables have in common."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, validate_default=True, hide_input_in_errors=True
    )


class ApiKeyTable(Table):
    """Where the API key is read from: exactly one of the three. The key itself never stands in a config."""

    model_config = ConfigDict(json_schema_extra=API_KEY_RULE)

    env: EnvName | None = optional(None, "Name of the environment variable that holds the key.")
    file: FileName | None = optional(None, "File that holds the key; relative to the config file.")
    credential: CredentialName | None = optional(None, "Name of a systemd credential (LoadCredential=).")


class PasswordTable(Table):
    """Where the database's password is read from: exactly one of the three. It never stands in a config."""

    model_config = ConfigDict(json_schema_extra=API_KEY_RULE)

    env: EnvName | None = optional(None, "Name of the environment variable that holds the password.")
    file: FileName | None = optional(None, "File that holds the password; relative to the config file.")
    credential: CredentialName | None = optional(None, "Name of a systemd credential (LoadCredential=).")


class SimulatedMachine(Table):
    """A foreign machine that stands in the simulated world from the start."""

    name: Text = Field(description="Its name; fleetd leaves it alone unless a fleet adopts it.")
    state: Literal[
        "ready", "serviceready", "provisioning", "starting", "restarting", "upgrading", "stopping", "off"
    ] = optional("ready", "The state it is in at the start.")
    id: Text | None = optional(None, "Its id, to adopt it by; drawn where left out.")


class SimulatorTable(Table):
    """The embedded simulator; only with ``kind = "simulator"``."""

    speed: Positive = optional(1, "How many times faster than the vendor its transitions run.")
    seed: Count = optional(0, "Seed of everything random in it; the same seed gives the same run.")
    faults: FileName | None = optional(None, "File of faults to inject; relative to the config file.")
    latency: SpanOrZero = optional("0s", "Added to every answer.")
    dialect: Literal["paperspace-core", "paperspace"] = optional(
        "paperspace-core", "Which of the vendor's APIs fleetd speaks to it."
    )
    machines: list[SimulatedMachine] = Field(
        default_factory=list, description="Foreign machines that are there from the start."
    )


class ProviderTable(Table):
    """The account whose machines these are."""

    model_config = ConfigDict(json_schema_extra=PROVIDER_RULE)

    kind: Literal["paperspace-core", "paperspace", "simulator"] = Field(
        description="The API that is spoken: Paperspace Core, Paperspace v1, or the embedded simulator."
    )
    base_url: KeyedUrl | None = optional(
        None,
        "The API's address. Default: https://api.paperspace.io (paperspace-core), "
        "https://api.paperspace.com/v1 (paperspace), a free loopback port (simulator).",
    )
    proxy: ProxyUrl | None = optional(
        None,
        "HTTP proxy through which the provider is reached. The environment's proxy variables are not read.",
    )
    api_key: Annotated[ApiKeyTable, BeforeValidator(not_inline)] | None = optional(
        None, "Where the API key is read from; the simulator needs none."
    )
    max_requests_per_second: Positive = optional(10, "Rate limit over all calls of this account.")
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] = optional(10, "Calls in flight at once.")
    request_timeout: CallTimeout = optional("30s", "The longest that one call may take.")
    simulator: SimulatorTable | None = optional(None, 'Only with kind = "simulator".')


class DaemonTable(Table):
    """The daemon's rhythm and where it lives."""

    interval: Interval = optional("30s", "Time between passes, plus or minus 10 %.")
    poll: Poll = optional("5s", "Tick of wait_for while a transition is followed.")
    state_dir: FileName | None = optional(
        None, "Where the journal lives. Default: $STATE_DIRECTORY, else the user's state directory."
    )
    state: DatabaseUrl | None = optional(
        None,
        "PostgreSQL database that keeps the journal in place of a file, for several replicas "
        "(postgresql://user@host/database, without the password). One database, or schema, an account.",
    )
    state_password: Annotated[PasswordTable, BeforeValidator(no_inline_password)] | None = optional(
        None, "Where the database's password is read from; left out where it asks for none."
    )
    listen: Listen = optional("127.0.0.1:8750", 'host:port of the read-only HTTP endpoints; "" turns them off.')


class GuardsTable(Table):
    """Limits that cut a plan. A fleet may override them key by key."""

    max_creates_per_pass: Count = optional(10, "Creates a pass; slow start inside it: 1, 2, 4, …")
    max_stops_per_pass: Share = optional("25%", "Stops a pass: a count, or a share of the fleet (at least 1).")
    max_destroys_per_pass: Count = optional(1, "Destroys a pass.")
    max_shrink: Share = optional(
        "30%", "How much of a fleet may vanish at once before creates wait for a second look."
    )
    max_hourly_cost: Money = optional(
        0, "Cap in dollars an hour, 0 = none. In [guards]: of all fleets together; in a fleet: its own."
    )
    max_monthly_cost: Money = optional(
        0,
        "Budget in dollars a calendar month (UTC), 0 = none: reported at 80 %, no start or create beyond it. "
        "In [guards]: of everything together; in a fleet: its own.",
    )
    max_surge: Count = optional(0, "Machines beyond target that may stand in for ones whose transition timed out.")
    settle: Span = optional("90s", "How long a machine is looked for when a create's answer was lost.")
    create_deadline: Span = optional("20m", "How long a create may take before it is timed_out.")
    start_deadline: Span = optional("10m", "How long a start may take before it is timed_out.")
    stop_deadline: Span = optional("10m", "How long a stop may take before it is timed_out.")
    restart_deadline: Span = optional("10m", "How long a restart may take before it is timed_out.")
    destroy_deadline: Span = optional("10m", "How long a destroy may take before it is timed_out.")


class WindowTable(Table):
    """A span of local time in which another rule applies; the later in the file wins where two overlap."""

    name: Text = Field(description="What the window is called in plans and logs.")
    days: Annotated[
        list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] | None, BeforeValidator(no_span_of_days)
    ] = optional(None, "Weekdays on which it opens. Default: every day, or only on dates where those are given.")
    dates: list[Day] = Field(default_factory=list, description="Single days on which it opens as well.")
    except_dates: list[Day] = Field(default_factory=list, description="Days on which it does not open.")
    start: Opening = Field(
        description='Local time at which it opens, e.g. "20:00". Where a clock change skips it: the first instant '
        "after the gap; where it comes twice: the first time. The same holds for end."
    )
    end: Closing = Field(description='Local time at which it closes; at or before start: the day after. "24:00" too.')
    timezone: Text = Field(description='IANA time zone, e.g. "Europe/Berlin".')
    target: Count | None = optional(None, "The fleet's target while it is open.")
    park_idle: bool = optional(
        default=False, description="While it is open: stop machines once idle, start and create nothing."
    )


class IdleTable(Table):
    """When a machine of the fleet counts as idle."""

    after: Span = optional("60m", "How long every source must have said idle.")
    min_uptime: SpanOrZero = optional("30m", "A machine is never idle sooner after its start.")
    sources: Annotated[list[Text], Field(min_length=1)] = Field(description="Names of [idle_sources] to ask.")


class ShutdownTimeoutTable(Table):
    """The vendor's shutdown timeout, held on every machine of the fleet."""

    hours: Annotated[int, Field(ge=1, le=8760)] = Field(description="Hours of uptime (shutdownTimeoutInHours).")
    force: bool = optional(default=False, description="Even while someone is connected (shutdownTimeoutForces).")
    enforce: bool = optional(
        default=False, description="fleetd stops a machine that outlived it although the vendor did not."
    )


class AutoSnapshotTable(Table):
    """The vendor's automatic snapshots, held on every machine of the fleet."""

    frequency: Literal["hour", "day", "week", "none"] = Field(
        description="How often (autoSnapshotFrequency); none turns them off (performAutoSnapshot)."
    )
    keep: Annotated[int, Field(ge=1, le=1000)] | None = optional(None, "How many to keep (autoSnapshotSaveCount).")


class FleetTable(Table):
    """A named group of identical machines with a target."""

    target: Count = Field(description="How many machines should be up outside windows.")
    scale_in: Literal["stop", "destroy"] = optional("stop", "What happens to a surplus machine.")
    allow_destroy: bool = optional(
        default=False, description="Nothing of this fleet is ever destroyed unless this is true."
    )
    release_public_ip: bool = optional(
        default=True,
        description="Whether a destroy releases the static public address that this fleet's create assigned "
        '(assignPublicIp); kind = "paperspace-core" only.',
    )
    standby: Count = optional(0, 'Stopped machines to keep beyond target when scale_in = "destroy".')
    adopt: list[Text] = Field(
        default_factory=list, description="Ids or name globs of existing machines to take under management."
    )
    respect_manual: SpanOrZero = optional("30m", 'How long a stop by a human is not fought; "0s" = fight at once.')
    destroy_requires_snapshot: Span | None = optional(
        None, 'The age the newest snapshot may have at a destroy; kind = "paperspace" only.'
    )
    machine: Annotated[dict[str, Any], WithJsonSchema(MACHINE_JSON)] = Field(
        description="The create call's parameters, by the API's own names."
    )
    guards: GuardsTable | None = optional(None, "Overrides of [guards], key by key.")
    windows: list[WindowTable] = Field(default_factory=list, description="Spans of time with another rule.")
    idle: IdleTable | None = optional(None, "When a machine counts as idle.")
    shutdown_timeout: ShutdownTimeoutTable | None = optional(None, "The shutdown timeout to hold.")
    auto_snapshot: AutoSnapshotTable | None = optional(None, "The automatic snapshots to hold.")


class IdleSourceTable(Table):
    """Where it is asked whether a machine is busy. Which keys apply depends on ``kind``."""

    model_config = ConfigDict(json_schema_extra=IDLE_SOURCE_RULE)

    kind: Literal["prometheus", "exec", "http", "lease", "uptime"] = Field(description="What is asked.")
    url: Url | None = optional(None, "prometheus, http: the address that is asked.")
    query: Text | None = optional(None, "prometheus: PromQL; {id}, {name}, {private_ip} and {window} are filled in.")
    below: Threshold | None = optional(None, "prometheus: idle while the value is below this.")
    step: Span = optional("30s", "prometheus: how often a sample is expected.")
    argv: Annotated[list[Text], Field(min_length=1)] | None = optional(
        None, "exec: program and arguments, no shell; {id}, {name}, {private_ip}, {window} are filled in."
    )
    timeout: CallTimeout = optional("10s", "prometheus, exec, http: the longest that one answer may take.")
    at_once: Annotated[int, Field(ge=1, le=100)] = optional(
        8, "prometheus, exec, http: how many machines are asked about at one time."
    )


class SchedulesTable(Table):
    """When the policy checks run."""

    shutdown_timeout_check: Schedule = optional("every 15m", 'A crontab line in UTC, or "every 15m".')
    snapshot_check: Schedule = optional("0 6 * * *", 'A crontab line in UTC, or "every 15m".')


class ConfigFile(Table):
    """The config of fleetd."""

    model_config = ConfigDict(title="fleetd.toml")

    version: Version = Field(description="Version of this file format: 1.")
    provider: ProviderTable = Field(description="The account whose machines these are.")
    daemon: DaemonTable = Field(default_factory=DaemonTable, description="The daemon's rhythm and where it lives.")
    guards: GuardsTable = Field(default_factory=GuardsTable, description="Limits that cut a plan.")
    prices: dict[str, Money] = Field(
        default_factory=dict, description="Dollars an hour by machineType, where the API does not say."
    )
    fleets: Annotated[dict[str, FleetTable], Field(json_schema_extra=FLEET_NAMES_RULE)] = Field(
        default_factory=dict, description="The fleets, by name."
    )
    idle_sources: dict[str, IdleSourceTable] = Field(
        default_factory=dict, description="Where it is asked whether a machine is busy, by name."
    )
    schedules: SchedulesTable = Field(default_factory=SchedulesTable, description="When the policy checks run.")

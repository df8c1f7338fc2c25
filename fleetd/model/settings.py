"""The whole config file as one value: what ``config.load`` returns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from fleetd.model.fleet import Costs, Fleet


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the API key is read from. Exactly one is set; the key itself never stands in a config."""

    env: str | None = None
    file: Path | None = None
    credential: str | None = None
    """Name of a systemd credential, a file in ``$CREDENTIALS_DIRECTORY``."""

    def __str__(self) -> str:
        if self.env is not None:
            return f"environment variable {self.env}"
        if self.credential is not None:
            return f"systemd credential {self.credential}"
        return f"file {self.file}"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """The ``[provider]`` table."""

    kind: str
    """paperspace-core, paperspace or simulator."""
    base_url: str
    api_key: KeySource | None
    """None only for the simulator, which makes a key of its own."""
    max_requests_per_second: float = 10.0
    max_concurrency: int = 10
    request_timeout: timedelta = timedelta(seconds=30)
    proxy: str | None = None
    """Address of the HTTP proxy through which the provider is reached; None: directly."""
    simulator: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """The ``[provider.simulator]`` table with every default filled in: speed (float), seed (int), faults
    (Path or None), latency (timedelta), dialect (str), machines (tuple of mappings: name, state, perhaps id)."""

    @property
    def dialect(self) -> str:
        """The API that is spoken: the kind, or what the simulator is spoken to in."""
        return self.kind if self.kind != "simulator" else str(self.simulator.get("dialect", "paperspace-core"))


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """The ``[daemon]`` table."""

    interval: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=5)
    state_dir: Path | None = None
    """None: $STATE_DIRECTORY, else the platform's user state directory."""
    state: str | None = None
    """Address of the database that keeps the journal, without a password; None: a file in the state directory."""
    state_password: KeySource | None = None
    """Where the database's password is read from; None where it asks for none."""
    listen: str = "127.0.0.1:8750"
    """host:port of the read-only HTTP endpoints; "" turns them off."""


PROMQL_MATCHER = re.compile(r"""(=~|!~|!=|=)(\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
"""A PromQL label matcher: its operator, space, and its quoted value. A machine is filled in there, nowhere else."""

PLACEHOLDERS = ("id", "name", "private_ip", "window")
"""What an idle source's query, url and argv may name in braces: the machine's, and the span that is asked about."""


@dataclass(frozen=True, slots=True)
class IdleSource:
    """One ``[idle_sources.NAME]`` table; which fields are set depends on ``kind``."""

    name: str
    kind: str
    """prometheus, exec, http, lease or uptime."""
    url: str | None = None
    query: str | None = None
    below: float | None = None
    """prometheus: idle while the value is below this."""
    step: timedelta = timedelta(seconds=30)
    """prometheus: how often a sample is expected; coverage is counted against it."""
    argv: tuple[str, ...] = ()
    """exec: program and arguments; ``{id}``, ``{name}``, ``{private_ip}``, ``{window}`` are filled in."""
    timeout: timedelta = timedelta(seconds=10)
    at_once: int = 8
    """prometheus, exec, http: how many machines are asked about at one time."""

    @property
    def asks_each(self) -> bool:
        """Whether it asks somebody else about each machine, which takes time."""
        return self.kind in {"prometheus", "exec", "http"}

    @property
    def text(self) -> str:
        """All that placeholders are filled into."""
        return "\n".join((self.query or "", self.url or "", *self.argv))


@dataclass(frozen=True, slots=True)
class Schedules:
    """When the policy checks run: a crontab line, or ``every 15m``."""

    shutdown_timeout_check: str = "every 15m"
    snapshot_check: str = "0 6 * * *"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a config file says."""

    source: str
    """The file it came from, for messages."""
    provider: ProviderSettings
    fleets: tuple[Fleet, ...]
    daemon: DaemonSettings = DaemonSettings()
    costs: Costs = field(default_factory=Costs)
    idle_sources: Mapping[str, IdleSource] = field(default_factory=lambda: MappingProxyType({}))
    schedules: Schedules = Schedules()
    asked_state_dir: Path | None = None
    """The state directory that a command line named (``--state-dir``): its daemon is meant, whatever its config."""

    def fleet(self, name: str) -> Fleet | None:
        """The fleet of that name, or None."""
        return next((f for f in self.fleets if f.name == name), None)
